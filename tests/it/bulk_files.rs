//! No run loses a file: not its input, not the ring, not what somebody else wrote.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    process::Stdio,
};

use crate::support::{Folder, callveil, run};

#[track_caller]
fn check(folder: &Folder, args: &[&str], code: i32, says: &str) {
    let output = run(folder.path(), args);
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{args:?}\n{told}");
    assert!(told.contains(says), "{args:?} does not say {says:?}:\n{told}");
}

#[test]
fn what_is_written_is_nothing_that_is_needed() {
    let folder = Folder::new();
    let path = folder.path();
    fs::write(path.join("in"), "8001\n").unwrap();
    fs::hard_link(path.join("in"), path.join("again")).unwrap();
    std::os::unix::fs::symlink("keys/keyring.json", path.join("link")).unwrap();
    fs::write(path.join("callveil.toml"), "[audit]\nto = \"audit.jsonl\"\n").unwrap();
    let ring = fs::read(folder.ring()).unwrap();
    for flag in ["--output", "--report", "--rejects"] {
        for (file, says) in [
            ("keys/keyring.json", "is the key ring"),
            ("./keys/../keys/keyring.json", "is the key ring"),
            ("link", "is the key ring"),
            ("keys/keyring.json.lock", "belongs to it"),
            ("keys/keyring.json.previous", "belongs to it"),
            ("keys/keyring.json.audit", "belongs to it"),
        ] {
            check(&folder, &["tokenize", "in", flag, file], 2, says);
        }
        check(&folder, &["tokenize", "in", flag, "id", "--identity", "id"], 2, "is an identity");
    }
    for flag in ["--report", "--rejects"] {
        for file in ["in", "again", "./in"] {
            check(&folder, &["tokenize", "in", flag, file], 2, "is the input");
        }
    }
    check(&folder, &["tokenize", "in", "--output", "out", "--report", "./out"], 2, "the same file as --output");
    check(&folder, &["tokenize", "in", "--report", "out", "--rejects", "out"], 2, "the same file as --report");
    assert_eq!(fs::read(folder.ring()).unwrap(), ring);
    assert_eq!(fs::read_to_string(path.join("in")).unwrap(), "8001\n");
    assert!(!path.join("out").exists());

    // A shell's redirection is looked at too.
    let input = fs::OpenOptions::new().append(true).open(path.join("in")).unwrap();
    let mut command = callveil();
    let output = command.args(["tokenize", "in"]).current_dir(path).stdout(input).stderr(Stdio::piped()).output();
    let output = output.unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(fs::read_to_string(path.join("in")).unwrap(), "8001\n");
}

#[test]
fn an_input_with_rows_that_failed_is_replaced_only_where_somebody_said_so() {
    let folder = Folder::new();
    let file = folder.path().join("in");
    fs::write(&file, "8001\n13988888888\n").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    check(&folder, &["tokenize", "in", "--output", "in"], 0, "2 mapped");
    let uids = fs::read_to_string(&file).unwrap();
    let metadata = fs::metadata(&file).unwrap();
    assert_eq!((metadata.mode() & 0o7777, uids.lines().count()), (0o640, 2));
    let wrong = ["detokenize", "in", "--context", "other", "--output", "in"];
    check(&folder, &wrong, 1, "the input is not replaced");
    assert_eq!(fs::read_to_string(&file).unwrap(), uids);
    check(&folder, &[&wrong[..], &["--on-error", "keep"]].concat(), 0, "2 failed");
    assert_eq!(fs::read_to_string(&file).unwrap(), uids);
}
