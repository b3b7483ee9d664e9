//! Reading audit logs back: as collectors leave them, damaged in every way, and after crashes.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Instant,
};

use serde_json::{Value, json};

use crate::{
    random::Random,
    support::{Folder, PATIENCE, Server, callveil, pipe, run, write_secret},
};

const AUDIT: &str = "modes = [\"PhoneToUID\", \"UIDToPhone\", \"RewrapUID\", \"PhoneToAliases\"]\n[audit]\nto = \"audit.log\"\n\
    items = \"hmac\"\nhmac_key = \"audit.key\"";

/// A server that hashes items into `audit.log`.
pub fn audited(folder: &Folder) -> Server {
    audited_with(folder, "")
}

/// The same, with settings that come before all tables.
pub fn audited_with(folder: &Folder, top: &str) -> Server {
    write_secret(folder.path().join("audit.key"), [7; 32]);
    Server::start(folder, top, AUDIT)
}

/// Ends the server, and returns what it logged on stderr.
pub fn end(mut server: Server) -> String {
    server.signal("TERM");
    server.signal("TERM");
    assert_eq!(server.wait_within(PATIENCE), Some(0));
    server.full_log()
}

/// A log of a dozen lines, one of which decodes a UID; what was logged on stderr; and the UID.
pub fn log(folder: &Folder) -> (String, String, String) {
    let server = audited(folder);
    let uid = server.values("PhoneToUID", &["13988888888", "8001"]).swap_remove(0);
    server.values("UIDToPhone", &[&uid]);
    for _ in 0..8 {
        server.values("PhoneToUID", &["8001"]);
    }
    let heads = end(server);
    (fs::read_to_string(folder.path().join("audit.log")).unwrap(), heads, uid)
}

/// The exit code and the output of an `audit` command, without the warning about arguments.
pub fn audit(folder: &Path, args: &[&str]) -> (Option<i32>, String) {
    let output = run(folder, &[&["audit"], args].concat());
    let told = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    let told = told.split_inclusive('\n').filter(|line| !line.contains("can see the arguments"));
    (output.status.code(), told.collect())
}

#[test]
fn every_format_is_understood() {
    let folder = Folder::new();
    let (log, heads, uid) = log(&folder);
    let path = folder.path();
    let (cri, syslog) = ("2026-11-26T08:00:00.123456789Z", "Nov 26 08:00:00 host callveil[7]:");
    let half = |line: &str, at: usize| {
        let (one, two) = line.split_at(line.len() / 2);
        if at == 0 { one.to_owned() } else { two.to_owned() }
    };
    let each = |wrap: &dyn Fn(&str) -> String| log.lines().map(wrap).collect::<String>();
    let aside = heads.lines().next().unwrap();
    let formats = [
        ("plain", log.clone()),
        (
            "cri",
            each(&|line| {
                format!("{cri} stdout P {}\n{cri} stderr F {aside}\n{cri} stdout F {}\n", half(line, 0), half(line, 1))
            }),
        ),
        (
            "docker",
            each(&|line| {
                let piece = |text: String| format!("{}\n", json!({"log": text, "stream": "stdout", "time": cri}));
                piece(half(line, 0)) + &piece(half(line, 1) + "\n")
            }),
        ),
        ("journal", each(&|line| format!("{}\n", json!({"__CURSOR": "s=1", "MESSAGE": line, "_TRANSPORT": "stdout"})))),
        (
            "export",
            each(&|line| format!("__CURSOR=s=1\n__REALTIME_TIMESTAMP=1\nMESSAGE={line}\n_TRANSPORT=stdout\n\n")),
        ),
        ("rfc3164", each(&|line| format!("{syslog} {line}\n")) + &format!("{syslog} {aside}\n")),
        ("rfc5424", each(&|line| format!("<30>1 {cri} host callveil 7 - [a b=\"\\]\"] {line}\n"))),
    ];
    for (name, text) in &formats {
        fs::write(path.join(name), text).unwrap();
        check_answers(path, name, &uid);
    }
    for (program, end) in [("gzip", "gz"), ("zstd", "zst")] {
        fs::copy(path.join("audit.log"), path.join("packed")).unwrap();
        if Command::new(program)
            .args(["-q", "-f", "packed"])
            .current_dir(path)
            .status()
            .is_ok_and(|done| done.success())
        {
            check_answers(path, &format!("packed.{end}"), &uid);
        }
    }
    // A folder of pieces, in an order that is not theirs.
    fs::create_dir(path.join("folder")).unwrap();
    let lines: Vec<_> = log.split_inclusive('\n').collect();
    for (name, lines) in [("c", &lines[..3]), ("a", &lines[3..7]), ("b", &lines[7..])] {
        fs::write(path.join("folder").join(name), lines.concat()).unwrap();
    }
    check_answers(path, "folder", &uid);
}

fn check_answers(folder: &Path, log: &str, uid: &str) {
    let (code, told) = audit(folder, &["verify", log]);
    assert!(code == Some(0) && told.contains("nothing is wrong"), "{log}: {told}");
    let (code, told) = audit(folder, &["find", log, "--hmac-key", "audit.key", "--uid", uid, "--mode", "UIDToPhone"]);
    assert!(code == Some(0) && told.lines().count() == 2 && told.contains("UIDToPhone"), "{log}: {told}");
    let (code, told) = audit(folder, &["find", log, "--hmac-key", "audit.key", "--number", "13688888888"]);
    assert_eq!((code, &*told), (Some(0), "never\n"), "{log}");
    let (code, told) = audit(folder, &["sum", log, "--json"]);
    let sums: Value = serde_json::from_str(&told).unwrap_or_else(|error| panic!("{log}: {error}: {told}"));
    let mapped =
        |mode: &str| sums["sums"].as_array().unwrap().iter().find(|sum| sum["mode"] == mode).unwrap()["mapped"].clone();
    assert_eq!((code, mapped("PhoneToUID"), mapped("UIDToPhone")), (Some(0), json!(10), json!(1)), "{log}");
}

#[test]
fn never_is_said_only_where_it_is_true() {
    let folder = Folder::new();
    let (log, ..) = log(&folder);
    let path = folder.path();
    let lines: Vec<_> = log.split_inclusive('\n').collect();
    let find = |text: &str| {
        fs::write(path.join("other.log"), text).unwrap();
        audit(path, &["find", "other.log", "--hmac-key", "audit.key", "--number", "13688888888"])
    };
    assert_eq!(find(&log), (Some(0), "never\n".to_owned()));
    // A running start, which was never at its end.
    let (code, told) = find(&lines[..lines.len() - 1].concat());
    assert!(code == Some(0) && told.starts_with("never, up to the last line of each start"), "{told}");
    let long = "x".repeat(20 << 20);
    for text in [
        lines[1..].concat(),
        [&lines[..4], &lines[5..]].concat().concat(),
        log.clone() + "something else\n",
        log.clone() + &long + "\n",
        log.replace("\"items\":2", "\"items\":3"),
        log.clone() + "{\"time\":\"2026-11-26T08:00:00.000000Z\",\"event\":\"request\",\"mapped\":1}\n",
        log[..log.len() - 40].to_owned(),
        String::new(),
    ] {
        let (code, told) = find(&text);
        assert!(code == Some(1) && !told.contains("never"), "{told}");
    }
    fs::write(path.join("torn.gz"), [0x1f, 0x8b, 8]).unwrap();
    let (code, told) = audit(path, &["find", "audit.log", "torn.gz", "--hmac-key", "audit.key", "--number", "1"]);
    assert!(code == Some(1) && !told.contains("never") && told.contains("cannot be read to its end"), "{told}");
}

#[test]
fn two_spellings_of_one_number_are_both_found() {
    let folder = Folder::new();
    let (_, _, uid) = log(&folder);
    let path = folder.path();
    let key = ["find", "audit.log", "--hmac-key", "audit.key"];
    for asked in [["--number", "13988888888", "--number", "+8613988888888"], ["--uid", &uid, "--uid", &uid]] {
        let (code, told) = audit(path, &[&key[..], &asked].concat());
        assert!(code == Some(0) && !told.contains("never") && told.contains("1,2"), "{told}");
    }
    // Blank lines are no items.
    let mut asked = "\n".repeat(1_000_001);
    asked.push_str("13988888888\n");
    let told = pipe(path, &[&["audit"], &key[..], &["--number", "-"]].concat(), &asked);
    assert!(told.contains("UIDToPhone"), "{told}");
}

/// A log is older than the ring: what a key read before it was disabled is found by its rules.
#[test]
fn numbers_are_found_by_the_rules_of_keys_that_are_disabled() {
    let folder = Folder::made_with(&["--region", "HK"]);
    let path = folder.path();
    let server = audited(&folder);
    server.values("PhoneToUID", &["51234567"]);
    end(server);
    let find = ["find", "audit.log", "--hmac-key", "audit.key", "--number", "51234567"];
    let before = audit(path, &find);
    assert!(before.0 == Some(0) && before.1.contains("PhoneToUID"), "{}", before.1);
    let id = |at: usize| {
        let keys = run(path, &["keys", "list", "--json"]).stdout;
        let keys: Value = serde_json::from_slice(&keys).unwrap();
        keys["keys"][at]["id"].as_str().unwrap().to_owned()
    };
    let old = id(0);
    assert!(run(path, &["keys", "rotate", "--region", "CN", "--activate-in", "0s"]).status.success());
    // In the same instant the new key is not the primary yet.
    let deadline = Instant::now() + PATIENCE;
    while !run(path, &["keys", "disable", &old]).status.success() {
        assert!(Instant::now() < deadline, "the new key is never the primary");
    }
    assert_eq!(audit(path, &find), before);
}

#[test]
fn a_line_that_is_no_json_is_named_and_the_rest_is_read() {
    let folder = Folder::new();
    let (log, _, uid) = log(&folder);
    let path = folder.path();
    fs::write(path.join("broken.log"), log.replacen("\"items\":2", "\"items\":2x", 1)).unwrap();
    let (code, told) = audit(path, &["find", "broken.log", "--hmac-key", "audit.key", "--uid", &uid]);
    assert!(code == Some(1) && told.contains("UIDToPhone") && told.contains("broken.log:2: "), "{told}");
    let (code, told) = audit(path, &["sum", "broken.log"]);
    assert!(code == Some(1) && told.contains("UIDToPhone") && told.contains("broken.log:2: "), "{told}");
    // The journal leaves out what is long, unless it is told not to.
    let journal = log.lines().map(|line| match line.contains("UIDToPhone") {
        true => json!({"MESSAGE": null, "_TRANSPORT": "stdout"}),
        false => json!({"MESSAGE": line, "_TRANSPORT": "stdout"}),
    });
    fs::write(path.join("journal"), journal.map(|line| format!("{line}\n")).collect::<String>()).unwrap();
    let (code, told) = audit(path, &["sum", "journal"]);
    assert!(code == Some(1) && told.contains("journal:3: no line of an audit log"), "{told}");
}

#[test]
fn a_table_has_eighty_columns_and_several_are_asked_for_at_once() {
    let folder = Folder::new();
    let (_, _, uid) = log(&folder);
    let path = folder.path();
    let (code, table) = audit(path, &["sum", "audit.log"]);
    assert!(code == Some(0) && table.lines().all(|line| line.chars().count() <= 80), "{table}");
    assert!(table.starts_with("DAY        CLIENT MODE       REQUESTS MAPPED"), "{table}");
    assert_eq!(audit(path, &["sum", "audit.log", "--until", "2020-01-01"]).1.lines().count(), 1);
    let (code, csv) = audit(path, &["sum", "audit.log", "--since", "2020-01-01", "--csv"]);
    assert!(code == Some(0) && csv.lines().any(|line| line.contains(",\"ccc\",UIDToPhone,1,1,1,0,0,0")), "{csv}");
    let mut command = callveil();
    command.args(["audit", "find", "audit.log", "--hmac-key", "audit.key", "--number", "8001", "--uid", "-"]);
    let mut child = command.current_dir(path).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(format!("{uid}\nnever-a-uid\n").as_bytes()).unwrap();
    let told = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
    assert!(told.contains("  1,3\n") && told.ends_with("item 2: never\n") && told.contains("UIDToPhone"), "{told}");
}

#[test]
fn items_as_arguments_are_warned_of_and_those_of_stdin_are_not() {
    let folder = Folder::new();
    log(&folder);
    let find = ["audit", "find", "audit.log", "--hmac-key", "audit.key", "--number"];
    let ask = |number: &str| {
        let mut command = callveil();
        command.args(find).arg(number).current_dir(folder.path()).stdin(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(b"8001\n").unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(String::from_utf8_lossy(&output.stdout).contains("PhoneToUID"), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(ask("8001").contains("can see the arguments"));
    assert_eq!(ask("-"), "");
}

/// Of a start that has no end, an end that was cut off shows by the heads alone.
#[test]
fn never_is_not_said_of_a_log_whose_end_was_cut_off_as_heads_tell() {
    let folder = Folder::new();
    let (log, heads, _) = log(&folder);
    let path = folder.path();
    fs::write(path.join("heads.log"), &heads).unwrap();
    let find = ["find", "audit.log", "--hmac-key", "audit.key", "--number", "13688888888"];
    let with_heads = [&find[..], &["--heads", "heads.log"]].concat();
    assert_eq!(audit(path, &with_heads), (Some(0), "never\n".to_owned()));
    let lines: Vec<_> = log.split_inclusive('\n').collect();
    fs::write(path.join("audit.log"), lines[..lines.len() - 3].concat()).unwrap();
    let (code, told) = audit(path, &find);
    assert!(code == Some(0) && told.starts_with("never, up to") && told.contains("--heads would tell"), "{told}");
    let (code, told) = audit(path, &with_heads);
    assert!(code == Some(1) && !told.contains("never") && told.contains("the last of them"), "{told}");
    // A start that they do not mention may have been cut as well, and so may one that is not there at all.
    fs::write(path.join("audit.log"), &log).unwrap();
    let instance = heads.split("\"instance\":\"").nth(1).and_then(|rest| rest.get(..16)).unwrap();
    let another = heads.replace(instance, "00000000deadbeef");
    fs::write(path.join("heads.log"), another).unwrap();
    let (code, told) = audit(path, &with_heads);
    assert!(code == Some(1) && !told.contains("never") && told.contains("do not mention start"), "{told}");
}

#[test]
fn damages_are_found() {
    check_damages(100);
}

#[test]
#[ignore = "a thousand processes"]
fn a_thousand_damages_are_found() {
    check_damages(1000);
}

fn check_damages(damages: usize) {
    let folder = Folder::new();
    let (log, heads, _) = log(&folder);
    let path = folder.path();
    fs::write(path.join("heads.log"), heads).unwrap();
    assert_eq!(audit(path, &["verify", "audit.log", "--heads", "heads.log"]).0, Some(0));
    let lines: Vec<_> = log.split_inclusive('\n').collect();
    let mut random = Random::new(7);
    for damage in 0..damages {
        let at = random.below(lines.len());
        let mut damaged: Vec<Vec<u8>> = lines.iter().map(|line| line.as_bytes().to_vec()).collect();
        match damage % 6 {
            0 => {
                let byte = random.below(damaged[at].len());
                damaged[at][byte] ^= 1 << random.below(7);
            }
            1 => drop(damaged.remove(at)),
            2 => damaged.insert(at, damaged[random.below(lines.len())].clone()),
            3 => damaged.swap(at, (at + 1) % lines.len()),
            4 => damaged.truncate(at),
            _ => damaged.insert(at, lines[at].replace("\"items\":1", "\"items\":9").into_bytes()),
        }
        fs::write(path.join("damaged.log"), damaged.concat()).unwrap();
        let (code, told) = audit(path, &["verify", "damaged.log", "--heads", "heads.log"]);
        assert_eq!(code, Some(1), "damage {damage} of line {}: {told}", at + 1);
    }
}

#[test]
fn crashes_cut_lines_and_nothing_else() {
    check_crashes(3);
}

#[test]
#[ignore = "minutes of crashes"]
fn two_hundred_crashes_cut_lines_and_nothing_else() {
    check_crashes(200);
}

/// Servers that are killed while they write, and whose log is moved away from time to time.
fn check_crashes(crashes: u64) {
    let folder = Folder::new();
    let mut random = Random::new(11);
    let path = folder.path();
    let log = path.join("audit.log");
    for crash in 0..crashes {
        let server = audited(&folder);
        let (begun, milliseconds, mut http) = (Instant::now(), 5 + random.below(200) as u128, server.connect());
        let body = json!({"Numbers": vec!["8001"; 300], "Mode": "PhoneToUID"}).to_string();
        let mut is_moved = crash % 2 == 0;
        while begun.elapsed().as_millis() < milliseconds {
            http.post(&body);
            if !is_moved && begun.elapsed().as_millis() > milliseconds / 2 {
                fs::rename(&log, path.join(format!("audit.log.{crash}"))).unwrap();
                server.signal("HUP");
                is_moved = true;
            }
        }
        server.signal("KILL");
    }
    let files: Vec<PathBuf> = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect();
    let logs = files.iter().map(|file| file.to_str().unwrap()).filter(|file| file.contains("audit.log"));
    let (code, told) = audit(path, &[&["verify", "--json"], &*logs.collect::<Vec<_>>()].concat());
    let report: Value = serde_json::from_str(told.lines().next().unwrap()).unwrap();
    assert_eq!((code, &report["faults"], report["wrong"].as_array().unwrap().len()), (Some(0), &json!(0), 0), "{told}");
    assert_eq!(report["open"].as_array().unwrap().len() as u64, crashes, "{told}");
    println!("{} lines, {} torn", report["lines"], report["torn"].as_array().unwrap().len());
}
