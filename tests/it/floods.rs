//! Floods by strangers, a minute each, against a server with the memory and the limits of deploy/kubernetes. The server
//! stays up within the memory that it promised, and clients hardly notice. The measurements are printed as a table.

use std::{
    fs,
    io::Write as _,
    net::SocketAddr,
    path::PathBuf,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use rustls::{ClientConfig, ClientConnection, StreamOwned, version};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    time::{sleep, timeout},
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{
    support::{ALONE, Folder, PASSWORD, PATIENCE, Server, USER, basic, callveil, post},
    tls::{Ca, TLS, install, request},
};

/// The limit of deploy/kubernetes/deployment.yaml, in bytes.
const MEMORY: u64 = 1 << 30;

/// The number of addresses that a flood comes from.
const SOURCES: u8 = 5;

/// The intervals of calls over a kept connection, and of calls over new connections.
const KEPT_EVERY: Duration = Duration::from_millis(5);
const NEW_EVERY: Duration = Duration::from_millis(200);

/// The maximum slowdown of a call compared with a quiet server. Quiet times below this minimum count as noise.
const SLOWER_MAX: u32 = 5;
const QUIET_MIN: Duration = Duration::from_millis(1);

#[derive(Clone, Copy, Debug, PartialEq)]
enum Flood {
    Handshakes,
    IdleConnections,
    SlowHeads,
    Refusals,
    LongHeads,
    RefusedBodies,
    Renegotiations,
    Prefaces,
}

impl Flood {
    const ALL: [Self; 8] = [
        Self::Handshakes,
        Self::IdleConnections,
        Self::SlowHeads,
        Self::Refusals,
        Self::LongHeads,
        Self::RefusedBodies,
        Self::Renegotiations,
        Self::Prefaces,
    ];

    /// How many connections are tried at the same time.
    fn connections(self) -> usize {
        match self {
            Self::Handshakes | Self::Refusals | Self::RefusedBodies => 200,
            Self::IdleConnections | Self::SlowHeads | Self::LongHeads | Self::Prefaces => 9_000,
            Self::Renegotiations => 4,
        }
    }

    /// Keeps one connection busy until it is ended.
    async fn run(self, mut tls: TlsStream<TcpStream>) -> std::io::Result<()> {
        match self {
            Self::Handshakes => return Ok(()),
            Self::IdleConnections | Self::Renegotiations => {}
            Self::SlowHeads => {
                for byte in b"POST / HTTP/1.1\r\nhost: a\r\nx-slow: ".iter().chain(std::iter::repeat(&b'x')) {
                    tls.write_all(&[*byte]).await?;
                    sleep(Duration::from_millis(900)).await;
                }
            }
            Self::Refusals => {
                for _ in 0..64 {
                    tls.write_all(b"GET /x HTTP/1.1\r\nhost: a\r\n\r\n").await?;
                }
            }
            Self::LongHeads => {
                tls.write_all(b"POST / HTTP/1.1\r\nhost: a\r\n").await?;
                for at in 0..60 {
                    tls.write_all(format!("x-{at}: {}\r\n", "y".repeat(1000)).as_bytes()).await?;
                }
            }
            Self::RefusedBodies => {
                tls.write_all(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4000000\r\n\r\n").await?;
                for _ in 0..400 {
                    tls.write_all(&[b'x'; 10_000]).await?;
                }
            }
            Self::Prefaces => tls.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await?,
        }
        // Until the server ends it.
        while tls.read(&mut [0; 1024]).await? > 0 {}
        Ok(())
    }
}

/// A flood in progress, on its own thread.
struct Attack {
    stop: Arc<AtomicBool>,
    made: Arc<AtomicU64>,
    thread: JoinHandle<()>,
}

impl Attack {
    fn start(flood: Flood, address: SocketAddr, config: Arc<ClientConfig>) -> Self {
        let (stop, made) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, counter) = (stop.clone(), made.clone());
        let thread = thread::spawn(move || {
            // Attackers have machines of their own: what they compute is not to be taken from the server.
            schedule("--idle", "0");
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                for at in 0..flood.connections() {
                    let (config, counter) = (config.clone(), counter.clone());
                    let source = u8::try_from(at % usize::from(SOURCES)).unwrap() + 2;
                    tokio::spawn(async move {
                        loop {
                            // A peer that is refused tries again, though not at once.
                            if attack_once(flood, source, address, &config, &counter).await.is_err() {
                                sleep(Duration::from_millis(200)).await;
                            }
                        }
                    });
                }
                while !stopped.load(Ordering::Relaxed) {
                    if flood == Flood::Renegotiations {
                        renegotiate(address);
                    }
                    sleep(Duration::from_millis(50)).await;
                }
            });
        });
        Self { stop, made, thread }
    }

    /// Stops the flood, and returns how many connections it made.
    fn stop(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
        self.made.load(Ordering::Relaxed)
    }
}

/// The processors of the server, and the one of all other threads. A thread that wakes up on a busy processor waits up
/// to 4 ms, until the next tick moves it away. Clients on other machines never do that to a server.
fn processors() -> (String, CpuSet) {
    let mine = sched_getaffinity(None).unwrap();
    let all: Vec<_> = (0..CpuSet::MAX_CPU).filter(|at| mine.is_set(*at)).collect();
    let (last, others) = all.split_last().expect("a processor");
    let others = if others.is_empty() { &all[..] } else { others };
    let mut set = CpuSet::new();
    set.set(*last);
    (others.iter().map(usize::to_string).collect::<Vec<_>>().join(","), set)
}

/// Makes the kernel run this thread beside the server and with another policy. A better `nice` is not enough: it does
/// not interrupt a running thread.
fn schedule(policy: &str, priority: &str) {
    sched_setaffinity(None, &processors().1).unwrap();
    let thread = rustix::thread::gettid().as_raw_nonzero().to_string();
    let status = Command::new("chrt").args([policy, "--pid", priority, &thread]).status();
    assert!(status.is_ok_and(|status| status.success()), "chrt (util-linux), as root");
}

async fn attack_once(
    flood: Flood,
    source: u8,
    address: SocketAddr,
    config: &Arc<ClientConfig>,
    made: &AtomicU64,
) -> std::io::Result<()> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from(([127, 0, 0, source], 0)))?;
    let handshake = async {
        let socket = socket.connect(address).await?;
        TlsConnector::from(config.clone()).connect("localhost".try_into().unwrap(), socket).await
    };
    let tls = timeout(PATIENCE, handshake).await??;
    made.fetch_add(1, Ordering::Relaxed);
    flood.run(tls).await
}

/// Asks for another handshake, as TLS 1.2 allows. Our server refuses it.
fn renegotiate(address: SocketAddr) {
    let mut command = Command::new("openssl");
    command.args(["s_client", "-tls1_2", "-connect", &address.to_string()]);
    let Ok(mut child) = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn() else {
        return;
    };
    let _ = child.stdin.take().unwrap().write_all(&b"R\n".repeat(50));
    let _ = child.wait();
}

/// The durations of calls over one kept connection and over new ones. All of the calls must be answered.
struct Calls {
    stop: Arc<AtomicBool>,
    kept: JoinHandle<Vec<Duration>>,
    new: JoinHandle<Vec<Duration>>,
}

impl Calls {
    fn start(address: SocketAddr, config: &Arc<ClientConfig>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let kept = {
            let (stop, config) = (stop.clone(), config.clone());
            let mut tls = None;
            thread::spawn(move || {
                every(KEPT_EVERY, &stop, || {
                    let stream = tls.get_or_insert_with(|| connect(address, &config));
                    call(stream);
                })
            })
        };
        let (stopped, config) = (stop.clone(), config.clone());
        let new = thread::spawn(move || {
            every(NEW_EVERY, &stopped, || assert_eq!(request(address, &config).expect("a newcomer's call").1, 200))
        });
        Self { stop, kept, new }
    }

    /// Stops the calls, and returns the 99th percentiles.
    fn stop(self) -> [Duration; 2] {
        self.stop.store(true, Ordering::Relaxed);
        [self.kept, self.new].map(|calls| {
            let mut took = calls.join().expect("every call is answered");
            took.sort_unstable();
            took[took.len() * 99 / 100]
        })
    }
}

fn every(period: Duration, stop: &AtomicBool, mut call: impl FnMut()) -> Vec<Duration> {
    // So have clients: none of them waits for a processor here.
    schedule("--rr", "1");
    let (mut took, mut next) = (Vec::new(), Instant::now());
    while !stop.load(Ordering::Relaxed) {
        let since = Instant::now();
        call();
        took.push(since.elapsed());
        next = (next + period).max(since);
        thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    took
}

type Tls = StreamOwned<ClientConnection, std::net::TcpStream>;

fn connect(address: SocketAddr, config: &Arc<ClientConfig>) -> Tls {
    let socket = std::net::TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.set_nodelay(true).unwrap();
    StreamOwned::new(ClientConnection::new(config.clone(), "localhost".try_into().unwrap()).unwrap(), socket)
}

/// One call over a kept connection.
fn call(tls: &mut Tls) {
    use std::io::{BufRead as _, BufReader, Read as _};
    let body = r#"{"Numbers":["13988888888"],"Mode":"PhoneToUID"}"#;
    tls.write_all(post(&basic(USER, PASSWORD), body).as_bytes()).unwrap();
    let (mut reader, mut line, mut length) = (BufReader::new(tls), String::new(), 0);
    while line != "\r\n" {
        line.clear();
        assert!(reader.read_line(&mut line).unwrap() > 0, "the connection ended");
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
    }
    let mut answer = vec![0; length];
    reader.read_exact(&mut answer).unwrap();
    assert!(answer.starts_with(b"{\"Code\":0,"));
}

/// A memory cgroup of version 1 or 2. It is removed after its processes.
struct Cgroup(PathBuf);

impl Cgroup {
    fn new() -> Option<Self> {
        let name = format!("callveil-{}", std::process::id());
        for (root, limit) in [("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")] {
            let folder = PathBuf::from(root).join(&name);
            if fs::create_dir(&folder).is_ok() {
                if fs::write(folder.join(limit), MEMORY.to_string()).is_ok() {
                    return Some(Self(folder));
                }
                let _ = fs::remove_dir(&folder);
            }
        }
        None
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

#[test]
#[ignore = "eight minutes of load, as root"]
fn strangers_can_do_nothing() {
    let Some(cgroup) = Cgroup::new() else {
        eprintln!("skipped: this wants root and a memory cgroup");
        return;
    };
    let _alone = ALONE.lock();
    let _ = rlimit::increase_nofile_limit(u64::MAX);
    let seconds = std::env::var("FLOOD_SECONDS").map_or(60, |seconds| seconds.parse().unwrap());
    let (folder, ca) = (Folder::new(), Ca::new());
    install(&folder, &ca.pair());
    let top = format!("{TLS}\n[limits]\nbuffered_bytes = 134217728");
    let config = folder.config(&top, "");
    // It is in its cgroup from its first page on.
    let folder_of_it = cgroup.0.display();
    let enter = format!("echo $$ > {folder_of_it}/cgroup.procs && exec \"$0\" serve --config \"$1\"");
    // Another build than the tests' own, such as one for release, where this names it.
    let binary = std::env::var_os("FLOOD_BINARY").unwrap_or_else(|| callveil().get_program().to_owned());
    let (processors, _) = processors();
    let mut command = Command::new("taskset");
    let server = Server::spawn(command.args(["-c", &processors, "sh", "-c", &enter]).arg(binary).arg(config));
    let promise: u64 = {
        let line = server.log().lines().find_map(|line| Some(line.split_once("\"memory_max_bytes\":")?.1.to_owned()));
        let line = line.expect("the memory that it promises");
        line.split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap()
    };
    let client = ca.client(&[&version::TLS13]);
    let measure = |flood: Option<Flood>| {
        let attack = flood.map(|flood| Attack::start(flood, server.address, client.clone()));
        let calls = Calls::start(server.address, &client);
        let until = Instant::now() + Duration::from_secs(if flood.is_some() { seconds } else { 10 });
        let mut rss = 0;
        while Instant::now() < until {
            rss = rss.max(server.rss_kib());
            thread::sleep(Duration::from_millis(100));
        }
        let p99 = calls.stop();
        (attack.map_or(0, Attack::stop), rss, p99)
    };
    let (_, quiet_rss, quiet) = measure(None);
    println!(
        "promised: {} MiB; quiet: {} MiB, p99 {:?} kept, {:?} new",
        promise >> 20,
        quiet_rss >> 10,
        quiet[0],
        quiet[1]
    );
    println!("{:<16} {:>12} {:>9} {:>12} {:>12}", "flood", "connections", "RSS MiB", "p99 kept", "p99 new");
    let mut wrong = Vec::new();
    for flood in Flood::ALL {
        let (made, rss, p99) = measure(Some(flood));
        println!("{:<16} {made:>12} {:>9} {:>12.2?} {:>12.2?}", format!("{flood:?}"), rss >> 10, p99[0], p99[1]);
        if rss << 10 > promise {
            wrong.push(format!("{flood:?}: more memory than promised"));
        }
        for at in 0..2 {
            if p99[at] > quiet[at].max(QUIET_MIN) * SLOWER_MAX {
                wrong.push(format!("{flood:?}: p99 {:?}, and {:?} when quiet", p99[at], quiet[at]));
            }
        }
    }
    assert!(promise <= MEMORY, "deploy/kubernetes promises less than it has");
    assert!(wrong.is_empty(), "{wrong:#?}");
}
