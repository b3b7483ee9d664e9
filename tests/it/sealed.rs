//! Rings encrypted with age: age opens ours, we open age's, and nothing falls back to plain.

use std::{
    fs,
    io::Write as _,
    path::Path,
    process::{Command, Output},
};

use age::secrecy::SecretString;
use serde_json::Value;

use crate::{
    needs::is_here,
    rings,
    support::{Folder, Server, callveil, check_log, run},
};

/// Makes an identity file and returns its public key.
fn keygen(folder: &Path, name: &str) -> String {
    use age::secrecy::ExposeSecret as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let identity = age::x25519::Identity::generate();
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(folder.join(name)).unwrap();
    writeln!(file, "# a comment, as age-keygen writes it\n{}", identity.to_string().expose_secret()).unwrap();
    identity.to_public().to_string()
}

#[track_caller]
fn check(output: &Output, code: i32, says: &str) -> String {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{out}\n{err}");
    assert!(err.contains(says) && !err.contains("AGE-SECRET-KEY"), "does not say {says:?}: {err}");
    out.into_owned()
}

/// A folder with the identities `alice`, `bob` and `eve`, and a ring for the first two in `sealed.age`.
fn sealed() -> (Folder, [String; 3]) {
    let folder = Folder::new();
    let people = ["alice", "bob", "eve"].map(|name| keygen(folder.path(), name));
    let init = ["keys", "init", "--keyring", "sealed.age", "--recipient", &people[0], "--recipient", &people[1]];
    check(&run(folder.path(), &init), 0, "keep a copy");
    (folder, people)
}

#[test]
fn either_recipient_opens_it_and_nobody_else() {
    let (folder, people) = sealed();
    assert!(fs::read(folder.path().join("sealed.age")).unwrap().starts_with(b"age-encryption.org/v1"));
    let list = |identity: &[&str]| {
        run(folder.path(), &[&["keys", "list", "--json", "--keyring", "sealed.age"], identity].concat())
    };
    let listed = check(&list(&["--identity", "alice"]), 0, "");
    assert_eq!(check(&list(&["--identity", "bob"]), 0, ""), listed);
    check(&list(&["--identity", "eve"]), 78, "none of its recipients");
    check(&list(&[]), 78, "an identity is wanted");
    check(&list(&["--identity", "nobody"]), 78, "identity nobody");
    check(&list(&["--identity", "callveil.toml"]), 78, "identity callveil.toml");
    fs::write(folder.path().join("callveil.toml"), "hello").unwrap();
    check(&list(&["--identity", "callveil.toml"]), 78, "open to others");
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(listed["recipients"], serde_json::json!(&people[..2]));
    // With an identity a plain ring is refused: anybody could have written it.
    check(
        &run(folder.path(), &["keys", "list", "--identity", "alice"]),
        78,
        "is not encrypted, but an identity is configured",
    );
    // systemd hands the identity over as a credential.
    let credential = folder.path().join("credentials");
    fs::create_dir(&credential).unwrap();
    fs::copy(folder.path().join("bob"), credential.join("identity")).unwrap();
    let mut command = callveil();
    command.args(["keys", "verify", "--keyring", "sealed.age"]).env("CREDENTIALS_DIRECTORY", &credential);
    check(&command.current_dir(folder.path()).output().unwrap(), 0, "");
}

#[test]
fn writes_stay_encrypted_for_the_same_recipients() {
    let (folder, people) = sealed();
    let keys = |args: &[&str], identity| {
        run(folder.path(), &[&["keys"], args, &["--keyring", "sealed.age", "--identity", identity]].concat())
    };
    check(&keys(&["rotate"], "alice"), 0, "generation 2");
    check(&keys(&["verify"], "bob"), 0, "");
    for file in ["sealed.age", "sealed.age.previous"] {
        assert!(fs::read(folder.path().join(file)).unwrap().starts_with(b"age-encryption.org/v1"), "{file}");
    }
    // For others: the one before as well, and the keys are as they were.
    let before: Value = serde_json::from_str(&check(&keys(&["list", "--json"], "bob"), 0, "")).unwrap();
    check(&keys(&["recipients", "--set", &people[2], "--yes"], "bob"), 1, "leave out the identity at hand");
    check(&keys(&["recipients", "--set", &people[1], &people[2], "--yes"], "bob"), 0, "may still know the keys");
    check(&keys(&["verify"], "alice"), 78, "is refused");
    let after: Value = serde_json::from_str(&check(&keys(&["list", "--json"], "eve"), 0, "")).unwrap();
    assert_eq!((&before["keys"], &after["generation"]), (&after["keys"], &3.into()));
    assert_eq!(check(&keys(&["recipients"], "eve"), 0, ""), {
        let mut both = [&*people[1], &*people[2]];
        both.sort_unstable();
        format!("{}\n{}\n", both[0], both[1])
    });
    let previous = ["keys", "list", "--json", "--keyring", "sealed.age.previous", "--identity"];
    check(&run(folder.path(), &[&previous[..], &["alice"]].concat()), 78, "none of its recipients");
    check(&run(folder.path(), &[&previous[..], &["eve"]].concat()), 0, "");
}

#[test]
fn a_plain_ring_is_encrypted_once_and_for_all() {
    let folder = Folder::new();
    let alice = keygen(folder.path(), "alice");
    let uid = check(&run(folder.path(), &["tokenize", "--value", "13988888888"]), 0, "");
    check(&run(folder.path(), &["keys", "recipients", "--set", &alice, "--identity", "alice"]), 0, "");
    check(&run(folder.path(), &["keys", "list"]), 78, "an identity is wanted");
    assert_eq!(check(&run(folder.path(), &["tokenize", "--value", "13988888888", "--identity", "alice"]), 0, ""), uid);
    for file in fs::read_dir(folder.path().join("keys")).unwrap() {
        let file = file.unwrap().path();
        let content = fs::read(&file).unwrap();
        let is_record = content.starts_with(b"{\"time\"") && !content.windows(8).any(|part| part == b"material");
        assert!(content.is_empty() || content.starts_with(b"age-encryption.org/v1") || is_record, "{}", file.display());
    }
}

#[test]
fn the_age_tool_and_callveil_open_each_others_files() {
    if !is_here("age") {
        return;
    }
    let (folder, people) = sealed();
    let age = |args: &[&str]| Command::new("age").args(args).current_dir(folder.path()).output().unwrap();
    let plain = check(&age(&["-d", "-i", "bob", "sealed.age"]), 0, "");
    assert_eq!(rings::value(plain.as_bytes())["format"], "callveil-keyring/2");
    for armor in [&["-a"][..], &[]] {
        check(&age(&[armor, &["-r", &people[2], "-o", "theirs.age", "keys/keyring.json"]].concat()), 0, "");
        let theirs = ["--keyring", "theirs.age", "--identity", "eve"];
        check(&run(folder.path(), &[&["keys", "verify"], &theirs[..]].concat()), 0, "");
        // age does not say for whom a file is, so the first write must be told.
        check(&run(folder.path(), &[&["keys", "rotate"], &theirs[..]].concat()), 1, "keys recipients --set");
    }
    check(
        &run(
            folder.path(),
            &["keys", "recipients", "--set", &people[2], "--keyring", "theirs.age", "--identity", "eve"],
        ),
        0,
        "",
    );
    check(&run(folder.path(), &["keys", "rotate", "--keyring", "theirs.age", "--identity", "eve"]), 0, "");
    check(&age(&["-d", "-i", "eve", "theirs.age"]), 0, "");
}

fn with_passphrase(plain: &[u8], passphrase: &str) -> Vec<u8> {
    let mut recipient = age::scrypt::Recipient::new(SecretString::from(passphrase.to_owned()));
    recipient.set_work_factor(10);
    age::encrypt(&recipient, plain).unwrap()
}

#[test]
fn passphrases_protect_people_and_not_rings() {
    let (folder, _) = sealed();
    fs::write(folder.path().join("ring.age"), with_passphrase(&fs::read(folder.ring()).unwrap(), "hunter2")).unwrap();
    check(
        &run(folder.path(), &["keys", "list", "--keyring", "ring.age", "--identity", "bob"]),
        78,
        "encrypted with a passphrase",
    );
    fs::write(
        folder.path().join("alice.age"),
        with_passphrase(&fs::read(folder.path().join("alice")).unwrap(), "hunter2"),
    )
    .unwrap();
    let config = folder.config("keyring = \"sealed.age\"\nidentity = \"alice.age\"", "");
    // A server has nobody to ask.
    check(&run(folder.path(), &["serve", "--config", config.to_str().unwrap()]), 78, "protected by a passphrase");
    if !is_here("python3") {
        return;
    }
    let script = format!("{}/tests/clients/terminal.py", env!("CARGO_MANIFEST_DIR"));
    let binary = env!("CARGO_BIN_EXE_callveil");
    let typed = |passphrase: &str| {
        let args =
            [&script, passphrase, binary, "keys", "verify", "--keyring", "sealed.age", "--identity", "alice.age"];
        Command::new("python3").args(args).current_dir(folder.path()).output().unwrap()
    };
    let good = typed("hunter2");
    check_log(&String::from_utf8_lossy(&good.stdout));
    assert!(check(&good, 0, "").contains("ok: ring"));
    assert!(check(&typed("wrong"), 78, "").contains("the passphrase does not open it"));
}

#[test]
fn a_replica_serves_an_encrypted_ring_and_keeps_it() {
    let (folder, people) = sealed();
    let server = Server::start(&folder, "keyring = \"sealed.age\"\nidentity = \"alice\"", "");
    let uid = server.values("PhoneToUID", &["13988888888"]).remove(0);
    let keys = |args: &[&str], identity| {
        run(folder.path(), &[&["keys"], args, &["--keyring", "sealed.age", "--identity", identity]].concat())
    };
    check(&keys(&["rotate"], "bob"), 0, "");
    server.wait_for("key ring reloaded");
    let good = fs::read(folder.path().join("sealed.age")).unwrap();
    // For others; plain; torn: the ring in use stays.
    check(&keys(&["recipients", "--set", &people[1], "--yes"], "bob"), 0, "");
    let refused = |says: &str| {
        let reason = server.wait_for("keeping the key ring in use")["reason"].as_str().unwrap().to_owned();
        assert!(reason.contains(says), "{reason}");
        assert_eq!(server.values("UIDToPhone", &[&uid]), ["008613988888888"]);
    };
    refused("none of its recipients");
    fs::copy(folder.ring(), folder.path().join("sealed.age")).unwrap();
    refused("is not encrypted, but an identity is configured");
    fs::write(folder.path().join("sealed.age"), &good[..good.len() - 20]).unwrap();
    refused("torn, altered");
    fs::write(folder.path().join("sealed.age"), &good).unwrap();
    server.wait_for("the key ring file is the ring in use again");
}
