//! Opening UIDs on the command line is recorded in a line, before the first UID is opened.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    os::unix::fs::PermissionsExt as _,
    process::{Command, Stdio},
};

use serde_json::Value;

use crate::support::{Folder, callveil, pipe, run};

/// The lines of the ring's journal after the first `skipped` ones.
fn lines(folder: &Folder, file: &str, skipped: usize) -> Vec<Value> {
    let text = fs::read_to_string(folder.path().join(file)).unwrap_or_default();
    text.lines().skip(skipped).map(|line| serde_json::from_str(line).unwrap()).collect()
}

const JOURNAL: &str = "keys/keyring.json.audit";

#[test]
fn runs_that_open_uids_are_recorded_before_and_after() {
    let folder = Folder::new();
    let path = folder.path();
    let before = lines(&folder, JOURNAL, 0).len();
    fs::write(path.join("numbers"), "13911111111\n13822222222\n8001\n").unwrap();
    assert!(run(path, &["tokenize", "numbers", "--output", "uids.csv"]).status.success());
    assert_eq!(lines(&folder, JOURNAL, before).len(), 0, "numbers are nobody's secret here");

    let output = run(path, &["detokenize", "uids.csv", "--output", "out"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let [begins, ends] = &lines(&folder, JOURNAL, before)[..] else { panic!("two lines") };
    assert_eq!((&begins["command"], &begins["begins"]), (&"detokenize".into(), &true.into()));
    assert_eq!((&begins["file"], &begins["output"]), (&"uids.csv".into(), &"out".into()));
    assert_eq!((&begins["context"], begins["keys"].as_array().unwrap().len()), (&"default".into(), 1));
    assert!(begins["uid"].is_u64() && begins["time"].is_string(), "{begins}");
    assert_eq!((&ends["ends"], &ends["rows"], &ends["mapped"]), (&true.into(), &3.into(), &3.into()));
    let journal = fs::read_to_string(path.join(JOURNAL)).unwrap();
    for secret in fs::read_to_string(path.join("uids.csv")).unwrap().lines().chain(["1391111", "1382222"]) {
        assert!(!journal.contains(secret));
    }

    pipe(path, &["rewrap"], &fs::read_to_string(path.join("uids.csv")).unwrap());
    let [begins, _] = &lines(&folder, JOURNAL, before + 2)[..] else { panic!("two lines") };
    assert_eq!((&begins["command"], &begins["file"]), (&"rewrap".into(), &"stdin".into()));
    // Failing, it is recorded no less.
    assert_eq!(run(path, &["detokenize", "--value", "8001"]).status.code(), Some(1));
    let [begins, ends] = &lines(&folder, JOURNAL, before + 4)[..] else { panic!("two lines") };
    assert_eq!((&begins["file"], &ends["failed"]), (&"--value".into(), &1.into()));
    assert!(run(path, &["detokenize", "uids.csv", "--dry-run"]).status.success());
    assert_eq!(run(path, &["detokenize", "uids.csv", "--format", "csv", "--column", "nope"]).status.code(), Some(1));
    assert_eq!(lines(&folder, JOURNAL, before + 6).len(), 0, "nothing was opened");
}

#[test]
fn what_cannot_be_recorded_is_not_opened() {
    let folder = Folder::new();
    let path = folder.path();
    fs::write(path.join("uids"), pipe(path, &["tokenize"], "13911111111\n")).unwrap();
    let _ = fs::remove_file(path.join(JOURNAL));
    fs::create_dir(path.join(JOURNAL)).unwrap();
    let output = run(path, &["detokenize", "uids"]);
    assert_eq!((output.stdout.as_slice(), output.status.code()), (&b""[..], Some(1)));
    assert!(String::from_utf8_lossy(&output.stderr).contains("cannot record this"));

    // A configuration names another place.
    let client = format!("[[clients]]\nusername = \"ccc\"\npassword_sha256 = [\"{}\"]\n", "0".repeat(64));
    let config = ["listen = \"127.0.0.1:0\"\n[audit]\nto = \"audit.jsonl\"\n", &client].concat();
    fs::write(path.join("callveil.toml"), config).unwrap();
    fs::set_permissions(path.join("callveil.toml"), fs::Permissions::from_mode(0o600)).unwrap();
    let output = run(path, &["detokenize", "uids", "--config", "callveil.toml"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(lines(&folder, "audit.jsonl", 0).len(), 2);
}

/// Every way to have UIDs opened, with a log that cannot be opened, and with one whose disk is full.
#[test]
fn no_way_to_open_uids_prints_anything_that_is_not_recorded() {
    let folder = Folder::new();
    let path = folder.path();
    let uid = pipe(path, &["tokenize"], "13911111111\n");
    let uid = uid.trim_end();
    fs::write(path.join("uids"), format!("{uid}\n")).unwrap();
    fs::write(path.join("uids.csv"), format!("name,phone\nAnn,{uid}\n")).unwrap();
    let csv = ["--format", "csv", "--column", "phone"];
    for log in ["keys", "/dev/full"] {
        folder.config("", &format!("[audit]\nto = \"{log}\""));
        for command in ["detokenize", "rewrap"] {
            for args in [
                &["--value", uid][..],
                &["--value", uid, "--json"],
                &["uids"],
                &["uids", "--output", "out"],
                &["uids.csv", csv[0], csv[1], csv[2], csv[3]],
                &["uids", "--report", "out"],
            ] {
                let output = run(path, &[&[command, "--config", "callveil.toml"], args].concat());
                let told = String::from_utf8_lossy(&output.stderr);
                assert_eq!((output.stdout.len(), output.status.code()), (0, Some(1)), "{log} {command}: {told}");
                assert!(told.contains("cannot record this"), "{told}");
                assert!(!path.join("out").exists(), "{log} {command}");
            }
        }
    }
    let left = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert!(left.into_iter().all(|name| !name.contains("partial")), "something is left over");
}

/// Who reads the first number can read who is told it.
#[test]
fn the_record_is_there_before_the_first_number_is() {
    let folder = Folder::new();
    let path = folder.path();
    let uid = pipe(path, &["tokenize"], "13911111111\n");
    let before = lines(&folder, JOURNAL, 0).len();
    let mut command = callveil();
    command.arg("detokenize").current_dir(path).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let (mut stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    stdin.write_all(uid.as_bytes()).unwrap();
    let mut number = String::new();
    BufReader::new(stdout).read_line(&mut number).unwrap();
    let recorded = lines(&folder, JOURNAL, before);
    assert_eq!((recorded.len(), &recorded[0]["begins"]), (1, &true.into()), "{recorded:?}");
    assert!(number.ends_with("13911111111\n"), "{number}");
    drop(stdin);
    assert!(child.wait().unwrap().success());
    assert_eq!(lines(&folder, JOURNAL, before).len(), 2);
}

#[test]
fn values_as_arguments_are_warned_of() {
    let folder = Folder::new();
    let told = |args: &[&str]| String::from_utf8(run(folder.path(), args).stderr).unwrap();
    assert!(told(&["tokenize", "--value", "8001"]).contains("can see the arguments"));
    assert_eq!(told(&["tokenize", "--value", "8001", "--quiet"]), "");
}

/// Nobody writes to the pipe, so that who waited for it would wait for ever.
#[test]
fn a_configuration_that_is_a_pipe_is_refused_at_once() {
    let folder = Folder::new();
    if !Command::new("mkfifo").arg(folder.path().join("pipe")).status().is_ok_and(|status| status.success()) {
        return;
    }
    let output = run(folder.path(), &["tokenize", "--value", "8001", "--config", "pipe"]);
    assert_eq!(output.status.code(), Some(78));
    assert!(String::from_utf8_lossy(&output.stderr).contains("it is not a file"));
}
