//! Numbers in place of UIDs, and UIDs in place of numbers: the results, their cost, and who is told.

use std::fs;

use serde_json::{Value, json};

use crate::support::{Folder, PATIENCE, Server, pipe, run};

const MODES: &str = "modes = [\"PhoneToUID\", \"UIDToPhone\", \"RewrapUID\", \"PhoneToAliases\"]\n";

/// Numbers that an agent may dial by hand, and their form in UIDToPhone's results.
const NUMBERS: [(&str, &str); 6] = [
    ("13988888888", "008613988888888"),
    ("+86 755 8601 3388", "0086075586013388"),
    ("00442079460958", "00442079460958"),
    ("10086", "008610086"),
    (" \u{202A}00 86 10086\u{202C}", "008610086"),
    ("tel:+14155552671", "0014155552671"),
];

/// Texts that are neither a number nor a UID.
const NEITHER: [&str; 5] = ["8001", "anonymous", "13988888888.0", "86013388", ""];

fn errors(answer: &Value) -> Vec<&str> {
    answer["Results"].as_array().unwrap().iter().map(|result| result["Error"].as_str().unwrap_or("")).collect()
}

/// Ends a server, and returns the requests in its audit log.
fn requests(mut server: Server, folder: &Folder) -> Vec<Value> {
    server.signal("TERM");
    server.signal("TERM");
    assert_eq!(server.wait_within(PATIENCE), Some(0));
    let log = fs::read_to_string(folder.path().join("audit.log")).unwrap();
    let lines = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter(|line| line["event"] == "request").collect()
}

#[test]
fn a_plain_number_is_refused_by_its_name() {
    let folder = Folder::new();
    let server = Server::start(&folder, "", MODES);
    let numbers = NUMBERS.map(|(number, _)| number);
    for mode in ["UIDToPhone", "RewrapUID"] {
        let answer = server.call(mode, &numbers);
        assert_eq!((&answer["Code"], errors(&answer)), (&json!(207), vec!["plain_number"; NUMBERS.len()]));
        assert!(answer["Results"].as_array().unwrap().iter().all(|result| result["Value"] == ""));
        let answer = server.call(mode, &NEITHER);
        assert_eq!(errors(&answer), ["malformed_uid"; NEITHER.len()]);
    }
}

#[test]
fn a_plain_number_passes_for_those_who_want_that() {
    let folder = Folder::new();
    let settings = format!(
        "{MODES}plain_numbers = \"pass\"\ntokenize_per_minute = 20\ndetokenize_per_minute = 3\n[audit]\nto = \"audit.log\"\n"
    );
    let server = Server::start(&folder, "", &settings);
    let uid = server.values("PhoneToUID", &["13988888888"]).remove(0);
    let (numbers, dialled): (Vec<_>, Vec<_>) = NUMBERS.into_iter().unzip();
    assert_eq!(server.values("UIDToPhone", &numbers), dialled);
    let answer = server.call("UIDToPhone", &[&[&*uid], &NEITHER[..]].concat());
    assert_eq!(
        errors(&answer),
        ["", "malformed_uid", "malformed_uid", "malformed_uid", "malformed_uid", "malformed_uid"]
    );
    // What has a UID's form does not pass, not even one that is all digits, or another key's.
    let forms = ["2".repeat(40), format!("{}{}", if uid.starts_with("h6qq") { "g6qq" } else { "h6qq" }, &uid[4..])];
    let answer = server.call("UIDToPhone", &forms.each_ref().map(String::as_str));
    assert_eq!(errors(&answer), ["unknown_key", "unknown_key"]);
    // Rewrapping has no number to pass.
    assert_eq!(errors(&server.call("RewrapUID", &["13988888888"])), ["plain_number"]);
    // 1 made, 6 passed, 5 neither, 1 rewrapped: 7 are left of the limit for making UIDs, none of that for opening them.
    assert_eq!(server.call("UIDToPhone", &["13988888888"; 8])["Code"], 429);
    assert_eq!(server.values("UIDToPhone", &["13988888888"; 7]).len(), 7);
    assert_eq!(server.call("UIDToPhone", &["13988888888"])["Code"], 429);
    assert_eq!(server.call("UIDToPhone", &[&uid])["Code"], 429);
    let metrics = server.admin_get("/metrics").body;
    for (series, count) in [("passed", 13), ("mapped", 1), ("malformed_uid", 5), ("plain_number", 0)] {
        let line = format!("callveil_items_total{{mode=\"UIDToPhone\",result=\"{series}\"}} {count}\n");
        assert!(metrics.contains(&line), "{line}{metrics}");
    }
    let requests = requests(server, &folder);
    let passed = &requests[1];
    assert_eq!((&passed["items"], &passed["mapped"], &passed["passed"]), (&json!(6), &json!(0), &json!(6)));
    assert_eq!((&passed["keys"], &passed["errors"]), (&Value::Null, &Value::Null), "nothing was decoded");
    let mixed = &requests[2];
    assert_eq!((&mixed["items"], &mixed["mapped"], &mixed["passed"]), (&json!(6), &json!(1), &Value::Null));
    let sums = pipe(folder.path(), &["audit", "sum", "--json", "audit.log"], "");
    let sums: Value = serde_json::from_str(&sums).unwrap();
    let sum = sums["sums"].as_array().unwrap().iter().find(|sum| sum["mode"] == "UIDToPhone").unwrap();
    assert_eq!((&sum["mapped"], &sum["passed"]), (&json!(1), &json!(13)));
}

#[test]
fn the_uid_of_a_uid_is_that_uid() {
    let folder = Folder::new();
    let server = Server::start(&folder, "", &format!("{MODES}[audit]\nto = \"audit.log\"\n"));
    let texts = ["13988888888", "8001", "10086", "anonymous caller of a long name"];
    let uids = server.values("PhoneToUID", &texts);
    let written: Vec<String> = uids.iter().map(|uid| format!(" {}\u{3000}", uid.to_uppercase())).collect();
    let written: Vec<&str> = written.iter().map(String::as_str).collect();
    assert_eq!(server.values("PhoneToUID", &written), uids);
    let aliases = server.call("PhoneToAliases", &[&uids[0], "13988888888"]);
    let alias = &aliases["Results"][0];
    assert_eq!((&alias["Value"], &alias["Values"]), (&json!(uids[0]), &json!([uids[0]])));
    // Those of nobody, and of another context, are texts like any other.
    let other = pipe(folder.path(), &["tokenize", "--context", "other"], "13988888888\n");
    let forged = format!("{}{}", &uids[0][..39], if uids[0].ends_with('a') { "b" } else { "a" });
    for text in [other.trim(), &forged] {
        let uid = server.values("PhoneToUID", &[text]).remove(0);
        assert_eq!(uid.len(), 104);
        assert_eq!(server.values("UIDToPhone", &[&uid]), [text]);
    }
    let requests = requests(server, &folder);
    assert_eq!((&requests[0]["mapped"], &requests[0]["passed"]), (&json!(4), &Value::Null));
    assert_eq!((&requests[1]["mapped"], &requests[1]["passed"]), (&json!(0), &json!(4)));
    assert_eq!(requests[1].get("keys"), None);
    // A run that is repeated changes nothing, and says so.
    let once = pipe(folder.path(), &["tokenize"], "13988888888\n8001\n");
    let folder = folder.path();
    fs::write(folder.join("mixed"), format!("{once}13788888888\n")).unwrap();
    let output = crate::support::run(folder, &["tokenize", "mixed"]);
    let (results, told) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(results.starts_with(&once) && results.lines().count() == 3, "{results}");
    assert!(told.contains("3 rows: 3 mapped (1 E.164, 2 already a UID)"), "{told}");
}

/// Marks around a UID hide it no more than around a number.
#[test]
fn a_uid_stays_what_it_is_within_marks() {
    let server = Server::start(&Folder::new(), "", MODES);
    let long = server.values("PhoneToUID", &[&*"x".repeat(128)]).remove(0);
    assert_eq!(server.values("PhoneToUID", &[&*long]), [&*long]);
    let uid = server.values("PhoneToUID", &["13988888888"]).remove(0);
    for around in [format!("\u{202A}{uid}\u{202C}"), format!("\u{FEFF} {}\u{200F}", uid.to_uppercase())] {
        assert_eq!(server.values("PhoneToUID", &[&around]), [&*uid]);
    }
}

/// Where a UID stands for the text of another, rewrapping gives a UID of today's key, and not the other.
#[test]
fn rewrapping_a_uid_of_a_uid_keeps_its_key() {
    let folder = Folder::new();
    let command = |args: &[&str]| pipe(folder.path(), args, "");
    let map = |command: &str, item: &str| pipe(folder.path(), &[command], item).trim().to_owned();
    let key_of = |uid: &str| map_key(&pipe(folder.path(), &["inspect", uid, "--json"], ""));
    let old = map("tokenize", "13988888888");
    let old_key = key_of(&old);
    command(&["keys", "rotate", "--activate-in", "0s"]);
    let since = std::time::Instant::now();
    while !run(folder.path(), &["keys", "disable", &old_key]).status.success() {
        assert!(since.elapsed() < PATIENCE, "the new key never becomes the primary");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let nested = map("tokenize", &old);
    assert_ne!((key_of(&nested), nested.len()), (old_key.clone(), old.len()));
    command(&["keys", "enable", &old_key]);
    assert_eq!(map("rewrap", &nested), nested);
    assert_eq!(map("detokenize", &nested), old);
}

fn map_key(inspected: &str) -> String {
    let inspected: Value = serde_json::from_str(inspected).unwrap();
    inspected["key"].as_str().unwrap().to_owned()
}
