//! The audit log: one line for every event, and nothing in it that it must not reveal.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    rings,
    support::{Folder, Http, PATIENCE, Server, USER, basic, callveil, check_log, pipe, post, run},
};

const MODES: &str = "modes = [\"PhoneToUID\", \"UIDToPhone\", \"RewrapUID\", \"PhoneToAliases\"]\n\
    tokenize_per_minute = \"unlimited\"\ndetokenize_per_minute = \"unlimited\"";

/// A server that keeps its audit log in a file.
fn audited(folder: &Folder, settings: &str) -> (Server, PathBuf) {
    let server = Server::start(folder, "", &format!("{MODES}\n[audit]\nto = \"audit.log\"\n{settings}"));
    (server, folder.path().join("audit.log"))
}

fn lines(log: &Path) -> Vec<Value> {
    let text = fs::read_to_string(log).unwrap();
    check_log(&text.replace("\"id\":\"", "\"id\":\"\u{0}"));
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

fn events<'l>(lines: &'l [Value], event: &str) -> Vec<&'l Value> {
    lines.iter().filter(|line| line["event"] == event).collect()
}

/// Ends the server, and returns the lines of its log.
fn stopped(mut server: Server, log: &Path) -> Vec<Value> {
    server.signal("TERM");
    server.signal("TERM");
    assert_eq!(server.wait_within(PATIENCE), Some(0));
    lines(log)
}

#[test]
fn a_line_tells_of_each_request() {
    let folder = Folder::new();
    let (server, log) = audited(&folder, "");
    let uids = server.values("PhoneToUID", &["13988888888", "8001"]);
    let answer = server.connect().post(
        &json!({"Numbers": [uids[0], uids[1], "x", "h6qqaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"], "Mode": "UIDToPhone"})
            .to_string(),
    );
    assert_eq!(answer.json()["Code"], 0);
    server.values("RewrapUID", &[&uids[0]]);
    server.values("PhoneToAliases", &["13988888888"]);
    Http::connect(server.address).send(post(&basic(USER, "hunter2"), "{}"));
    Http::connect(server.address).send(post(&basic(USER, crate::support::PASSWORD), "{\"Numbers\": 1}"));
    let refused = Http::connect(server.address).send("GET /13988888888 HTTP/1.1\r\nhost: a\r\n\r\n");
    // One that goes away in the midst of its body.
    let mut half = server.connect();
    half.write(post(&basic(USER, crate::support::PASSWORD), "{}").strip_suffix('}').unwrap());
    wait_until("it is there", || connections(&server) == 1);
    drop(half);
    wait_until("it is gone", || connections(&server) == 0);
    let keyring = server.admin_get("/keyring").json();
    let lines = stopped(server, &log);
    let ring = rings::read(&folder.ring());
    let key = ring["keys"][0]["id"].as_str().unwrap();
    let start = events(&lines, "start")[0];
    assert_eq!((&start["primary"], &start["clients"]), (&json!(key), &json!([USER])));
    assert_eq!(lines.last().unwrap()["event"], "stop");
    let requests = events(&lines, "request");
    let told = |request: &Value| {
        let told = ["client", "mode", "status", "code", "items", "mapped", "errors", "keys"];
        let told = told.map(|name| (name.to_owned(), request[name].clone()));
        Value::from_iter(told.into_iter().filter(|(_, value)| !value.is_null()))
    };
    let line =
        |client: Value, mode: &str, status: u16, code: u16, items: u64, mapped: u64, errors: Value, keys: Value| {
            let mut line = json!({"client": client, "mode": mode, "status": status, "code": code, "items": items,
                "mapped": mapped, "errors": errors, "keys": keys});
            // What is 0 or empty is left out.
            line.as_object_mut().unwrap().retain(|name, value| *value != json!({}) && (name != "code" || *value != 0));
            line
        };
    let (none, ccc) = (json!({}), json!(USER));
    let expected = [
        line(ccc.clone(), "PhoneToUID", 200, 0, 2, 2, none.clone(), json!({key: 2})),
        line(ccc.clone(), "UIDToPhone", 200, 0, 4, 2, json!({"malformed_uid": 1, "unknown_key": 1}), json!({key: 2})),
        line(ccc.clone(), "RewrapUID", 200, 0, 1, 1, none.clone(), json!({key: 2})),
        line(ccc.clone(), "PhoneToAliases", 200, 0, 1, 1, none.clone(), json!({key: 1})),
        line(ccc.clone(), "", 400, 400, 0, 0, none.clone(), none.clone()),
        line(ccc, "", 400, 400, 0, 0, none.clone(), none),
    ];
    assert_eq!(requests.iter().map(|request| told(request)).collect::<Vec<_>>(), expected);
    assert_eq!(answer.header("x-request-id"), requests[1]["id"].as_str());
    // Those without a client are sums; but each has a name of its own.
    let strangers: Vec<_> = events(&lines, "strangers").iter().map(|line| told_of(line)).collect();
    assert_eq!(strangers, [(json!("127.0.0.1"), 401, 1), (json!("127.0.0.1"), 404, 1)]);
    let names = requests.iter().filter_map(|request| request["id"].as_str()).chain(refused.header("x-request-id"));
    assert_eq!(names.collect::<BTreeSet<_>>().len(), requests.len() + 1);
    // A request's name leads to its replica.
    let instance = keyring["instance"].as_str().unwrap();
    assert_eq!(start["instance"], instance);
    assert!(refused.header("x-request-id").unwrap().starts_with(instance));
    for request in requests {
        assert_eq!((&request["peer"], request["id"].as_str().map(str::len)), (&json!("127.0.0.1"), Some(32)));
        assert!(request["id"].as_str().unwrap().starts_with(instance));
        assert!(request["microseconds"].is_u64() && request["time"].as_str().unwrap().ends_with('Z'), "{request}");
    }
}

/// The peer, the status and the count in a line about strangers.
fn told_of(line: &Value) -> (Value, u64, u64) {
    (line["peer"].clone(), line["status"].as_u64().unwrap(), line["count"].as_u64().unwrap())
}

fn connections(server: &Server) -> u64 {
    let text = server.admin_get("/metrics").body;
    text.lines().find_map(|line| line.strip_prefix("callveil_connections ")?.parse().ok()).unwrap()
}

#[test]
fn counts_sum_up_exactly() {
    check_counts(20, 5_000);
}

/// A million numbers.
#[test]
#[ignore = "takes a minute"]
fn counts_of_a_million_sum_up_exactly() {
    check_counts(100, 10_000);
}

fn check_counts(requests: u64, items: u64) {
    let folder = Folder::new();
    let (server, log) = audited(&folder, "");
    let (mut http, mut failed) = (server.connect(), 0);
    for request in 0..requests {
        let numbers: Vec<String> =
            (0..items).map(|item| (13_000_000_000 + request * items + item).to_string()).collect();
        let uids = http.post(&json!({"Numbers": numbers, "Mode": "PhoneToUID"}).to_string()).json();
        let mut uids: Vec<&str> =
            uids["Results"].as_array().unwrap().iter().map(|result| result["Value"].as_str().unwrap()).collect();
        for uid in uids.iter_mut().step_by(1 + usize::try_from(request).unwrap()) {
            *uid = "no-uid";
            failed += 1;
        }
        http.post(&json!({"Numbers": uids, "Mode": "UIDToPhone"}).to_string());
    }
    stopped(server, &log);
    let sums: Value = serde_json::from_str(&pipe(folder.path(), &["audit", "sum", "--json", "audit.log"], "")).unwrap();
    let sum = |mode: &str| sums["sums"].as_array().unwrap().iter().find(|sum| sum["mode"] == mode).unwrap();
    let (made, opened) = (sum("PhoneToUID"), sum("UIDToPhone"));
    let all = requests * items;
    assert_eq!((&made["requests"], &made["items"], &made["mapped"]), (&json!(requests), &json!(all), &json!(all)));
    assert_eq!((&opened["items"], &opened["mapped"]), (&json!(all), &json!(all - failed)));
    let by_key: BTreeMap<String, u64> = serde_json::from_value(opened["keys"].clone()).unwrap();
    assert_eq!(by_key.into_values().collect::<Vec<_>>(), [all - failed]);
    assert_eq!(sums["unrecorded"], 0);
}

#[test]
fn a_log_that_was_moved_away_is_opened_anew() {
    let folder = Folder::new();
    let (server, log) = audited(&folder, "");
    server.values("PhoneToUID", &["13988888888"]);
    wait_until("the line is written", || log.exists() && events(&lines(&log), "request").len() == 1);
    let old = folder.path().join("audit.log.1");
    fs::rename(&log, &old).unwrap();
    server.signal("HUP");
    wait_until("the file is there again", || log.exists());
    server.values("PhoneToUID", &["13788888888"]);
    let new = stopped(server, &log);
    assert_eq!((events(&lines(&old), "request").len(), events(&new, "request").len()), (1, 1));
    assert_eq!(events(&new, "reload")[0]["clients"], json!([USER]));
}

/// A log on a full disk, simulated by `/dev/full`. `space` makes room.
fn on_a_full_disk(on_full: &str) -> (Folder, Server, impl Fn(&Server) -> PathBuf) {
    let folder = Folder::new();
    let log = folder.path().join("audit.log");
    symlink("/dev/full", &log).unwrap();
    let (server, _) = audited(&folder, &format!("on_full = \"{on_full}\""));
    let space = move |server: &Server| {
        fs::remove_file(&log).unwrap();
        server.signal("HUP");
        log.clone()
    };
    (folder, server, space)
}

/// More requests than the log has places, over a few connections.
const FLOOD: usize = 10_000;

fn flood(server: &Server) -> Vec<std::thread::JoinHandle<usize>> {
    let address = server.address;
    let call = post(&basic(USER, crate::support::PASSWORD), "{\"Numbers\":[\"8001\"],\"Mode\":\"PhoneToUID\"}");
    let client = move |call: String| {
        let mut http = Http::connect(address);
        (0..FLOOD / 4).filter(|_| http.send(&call).status == 200).count()
    };
    (0..4).map(|_| call.clone()).map(|call| std::thread::spawn(move || client(call))).collect()
}

#[test]
fn a_full_disk_makes_requests_wait_until_there_is_space() {
    let (_folder, server, space) = on_a_full_disk("block");
    let clients = flood(&server);
    wait_until("no place is left", || readiness(&server)["audit"]["queued"].as_u64() >= Some(8192));
    assert!(clients.iter().any(|client| !client.is_finished()));
    assert_eq!(readiness(&server)["audit"]["stuck"], true);
    let log = space(&server);
    let answered: usize = clients.into_iter().map(|client| client.join().unwrap()).sum();
    let lines = stopped(server, &log);
    assert_eq!((answered, events(&lines, "request").len()), (FLOOD, FLOOD));
    assert!(events(&lines, "dropped").is_empty() && events(&lines, "start").len() == 1);
}

#[test]
fn a_full_disk_drops_records_and_counts_them_where_that_is_wanted() {
    let (folder, server, space) = on_a_full_disk("drop");
    let answered: usize = flood(&server).into_iter().map(|client| client.join().unwrap()).sum();
    let told = readiness(&server)["audit"]["dropped"].as_u64().unwrap();
    let log = space(&server);
    let lines = stopped(server, &log);
    let dropped = events(&lines, "dropped").iter().map(|line| line["requests"].as_u64().unwrap()).sum::<u64>();
    assert!(told > 0 && told == dropped, "{told} {dropped}");
    assert_eq!((answered, events(&lines, "request").len() as u64), (FLOOD, FLOOD as u64 - dropped));
    let sums: Value = serde_json::from_str(&pipe(folder.path(), &["audit", "sum", "--json", "audit.log"], "")).unwrap();
    assert_eq!(sums["unrecorded"], dropped);
}

fn readiness(server: &Server) -> Value {
    server.admin_get("/readyz").json()
}

fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let since = Instant::now();
    while !is_so() {
        assert!(since.elapsed() < PATIENCE, "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn who_decoded_this_and_when() {
    let folder = Folder::new();
    fs::write(folder.path().join("audit.key"), [7; 32]).unwrap();
    run_ok(folder.path(), "chmod", &["600", "audit.key"]);
    let (server, log) = audited(&folder, "items = \"hmac\"\nhmac_key = \"audit.key\"");
    let uids = server.values("PhoneToUID", &["13988888888", "13788888888", "sip:a@b"]);
    server.values("UIDToPhone", &[&uids[0].to_uppercase(), &uids[2]]);
    server.values("RewrapUID", &[&uids[0]]);
    server.values("PhoneToAliases", &["+86 139 8888 8888"]);
    stopped(server, &log);
    let find = |by: &str, what: &str| {
        let args = ["audit", "find", "--hmac-key", "audit.key", by, what, "--json", "audit.log"];
        let found = pipe(folder.path(), &args, "");
        let modes = found.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["mode"].clone());
        modes.map(|mode| mode.as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let all = ["PhoneToUID", "UIDToPhone", "RewrapUID", "PhoneToAliases"];
    assert_eq!(find("--uid", &uids[0]), all);
    assert_eq!(find("--number", "0086 139-8888-8888"), all);
    assert_eq!(find("--number", "13788888888"), all[..1]);
    assert_eq!(find("--number", "sip:a@b"), all[..2]);
    assert_eq!(find("--number", "13688888888"), [""; 0]);
    let table = pipe(
        folder.path(),
        &["audit", "find", "--hmac-key", "audit.key", "--uid", &uids[1]],
        &fs::read_to_string(&log).unwrap(),
    );
    assert!(table.contains("PhoneToUID      ccc"), "{table}");
    // What was made of it by rewrapping is found, too; and "never" is said where it is true.
    let never =
        pipe(folder.path(), &["audit", "find", "--hmac-key", "audit.key", "--number", "13688888888", "audit.log"], "");
    assert_eq!(never, "never\n");
    // Another key, and logs without hashes, say so rather than "never".
    fs::write(folder.path().join("audit.key"), [8; 32]).unwrap();
    let other = run(folder.path(), &["audit", "find", "--hmac-key", "audit.key", "--uid", &uids[0], "audit.log"]);
    assert_eq!((other.status.code(), other.stdout.len()), (Some(1), 0));
    assert!(String::from_utf8_lossy(&other.stderr).contains("under another key"));
    let refused =
        run(folder.path(), &["audit", "find", "--hmac-key", "audit.key", "--uid", &uids[0], "keys/keyring.json.audit"]);
    assert!(!refused.status.success() && String::from_utf8_lossy(&refused.stderr).contains("items = \"hmac\""));
    fs::write(folder.path().join("audit.key"), [8; 31]).unwrap();
    let refused = run(folder.path(), &["serve", "--config", "callveil.toml"]);
    assert_eq!(refused.status.code(), Some(78), "{}", String::from_utf8_lossy(&refused.stderr));
}

fn run_ok(folder: &Path, program: &str, args: &[&str]) {
    assert!(std::process::Command::new(program).args(args).current_dir(folder).status().unwrap().success());
}

#[test]
fn commands_that_change_something_are_recorded() {
    let folder = Folder::new();
    let key = |at: usize| {
        let ring = rings::read(&folder.ring());
        ring["keys"][at]["id"].as_str().unwrap().to_owned()
    };
    run(folder.path(), &["keys", "rotate"]);
    run(folder.path(), &["keys", "list"]);
    run(folder.path(), &["keys", "disable", &key(1)]);
    run(folder.path(), &["keys", "disable", &key(0)]);
    run(folder.path(), &["keys", "destroy", &key(1), "--yes", "--early"]);
    let recorded = lines(&folder.path().join("keys/keyring.json.audit"));
    let told: Vec<_> =
        recorded.iter().map(|line| (line["command"].as_str().unwrap(), line["generation"].as_u64())).collect();
    let expected = [
        ("keys init", Some(1)),
        ("keys rotate", Some(2)),
        ("keys disable", Some(3)),
        ("keys disable", None),
        ("keys destroy", Some(4)),
    ];
    assert_eq!(told, expected);
    assert_eq!((&recorded[4]["key"], &recorded[4]["event"]), (&json!(key(1)), &json!("command")));
    assert!(recorded[3]["failed"].as_str().unwrap().contains("is the only one"), "{}", recorded[3]);
    assert!(recorded.iter().all(|line| line["uid"].is_u64() && line["folder"].is_string()), "{recorded:?}");

    // With a configuration, in its log; and a password leaves no trace but its hash.
    folder.config("", "[audit]\nto = \"audit.log\"");
    run(folder.path(), &["keys", "rotate", "--config", "callveil.toml"]);
    let made = pipe(folder.path(), &["clients", "new-password", "--json", "--config", "callveil.toml"], "");
    let made: Value = serde_json::from_str(&made).unwrap();
    let recorded = lines(&folder.path().join("audit.log"));
    assert_eq!(
        (&recorded[0]["command"], &recorded[1]["command"]),
        (&json!("keys rotate"), &json!("clients new-password"))
    );
    assert_eq!(recorded[1]["password_sha256"], made["password_sha256"]);
    assert!(!fs::read_to_string(folder.path().join("audit.log")).unwrap().contains(made["password"].as_str().unwrap()));

    // What cannot be recorded is not done.
    let before = fs::read(folder.ring()).unwrap();
    folder.config("", "[audit]\nto = \"keys\"");
    let refused = run(folder.path(), &["keys", "disable", &key(2), "--config", "callveil.toml"]);
    assert!(!refused.status.success() && String::from_utf8_lossy(&refused.stderr).contains("cannot record"));
    assert_eq!(fs::read(folder.ring()).unwrap(), before);
}

#[test]
fn stdout_is_the_log_where_nothing_else_is_said() {
    let folder = Folder::new();
    let out = folder.path().join("stdout");
    let config = folder.config("", MODES);
    let script = format!("exec \"$0\" serve --config {} > {}", config.display(), out.display());
    let mut command = std::process::Command::new("sh");
    command.args(["-c", &script]).arg(callveil().get_program());
    let server = Server::spawn(&mut command);
    server.values("PhoneToUID", &["13988888888"]);
    assert_eq!(events(&stopped(server, &out), "request").len(), 1);
}
