//! A running replica and changes of its files: what it takes up, and what it keeps regardless.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _, symlink},
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::fs::OFlags;
use serde_json::{Value, json};

use crate::{
    rings,
    support::{Folder, Http, PASSWORD, PATIENCE, Server, basic, callveil, post, run, send, sha256_hex},
};

const RELOADED: &str = "key ring reloaded";
const REFUSED: &str = "keeping the key ring in use";
const BACK: &str = "the key ring file is the ring in use again";

/// Replaces the file at `path` by `content`, in one step and readable only by its owner.
fn publish(path: &Path, content: impl AsRef<[u8]>) {
    let new = path.with_extension("published");
    fs::write(&new, content).unwrap();
    fs::set_permissions(&new, fs::Permissions::from_mode(0o600)).unwrap();
    fs::rename(new, path).unwrap();
}

/// The ring of `folder`, and the ring after a rotation with this lead time.
fn rotated(folder: &Folder, lead: &str) -> (Vec<u8>, Vec<u8>) {
    let old = fs::read(folder.ring()).unwrap();
    let copy = Folder::new();
    publish(&copy.ring(), &old);
    let done = run(copy.path(), &["keys", "rotate", "--activate-in", lead]);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    (old, fs::read(copy.ring()).unwrap())
}

fn generation(server: &Server) -> u64 {
    server.admin_get("/keyring").json()["generation"].as_u64().unwrap()
}

fn refusal(server: &Server) -> Option<String> {
    server.admin_get("/readyz").json()["keyring_refused"].as_str().map(str::to_owned)
}

#[test]
fn a_new_ring_is_taken_up_by_itself_and_on_sighup() {
    let folder = Folder::new();
    let server = Server::start(&folder, "", "");
    let uid = server.values("PhoneToUID", &["13988888888"]).remove(0);
    let (_, next) = rotated(&folder, "24h");
    publish(&folder.ring(), &next);
    let record = server.wait_for(RELOADED);
    assert_eq!((&record["generation"], record["pending"].as_str().map(str::len)), (&json!(2), Some(4)));
    // Pending: it changes no UID yet.
    assert_eq!(server.values("PhoneToUID", &["13988888888"]), [&*uid]);
    assert_eq!(server.values("UIDToPhone", &[&uid]), ["008613988888888"]);
    server.signal("HUP");
    server.wait_for("configuration reloaded");
    assert_eq!((generation(&server), refusal(&server)), (2, None));
}

#[test]
fn kubernetes_swaps_a_link() {
    let folder = Folder::new();
    let (old, next) = rotated(&folder, "24h");
    let mount = folder.path().join("mount");
    for (version, ring) in [("..1", &old), ("..2", &next)] {
        fs::create_dir_all(mount.join(version)).unwrap();
        publish(&mount.join(version).join("keyring.json"), ring);
    }
    symlink("..1", mount.join("..data")).unwrap();
    symlink("..data/keyring.json", mount.join("keyring.json")).unwrap();
    let server = Server::start(&folder, "keyring = \"mount/keyring.json\"", "");
    assert_eq!(generation(&server), 1);
    symlink("..2", mount.join("..data_tmp")).unwrap();
    fs::rename(mount.join("..data_tmp"), mount.join("..data")).unwrap();
    fs::remove_dir_all(mount.join("..1")).unwrap();
    server.wait_for(RELOADED);
    assert_eq!(generation(&server), 2);
}

#[test]
fn a_uid_of_an_unknown_key_has_the_file_looked_at() {
    let folder = Folder::new();
    let (_, next) = rotated(&folder, "0s");
    let other = Folder::new();
    publish(&other.ring(), &next);
    let (behind, ahead) = (Server::start(&folder, "", ""), Server::start(&other, "", ""));
    let old = behind.values("PhoneToUID", &["13988888888"]).remove(0);
    let uid = std::iter::repeat_with(|| ahead.values("PhoneToUID", &["13988888888"]).remove(0))
        .find(|uid| *uid != old)
        .unwrap();
    let unknown = || behind.call("UIDToPhone", &[&old, &uid])["Results"][1]["Error"].clone();
    assert_eq!(unknown(), "unknown_key");
    publish(&folder.ring(), &next);
    // Looks are a second apart; the request that gets one sees the key that it asked for.
    while unknown() == "unknown_key" {}
    assert_eq!(behind.values("UIDToPhone", &[&old, &uid]), ["008613988888888", "008613988888888"]);
}

#[test]
fn files_that_are_refused_leave_the_ring_in_use() {
    let folder = Folder::new();
    let (old, _) = rotated(&folder, "24h");
    for command in [&["keys", "rotate", "--activate-in", "0s"][..], &["keys", "rotate", "--activate-in", "24h"]] {
        // The first one's key activates within a second, during which it is pending.
        while !run(folder.path(), command).status.success() {}
    }
    let good = fs::read(folder.ring()).unwrap();
    let server = Server::start(&folder, "", "");
    let uid = server.values("PhoneToUID", &["13988888888"]).remove(0);
    let edited = |edit: fn(&mut Value)| {
        let mut ring = rings::value(&good);
        edit(&mut ring);
        rings::signed(&ring)
    };
    let stranger = fs::read(Folder::new().ring()).unwrap();
    let unsigned = |from: &str, to: &str| str::from_utf8(&good).unwrap().replace(from, to).into_bytes();
    let cases: [(&str, Vec<u8>, &str); 10] = [
        ("truncated", good[..good.len() / 2].to_vec(), "not a signed key ring"),
        ("altered", unsigned("\"generation\": 3", "\"generation\": 4"), "\"callveil-ring\" is wrong"),
        ("empty", Vec::new(), "not a signed key ring"),
        ("another ring", stranger, "it is another ring"),
        ("no signature", rings::text(&good).as_bytes().to_vec(), "not a signed key ring"),
        ("lower generation", old, "generation is 1, lower than 3"),
        (
            "same generation",
            edited(|ring| ring["parent"] = "0123456789abcdef".into()),
            "same generation 3 with other content",
        ),
        (
            "vanished key",
            edited(|ring| {
                ring["generation"] = 4.into();
                ring["keys"].as_array_mut().unwrap().remove(0);
            }),
            "vanished from it",
        ),
        (
            "altered key",
            edited(|ring| {
                ring["generation"] = 4.into();
                ring["keys"][0]["region"] = "US".into();
            }),
            "was altered in it",
        ),
        (
            "wrong check",
            edited(|ring| ring["keys"][0]["check"] = "0123456789abcdef".into()),
            "does not fit its `check`",
        ),
    ];
    for (name, content, reason) in cases {
        publish(&folder.ring(), content);
        let told = server.wait_for(REFUSED)["reason"].as_str().unwrap().to_owned();
        assert!(told.contains(reason), "{name}: {told}");
        assert_eq!((refusal(&server), generation(&server)), (Some(told), 3), "{name}");
        assert_eq!(server.values("UIDToPhone", &[&uid]), ["008613988888888"]);
        assert_eq!(server.admin_get("/readyz").status, 200, "{name}");
    }
    publish(&folder.ring(), &good);
    server.wait_for(BACK);
    assert_eq!(refusal(&server), None);
    // Open to others; gone; and then what may follow: a pending activation moved, a key disabled, a generation skipped.
    fs::set_permissions(folder.ring(), fs::Permissions::from_mode(0o644)).unwrap();
    publish(&folder.path().join("keys/x"), "");
    fs::write(folder.ring(), &good[..good.len() - 1]).unwrap();
    assert!(server.wait_for(REFUSED)["reason"].as_str().unwrap().contains("open to others"));
    fs::remove_file(folder.ring()).unwrap();
    assert!(server.wait_for(REFUSED)["reason"].as_str().unwrap().contains("cannot read"));
    let next = edited(|ring| {
        ring["generation"] = 9.into();
        ring["keys"][2]["activates"] = "2999-01-01T00:00:00Z".into();
        ring["keys"][0]["status"] = "disabled".into();
    });
    publish(&folder.ring(), next);
    server.wait_for(RELOADED);
    assert_eq!((generation(&server), refusal(&server)), (9, None));
}

#[test]
fn a_clock_before_every_activation_uses_the_first() {
    let folder = Folder::new();
    let mut ring = rings::read(&folder.ring());
    ring["keys"][0]["activates"] = "2999-01-01T00:00:00Z".into();
    publish(&folder.ring(), rings::signed(&ring));
    let server = Server::start(&folder, "", "");
    let uid = server.values("PhoneToUID", &["13988888888"]).remove(0);
    assert_eq!(server.values("UIDToPhone", &[&uid]), ["008613988888888"]);
}

#[test]
fn a_password_is_changed_without_a_gap() {
    let folder = Folder::new();
    let server = Server::start(&folder, "", "");
    let config = folder.path().join("callveil.toml");
    let (text, old) = (fs::read_to_string(&config).unwrap(), sha256_hex(PASSWORD));
    let status = |password: &str| {
        let request = post(&basic("ccc", password), r#"{"Numbers":[],"Mode":"PhoneToUID"}"#);
        Http::connect(server.address).send(request).status
    };
    let hashes = |hashes: &str| fs::write(&config, text.replace(&format!("\"{old}\""), hashes)).unwrap();
    hashes(&format!("\"{old}\", \"{}\"", sha256_hex("new")));
    server.signal("HUP");
    server.wait_for("configuration reloaded");
    assert_eq!((status(PASSWORD), status("new")), (200, 200));
    hashes(&format!("\"{}\"", sha256_hex("new")));
    server.signal("HUP");
    server.wait_for("configuration reloaded");
    assert_eq!((status(PASSWORD), status("new")), (401, 200));
    hashes("\"hunter2\"");
    server.signal("HUP");
    server.wait_for("keeping the configuration in use");
    let refused = server.admin_get("/readyz").json()["configuration_refused"].as_str().unwrap().to_owned();
    assert!(refused.contains("`clients[0].password_sha256`"), "{refused}");
    assert_eq!((status(PASSWORD), status("new")), (401, 200));
}

#[test]
fn aliases_and_rewrapping_over_three_keys() {
    let folder = Folder::new();
    let all = "modes = [\"PhoneToUID\", \"UIDToPhone\", \"RewrapUID\", \"PhoneToAliases\"]";
    let first = run(folder.path(), &["tokenize", "--value", "13988888888"]).stdout;
    let mut uids = vec![String::from_utf8(first).unwrap().trim_end().to_owned()];
    for _ in 0..2 {
        while !run(folder.path(), &["keys", "rotate", "--activate-in", "0s"]).status.success() {}
        let newer = || String::from_utf8(run(folder.path(), &["tokenize", "--value", "13988888888"]).stdout).unwrap();
        let newer = std::iter::repeat_with(newer).find(|uid| !uids.contains(&uid.trim_end().to_owned())).unwrap();
        uids.push(newer.trim_end().to_owned());
    }
    let server = Server::start(&folder, "", all);
    let newest_first: Vec<&str> = uids.iter().rev().map(String::as_str).collect();
    let aliases = server.call("PhoneToAliases", &["+86 139 8888 8888"]);
    assert_eq!(
        (&aliases["Results"][0]["Value"], &aliases["Results"][0]["Values"]),
        (&json!(uids[2]), &json!(newest_first))
    );
    assert_eq!(server.values("RewrapUID", &newest_first), [&*uids[2]; 3]);
    assert_eq!(server.values("UIDToPhone", &newest_first), ["008613988888888"; 3]);
    // A pending key has aliases too, after the primary; a disabled one has none.
    assert!(run(folder.path(), &["keys", "rotate"]).status.success());
    let ids: Vec<String> = rings::read(&folder.ring())["keys"]
        .as_array()
        .unwrap()
        .iter()
        .map(|key| key["id"].as_str().unwrap().to_owned())
        .collect();
    assert!(run(folder.path(), &["keys", "disable", &ids[0]]).status.success());
    server.signal("HUP");
    server.wait_for(RELOADED);
    while generation(&server) < 5 {}
    let values = server.call("PhoneToAliases", &["13988888888"])["Results"][0]["Values"].clone();
    let values: Vec<&str> = values.as_array().unwrap().iter().map(|value| value.as_str().unwrap()).collect();
    assert_eq!((values.len(), values[0], values[2]), (3, &*uids[2], &*uids[1]));
    assert!(!uids.iter().any(|uid| uid == values[1]));
    assert_eq!(server.call("UIDToPhone", &[&uids[0]])["Results"][0]["Error"], "key_disabled");
    assert!(run(folder.path(), &["keys", "destroy", &ids[0], "--yes", "--early"]).status.success());
    server.wait_for(RELOADED);
    while generation(&server) < 6 {}
    assert_eq!(server.call("UIDToPhone", &[&uids[0]])["Results"][0]["Error"], "key_destroyed");
}

#[track_caller]
fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let since = Instant::now();
    while !is_so() {
        assert!(since.elapsed() < PATIENCE, "never: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Replaces a file by a pipe: opening it blocks until somebody writes.
fn make_pipe(path: &Path) {
    fs::remove_file(path).unwrap();
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

/// Writes `text` to the reader that waits at the pipe. Later readers find a file.
fn feed(pipe: &Path, text: &str) {
    let (old, new) = (pipe.with_extension("pipe"), pipe.with_extension("new"));
    fs::hard_link(pipe, &old).unwrap();
    fs::write(&new, text).unwrap();
    fs::rename(new, pipe).unwrap();
    // Where nobody waits, nobody can open it.
    let at_once = i32::try_from(OFlags::NONBLOCK.bits()).unwrap();
    let waiting = fs::OpenOptions::new().write(true).custom_flags(at_once).open(old);
    let _ = waiting.map(|mut pipe| pipe.write_all(text.as_bytes()).unwrap());
}

#[test]
fn sighup_is_heeded_even_before_the_configuration_is_read() {
    let folder = Folder::new();
    let config = folder.config("", "");
    let text = fs::read_to_string(&config).unwrap();
    make_pipe(&config);
    let pid = folder.path().join("pid");
    let script = format!("echo $$ >{}; exec \"$0\" serve --config {}", pid.display(), config.display());
    let mut command = Command::new("sh");
    command.args(["-c", &script]).arg(callveil().get_program());
    let early = thread::spawn(move || {
        let process = || fs::read_to_string(&pid).ok().and_then(|pid| pid.trim().parse::<u32>().ok());
        wait_until("it is there", || process().is_some());
        let process = process().unwrap();
        wait_until("it expects SIGHUP", || catches_sighup(process));
        send(process, "HUP");
        feed(&config, &text);
    });
    let server = Server::spawn(&mut command);
    early.join().unwrap();
    wait_until("it reloads", || server.log().contains("configuration reloaded"));
    assert_eq!(server.call("PhoneToUID", &[])["Code"], 0);
}

fn catches_sighup(process: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
    u64::from_str_radix(caught.trim(), 16).unwrap() & 1 == 1
}

#[test]
fn a_look_that_hangs_is_told_of_and_holds_nobody() {
    let folder = Folder::new();
    let mut server = Server::start(&folder, "[limits]\ndrain_delay_seconds = 0", "");
    let config = folder.path().join("callveil.toml");
    let text = fs::read_to_string(&config).unwrap();
    let is_stuck = || {
        let stuck = server.admin_get("/readyz").json()["reload_stuck"].as_bool().unwrap();
        let counted = server.admin_get("/metrics").body.contains("\ncallveil_reload_stuck 1\n");
        assert_eq!((server.admin_get("/readyz").status, counted), (200, stuck));
        stuck
    };
    assert!(!is_stuck());
    make_pipe(&config);
    server.signal("HUP");
    server.wait_for("reading the files on disk hangs: changes are not loaded until it ends");
    assert!(is_stuck());
    // What wants a look does not wait for this one.
    let uid = {
        let other = Folder::new();
        String::from_utf8(run(other.path(), &["tokenize", "--value", "8001"]).stdout).unwrap()
    };
    assert_eq!(server.call("UIDToPhone", &[uid.trim()])["Results"][0]["Error"], "unknown_key");
    feed(&config, &text);
    server.wait_for("configuration reloaded");
    server.wait_for("reading the files on disk has ended");
    assert!(!is_stuck());
    // Nor does the end of the process.
    make_pipe(&config);
    server.signal("HUP");
    server.wait_for("SIGHUP: reloading");
    server.signal("TERM");
    assert_eq!(server.wait_within(PATIENCE), Some(0));
}

#[test]
fn sighup_names_what_it_does_not_take_up_and_gives_no_second_minute() {
    let folder = Folder::new();
    let limits = "[limits]\nconnections = 100\n";
    let server = Server::start(&folder, limits, "tokenize_per_minute = 10\n[audit]\nto = \"audit.log\"");
    let spend = |items: usize| server.call("PhoneToUID", &vec!["8001"; items])["Code"].clone();
    assert_eq!((spend(10), spend(1)), (json!(0), json!(429)));
    folder.config("threads = 1\n[limits]\nconnections = 101", "tokenize_per_minute = 12\n[audit]\nto = \"audit.log\"");
    server.signal("HUP");
    let told = server.wait_for("settings changed that take effect only at the start: restart this replica");
    // The addresses of the listeners are the same text.
    assert_eq!(told["keys"], "limits.connections, threads");
    server.wait_for("configuration reloaded");
    assert_eq!((spend(3), spend(2), spend(1)), (json!(429), json!(0), json!(429)));
    let audit = || fs::read_to_string(folder.path().join("audit.log")).unwrap();
    wait_until("it is recorded", || audit().contains("\"restart_wanted\":[\"limits.connections\",\"threads\"]"));
}

/// While the first numbers would have to wait, probes are answered, and told so.
#[test]
fn a_replica_that_warms_up_says_so() {
    let folder = Folder::new();
    let config = folder.config("", "");
    let is_seen = || {
        let mut command = callveil();
        command.args(["serve", "--config"]).arg(&config).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        let admin = lines.find_map(|line| {
            let line: Value = serde_json::from_str(&line).ok()?;
            (line["message"] == "admin listening").then(|| line["address"].as_str().unwrap().parse().unwrap())
        });
        let answer = Http::connect(admin.unwrap()).send("GET /readyz HTTP/1.1\r\nhost: admin\r\n\r\n");
        child.kill().unwrap();
        child.wait().unwrap();
        let status = answer.json()["status"].clone();
        assert_eq!(answer.status == 503, status == "warming up", "{answer:?}");
        status == "warming up"
    };
    // It takes long enough to be seen, if not each time on a machine that does much else.
    assert!((0..10).any(|_| is_seen()), "never seen");
}
