//! Audit logs from end to end: from the request over HTTP to the result of `audit find`.

use std::{fs, time::Instant};

use serde_json::{Value, json};

use crate::{
    audit_reading::{audit, audited, audited_with, end},
    rings,
    support::{Folder, PATIENCE, run},
};

/// Maximum bytes of a line.
const LINE_BYTES_MAX: usize = 64 * 1024;

/// Maximum bytes of a line that container runtimes leave in one piece.
const PIECE_BYTES_MAX: usize = 16 * 1024;

/// Keys of a large ring.
const KEYS: usize = 26;

const FIND: [&str; 4] = ["find", "audit.log", "--hmac-key", "audit.key"];

#[test]
fn what_rewrapping_made_is_found_by_its_number_and_by_itself() {
    let folder = Folder::new();
    let (server, path) = (audited(&folder), folder.path());
    let old = server.values("PhoneToUID", &["13988888888", "13788888888"]);
    assert!(run(path, &["keys", "rotate", "--activate-in", "0s"]).status.success());
    while server.wait_for("key ring reloaded")["generation"] != 2 {}
    let deadline = Instant::now() + PATIENCE;
    let new = loop {
        assert!(Instant::now() < deadline, "the new key is never the primary");
        let new = server.values("RewrapUID", &[&old[0]]).swap_remove(0);
        if new != old[0] {
            break new;
        }
    };
    end(server);
    // The UID that was made stands in one line alone: that of the request that made it.
    for asked in [["--uid", &new], ["--number", "+86 139 8888 8888"], ["--uid", &old[0]]] {
        let (code, told) = audit(path, &[&FIND[..], &asked, &["--mode", "RewrapUID"]].concat());
        assert!(code == Some(0) && told.contains("RewrapUID") && !told.contains("never"), "{asked:?}: {told}");
        assert!(asked[1] != new || told.lines().count() == 2, "{told}");
    }
    assert_eq!(audit(path, &[&FIND[..], &["--uid", &old[1], "--mode", "RewrapUID"]].concat()).1, "never\n");
}

/// As many as the defaults let through at once: an alias of each key counts.
#[test]
fn aliases_under_many_keys_are_lines_within_their_bound() {
    check_aliases(10_000 / KEYS, "");
}

#[test]
#[ignore = "half a minute, in a debug build"]
fn ten_thousand_aliases_under_many_keys_are_lines_within_their_bound() {
    check_aliases(10_000, "[limits]\nnumbers = 260000\nbody_bytes = 16000000\n");
}

fn check_aliases(count: usize, limits: &str) {
    let folder = Folder::new();
    let path = folder.path();
    for _ in 1..KEYS {
        // Long ago, so that the next may follow at once.
        let mut ring = rings::read(&folder.ring());
        for key in ring["keys"].as_array_mut().unwrap() {
            key["created"] = "2025-01-01T00:00:00Z".into();
            key["activates"] = "2025-01-01T00:00:00Z".into();
        }
        fs::write(folder.ring(), rings::signed(&ring)).unwrap();
        let rotated = run(path, &["keys", "rotate", "--activate-in", "0s"]);
        assert!(rotated.status.success(), "{}", String::from_utf8_lossy(&rotated.stderr));
    }
    let server = audited_with(&folder, limits);
    let numbers: Vec<String> = (0..count).map(|at| format!("13{:09}", 700_000_000 + at)).collect();
    let answer = server.connect().post(&json!({"Numbers": numbers, "Mode": "PhoneToAliases"}).to_string()).json();
    assert_eq!(answer["Code"], 0, "{}", answer["Message"]);
    let aliases = answer["Results"][count / 2]["Values"].to_string();
    let aliases: Vec<&str> =
        aliases.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| word.len() > 20).collect();
    assert_eq!(aliases.len(), KEYS, "{}", answer["Results"][0]);
    end(server);
    let log = fs::read_to_string(path.join("audit.log")).unwrap();
    let longest = log.lines().map(str::len).max().unwrap();
    assert!(longest < PIECE_BYTES_MAX && PIECE_BYTES_MAX < LINE_BYTES_MAX, "{longest}");
    let parts: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let parts: Vec<_> = parts.iter().filter(|line| line["mode"] == "PhoneToAliases").collect();
    let hashes: usize = parts.iter().map(|line| line["hashes"].as_array().unwrap().len()).sum();
    assert_eq!((hashes, parts[0]["parts"].as_u64()), (count * KEYS, Some(parts.len() as u64)));
    assert!(parts.len() > 50 && parts.iter().all(|line| line["id"] == parts[0]["id"]), "{}", parts.len());
    // The first, the last, and one between, under its oldest and its newest key.
    for asked in [
        ["--number", &numbers[0]],
        ["--number", &numbers[count / 2]],
        ["--number", &numbers[count - 1]],
        ["--uid", aliases[0]],
        ["--uid", aliases[KEYS - 1]],
    ] {
        let (code, told) = audit(path, &[&FIND[..], &asked].concat());
        assert!(code == Some(0) && told.contains("PhoneToAliases"), "{told}");
    }
    assert_eq!(audit(path, &[&FIND[..], &["--number", "13688888888"]].concat()), (Some(0), "never\n".to_owned()));
    let (code, told) = audit(path, &["verify", "audit.log"]);
    assert!(code == Some(0) && told.contains("nothing is wrong"), "{told}");
    println!("{count} numbers, {KEYS} keys: {} lines, the longest of {longest} bytes", parts.len());
}
