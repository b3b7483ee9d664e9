//! Files that others on the system can write, or links that lead elsewhere, are refused or not followed. Also, who owns
//! the files that root makes.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink},
    path::Path,
};

use age::secrecy::ExposeSecret as _;
use serde_json::Value;

use crate::support::{Folder, run};

/// An unused user id and group id.
const SERVICE: (u32, u32) = (54_321, 54_322);

#[track_caller]
fn check(folder: &Path, args: &[&str], code: i32, says: &str) {
    let output = run(folder, args);
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(code) && told.contains(says), "{args:?}: {told}");
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// A folder with an encrypted ring, and the identity that opens it.
fn sealed() -> Folder {
    let identity = age::x25519::Identity::generate();
    let folder = Folder::made_with(&["--recipient", &identity.to_public().to_string()]);
    let path = folder.path().join("identity");
    fs::write(&path, identity.to_string().expose_secret()).unwrap();
    chmod(&path, 0o600);
    folder
}

#[test]
fn what_others_can_write_is_refused_encrypted_or_not() {
    let folder = sealed();
    let list = ["keys", "list", "--identity", "identity"];
    check(folder.path(), &list, 0, "");
    // Others may read what is encrypted, and not write it.
    chmod(&folder.ring(), 0o644);
    check(folder.path(), &list, 0, "");
    chmod(&folder.ring(), 0o646);
    check(folder.path(), &list, 78, "can be written by others on this system (mode 0646): chmod o-w it");
    chmod(&folder.ring(), 0o600);
    let config = folder.config("identity = \"identity\"\nkeyring_mode = \"any\"", "");
    for (path, says) in [(folder.path().join("keys"), "key ring"), (folder.path().to_owned(), "identity identity: it")]
    {
        chmod(&path, 0o777);
        let says = format!("{says} {}", if says == "key ring" { "keys/keyring.json stands" } else { "stands" });
        check(folder.path(), &list, 78, &says);
        check(folder.path(), &["keys", "rotate", "--identity", "identity"], 78, "that others on this system can write");
        check(folder.path(), &["keys", "verify", "--config", config.to_str().unwrap()], 0, "");
        // As /tmp is: others may make files there, and take none away.
        chmod(&path, 0o1777);
        check(folder.path(), &list, 0, "");
        chmod(&path, 0o700);
    }
    // Where a link leads is not all that counts: who can replace the link has another ring taken.
    let open = folder.path().join("open");
    fs::create_dir(&open).unwrap();
    chmod(&open, 0o777);
    symlink("../keys/keyring.json", open.join("ring")).unwrap();
    check(folder.path(), &[&list[..], &["--keyring", "open/ring"]].concat(), 78, "open/ring stands in a folder");
    check(folder.path(), &["keys", "init", "--keyring", "open/new"], 78, "open/new stands in a folder");
    assert!(!open.join("new").exists() && !open.join("new.lock").exists());
}

#[test]
fn the_audit_key_of_others_is_refused() {
    let folder = Folder::new();
    fs::create_dir(folder.path().join("open")).unwrap();
    let key = folder.path().join("open/audit.key");
    fs::write(&key, [7; 32]).unwrap();
    chmod(&key, 0o600);
    chmod(&folder.path().join("open"), 0o777);
    let config = folder.config("", "[audit]\nitems = \"hmac\"\nhmac_key = \"open/audit.key\"");
    check(folder.path(), &["serve", "--config", config.to_str().unwrap()], 78, "stands in a folder that others");
}

#[test]
fn files_beside_a_ring_are_no_links() {
    for name in ["audit", "lock"] {
        let folder = Folder::new();
        let (companion, other) = (folder.path().join(format!("keys/keyring.json.{name}")), folder.path().join("other"));
        fs::remove_file(&companion).unwrap();
        symlink(&other, &companion).unwrap();
        let before = fs::read(folder.ring()).unwrap();
        for content in [None, Some("kept")] {
            if let Some(content) = content {
                fs::write(&other, content).unwrap();
            }
            check(folder.path(), &["keys", "rotate"], 1, &format!("keyring.json.{name}: "));
            assert_eq!(fs::read(&other).ok(), content.map(|content| content.as_bytes().to_vec()));
            assert_eq!(fs::read(folder.ring()).unwrap(), before);
        }
    }
}

#[test]
fn what_root_makes_is_the_services() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("callveil");
    fs::create_dir(&home).unwrap();
    if chown(&home, Some(SERVICE.0), Some(SERVICE.1)).is_err() {
        return; // Only root gives files away.
    }
    check(folder.path(), &["keys", "init", "--keyring", "callveil/keys/keyring.json"], 0, "");
    check(folder.path(), &["keys", "rotate", "--keyring", "callveil/keys/keyring.json"], 0, "");
    let names = fs::read_dir(home.join("keys")).unwrap().map(|entry| entry.unwrap().path());
    let names: Vec<_> = names.chain([home.join("keys")]).collect();
    assert_eq!(names.len(), 5, "the folder, the ring, the one before, the lock and the record: {names:?}");
    for name in names {
        let metadata = fs::metadata(&name).unwrap();
        assert_eq!((metadata.uid(), metadata.gid()), SERVICE, "{}", name.display());
    }
}

#[test]
fn a_record_tells_who_and_who_somebody_says_they_are() {
    let folder = Folder::new();
    let mut command = crate::support::callveil();
    command.args(["keys", "rotate"]).env("SUDO_USER", "mallory").current_dir(folder.path());
    assert!(command.output().unwrap().status.success());
    let text = fs::read_to_string(folder.path().join("keys/keyring.json.audit")).unwrap();
    let record: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    let own = fs::metadata(folder.ring()).unwrap().uid();
    assert_eq!((&record["uid"], &record["real_uid"]), (&own.into(), &own.into()), "{record}");
    assert_eq!(record["claimed"]["sudo_user"], "mallory");
    assert!(record.get("sudo_user").is_none());
}
