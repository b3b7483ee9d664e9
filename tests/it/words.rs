//! Messages that help people at the right moment: about misplaced secrets, removed recipients, locks, and replicas that
//! lag.

use std::{
    fs::{self, OpenOptions},
    io::{BufRead as _, BufReader},
    process::Stdio,
    time::Instant,
};

use serde_json::Value;

use crate::support::{Folder, PATIENCE, Server, callveil, run};

/// An age identity as `age-keygen` writes it, and its public key.
fn identity() -> (String, String) {
    use age::secrecy::ExposeSecret as _;
    let identity = age::x25519::Identity::generate();
    (identity.to_string().expose_secret().to_owned(), identity.to_public().to_string())
}

#[test]
fn a_secret_key_among_the_arguments_is_refused_and_not_shown() {
    let folder = tempfile::tempdir().unwrap();
    let (secret, public) = identity();
    let signer = "PRIVATE+KEY+alice+4124365a+AYqI4910CfGV/VLbLTy6XXLKZwm/HZQSG/N0iAG0D29c";
    let named = format!("alice={secret}");
    for args in [
        &["keys", "init", "--recipient", &secret][..],
        &["keys", "init", "--recipient", &secret.to_lowercase()],
        &["keys", "init", "--recipient", &named],
        &["keys", "recipients", "--set", &public, &secret],
        &["keys", "export-tink", "3fa1", "--recipient", &secret],
        &["keys", "list", "--identity", &secret],
        &["keys", "disable", &secret],
        &["keys", "approver", "new", signer, "--output", "x"],
        &["keys", "check", signer],
        &["inspect", &secret],
        &[&secret],
    ] {
        let output = run(folder.path(), args);
        let told = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert_eq!(output.status.code(), Some(2), "{told}");
        assert!(told.contains("make another"), "{told}");
        assert!(!told.to_lowercase().contains(&secret.to_lowercase()) && !told.contains("AYqI4910"), "{told}");
    }
    // What is neither is not shown either: it may be a passphrase.
    let output = run(folder.path(), &["keys", "init", "--recipient", &public, "--recipient", "my-s3cret-phrase"]);
    let told = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(output.status.code() == Some(2) && told.contains("recipient 2") && !told.contains("s3cret"), "{told}");
    assert!(!folder.path().join("keys").exists());
}

#[test]
fn recipients_have_names_and_nobody_is_left_out_unasked() {
    let folder = tempfile::tempdir().unwrap();
    let ((alice_secret, alice), (_, bob)) = (identity(), identity());
    crate::support::write_secret(folder.path().join("alice"), &alice_secret);
    let keys = |args: &[&str]| {
        let output = run(folder.path(), &[&["keys"], args, &["--identity", "alice"]].concat());
        let [out, err] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
        (output.status.code(), out, err)
    };
    let (named_alice, named_bob) = (format!("alice={alice}"), format!("bob={bob}"));
    assert_eq!(keys(&["init", "--recipient", &named_alice, "--recipient", &named_bob]).0, Some(0));
    let (_, out, _) = keys(&["recipients"]);
    assert_eq!(out, format!("{named_alice}\n{named_bob}\n"));
    // A change keeps them, and the ring can still be written for all.
    assert_eq!(keys(&["rotate"]).0, Some(0));
    let (code, _, err) = keys(&["recipients", "--set", &alice]);
    assert!(code == Some(2) && err.contains(&named_bob) && err.contains("--yes"), "{err}");
    assert!(!err.contains(&named_alice), "{err}");
    // Another name, or none, is the same recipient.
    assert_eq!(keys(&["recipients", "--set", &alice, &bob]).0, Some(0));
    let (code, _, err) = keys(&["recipients", "--set", &named_alice, &alice, "--yes"]);
    assert!(code == Some(0) && err.contains(&format!("no recipient any more: {bob}")), "{err}");
    assert_eq!(keys(&["recipients"]).1, format!("{named_alice}\n"));
}

#[test]
fn a_ring_is_not_made_beside_the_record_of_another() {
    let folder = tempfile::tempdir().unwrap();
    assert!(run(folder.path(), &["keys", "init"]).status.success());
    fs::remove_file(folder.path().join("keys/keyring.json")).unwrap();
    let output = run(folder.path(), &["keys", "init"]);
    let err = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(1) && err.contains("keyring.json.audit is the record of another"), "{err}");
    assert!(!folder.path().join("keys/keyring.json").exists());
    fs::rename(folder.path().join("keys/keyring.json.audit"), folder.path().join("old.audit")).unwrap();
    assert!(run(folder.path(), &["keys", "init"]).status.success());
}

#[test]
fn waiting_for_a_lock_is_told_of() {
    let folder = tempfile::tempdir().unwrap();
    assert!(run(folder.path(), &["keys", "init"]).status.success());
    let lock = OpenOptions::new().write(true).open(folder.path().join("keys/keyring.json.lock")).unwrap();
    lock.lock().unwrap();
    let mut rotation = callveil()
        .args(["keys", "rotate"])
        .current_dir(folder.path())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(rotation.stderr.take().unwrap()).lines().map_while(Result::ok);
    let first = lines.next().unwrap();
    assert!(first.starts_with("waiting for ") && first.contains("keyring.json.lock"), "{first}");
    drop(lock);
    lines.for_each(drop);
    assert!(rotation.wait().unwrap().success());
}

#[test]
fn tables_fit_a_terminal() {
    let folder = tempfile::tempdir().unwrap();
    assert!(run(folder.path(), &["keys", "init"]).status.success());
    assert!(run(folder.path(), &["keys", "rotate"]).status.success());
    let listed = String::from_utf8(run(folder.path(), &["keys", "list"]).stdout).unwrap();
    let table: Vec<_> = listed.lines().skip(1).collect();
    assert!(table[0].starts_with("KEY ") && table.iter().all(|line| line.chars().count() <= 80), "{listed}");
    assert!(listed.ends_with("numbers by callveil-2/libphonenumber-9.0.42\n"), "{listed}");
}

#[test]
fn replicas_are_compared_with_the_ring_at_hand() {
    let folder = Folder::new();
    let server = Server::start(&folder, "", "");
    let url = format!("http://{}", server.admin);
    let desk = tempfile::tempdir().unwrap();
    fs::create_dir(desk.path().join("keys")).unwrap();
    let ring = desk.path().join("keys/keyring.json");
    let check = |args: &[&str]| {
        let output = run(desk.path(), &[&["keys", "check", &url, "--json"], args].concat());
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        (output.status.code(), report["problems"].to_string(), report["notes"].to_string())
    };
    // Nothing at hand, nothing to compare with.
    assert_eq!(check(&[]).0, Some(0));
    fs::copy(folder.ring(), &ring).unwrap();
    let (code, problems, notes) = check(&[]);
    assert!(code == Some(0) && notes.contains("as keys/keyring.json has"), "{problems}{notes}");
    // Made here, and handed to nobody.
    assert!(run(desk.path(), &["keys", "rotate"]).status.success());
    let (code, problems, _) = check(&[]);
    assert!(code == Some(1) && problems.contains("is behind: it has generation 1"), "{problems}");
    assert!(problems.contains("and no replica has it"), "{problems}");
    // The replica has one more than the desk, and then another one of the same generation.
    let (mine, theirs) = (fs::read(&ring).unwrap(), fs::read(folder.ring()).unwrap());
    fs::write(&ring, &theirs).unwrap();
    assert!(run(folder.path(), &["keys", "rotate"]).status.success());
    server.wait_for("key ring reloaded");
    let (code, problems, _) = check(&[]);
    assert!(code == Some(1) && problems.contains("is ahead: it has generation 2"), "{problems}");
    fs::write(&ring, mine).unwrap();
    let (code, problems, _) = check(&[]);
    assert!(code == Some(1) && problems.contains("two copies were changed (`keys merge`"), "{problems}");
    assert!(run(desk.path(), &["keys", "init", "--keyring", "other.json"]).status.success());
    fs::copy(desk.path().join("other.json"), &ring).unwrap();
    assert!(check(&[]).1.contains("another ring"));
    fs::write(&ring, "no ring").unwrap();
    assert!(check(&[]).2.contains("not compared with the ring at hand"));
    let output = run(desk.path(), &["keys", "check", &url, "--keyring", "keys/keyring.json"]);
    assert_eq!(output.status.code(), Some(78));
}

#[test]
fn a_key_may_be_disabled_after_as_long_as_people_say() {
    let folder = Folder::new();
    assert!(run(folder.path(), &["keys", "rotate", "--activate-in", "0s"]).status.success());
    let server = Server::start(&folder, "", "");
    let url = format!("http://{}", server.admin);
    let notes = |args: &[&str]| {
        let output = run(folder.path(), &[&["keys", "check", &url, "--json"], args].concat());
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        (output.status.code(), report["notes"].to_string())
    };
    // The new key activates within a second of its making.
    let begun = Instant::now();
    while notes(&[]).1.contains("may activate") {
        assert!(begun.elapsed() < PATIENCE);
    }
    // It has just started: it cannot know of 30 days, and that is no fault.
    let (code, told) = notes(&[]);
    assert!(code == Some(0) && told.contains("30d is required") && !told.contains("may be disabled"), "{told}");
    let (code, told) = notes(&["--unused-for", "0s"]);
    assert!(code == Some(0) && told.contains("may be disabled"), "{told}");
    let keys = String::from_utf8(run(folder.path(), &["keys", "list", "--json"]).stdout).unwrap();
    let keys: Value = serde_json::from_str(&keys).unwrap();
    let old = keys["keys"].as_array().unwrap().iter().find(|key| key["primary"] == false).unwrap()["id"].clone();
    assert_eq!(notes(&["--disable", old.as_str().unwrap()]).0, Some(1));
}
