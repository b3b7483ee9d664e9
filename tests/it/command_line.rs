//! What a user of the terminal sees: exit codes, messages, results.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, process::Command};

use serde_json::Value;

use crate::{
    needs::miss,
    rings,
    support::{Folder, PASSWORD, pipe, run, sha256_hex},
};

/// Runs the binary, and checks its exit code and that stderr contains each of `says`.
#[track_caller]
fn check(folder: &Path, args: &[&str], code: i32, says: &[&str]) -> String {
    let output = run(folder, args);
    let (out, err) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!(output.status.code(), Some(code), "{args:?}\n{out}\n{err}");
    for part in says {
        assert!(err.contains(part), "{args:?} does not say {part:?}:\n{err}");
    }
    out
}

#[test]
fn values_and_lines() {
    let folder = Folder::new();
    let uids = check(
        folder.path(),
        &["tokenize", "--value", "13988888888", "--value", "+86 139 8888 8888", "--value", "8001"],
        0,
        &[],
    );
    let lines: Vec<_> = uids.lines().collect();
    assert!(lines.len() == 3 && lines[0] == lines[1] && lines[0] != lines[2]);
    assert_eq!(pipe(folder.path(), &["tokenize"], "13988888888\r\n+86 139 8888 8888\n8001"), uids);
    assert_eq!(pipe(folder.path(), &["detokenize"], &uids), "008613988888888\n008613988888888\n8001\n");
    let loud = uids.to_uppercase();
    assert_eq!(pipe(folder.path(), &["rewrap"], &loud), loud, "UIDs of the primary key are left alone");
    fs::write(folder.path().join("numbers.txt"), "13988888888\n").unwrap();
    assert_eq!(check(folder.path(), &["tokenize", "numbers.txt"], 0, &[]), format!("{}\n", lines[0]));
    let other = pipe(folder.path(), &["tokenize", "--context", "crm"], "13988888888\n");
    assert_ne!(other.trim_end(), lines[0]);
    assert_eq!(pipe(folder.path(), &["tokenize"], ""), "");
    check(folder.path(), &["tokenize", "nowhere.txt"], 1, &["cannot open", "--value"]);
    check(folder.path(), &["tokenize", "--context", "CRM", "--value", "1"], 2, &["a context is"]);
    check(folder.path(), &["tokenize", "--format", "csv"], 2, &["needs --column"]);
}

#[test]
fn what_failed_is_told_by_its_row() {
    let folder = Folder::new();
    let uid = check(folder.path(), &["tokenize", "--value", "13988888888"], 0, &[]).trim_end().to_owned();
    fs::write(
        folder.path().join("in"),
        [uid.as_bytes(), b"\nx\n\xff\n", &[b'a'; 9000], b"\n", uid.as_bytes()].concat(),
    )
    .unwrap();
    let says = ["row 2: malformed_uid", "row 3: not_utf8", "row 4: malformed_uid", "3 of 5 failed"];
    let out = check(folder.path(), &["detokenize", "in", "--encoding", "utf-8"], 1, &says);
    assert_eq!(out, "008613988888888\n\n\n\n008613988888888\n");
    let json =
        check(folder.path(), &["tokenize", "--json", "--value", "8001", "--value", ""], 1, &["row 2: invalid_number"]);
    let rows: Vec<Value> = json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&rows[0]["Key"], &rows[1]["Error"]), (&"8001".into(), &"invalid_number".into()));
}

#[test]
fn a_ring_is_made_shown_and_rotated() {
    let folder = Folder::new();
    let mode = fs::metadata(folder.ring()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    check(folder.path(), &["keys", "init"], 1, &["exists already"]);
    let before: Value = serde_json::from_str(&check(folder.path(), &["keys", "list", "--json"], 0, &[])).unwrap();
    assert_eq!(
        (&before["generation"], &before["keys"][0]["primary"], &before["keys"][0]["region"]),
        (&1.into(), &true.into(), &"CN".into())
    );
    let old = check(folder.path(), &["tokenize", "--value", "13988888888"], 0, &[]);

    check(folder.path(), &["keys", "rotate", "--activate-at", "2020-01-01T00:00:00Z"], 1, &["is past"]);
    check(folder.path(), &["keys", "rotate", "--activate-in", "-1h"], 2, &["negative"]);
    check(folder.path(), &["keys", "rotate", "--activate-in", "5m"], 0, &["generation 2", "warning"]);
    check(folder.path(), &["keys", "rotate"], 1, &["is pending until"]);
    let after: Value = serde_json::from_str(&check(folder.path(), &["keys", "list", "--json"], 0, &[])).unwrap();
    assert_eq!(
        (&after["generation"], &after["keys"][0]["primary"], &after["keys"][1]["pending"]),
        (&2.into(), &true.into(), &true.into())
    );
    let table = check(folder.path(), &["keys", "list"], 0, &[]);
    assert!(table.contains("primary") && table.contains("pending, in "), "{table}");
    assert_eq!(check(folder.path(), &["tokenize", "--value", "13988888888"], 0, &[]), old);

    let ring = rings::read(&folder.ring());
    let previous = fs::read(folder.path().join("keys/keyring.json.previous")).unwrap();
    assert_eq!(ring["parent"], sha256_hex(rings::text(&previous))[..16]);
    assert_eq!(rings::value(&previous)["generation"], 1);
}

#[test]
fn a_rotation_at_once() {
    let folder = Folder::new();
    let old = check(folder.path(), &["tokenize", "--value", "13988888888"], 0, &[]);
    check(folder.path(), &["keys", "rotate", "--activate-in", "0s", "--region", "US"], 0, &["warning"]);
    let ring = rings::read(&folder.ring());
    assert_eq!(ring["keys"][1]["region"], "US");
    // The new key activates a second after the old at the latest, and then rewraps what the old one made.
    let new = (0..1000)
        .map(|_| check(folder.path(), &["rewrap", "--value", old.trim_end()], 0, &[]))
        .find(|new| *new != old)
        .expect("the new key became the primary");
    assert_eq!(pipe(folder.path(), &["detokenize"], &(old + &new)), "008613988888888\n008613988888888\n");
}

#[test]
fn rings_that_are_refused() {
    let folder = Folder::new();
    check(folder.path(), &["keys", "verify"], 0, &[]);
    let good = fs::read_to_string(folder.ring()).unwrap();
    fs::set_permissions(folder.ring(), fs::Permissions::from_mode(0o604)).unwrap();
    check(folder.path(), &["tokenize", "--value", "1"], 78, &["open to others", "chmod 0600"]);
    fs::set_permissions(folder.ring(), fs::Permissions::from_mode(0o640)).unwrap();
    check(folder.path(), &["tokenize", "--value", "1"], 0, &[]);
    let broken = rings::text(good.as_bytes()).replace("\"generation\": 1", "\"generation\": 0");
    fs::write(folder.ring(), rings::signed_text(&broken.replace("\"CN\"", "\"XX\""))).unwrap();
    let faults = check(folder.path(), &["keys", "verify"], 78, &["is refused"]);
    assert!(
        faults.contains("`generation` is not between") && faults.contains("does not know its `numbers`"),
        "{faults}"
    );
    check(folder.path(), &["keys", "list"], 78, &["`generation`"]);
    check(folder.path(), &["keys", "rotate"], 78, &["`generation`"]);
    fs::write(folder.ring(), &good[..good.len() / 2]).unwrap();
    check(folder.path(), &["tokenize", "--value", "1"], 78, &["not a signed key ring"]);
    fs::remove_file(folder.ring()).unwrap();
    check(folder.path(), &["tokenize", "--value", "1"], 78, &["cannot read keys/keyring.json"]);
    fs::create_dir(folder.ring()).unwrap();
    check(folder.path(), &["tokenize", "--value", "1"], 78, &["cannot read keys/keyring.json"]);
}

#[test]
fn a_rotation_keeps_the_group_that_may_read() {
    let folder = Folder::new();
    fs::set_permissions(folder.ring(), fs::Permissions::from_mode(0o640)).unwrap();
    check(folder.path(), &["keys", "rotate"], 0, &[]);
    for file in ["keys/keyring.json", "keys/keyring.json.previous"] {
        assert_eq!(fs::metadata(folder.path().join(file)).unwrap().permissions().mode() & 0o777, 0o640, "{file}");
    }
}

#[test]
fn what_a_uid_tells() {
    let folder = Folder::new();
    let uid = check(folder.path(), &["tokenize", "--value", "13988888888"], 0, &[]);
    let told = check(folder.path(), &["inspect", uid.trim_end()], 0, &[]);
    assert!(told.contains(": primary, made"), "{told}");
    let json: Value =
        serde_json::from_str(&check(folder.path(), &["inspect", "--json", uid.trim_end()], 0, &[])).unwrap();
    assert_eq!(json["state"], "primary");
    check(folder.path(), &["inspect", "no-uid"], 1, &["malformed_uid"]);
    let stranger = check(Folder::new().path(), &["tokenize", "--value", "13988888888"], 0, &[]);
    check(folder.path(), &["inspect", stranger.trim_end()], 1, &["unknown_key"]);
}

#[test]
fn passwords_are_made_with_their_hash() {
    let folder = tempfile::tempdir().unwrap();
    let json: Value =
        serde_json::from_str(&check(folder.path(), &["clients", "new-password", "--json"], 0, &[])).unwrap();
    let password = json["password"].as_str().unwrap();
    assert_eq!((password.len(), &json["password_sha256"]), (43, &sha256_hex(password).into()));
    let text = check(folder.path(), &["clients", "new-password"], 0, &["[[clients]]"]);
    let password = text.lines().next().unwrap().strip_prefix("password: ").unwrap();
    assert!(text.contains(&format!("password_sha256 = [\"{}\"]", sha256_hex(password))));
}

#[test]
fn configurations_that_stop_the_start() {
    let folder = Folder::new();
    let config = folder.config("", "");
    let good = fs::read_to_string(&config).unwrap();
    let refuse = |from: &str, to: &str, says: &[&str]| {
        fs::write(&config, good.replacen(from, to, 1)).unwrap();
        check(folder.path(), &["serve", "--config", "callveil.toml"], 78, says);
    };
    refuse("listen", "password = \"hunter2\"\nlisten", &["`password`", "not a key"]);
    refuse("127.0.0.1:0", "0.0.0.0:0", &["`listen`", "plaintext = true"]);
    refuse("[admin]", "[tls]\n[admin]", &["`tls.certificate`"]);
    refuse("[admin]", "keyring = \"gone.json\"\n[admin]", &["cannot read"]);
    refuse("[admin]", &format!("ring_id = \"{}\"\n[admin]", "0".repeat(64)), &["`ring_id`"]);
    refuse("[admin]", "min_generation = 2\n[admin]", &["`min_generation`", "generation is 1"]);
    refuse("[admin]", "[limits]\nnumbers = 0\n[admin]", &["`limits.numbers`", "from 1 to"]);
    refuse(&sha256_hex(PASSWORD), "hunter2", &["`clients[0].password_sha256`"]);
    fs::write(&config, &good).unwrap();
    check(folder.path(), &["serve"], 2, &["--config"]);
    check(folder.path(), &["serve", "--dev", "--listen", "0.0.0.0:0"], 2, &["loopback only"]);
    check(folder.path(), &["serve", "--config", "gone.toml"], 78, &["gone.toml"]);
}

#[test]
fn help_and_wrong_usage() {
    let folder = tempfile::tempdir().unwrap();
    let help = check(folder.path(), &["--help"], 0, &[]);
    assert!(help.contains("tokenize") && help.contains("Exit codes"), "{help}");
    check(folder.path(), &[], 2, &["Usage"]);
    check(folder.path(), &["frobnicate"], 2, &["Usage"]);
}

/// The version of `Cargo.toml`, and the commit that is checked out, as Git itself has it.
#[test]
fn the_version_and_the_commit() {
    let mut git = Command::new("git");
    git.args(["rev-parse", "--short=12", "HEAD"]).current_dir(env!("CARGO_MANIFEST_DIR"));
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join(".git").exists();
    let commit = git.output().ok().filter(|output| sources && output.status.success());
    let commit = commit.map(|output| format!(" ({})", String::from_utf8(output.stdout).unwrap().trim()));
    let said = check(tempfile::tempdir().unwrap().path(), &["--version"], 0, &[]);
    // Git refuses the sources of others, and of a worktree whose repository is elsewhere.
    let Some(commit) = commit.or_else(|| (!sources).then(String::new)) else {
        return miss("Git that reads .git", "git");
    };
    assert_eq!(said, format!("callveil {}{}\n", env!("CARGO_PKG_VERSION"), commit));
}
