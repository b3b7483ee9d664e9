//! Changes of a ring that disable or destroy keys: what they require, what they print, and what is recorded.

use std::{fs, os::unix::fs::PermissionsExt as _};

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::{
    rings,
    support::{Folder, Server, run},
};

/// Runs a command that must end with `code` and print all of `says`.
#[track_caller]
fn check(folder: &Folder, args: &[&str], code: i32, says: &[&str]) -> String {
    let output = run(folder.path(), args);
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{args:?}: {out}\n{err}");
    let told = format!("{out}{err}");
    assert!(says.iter().all(|says| told.contains(says)), "{args:?}: {told}");
    told
}

/// A ring of three keys, all active: the last is the primary.
fn three_keys() -> (Folder, [String; 3]) {
    let folder = Folder::new();
    for hours in [2, 1] {
        assert!(run(folder.path(), &["keys", "rotate"]).status.success());
        edit(&folder, |ring| {
            let activates = Timestamp::now() - SignedDuration::from_hours(hours);
            ring["keys"].as_array_mut().unwrap().last_mut().unwrap()["activates"] = activates.to_string().into();
        });
    }
    edit(&folder, |ring| ring["keys"][0]["activates"] = "2026-01-01T00:00:00Z".into());
    let ring = rings::read(&folder.ring());
    let id = |at: usize| ring["keys"][at]["id"].as_str().unwrap().to_owned();
    (folder, [id(0), id(1), id(2)])
}

/// Edits the ring, as anybody who can open it may.
fn edit(folder: &Folder, edit: impl FnOnce(&mut Value)) {
    let mut ring = rings::read(&folder.ring());
    edit(&mut ring);
    fs::write(folder.ring(), rings::signed(&ring)).unwrap();
}

fn records(folder: &Folder, command: &str) -> Vec<Value> {
    let text = fs::read_to_string(folder.path().join("keys/keyring.json.audit")).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter(|line| line["command"] == command).collect()
}

#[test]
fn a_merge_closes_nothing_unasked() {
    let (folder, [one, two, _]) = three_keys();
    let copy = folder.path().join("copy.json");
    fs::copy(folder.ring(), &copy).unwrap();
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o600)).unwrap();
    for command in [&["disable", &one][..], &["destroy", &one, "--yes", "--early"], &["disable", &two]] {
        check(&folder, &[&["keys"], command, &["--keyring", "copy.json"]].concat(), 0, &[]);
    }
    check(&folder, &["keys", "disable", &one], 0, &[]);
    let before = fs::read(folder.ring()).unwrap();
    let (destroyed, disabled) =
        (format!("key {one}: disabled becomes destroyed"), format!("key {two}: enabled becomes disabled"));
    check(&folder, &["keys", "merge", "copy.json"], 2, &[&destroyed, &disabled, "say --yes"]);
    assert_eq!(fs::read(folder.ring()).unwrap(), before);
    check(&folder, &["keys", "merge", "copy.json", "--yes"], 0, &[&destroyed, &disabled]);
    let ring = rings::read(&folder.ring());
    assert_eq!((&ring["keys"][0]["status"], &ring["keys"][1]["status"]), (&"destroyed".into(), &"disabled".into()));
    assert!(ring["keys"][1]["disabled"].is_string() && ring["generation"] == 7, "{ring}");
    let [refused, done] = &records(&folder, "keys merge")[..] else { panic!("two records") };
    assert!(refused["failed"].as_str().unwrap().contains(&disabled), "{refused}");
    let changed = json!([
        {"key": one, "from": "disabled", "to": "destroyed"}, {"key": two, "from": "enabled", "to": "disabled"},
    ]);
    assert_eq!((&done["changed"], &done["added"]), (&changed, &json!([])));
    // A copy that only adds a key wants no yes.
    fs::copy(folder.ring(), &copy).unwrap();
    check(&folder, &["keys", "rotate", "--keyring", "copy.json"], 0, &[]);
    check(&folder, &["keys", "merge", "copy.json"], 0, &["of them 1 from the other copy"]);
}

#[test]
fn a_key_is_destroyed_a_week_after_it_was_disabled() {
    let (folder, [one, two, _]) = three_keys();
    let server = Server::start(&folder, "", "");
    let uid = run(folder.path(), &["tokenize", "--value", "13988888888"]).stdout;
    server.values("UIDToPhone", &[String::from_utf8(uid).unwrap().trim_end()]);
    check(&folder, &["keys", "disable", &one], 0, &[]);
    let destroy = ["keys", "destroy", &one, "--yes"];
    check(&folder, &destroy, 1, &["was disabled 20", "7 days later", "--early"]);
    let disabled_before = |days: i64| {
        let then = Timestamp::now() - SignedDuration::from_hours(24 * days) + SignedDuration::from_mins(1);
        edit(&folder, |ring| ring["keys"][0]["disabled"] = then.to_string().into());
    };
    disabled_before(7);
    check(&folder, &destroy, 1, &["7 days later"]);
    disabled_before(8);
    let replica = format!("http://{}", server.admin);
    let asked = [&destroy[..], &["--replica", &replica]].concat();
    check(&folder, &asked, 0, &[&format!("opened no UID of key {one} since it started"), "is destroyed"]);
    // A ring that does not tell when is one in which nobody can have waited.
    check(&folder, &["keys", "disable", &two], 0, &[]);
    edit(&folder, |ring| drop(ring["keys"][1].as_object_mut().unwrap().remove("disabled")));
    check(&folder, &["keys", "destroy", &two, "--yes"], 1, &["nobody knows when"]);
    check(&folder, &["keys", "destroy", &two, "--yes", "--early"], 0, &["is destroyed"]);
    let early: Vec<_> = records(&folder, "keys destroy").iter().map(|line| line["early"].clone()).collect();
    assert_eq!(early, [Value::Null, Value::Null, false.into(), Value::Null, true.into()]);
}
