//! `callveil keys export-tink`: a key for other tools, and how it gets to them.

use std::{
    fs::{self, File},
    io::Write as _,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::Path,
    process::{Command, Output, Stdio},
};

use age::secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use crate::{
    clients::script,
    needs::{is_here, python_has},
    rings,
    support::{Folder, callveil, pipe, run},
};

/// The number of UIDs that Tink opens.
const UIDS: usize = 1000;

fn id(folder: &Path) -> String {
    let listed = run(folder, &["keys", "list", "--json"]);
    let listed: Value = serde_json::from_slice(&listed.stdout).unwrap();
    listed["keys"][0]["id"].as_str().unwrap().to_owned()
}

/// The material of the key in the ring.
fn material(folder: &Folder) -> Vec<u8> {
    let ring = rings::read(&folder.ring());
    data_encoding::BASE64.decode(ring["keys"][0]["material"].as_str().unwrap().as_bytes()).unwrap()
}

#[track_caller]
fn check(output: &Output, code: i32, says: &str) {
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(code) && err.contains(says), "{code}, {says:?}: {output:?}");
    assert!(!err.contains("AGE-SECRET-KEY") && !err.contains("EkA"), "{err}");
}

#[track_caller]
fn check_keyset(keyset: &[u8], folder: &Folder) {
    let keyset: Value = serde_json::from_slice(keyset).unwrap();
    let (key, number) = (&keyset["key"][0], u32::from_str_radix(&id(folder.path()), 16).unwrap());
    assert_eq!((&keyset["primaryKeyId"], &key["keyId"]), (&number.into(), &number.into()));
    assert_eq!((&key["status"], &key["outputPrefixType"]), (&"ENABLED".into(), &"RAW".into()));
    let data = &key["keyData"];
    assert_eq!(data["typeUrl"], "type.googleapis.com/google.crypto.tink.AesSivKey");
    assert_eq!(data["keyMaterialType"], "SYMMETRIC");
    let value = data_encoding::BASE64.decode(data["value"].as_str().unwrap().as_bytes()).unwrap();
    assert_eq!(value, [&[0x12, 64][..], &material(folder)].concat());
}

#[test]
fn a_key_leaves_only_as_it_was_meant_to() {
    let folder = Folder::made_with(&["--exportable"]);
    let id = id(folder.path());
    let export = |args: &[&str]| run(folder.path(), &[&["keys", "export-tink", &id], args].concat());
    check(&export(&[]), 2, "--recipient age1");
    check(&export(&["--cleartext"]), 2, "say --yes");
    check(&export(&["--yes"]), 2, "--cleartext");
    check(&export(&["--recipient", "age1nobody"]), 2, "as age-keygen prints it");
    check(&run(folder.path(), &["keys", "export-tink", "0001", "--cleartext", "--yes"]), 1, "not in this ring");
    // In plain, to a pipe and to a new file of the owner's.
    let plain = export(&["--cleartext", "--yes"]);
    check(&plain, 0, &format!("can open every UID of key {id}"));
    check_keyset(&plain.stdout, &folder);
    let to_file = export(&["--cleartext", "--yes", "--output", "keyset.json"]);
    check(&to_file, 0, "no limit and no audit record");
    assert!(to_file.stdout.is_empty());
    let file = folder.path().join("keyset.json");
    assert_eq!(fs::read(&file).unwrap(), plain.stdout);
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    // Nothing is overwritten, nor written where a link leads.
    check(&export(&["--cleartext", "--yes", "--output", "keyset.json"]), 1, "exists already");
    symlink("elsewhere", folder.path().join("link")).unwrap();
    check(&export(&["--cleartext", "--yes", "--output", "link"]), 1, "exists already");
    assert!(!folder.path().join("elsewhere").exists());
    check(&export(&["--cleartext", "--yes", "--output", "gone/keyset.json"]), 1, "cannot write");
    // A disk that is full.
    let mut command = callveil();
    command.args(["keys", "export-tink", &id, "--cleartext", "--yes"]).current_dir(folder.path());
    check(&command.stdout(File::options().write(true).open("/dev/full").unwrap()).output().unwrap(), 1, "cannot write");
}

#[test]
fn its_recipients_open_it_and_nobody_else() {
    let folder = Folder::made_with(&["--exportable"]);
    let id = id(folder.path());
    let people: Vec<_> = (0..3).map(|_| age::x25519::Identity::generate()).collect();
    let (alice, bob) = (people[0].to_public().to_string(), people[1].to_public().to_string());
    let args = ["keys", "export-tink", &id, "--recipient", &alice, "--recipient", &bob];
    let sealed = run(folder.path(), &args);
    check(&sealed, 0, "its recipients");
    assert!(sealed.stdout.starts_with(b"age-encryption.org/v1"));
    for identity in &people[..2] {
        check_keyset(&age::decrypt(identity, &sealed.stdout).unwrap(), &folder);
    }
    assert!(age::decrypt(&people[2], &sealed.stdout).is_err());
    check(&run(folder.path(), &[&args[..], &["--cleartext", "--yes"]].concat()), 2, "cannot be used with");
    if !is_here("age") {
        return;
    }
    fs::write(folder.path().join("keyset.age"), &sealed.stdout).unwrap();
    let mut age = Command::new("age");
    age.args(["-d", "-i", "-", "keyset.age"]).current_dir(folder.path()).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut age = age.spawn().unwrap();
    writeln!(age.stdin.take().unwrap(), "{}", people[0].to_string().expose_secret()).unwrap();
    check_keyset(&age.wait_with_output().unwrap().stdout, &folder);
}

#[test]
fn every_export_is_recorded_before_it_happens() {
    let folder = Folder::made_with(&["--exportable"]);
    let id = id(folder.path());
    let recipient = age::x25519::Identity::generate().to_public().to_string();
    let export = |args: &[&str]| run(folder.path(), &[&["keys", "export-tink", &id], args].concat());
    check(&export(&["--recipient", &recipient, "--output", "keyset.age"]), 0, "");
    check(&export(&["--cleartext", "--yes", "--output", "keyset.age"]), 1, "exists already");
    let given = export(&["--cleartext", "--yes"]);
    check(&given, 0, "");
    let text = fs::read_to_string(folder.path().join("keys/keyring.json.audit")).unwrap();
    let recorded: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let exports: Vec<_> = recorded.iter().filter(|line| line["command"] == "keys export-tink").collect();
    let [sealed_begins, sealed, refused_begins, refused, plain_begins, plain] = exports[..] else {
        panic!("{exports:?}")
    };
    let ring: Value = serde_json::from_slice(&run(folder.path(), &["keys", "list", "--json"]).stdout).unwrap();
    for (begins, line) in [(sealed_begins, Some(sealed)), (refused_begins, None), (plain_begins, Some(plain))] {
        assert_eq!(begins["begins"], true, "{begins}");
        for line in line.into_iter().chain([begins]) {
            for name in ["ring", "generation", "ring_hash"] {
                assert_eq!(line[name], ring[name], "{line}");
            }
            assert!(line["key"] == id.as_str() && line["uid"].is_u64(), "{line}");
        }
    }
    for (line, cleartext, recipients, output) in [
        (sealed_begins, false, json!([recipient]), json!("keyset.age")),
        (sealed, false, json!([recipient]), json!("keyset.age")),
        (refused_begins, true, json!([]), json!("keyset.age")),
        (plain_begins, true, json!([]), Value::Null),
        (plain, true, json!([]), Value::Null),
    ] {
        let found = (&line["cleartext"], &line["recipients"], &line["output"]);
        assert_eq!(found, (&cleartext.into(), &recipients, &output), "{line}");
    }
    assert_eq!(refused["failed"], "keyset.age exists already");
    // And never the key itself, in the ring's form or in the keyset's.
    let keyset: Value = serde_json::from_slice(&given.stdout).unwrap();
    let value = keyset["key"][0]["keyData"]["value"].as_str().unwrap();
    let own = data_encoding::BASE64.encode(&material(&folder));
    assert!(!text.contains(value) && !text.contains(&own) && !text.contains("EkA"));
}

#[test]
fn what_cannot_be_recorded_is_not_given_out() {
    let folder = Folder::made_with(&["--exportable"]);
    let id = id(folder.path());
    // A log that cannot be opened, and one whose disk is full.
    for (log, says) in [("keys", "cannot record"), ("/dev/full", "No space left")] {
        folder.config("", &format!("[audit]\nto = \"{log}\""));
        let export = ["keys", "export-tink", &id, "--cleartext", "--yes", "--config", "callveil.toml"];
        let piped = run(folder.path(), &export);
        check(&piped, 1, says);
        assert!(piped.stdout.is_empty());
        check(&run(folder.path(), &[&export[..], &["--output", "keyset.json"]].concat()), 1, says);
        assert!(!folder.path().join("keyset.json").exists());
    }
}

#[test]
fn only_enabled_keys_are_given_out() {
    let folder = Folder::made_with(&["--exportable"]);
    let old = id(folder.path());
    let keys = |args: &[&str]| run(folder.path(), &[&["keys"], args].concat());
    let export = || keys(&["export-tink", &old, "--cleartext", "--yes"]);
    check(&keys(&["rotate", "--activate-in", "0s"]), 0, "");
    check(&export(), 0, "");
    // The new one was not made to be given away, and nothing makes it so.
    let ring = rings::read(&folder.ring());
    let new = ring["keys"][1]["id"].as_str().unwrap();
    check(&keys(&["export-tink", new, "--cleartext", "--yes"]), 1, "not made to be given away");
    // Until the new key is the primary, a second ahead at most.
    while !keys(&["disable", &old]).status.success() {}
    let disabled = export();
    check(&disabled, 1, "only enabled keys");
    assert!(disabled.stdout.is_empty());
    check(&keys(&["destroy", &old, "--yes", "--early"]), 0, "");
    check(&export(), 1, "nothing left");
}

#[test]
fn a_terminal_never_shows_a_key() {
    if !is_here("script") {
        return;
    }
    let folder = Folder::made_with(&["--exportable"]);
    let id = id(folder.path());
    let recipient = age::x25519::Identity::generate().to_public().to_string();
    for how in ["--cleartext --yes", &format!("--recipient {recipient}")] {
        let export = format!("{} keys export-tink {id} {how}", env!("CARGO_BIN_EXE_callveil"));
        let mut command = Command::new("script");
        command.args(["-qec", &export, "/dev/null"]).env("SHELL", "/bin/sh").stdin(Stdio::null());
        let output = command.current_dir(folder.path()).output().unwrap();
        let screen = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.code() == Some(2) && screen.contains("never written to a terminal"), "{screen}");
        assert!(!screen.contains("typeUrl") && !screen.contains("age-encryption"), "{screen}");
    }
}

/// The UIDs of numbers and texts, made by the binary, opened and made again by Tink.
#[test]
fn tink_opens_a_thousand_uids() {
    if !python_has("tink") {
        return;
    }
    let folder = Folder::made_with(&["--exportable"]);
    let id = id(folder.path());
    let exported = run(folder.path(), &["keys", "export-tink", &id, "--cleartext", "--yes", "--output", "keyset.json"]);
    check(&exported, 0, "");
    for context in ["default", "crm-eu.1"] {
        let texts: Vec<String> = (0..UIDS)
            .map(|at| match at % 4 {
                0 => format!("anonymous caller {at}"),
                1 => format!("+4477009{at:05}"),
                _ => format!("+86139{:08}", at * 9973),
            })
            .collect();
        let uids = pipe(folder.path(), &["tokenize", "--context", context], &texts.join("\n"));
        let rows: String = uids.lines().zip(&texts).map(|(uid, text)| format!("{uid}\t{text}\n")).collect();
        assert_eq!(rows.lines().count(), UIDS);
        let mut python = Command::new("python3");
        python.args([&script("tink_open.py"), &id, context, "keyset.json"]).current_dir(folder.path());
        let mut python = python.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        python.stdin.take().unwrap().write_all(rows.as_bytes()).unwrap();
        let output = python.wait_with_output().unwrap();
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(out.trim_end(), format!("{UIDS} {UIDS}"), "{err}");
        println!("context {context}: {UIDS} UIDs opened and made again by Tink");
    }
}
