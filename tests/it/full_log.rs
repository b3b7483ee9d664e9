//! An audit log that strangers try to fill, or that cannot be written: what is lost, and who notices.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead as _, BufReader},
    net::{SocketAddr, TcpStream},
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{scope, sleep},
    time::{Duration, Instant},
};

use jiff::SignedDuration;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    fleet::{
        POLL_EVERY,
        caller::{Caller, Manner},
        haproxy::Balancer,
        replica::Replica,
    },
    needs::is_here,
    support::{ALONE, Answer, Folder, Http, PASSWORD, PATIENCE, Server, USER, basic, pipe, post, run},
};

/// The number of places in the log.
const PLACES: u64 = 8192;

/// How soon `/readyz` must report a problem of the log.
const TOLD_WITHIN: Duration = Duration::from_secs(2);

/// Maximum bytes of the strangers' lines in a minute.
const STRANGERS_BYTES_MAX: usize = 64 * 1024;

/// The number of connections of the flood.
const FLOODERS: usize = 4;

/// Ends threads, even if the test panics.
struct End<'o>(&'o AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A small disk, unmounted when dropped.
struct Disk(TempDir);

impl Disk {
    /// Mounts a disk with this many bytes, which only root can do.
    fn mount(bytes: u64) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", &format!("size={bytes}"), "tmpfs"]).arg(folder.path());
        let mounted = command.stderr(Stdio::null()).status().is_ok_and(|status| status.success());
        if !mounted {
            eprintln!("skipped: only root can mount a small disk");
        }
        mounted.then_some(Self(folder))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

fn events(log: &Path, event: &str) -> Vec<Value> {
    let log = BufReader::new(fs::File::open(log).unwrap());
    let lines = log.lines().map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap());
    lines.filter(|line| line["event"] == event).collect()
}

fn readiness(admin: SocketAddr) -> Answer {
    Http::connect(admin).send("GET /readyz HTTP/1.1\r\nhost: admin\r\n\r\n")
}

fn queued(answer: &Answer) -> u64 {
    answer.json()["audit"]["queued"].as_u64().unwrap()
}

/// Waits until `/readyz` gives an answer for which `is_it` is true.
fn wait_for_readiness(what: &str, admin: SocketAddr, is_it: impl Fn(&Answer) -> bool) -> Answer {
    let since = Instant::now();
    loop {
        let answer = readiness(admin);
        if is_it(&answer) {
            return answer;
        }
        assert!(since.elapsed() < PATIENCE, "never {what}: {answer:?}");
        sleep(POLL_EVERY);
    }
}

/// Makes a server end at once, and returns its exit code.
fn stop(server: &mut Server) -> Option<i32> {
    server.signal("TERM");
    server.signal("TERM");
    server.wait_within(PATIENCE)
}

#[test]
fn strangers_cannot_fill_the_log() {
    let folder = Folder::new();
    check_flood(&folder, &folder.path().join("audit.log"), Duration::from_secs(3));
}

/// A minute of it, on a disk that was full after 2.4 seconds when each request was a line.
#[test]
#[ignore = "a minute of load"]
fn strangers_cannot_fill_a_small_disk_in_a_minute() {
    let _alone = ALONE.lock();
    let Some(disk) = Disk::mount(64 << 20) else { return };
    check_flood(&Folder::new(), &disk.path("audit.log"), Duration::from_secs(60));
}

fn check_flood(folder: &Folder, log: &Path, duration: Duration) {
    let limits = "tokenize_per_minute = \"unlimited\"\n";
    let mut server = Server::start(folder, "", &format!("{limits}[audit]\nto = \"{}\"", log.display()));
    let (over, answered) = (AtomicBool::new(false), AtomicU64::new(0));
    let requests = ["GET /x HTTP/1.1\r\nhost: a\r\n\r\n".to_owned(), post(&basic(USER, "hunter2"), "{}")];
    let (flooded, good) = scope(|scope| {
        let _end = End(&over);
        for at in 0..FLOODERS {
            let (address, request, over, answered) = (server.address, &requests[at % 2], &over, &answered);
            scope.spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    answered.fetch_add(flood_once(address, request, over), Ordering::Relaxed);
                }
            });
        }
        let (begun, mut http, mut good) = (Instant::now(), server.connect(), 0);
        while begun.elapsed() < duration {
            assert_eq!(http.post(r#"{"Numbers":["8001"],"Mode":"PhoneToUID"}"#).status, 200);
            good += 1;
            sleep(Duration::from_millis(10));
        }
        (begun.elapsed(), good)
    });
    let refused = refused_by_status(&server);
    assert_eq!(stop(&mut server), Some(0));
    let sums = events(log, "strangers");
    let bytes: usize = sums.iter().map(|line| line.to_string().len() + 1).sum();
    let mut summed = BTreeMap::<u64, u64>::new();
    for sum in &sums {
        assert_eq!(sum["peer"], "127.0.0.1");
        *summed.entry(sum["status"].as_u64().unwrap()).or_default() += sum["count"].as_u64().unwrap();
    }
    let (lines, answered) = (sums.len(), answered.into_inner());
    println!("{answered} refusals in {flooded:?}: {lines} lines, {bytes} bytes: {summed:?}; good requests: {good}");
    assert_eq!(summed, refused);
    let total: u64 = summed.values().sum();
    assert!((1000..=total).contains(&answered), "{answered} of {total}");
    assert!(bytes < STRANGERS_BYTES_MAX, "{bytes}");
    assert_eq!(events(log, "request").len(), good);
    let told: Value =
        serde_json::from_str(&pipe(folder.path(), &["audit", "sum", "--json", log.to_str().unwrap()], "")).unwrap();
    let strangers = told["sums"].as_array().unwrap().iter().find(|sum| sum["client"] == "").unwrap();
    assert_eq!((&strangers["requests"], &strangers["mode"]), (&json!(total), &json!("")));
}

/// Floods over one connection of a stranger. Returns how many requests were answered.
fn flood_once(address: SocketAddr, request: &str, over: &AtomicBool) -> u64 {
    // Ports of our own may be lacking for a moment.
    let Ok(socket) = TcpStream::connect(address) else { return 0 };
    let (mut http, mut answered) = (Http::of(socket), 0);
    while !over.load(Ordering::Relaxed) && std::io::Write::write_all(http.0.get_mut(), request.as_bytes()).is_ok() {
        let Some(answer) = http.try_read() else { break };
        assert!([401, 404, 429].contains(&answer.status), "{answer:?}");
        answered += 1;
        if answer.header("connection") == Some("close") {
            break;
        }
    }
    answered
}

/// The counts of requests without a mode, by status, once all of them have ended.
fn refused_by_status(server: &Server) -> BTreeMap<u64, u64> {
    let since = Instant::now();
    loop {
        let text = server.admin_get("/metrics").body;
        assert!(since.elapsed() < PATIENCE, "{text}");
        if !text.contains("\ncallveil_connections 0\n") {
            sleep(POLL_EVERY);
            continue;
        }
        let series = text.lines().filter_map(|line| {
            let rest = line.strip_prefix("callveil_requests_total{mode=\"none\",status=\"")?;
            let (status, count) = rest.split_once("\"} ")?;
            Some((status.parse().unwrap_or(0), count.parse().unwrap()))
        });
        let by_status: BTreeMap<u64, u64> = series.filter(|(_, count)| *count > 0).collect();
        let summed = format!("\ncallveil_audit_summed_total {}\n", by_status.values().sum::<u64>());
        assert!(text.contains(&summed), "{summed} {text}");
        return by_status;
    }
}

/// Calls until the log has no free place, over connections that then wait. Returns how many calls were answered.
fn fill_places(address: SocketAddr, over: &AtomicBool) -> u64 {
    let call = post(&basic(USER, PASSWORD), r#"{"Numbers":["8001"],"Mode":"PhoneToUID"}"#);
    let client = || {
        let (mut http, mut answered) = (Http::connect(address), 0);
        while !over.load(Ordering::Relaxed) {
            assert_eq!(http.send(&call).status, 200);
            answered += 1;
        }
        answered
    };
    scope(|scope| {
        let clients: Vec<_> = (0..FLOODERS).map(|_| scope.spawn(client)).collect();
        clients.into_iter().map(|client| client.join().unwrap()).sum()
    })
}

/// Requests wait only once the places are taken, and before that `/readyz` says that it wants none.
#[test]
fn a_reader_that_stops_is_told_of_and_nothing_is_lost() {
    let folder = Folder::new();
    let (reader, writer) = std::io::pipe().unwrap();
    let mut server = Server::start_onto(&folder, writer.into(), "", "tokenize_per_minute = \"unlimited\"");
    let over = AtomicBool::new(false);
    let (answered, read) = scope(|scope| {
        let (address, over) = (server.address, &over);
        let end = End(over);
        let calls = scope.spawn(move || fill_places(address, over));
        wait_for_readiness("stuck", server.admin, |answer| answer.json()["audit"]["stuck"] == true);
        let since = Instant::now();
        let answer = wait_for_readiness("unready", server.admin, |answer| answer.status == 503);
        assert!(since.elapsed() < TOLD_WITHIN, "{:?}", since.elapsed());
        assert_eq!(answer.json()["status"], "no room in the audit log");
        assert_eq!(answer.json()["audit"]["stuck"], true);
        assert!(server.admin_get("/metrics").body.contains("\ncallveil_ready 0\n"));
        wait_for_readiness("out of places", server.admin, |answer| queued(answer) >= PLACES);
        let read = scope.spawn(|| {
            let lines =
                BufReader::new(reader).lines().map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap());
            lines.filter(|line| line["event"] == "request").count() as u64
        });
        wait_for_readiness("ready again", server.admin, |answer| answer.status == 200);
        drop(end);
        let answered = calls.join().unwrap();
        assert_eq!(stop(&mut server), Some(0));
        (answered, read.join().unwrap())
    });
    assert_eq!(answered, read);
}

/// What could not be written when the process ends, it owns up to.
#[test]
fn a_log_that_is_not_written_to_its_end_makes_an_exit_code() {
    // On a full disk nothing is: each call, the strangers, the start, and the end.
    let folder = Folder::new();
    symlink("/dev/full", folder.path().join("audit.log")).unwrap();
    let mut server = Server::start(&folder, "", "[audit]\nto = \"audit.log\"");
    for _ in 0..10 {
        server.values("PhoneToUID", &["8001"]);
    }
    for _ in 0..10 {
        Http::connect(server.address).send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    }
    assert_eq!(stop(&mut server), Some(1));
    assert_eq!(lost(&server), 10 + 2 + 2);
    // A pipe that nobody reads: the write never returns.
    let (_reader, writer) = std::io::pipe().unwrap();
    let mut server = Server::start_onto(&Folder::new(), writer.into(), "", "");
    let mut http = server.connect();
    for _ in 0..1000 {
        http.post(r#"{"Numbers":["8001"],"Mode":"PhoneToUID"}"#);
    }
    assert_eq!(stop(&mut server), Some(1));
    let lost = lost(&server);
    assert!((100..=1002).contains(&lost), "{lost}");
}

/// Where items are hashed, four hashes take a place, and an alias is one: a ring of many keys makes many lines.
#[test]
fn aliases_take_the_room_that_their_hashes_do() {
    let folder = Folder::new();
    for _ in 0..2 {
        // The one before is the primary within a second.
        let since = Instant::now();
        while !run(folder.path(), &["keys", "rotate", "--activate-in", "0s"]).status.success() {
            assert!(since.elapsed() < PATIENCE, "the ring is never rotated");
        }
    }
    symlink("/dev/full", folder.path().join("audit.log")).unwrap();
    fs::write(folder.path().join("audit.key"), [7; 32]).unwrap();
    fs::set_permissions(folder.path().join("audit.key"), fs::Permissions::from_mode(0o600)).unwrap();
    let audit = "[audit]\nto = \"audit.log\"\nitems = \"hmac\"\nhmac_key = \"audit.key\"";
    let server = Server::start(&folder, "", &format!("modes = [\"PhoneToUID\", \"PhoneToAliases\"]\n{audit}"));
    for (mode, places) in [("PhoneToUID", 1 + 100 / 4), ("PhoneToAliases", 2 + 3 * 100 / 4)] {
        let before = queued(&readiness(server.admin));
        server.values(mode, &["8001"; 100]);
        assert_eq!(queued(&readiness(server.admin)) - before, places, "{mode}");
    }
}

/// The count of lost lines in the log of a process that has ended.
fn lost(server: &Server) -> u64 {
    let log = server.full_log();
    let told = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let told: Vec<_> = told.filter(|line| line["message"] == "audit records could not be written").collect();
    assert_eq!(told.len(), 1, "{log}");
    told[0]["lost"].as_u64().unwrap()
}

/// The bytes of the disk, and of a file that takes up all but a little of it.
const DISK_BYTES: u64 = 8 << 20;
const BALLAST_BYTES: u64 = DISK_BYTES - (64 << 10);

/// The number of clients, and their pause between calls: the remaining room lasts until HAProxy has turned away.
const CALLERS: usize = 4;
const CALL_EVERY: Duration = Duration::from_millis(10);

/// The answers that the callers got.
#[derive(Default)]
struct Seen {
    answers: BTreeMap<String, u64>,
    failures: Vec<String>,
    slowest: Duration,
}

#[test]
fn a_full_disk_turns_a_balancer_to_another_replica_without_a_failed_request() {
    if !is_here("haproxy") {
        return;
    }
    let Some(disk) = Disk::mount(DISK_BYTES) else { return };
    let _alone = ALONE.lock();
    let (operator, folders) = (Folder::new(), [Folder::new(), Folder::new()]);
    let replicas = ["full", "spare"].map(|name| {
        let host = if name == "full" { [127, 0, 0, 21] } else { [127, 0, 0, 22] };
        Replica::new(name, SignedDuration::ZERO, host)
    });
    let log = disk.path("audit.log");
    let mut full = replicas[0].set_up_with(&folders[0], &operator, "", &format!("[audit]\nto = \"{}\"", log.display()));
    let _spare = replicas[1].set_up(&folders[1], &operator);
    let balancer = Balancer::start(&replicas);
    let (over, seen) = (AtomicBool::new(false), Mutex::<Seen>::default());
    let answers = |name: &str| seen.lock().unwrap().answers.get(name).copied().unwrap_or(0);
    let wait_for_answers = |name: &str| {
        let (before, since) = (answers(name), Instant::now());
        while answers(name) < before + 20 {
            assert!(since.elapsed() < PATIENCE, "{name} is not in use: {:?}", seen.lock().unwrap().failures);
            sleep(POLL_EVERY);
        }
    };
    let told = scope(|scope| {
        let _end = End(&over);
        for _ in 0..CALLERS {
            scope.spawn(|| call_on(balancer.address, &over, &seen));
        }
        ["full", "spare"].iter().for_each(|name| wait_for_answers(name));
        fs::write(disk.path("ballast"), vec![0; usize::try_from(BALLAST_BYTES).unwrap()]).unwrap();
        let full_since = Instant::now();
        wait_for_readiness("unready", full.admin, |answer| answer.status == 503);
        let unready = full_since.elapsed();
        let most = wait_until_down(&balancer, full.admin);
        wait_for_answers("spare");
        fs::remove_file(disk.path("ballast")).unwrap();
        let space = Instant::now();
        wait_for_readiness("ready again", full.admin, |answer| answer.status == 200);
        let ready = space.elapsed();
        wait_for_answers("full");
        (unready, ready, most)
    });
    let (unready, ready, most) = told;
    assert_eq!(stop(&mut full), Some(0));
    let (seen, stats) = (seen.into_inner().unwrap(), balancer.stats());
    let Seen { answers, failures, slowest } = &seen;
    println!("503 after {unready:?}, 200 after {ready:?}, at most {most} queued; {answers:?}, slowest {slowest:?}");
    assert!(failures.is_empty(), "{failures:?}\n{}\n{}", balancer.log(), full.log());
    assert!(unready < TOLD_WITHIN && ready < TOLD_WITHIN, "{unready:?} {ready:?}");
    // Nothing is lost; what HAProxy gave up on, and sent elsewhere, is recorded all the same.
    let recorded = events(&log, "request").len() as u64;
    let counter = |name: &str| stats["BACKEND"][name].parse::<u64>().unwrap();
    let expected = answers["full"];
    assert!((expected..=expected + counter("wretr") + counter("wredis")).contains(&recorded), "{recorded} {expected}");
    assert!(events(&log, "dropped").is_empty());
}

/// Calls repeatedly until it is over.
fn call_on(address: SocketAddr, over: &AtomicBool, seen: &Mutex<Seen>) {
    let mut caller = Caller::new(address, Manner::KeepAlive);
    while !over.load(Ordering::Relaxed) {
        let begun = Instant::now();
        let called = caller.call("PhoneToUID", &["8001"]);
        let mut seen = seen.lock().unwrap();
        seen.slowest = seen.slowest.max(begun.elapsed());
        match called {
            Ok(called) => *seen.answers.entry(called.replica.unwrap()).or_default() += 1,
            Err(failure) => seen.failures.push(failure),
        }
        drop(seen);
        sleep(CALL_EVERY);
    }
}

/// Waits until HAProxy has turned away from the replica with the full disk. Returns the most places that were taken.
fn wait_until_down(balancer: &Balancer, admin: SocketAddr) -> u64 {
    let (since, mut most) = (Instant::now(), 0);
    while balancer.stats()["full"]["status"] != "DOWN" {
        assert!(since.elapsed() < PATIENCE, "HAProxy does not turn away:\n{}", balancer.log());
        most = most.max(queued(&readiness(admin)));
        sleep(POLL_EVERY);
    }
    most
}
