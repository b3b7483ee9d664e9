//! Rings for age's post-quantum recipients: age opens ours, we open age's, and a fleet migrates without a gap.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use age::secrecy::ExposeSecret as _;

use crate::{
    clients::script,
    needs::{is_here, miss},
    rings,
    support::{Folder, Server, run},
};

/// An identity from CCTV's vectors, and its recipient by npm's `age-encryption`.
const IDENTITY: &str = "AGE-SECRET-KEY-PQ-1HZLGZUPT4ETPKDEV8HSGFDCYZ4E522W0A7PU2LHT8EH9W6YLNC3SW78XKG";
const RECIPIENT: &str = include_str!("../golden/pq_recipient.txt");

fn check(output: &Output, code: i32, says: &str) -> String {
    let told = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(code) && told.contains(says), "{told}");
    assert!(!told.contains(&IDENTITY[..30]), "{told}");
    told
}

fn write(path: &Path, content: &str) {
    fs::write(path, content).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

/// A folder with the identities `old` (X25519), `new` (post-quantum) and `both`, a ring for the old one, and its recipient.
fn folder() -> (Folder, String) {
    let old = age::x25519::Identity::generate();
    let recipient = old.to_public().to_string();
    let folder = Folder::made_with(&["--recipient", &recipient]);
    let old = old.to_string();
    write(&folder.path().join("old"), old.expose_secret());
    write(&folder.path().join("new"), &format!("# as age-keygen -pq writes it\n{IDENTITY}\n"));
    write(&folder.path().join("both"), &format!("{}\n{IDENTITY}\n", old.expose_secret()));
    (folder, recipient)
}

#[test]
fn a_fleet_moves_to_post_quantum_recipients() {
    let (folder, old) = folder();
    let new = RECIPIENT.trim();
    let keys = |args: &[&str]| run(folder.path(), &[&["keys"], args].concat());
    let server = Server::start(&folder, "identity = \"both\"", "");
    let uid = server.values("PhoneToUID", &["13988888888"]).remove(0);
    let set = ["recipients", "--identity", "both", "--set"];
    check(&keys(&[&set[..], &[&old, new]].concat()), 1, "cannot be mixed with others");
    assert_eq!(server.values("UIDToPhone", &[&uid]), ["008613988888888"]);
    check(&keys(&[&set[..], &[new, "--yes"]].concat()), 0, "encrypted for 1 recipients");
    assert_eq!(server.wait_for("key ring reloaded")["generation"], 2);
    assert_eq!(server.values("UIDToPhone", &[&uid]), ["008613988888888"]);
    assert_eq!(check(&keys(&["recipients", "--identity", "new"]), 0, "age1pq1").trim(), new);
    check(&keys(&["list", "--identity", "old"]), 78, "none of its recipients");
    check(&keys(&["rotate", "--identity", "new"]), 0, "generation 3");
    server.wait_for("key ring reloaded");
    // Nor does the generation before open for the old one.
    let previous = ["list", "--keyring", "keys/keyring.json.previous", "--identity"];
    check(&keys(&[&previous[..], &["old"]].concat()), 78, "none of its recipients");
    check(&keys(&[&previous[..], &["new"]].concat()), 0, "generation 2");
    let init = ["init", "--keyring", "mixed.json", "--recipient", &old, "--recipient", new];
    check(&keys(&init), 1, "cannot be mixed with others");
    assert!(!folder.path().join("mixed.json").exists());
    check(&keys(&["init", "--keyring", "x.json", "--recipient", &new.to_uppercase()]), 2, "no age public key");
    let spoilt = IDENTITY.replace("1HZL", "1HZM");
    write(&folder.path().join("spoilt"), &spoilt);
    check(&keys(&["list", "--identity", "spoilt"]), 78, "holds no age identity");
}

/// The npm package, in the place where `.ci/run` puts it.
fn package() -> Option<PathBuf> {
    let target = Path::new(env!("CARGO_BIN_EXE_callveil")).ancestors().nth(2)?;
    let package = target.join("npm/node_modules/age-encryption");
    let there = package.is_dir() && is_here("node");
    if !there {
        miss("age-encryption of npm", ".ci/run");
    }
    there.then_some(package)
}

#[test]
fn another_implementation_opens_ours_and_we_open_its() {
    let Some(package) = package() else { return };
    let folder = Folder::new();
    let node = |args: &[&str]| {
        let mut command = Command::new("node");
        command.arg(script("age.mjs")).arg(&package).args(args).current_dir(folder.path());
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    for _ in 0..10 {
        let made = node(&["generate"]);
        let (identity, recipient) = made.trim().split_once('\n').unwrap();
        write(&folder.path().join("identity"), identity);
        // A ring of ours, in its hands.
        let ring = folder.path().join("ring.age");
        let keys = |args: &[&str]| {
            run(folder.path(), &[&["keys"], args, &["--keyring", "ring.age", "--identity", "identity"]].concat())
        };
        check(&keys(&["init", "--recipient", recipient]), 0, "made ring.age");
        node(&["decrypt", identity, "ring.age", "plain.json"]);
        let plain = fs::read(folder.path().join("plain.json")).unwrap();
        assert_eq!(rings::value(&plain)["recipients"][0], recipient);
        // The same ring, encrypted by it, in ours.
        fs::remove_file(&ring).unwrap();
        node(&["encrypt", recipient, "plain.json", "ring.age"]);
        check(&keys(&["verify"]), 0, "ok: ring");
        check(&keys(&["rotate"]), 0, "generation 2");
        for name in ["ring.age", "ring.age.previous", "plain.json"] {
            fs::remove_file(folder.path().join(name)).unwrap();
            let _ = fs::remove_file(folder.path().join("ring.age.audit"));
        }
    }
}
