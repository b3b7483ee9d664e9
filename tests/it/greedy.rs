//! Greedy and slow clients beside good ones, for minutes. The tests measure and print what the good ones notice.

use std::{
    collections::HashMap,
    fs,
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use serde_json::json;

use crate::{
    needs::is_here,
    support::{ALONE, Answer, Folder, Http, PASSWORD, PATIENCE, Server, USER, basic, callveil, post, sha256_hex},
};

/// A client other than [`USER`], with the same password.
const OTHER: &str = "other";

/// How many requests per second the good client sends.
const GOOD_RATE: u32 = 200;

fn request(user: &str, items: usize) -> String {
    post(&basic(user, PASSWORD), &json!({"Numbers": vec!["13988888888"; items], "Mode": "PhoneToUID"}).to_string())
}

/// A well-behaved client: evenly spaced requests, one after another, over one connection.
struct GoodClient {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Duration>>,
}

impl GoodClient {
    fn start(address: SocketAddr, user: &'static str, rate: u32) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = thread::spawn(move || {
            let (mut http, request) = (Http::connect(address), request(user, 1));
            let (mut latencies, mut next) = (Vec::new(), Instant::now());
            while !stopped.load(Ordering::Relaxed) {
                let sent = Instant::now();
                let answer = http.send(&request);
                latencies.push(sent.elapsed());
                assert_eq!((answer.status, &answer.json()["Code"]), (200, &json!(0)), "{answer:?}");
                next = (next + Duration::from_secs(1) / rate).max(sent);
                thread::sleep(next.saturating_duration_since(Instant::now()));
            }
            latencies
        });
        Self { stop, thread }
    }

    /// Stops the client, and returns how long each request took. All of them must be answered correctly.
    fn stop(self) -> Latencies {
        self.stop.store(true, Ordering::Relaxed);
        let mut latencies = self.thread.join().unwrap();
        latencies.sort_unstable();
        Latencies(latencies)
    }
}

/// Durations in ascending order.
struct Latencies(Vec<Duration>);

impl Latencies {
    fn percentile(&self, percent: usize) -> Duration {
        self.0[(self.0.len() * percent / 100).min(self.0.len() - 1)]
    }
}

impl std::fmt::Display for Latencies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [median, p99, max] = [50, 99, 100].map(|percent| self.percentile(percent));
        write!(f, "{} requests, median {median:?}, p99 {p99:?}, max {max:?}", self.0.len())
    }
}

/// Another program, killed when dropped.
struct Program(Child);

impl Program {
    fn spawn(command: &mut Command) -> Self {
        Self(command.stdin(Stdio::null()).spawn().unwrap())
    }

    fn wait(&mut self, patience: Duration) {
        let since = Instant::now();
        while self.0.try_wait().unwrap().is_none() {
            assert!(since.elapsed() < patience, "it does not end");
            thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The maximum slowdown of the good client's p99. Quiet values below this minimum count as noise.
const SLOWER_MAX: u32 = 3;
const QUIET_MIN: Duration = Duration::from_millis(1);

/// Another program may disturb one measurement, but hardly all of them.
const ATTEMPTS: usize = 3;

const SLOW_CONNECTIONS: usize = 1_000;

/// Runs `slowhttptest` for a while against a server with the default time limits.
fn check_slow_clients(name: &str, options: &[&str]) {
    if !is_here("slowhttptest") {
        return;
    }
    let _alone = ALONE.lock();
    let (top, client) = ("[limits]\nconnections_per_peer = 3000", "tokenize_per_minute = \"unlimited\"");
    let folder = Folder::new();
    let server = Server::start(&folder, top, client);
    for attempt in 1..=ATTEMPTS {
        let quiet_client = GoodClient::start(server.address, USER, GOOD_RATE);
        thread::sleep(Duration::from_secs(6));
        let quiet = quiet_client.stop();
        let out = folder.path().join("slowhttptest.out");
        let (url, connections) = (format!("http://{}/", server.address), SLOW_CONNECTIONS.to_string());
        let mut command = Command::new("slowhttptest");
        command.args(["-c", &connections, "-r", "500", "-l", "15", "-u", &url]).args(options);
        command.stdout(fs::File::create(&out).unwrap()).stderr(Stdio::null());
        let mut program = Program::spawn(&mut command);
        let good_client = GoodClient::start(server.address, USER, GOOD_RATE);
        program.wait(Duration::from_secs(60));
        let attacked = good_client.stop();
        let connected = most_connected(&fs::read_to_string(&out).unwrap());
        println!(
            "{name}, attempt {attempt}: up to {connected} slow connections\n  quiet: {quiet}\n  attacked: {attacked}"
        );
        assert!(connected > SLOW_CONNECTIONS * 8 / 10, "{}", fs::read_to_string(&out).unwrap());
        if attacked.percentile(99) < SLOWER_MAX * quiet.percentile(99).max(QUIET_MIN) {
            return;
        }
    }
    panic!("{name}: the good client was slowed down each time");
}

/// The greatest number of open connections in slowhttptest's coloured output.
fn most_connected(out: &str) -> usize {
    let told = out.lines().filter_map(|line| line.split_once("connected:")?.1.rsplit('m').next()?.trim().parse().ok());
    told.max().unwrap_or(0)
}

/// A cookie for slowhttptest with our header smuggled into it.
fn authorized() -> String {
    format!("a=b\r\nAuthorization: {}", basic(USER, PASSWORD))
}

#[test]
#[ignore = "minutes of load"]
fn a_thousand_slow_heads() {
    check_slow_clients("slow heads", &["-H", "-i", "2"]);
}

#[test]
#[ignore = "minutes of load"]
fn a_thousand_slow_bodies() {
    check_slow_clients("slow bodies of strangers", &["-B", "-i", "2"]);
    check_slow_clients("slow bodies of a client", &["-B", "-i", "2", "-s", "100000", "-j", &authorized()]);
}

#[test]
#[ignore = "minutes of load"]
fn a_thousand_slow_readers() {
    check_slow_clients("slow readers", &["-X", "-k", "10", "-w", "10", "-y", "20", "-n", "1", "-z", "5"]);
}

const IDLE_CONNECTIONS: usize = 10_000;

#[test]
#[ignore = "minutes of load"]
fn ten_thousand_idle_connections() {
    let _alone = ALONE.lock();
    let files = rlimit::increase_nofile_limit(u64::MAX).unwrap();
    assert!(files > 12_000, "the hard limit of open files is {files}: too few for this test");
    let limits = "[limits]\nconnections = 12000";
    let server = Server::start(&Folder::new(), limits, "tokenize_per_minute = \"unlimited\"");
    assert_eq!(server.call("PhoneToUID", &["13988888888"])["Code"], 0);
    let (before, good) = (server.rss_kib(), GoodClient::start(server.address, USER, GOOD_RATE));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
    let mut idle: Vec<Http> = (0..IDLE_CONNECTIONS)
        .map(|at| {
            // The peer from which each comes: 1,000 of one address.
            let from = [127, 0, 0, 2 + u8::try_from(at / 1_000).unwrap()];
            let mut http = runtime.block_on(connect_from(from, server.address));
            // A connection that has had a request costs more than one that is silent from the start.
            assert_eq!(http.send(request(USER, 1)).status, 200);
            http
        })
        .collect();
    let opened = Instant::now();
    while opened.elapsed() < Duration::from_secs(10) {
        thread::sleep(Duration::from_millis(100));
    }
    let (after, good) = (server.rss_kib(), good.stop());
    let each = (after - before) * 1024 / u64::try_from(IDLE_CONNECTIONS).unwrap();
    println!(
        "{IDLE_CONNECTIONS} idle connections: VmRSS {before} KiB before, {after} KiB with them, {each} bytes each"
    );
    println!("  the good client meanwhile: {good}");
    assert!(after < 200 * 1024, "{after} KiB");
    // All of them are still there.
    let served = idle.iter_mut().map(|http| http.send(request(USER, 1))).filter(|answer| answer.status == 200).count();
    assert_eq!(served, IDLE_CONNECTIONS);
    println!("  VmRSS {} KiB after a request of each", server.rss_kib());
}

async fn connect_from(from: [u8; 4], address: SocketAddr) -> Http {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind((from, 0).into()).unwrap();
    let stream = socket.connect(address).await.unwrap().into_std().unwrap();
    stream.set_nonblocking(false).unwrap();
    Http::of(stream)
}

/// The minute that limits count in.
const MINUTE: Duration = Duration::from_secs(60);

/// The first client's limit of numbers per minute.
const LIMIT: usize = 6_000;

/// The patient client's limit.
const PATIENT_LIMIT: usize = 100;

#[test]
#[ignore = "minutes of load"]
fn limits_hold_under_parallel_load() {
    let _alone = ALONE.lock();
    let more = |user: &str, limit: &str| {
        let hash = sha256_hex(PASSWORD);
        format!("[[clients]]\nusername = \"{user}\"\npassword_sha256 = [\"{hash}\"]\ntokenize_per_minute = {limit}\n")
    };
    let patient_limit = PATIENT_LIMIT.to_string();
    let (other, patient) = (more(OTHER, "\"unlimited\""), more("patient", &patient_limit));
    let client = format!("tokenize_per_minute = {LIMIT}\n{other}{patient}");
    let server = Server::start(&Folder::new(), "", &client);
    let (address, begin) = (server.address, Instant::now());
    let other = GoodClient::start(address, OTHER, 50);
    let patient = thread::spawn(move || retry_when_told(address));
    let greedy: Vec<_> = (0..8).map(|seed| thread::spawn(move || take_all(address, seed, begin))).collect();
    let mut admitted: Vec<Admitted> = greedy.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
    admitted.sort_unstable_by_key(|admitted| admitted.answered);
    let within = |from: Duration| {
        let window = admitted.iter().filter(|one| one.asked >= from && one.answered < from + MINUTE);
        window.map(|one| one.items).sum::<usize>()
    };
    let first = within(Duration::ZERO);
    let windows: Vec<usize> = (0..=50).map(|tenth| within(Duration::from_millis(100 * tenth))).collect();
    let (least, most) = (windows.iter().min().unwrap(), windows.iter().max().unwrap());
    let last = within(Duration::from_secs(5));
    println!("limit {LIMIT}: {first} in the first minute, {last} in the last; of all minutes {least} to {most}");
    println!("  the other client meanwhile: {}", other.stop());
    println!("  the patient one waited {:?} as told, and was admitted", patient.join().unwrap());
    let fits = LIMIT - LIMIT / 100..=LIMIT + LIMIT / 100;
    assert!(fits.contains(&first) && fits.contains(&last));
    assert!(*most <= LIMIT + LIMIT / 100);
}

/// Numbers that were admitted, and the times of the request and the answer, from the beginning on.
struct Admitted {
    asked: Duration,
    answered: Duration,
    items: usize,
}

/// Sends requests without a break for 65 seconds, whatever the answers.
fn take_all(address: SocketAddr, seed: usize, begin: Instant) -> Vec<Admitted> {
    let requests: Vec<String> = (1..=10).map(|items| request(USER, items)).collect();
    let (mut http, mut admitted) = (Http::connect(address), Vec::new());
    for at in seed.. {
        let asked = begin.elapsed();
        if asked > MINUTE + Duration::from_secs(5) {
            break;
        }
        let items = 1 + at * 7 % 10;
        let answer = http.send(&requests[items - 1]);
        match answer.status {
            200 => admitted.push(Admitted { asked, answered: begin.elapsed(), items }),
            429 => assert!(retry_after(&answer) <= MINUTE.as_secs()),
            _ => panic!("{answer:?}"),
        }
    }
    admitted
}

fn retry_after(answer: &Answer) -> u64 {
    answer.header("retry-after").unwrap().parse().unwrap()
}

/// Uses up the limit, waits as long as it is told, and uses it up again. A little earlier, that is not possible.
fn retry_when_told(address: SocketAddr) -> Duration {
    let mut http = Http::connect(address);
    let mut ask = |items| http.send(request("patient", items));
    assert_eq!(ask(PATIENT_LIMIT).status, 200);
    thread::sleep(Duration::from_secs(2));
    let refused = ask(PATIENT_LIMIT);
    assert_eq!(refused.status, 429);
    let (told, since) = (Duration::from_secs(retry_after(&refused)), Instant::now());
    assert!(told <= Duration::from_secs(58), "{told:?}");
    let too_early = told - Duration::from_secs(3);
    thread::sleep(too_early);
    assert_eq!(ask(1).status, 429);
    thread::sleep(told.saturating_sub(since.elapsed()));
    assert_eq!(ask(PATIENT_LIMIT).status, 200);
    told
}

/// A configuration with fixed ports, as behind a proxy: its path, and its ports.
struct Replica {
    config: PathBuf,
    listen: SocketAddr,
    admin: SocketAddr,
}

impl Replica {
    fn new(folder: &Folder, name: &str) -> Self {
        let (listen, admin) = (free_address(), free_address());
        let base = folder.config("[limits]\ndrain_delay_seconds = 3", "tokenize_per_minute = \"unlimited\"");
        let text = fs::read_to_string(base).unwrap();
        let text = text.replacen("127.0.0.1:0", &listen.to_string(), 1).replacen("127.0.0.1:0", &admin.to_string(), 1);
        let config = folder.path().join(format!("{name}.toml"));
        fs::write(&config, text).unwrap();
        Self { config, listen, admin }
    }

    fn start(&self) -> Server {
        Server::spawn(callveil().args(["serve", "--config"]).arg(&self.config))
    }
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// HAProxy as an operator would set it up. It polls `/readyz`, keeps connections, and tries another replica if it
/// cannot connect. It never resends a request.
struct Haproxy {
    _program: Program,
    front: SocketAddr,
    stats: SocketAddr,
}

impl Haproxy {
    fn start(folder: &Path, replicas: [&Replica; 2]) -> Self {
        let (front, stats) = (free_address(), free_address());
        let servers = replicas.iter().enumerate().map(|(at, Replica { listen, admin, .. })| {
            format!("    server replica{at} {listen} check port {} inter 500ms fall 1 rise 1\n", admin.port())
        });
        let text = format!(
            "defaults
    mode http
    timeout connect 2s
    timeout client 60s
    timeout server 30s
    timeout check 2s
    option redispatch
    retries 3
frontend in
    bind {front}
    default_backend replicas
backend replicas
    balance roundrobin
    http-reuse always
    option httpchk
    http-check send meth GET uri /readyz ver HTTP/1.1 hdr host callveil
    http-check expect status 200
{}frontend stats
    bind {stats}
    stats enable
    stats uri /
",
            servers.collect::<String>()
        );
        let config = folder.join("haproxy.cfg");
        fs::write(&config, text).unwrap();
        let mut command = Command::new("haproxy");
        let program = Program::spawn(command.args(["-db", "-q", "-f"]).arg(config).stdout(Stdio::null()));
        let since = Instant::now();
        while TcpStream::connect(stats).is_err() {
            assert!(since.elapsed() < PATIENCE, "HAProxy does not start");
            thread::sleep(Duration::from_millis(50));
        }
        Self { _program: program, front, stats }
    }

    /// Its statistics of a replica.
    fn stats(&self, replica: usize) -> HashMap<String, String> {
        let mut http = Http::connect(self.stats);
        http.write("GET /;csv HTTP/1.0\r\n\r\n");
        let csv = std::io::read_to_string(http.0).unwrap();
        let rows: Vec<Vec<&str>> = csv.lines().map(|line| line.split(',').collect()).collect();
        let name = format!("replica{replica}");
        let names = rows.iter().find(|row| row[0].starts_with("# ")).unwrap();
        let row = rows.iter().find(|row| row[0] == "replicas" && row[1] == name).unwrap();
        names.iter().zip(row).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn wait_until_up(&self, replica: usize) {
        let since = Instant::now();
        while self.stats(replica)["status"] != "UP" {
            assert!(since.elapsed() < PATIENCE, "{:?}", self.stats(replica));
            thread::sleep(Duration::from_millis(50));
        }
    }
}

#[test]
#[ignore = "minutes of load"]
fn replicas_behind_haproxy_end_without_a_lost_request() {
    if !is_here("haproxy") {
        return;
    }
    let _alone = ALONE.lock();
    let folder = Folder::new();
    let replicas = ["one", "two"].map(|name| Replica::new(&folder, name));
    let mut servers = replicas.each_ref().map(Replica::start);
    let haproxy = Haproxy::start(folder.path(), replicas.each_ref());
    (0..2).for_each(|replica| haproxy.wait_until_up(replica));
    // A replica that is up from the start was not asked yet.
    thread::sleep(Duration::from_secs(1));
    let clients = [(); 6].map(|()| GoodClient::start(haproxy.front, USER, 500));
    let begin = Instant::now();
    for at in 0..2 {
        thread::sleep(Duration::from_secs(2));
        haproxy.wait_until_up(1 - at);
        servers[at].signal("TERM");
        assert_eq!(servers[at].wait_within(PATIENCE), Some(0));
        println!("{:?}: replica {at} has ended", begin.elapsed());
        servers[at] = replicas[at].start();
        haproxy.wait_until_up(at);
    }
    thread::sleep(Duration::from_secs(2));
    let took = begin.elapsed();
    for client in clients {
        println!("a client in {took:?}, all answered: {}", client.stop());
    }
    for at in 0..2 {
        let stats = haproxy.stats(at);
        let figures =
            ["stot", "econ", "eresp", "wretr", "wredis", "cli_abrt", "srv_abrt", "connect", "reuse", "chkdown"];
        println!("replica {at}: {:?}", figures.map(|name| (name, stats[name].as_str())));
        assert!(stats["stot"].parse::<usize>().unwrap() > 0);
    }
}
