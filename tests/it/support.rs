//! Runs the binary in its own folder, on ports that the system chooses, and never longer than the test.

use std::{
    fs,
    io::{self, BufRead as _, BufReader, Read, Write as _},
    net::{SocketAddr, TcpStream},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{
        Arc, Mutex,
        mpsc::{self, Receiver},
    },
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

/// The time limit for anything that should happen at once, even on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The client of [`Folder::config`]; a password may hold colons.
pub const USER: &str = "ccc";
pub const PASSWORD: &str = "pass:word-Ωmega-7f3a";

/// Held by tests that put the machine under load, so that they do not measure each other.
pub static ALONE: Mutex<()> = Mutex::new(());

pub fn callveil() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_callveil"));
    command.env_remove("CALLVEIL_LOG");
    command
}

/// Runs the binary to its end.
pub fn run(folder: &Path, args: &[&str]) -> Output {
    let output = callveil().args(args).current_dir(folder).stdin(Stdio::null()).output().unwrap();
    check_log(&String::from_utf8_lossy(&output.stderr));
    output
}

/// Checks that a message or log has none of the tests' numbers and passwords, and no UIDs.
#[track_caller]
pub fn check_log(log: &str) {
    for secret in ["1398888", "1378888", "86013388", "88888888", PASSWORD, "hunter2"] {
        let line = log.lines().find(|line| line.contains(secret) && !line.trim_start().starts_with("curl "));
        assert_eq!(line, None, "{secret}");
    }
    let in_base32 = |c: char| c.is_ascii_lowercase() || ('2'..='7').contains(&c);
    // The name of a ring is 64 hex digits, and a public key of age is longer: some of that may be of a UID's alphabet.
    let is_ring = |word: &str| word.len() == 64 && word.chars().all(|c| c.is_ascii_hexdigit());
    let words = log.split(|c: char| !c.is_ascii_alphanumeric());
    let words = words.filter(|word| !is_ring(word) && !word.starts_with("age1"));
    let longest = words.flat_map(|word| word.split(|c| !in_base32(c))).map(str::len).max().unwrap_or(0);
    assert!(longest < 40, "a UID:\n{log}");
}

/// Runs the binary with `input`, and returns its standard output. It must succeed.
pub fn pipe(folder: &Path, args: &[&str], input: &str) -> String {
    let mut command = callveil();
    command.args(args).current_dir(folder).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    check_log(&stderr);
    assert!(output.status.success(), "{args:?}: {stderr}");
    String::from_utf8(output.stdout).unwrap()
}

/// Writes a file that nobody else may read.
pub fn write_secret(path: PathBuf, content: impl AsRef<[u8]>) {
    let mut options = fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(path).unwrap();
    file.write_all(content.as_ref()).unwrap();
}

pub fn sha256_hex(text: &str) -> String {
    data_encoding::HEXLOWER.encode(&Sha256::digest(text))
}

/// A folder with a key ring, for one test.
pub struct Folder(TempDir);

impl Folder {
    /// A folder with a ring of one key.
    pub fn new() -> Self {
        Self::made_with(&[])
    }

    /// The same, made with these additional arguments of `keys init`.
    pub fn made_with(args: &[&str]) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        let made = run(folder.path(), &[&["keys", "init"], args].concat());
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        folder
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn ring(&self) -> PathBuf {
        self.path().join("keys/keyring.json")
    }

    /// A configuration on free ports with one client. `top` comes before all tables, `rest` at the end of the client's.
    pub fn config(&self, top: &str, rest: &str) -> PathBuf {
        let (hash, path) = (sha256_hex(PASSWORD), self.path().join("callveil.toml"));
        let text = format!(
            "listen = \"127.0.0.1:0\"\n{top}\n[admin]\nlisten = \"127.0.0.1:0\"\n[[clients]]\nusername = \"{USER}\"\npassword_sha256 = [\"{hash}\"]\n{rest}"
        );
        fs::write(&path, text).unwrap();
        path
    }
}

/// A running `callveil serve`, killed when dropped.
pub struct Server {
    child: Child,
    pub address: SocketAddr,
    pub admin: SocketAddr,
    log: Arc<Mutex<String>>,
    lines: Receiver<Value>,
}

impl Server {
    /// Starts a server with [`Folder::config`] of these.
    pub fn start(folder: &Folder, top: &str, rest: &str) -> Self {
        let config = folder.config(top, rest);
        Self::spawn(callveil().args(["serve", "--config"]).arg(config))
    }

    /// The same with this standard output.
    pub fn start_onto(folder: &Folder, out: Stdio, top: &str, rest: &str) -> Self {
        let config = folder.config(top, rest);
        Self::spawn_onto(callveil().args(["serve", "--config"]).arg(config), out)
    }

    pub fn spawn(command: &mut Command) -> Self {
        Self::spawn_onto(command, Stdio::null())
    }

    fn spawn_onto(command: &mut Command, out: Stdio) -> Self {
        let mut child = command.stdin(Stdio::null()).stdout(out).stderr(Stdio::piped()).spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let log = Arc::new(Mutex::new(String::new()));
        let (sender, lines) = mpsc::channel();
        let shared = log.clone();
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                shared.lock().unwrap().push_str(&format!("{line}\n"));
                if let Ok(record) = serde_json::from_str(&line) {
                    let _ = sender.send(record);
                }
            }
        });
        let unset = SocketAddr::from(([0, 0, 0, 0], 0));
        let mut server = Self { child, address: unset, admin: unset, log, lines };
        server.admin = server.wait_for("admin listening")["address"].as_str().unwrap().parse().unwrap();
        server.address = server.wait_for("listening")["address"].as_str().unwrap().parse().unwrap();
        server
    }

    /// The next log record with this message.
    pub fn wait_for(&self, message: &str) -> Value {
        loop {
            let Ok(record) = self.lines.recv_timeout(PATIENCE) else {
                panic!("no {message:?} in the log:\n{}", self.log());
            };
            if record["message"] == message {
                return record;
            }
        }
    }

    /// What was logged so far.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Everything that a process has logged. The process must have ended.
    pub fn full_log(&self) -> String {
        while self.lines.recv_timeout(PATIENCE).is_ok() {}
        self.log()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The resident memory of the process, in KiB.
    pub fn rss_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    pub fn signal(&self, name: &str) {
        send(self.pid(), name);
    }

    /// Waits for the process to end, and gives its exit code.
    pub fn wait(&mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }

    /// The same, but waits at most for `patience`.
    pub fn wait_within(&mut self, patience: Duration) -> Option<i32> {
        let since = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(since.elapsed() < patience, "it does not end:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub fn connect(&self) -> Http {
        Http::connect(self.address)
    }

    /// Sends one request over a new connection, and returns the answer's envelope.
    pub fn call(&self, mode: &str, numbers: &[&str]) -> Value {
        let answer = self.connect().post(&json!({"Numbers": numbers, "Mode": mode}).to_string());
        answer.json()
    }

    /// The values of a call. All items must succeed.
    pub fn values(&self, mode: &str, numbers: &[&str]) -> Vec<String> {
        let answer = self.call(mode, numbers);
        assert_eq!(answer["Code"], 0, "{answer}");
        let results = answer["Results"].as_array().unwrap();
        assert!(results.iter().all(|result| result.get("Error").is_none()), "{answer}");
        results.iter().map(|result| result["Value"].as_str().unwrap().to_owned()).collect()
    }

    pub fn admin_get(&self, path: &str) -> Answer {
        Http::connect(self.admin).send(format!("GET {path} HTTP/1.1\r\nhost: admin\r\n\r\n"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if !std::thread::panicking() {
            check_log(&self.full_log());
        }
    }
}

/// Sends the signal with this name, without an external program.
pub fn send(process: u32, name: &str) {
    let signal = match name {
        "HUP" => Signal::HUP,
        "INT" => Signal::INT,
        "KILL" => Signal::KILL,
        "STOP" => Signal::STOP,
        "TERM" => Signal::TERM,
        _ => panic!("no test sends {name}"),
    };
    kill_process(Pid::from_raw(process.try_into().unwrap()).unwrap(), signal).unwrap();
}

/// Reads once, and again if a signal such as a debugger's interrupts it.
pub fn read(stream: &mut (impl Read + ?Sized), buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match stream.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            read => return read,
        }
    }
}

pub fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", data_encoding::BASE64.encode(format!("{user}:{password}").as_bytes()))
}

/// A plain HTTP/1.1 connection that sends exactly the given bytes.
pub struct Http(pub BufReader<TcpStream>);

/// An answer. Its body is as long as its Content-Length says.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Http {
    pub fn connect(address: SocketAddr) -> Self {
        Self::of(TcpStream::connect(address).unwrap())
    }

    pub fn of(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self(BufReader::new(stream))
    }

    pub fn write(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.get_mut().write_all(bytes.as_ref()).unwrap();
    }

    pub fn read(&mut self) -> Answer {
        self.try_read().expect("an answer")
    }

    /// The next answer; `None` if the connection ends instead.
    pub fn try_read(&mut self) -> Option<Answer> {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if self.0.read_line(&mut head).ok()? == 0 {
                return None;
            }
        }
        let status = head.split(' ').nth(1)?.parse().ok()?;
        let length = header(&head, "content-length").map_or(0, |length| length.parse().unwrap());
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).ok()?;
        Some(Answer { status, head, body: String::from_utf8(body).unwrap() })
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> Answer {
        self.write(bytes);
        self.read()
    }

    pub fn post(&mut self, body: &str) -> Answer {
        self.send(post(&basic(USER, PASSWORD), body))
    }

    /// Whether the other side has closed the connection and nothing is left to read.
    pub fn is_over(&mut self) -> bool {
        matches!(read(&mut self.0, &mut [0]), Ok(0) | Err(_))
    }
}

pub fn post(authorization: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "POST / HTTP/1.1\r\nhost: callveil\r\nauthorization: {authorization}\r\ncontent-length: {length}\r\n\r\n{body}"
    )
}

fn header<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    head.lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(key, _)| key.eq_ignore_ascii_case(name))
        .map(|(_, v)| v.trim())
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.head, name)
    }

    pub fn json(&self) -> Value {
        assert_eq!(self.header("content-type"), Some("application/json"), "{self:?}");
        serde_json::from_str(&self.body).unwrap()
    }
}
