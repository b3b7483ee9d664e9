//! The servers, each a process of its own on a CPU of its own, killed when dropped.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, ChildStderr, Command, Stdio},
    sync::mpsc::{self, Receiver},
    time::{Duration, Instant},
};

use clap::ValueEnum;
use data_encoding::HEXLOWER;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use crate::{
    load::{exchange, get},
    machine,
    samples::{PASSWORD, RingKey, USER, ring_json},
};

/// The build that is measured.
pub const BINARY: &str = env!("CARGO_BIN_EXE_callveil");

/// How long a server may take to come up.
const PATIENCE: Duration = Duration::from_secs(30);

/// Between two looks at whether a server is ready.
const LOOK: Duration = Duration::from_millis(1);

/// The address of a server that has not told it yet.
const UNKNOWN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// A running server.
pub struct Server {
    child: Child,
    pub address: SocketAddr,
    /// Those that it is bound to.
    pub cpus: Vec<usize>,
    audit_log: Option<PathBuf>,
    /// Holds configuration, ring and audit log, where there are any.
    _folder: Option<TempDir>,
}

/// How callveil is run.
#[derive(Clone, Copy)]
pub struct Setup<'s> {
    pub ring: &'s [RingKey],
    pub threads: usize,
    pub cpus: &'s [usize],
    pub audit: Audit,
}

/// Where the audit log goes.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Audit {
    /// A file in memory. Where that is a virtual machine's, and its host takes back what is free, every page costs.
    File,
    /// Stdout, a pipe that the load's CPU reads to its end.
    Pipe,
}

impl Server {
    /// Starts callveil, and waits until it answers that it is ready: gives how long that took, too.
    pub fn callveil(setup: Setup<'_>) -> (Self, Duration) {
        let folder = folder();
        write_config(folder.path(), setup.threads, setup.audit);
        let ring = folder.path().join("keyring.json");
        fs::write(&ring, ring_json(setup.ring)).unwrap();
        fs::set_permissions(&ring, fs::Permissions::from_mode(0o600)).unwrap();
        Self::start(Path::new(BINARY), folder, setup)
    }

    /// Starts this build of callveil, on one thread, with a ring that it makes itself.
    pub fn of_binary(binary: &Path, cpus: &[usize], audit: Audit) -> Self {
        let folder = folder();
        write_config(folder.path(), 1, audit);
        let mut init = Command::new(binary);
        init.args(["keys", "init", "--region", "CN", "--keyring", "keyring.json"]).current_dir(folder.path());
        let output = init.stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Self::start(binary, folder, Setup { ring: &[], threads: 1, cpus, audit }).0
    }

    fn start(binary: &Path, folder: TempDir, setup: Setup<'_>) -> (Self, Duration) {
        let mut command = serve(binary, folder.path());
        command.stderr(Stdio::piped());
        if setup.audit == Audit::Pipe {
            command.stdout(Stdio::piped());
        }
        let since = Instant::now();
        let mut child = spawn(&mut command, setup.cpus);
        if let Some(mut stdout) = child.stdout.take() {
            std::thread::spawn(move || std::io::copy(&mut stdout, &mut std::io::sink()));
        }
        let lines = lines(child.stderr.take().unwrap());
        let audit_log = (setup.audit == Audit::File).then(|| folder.path().join("audit.log"));
        let cpus = setup.cpus.to_vec();
        let mut server = Self { child, address: UNKNOWN, cpus, audit_log, _folder: Some(folder) };
        let admin = address_in(&lines, "admin listening");
        while !get(admin, "/readyz").starts_with("HTTP/1.1 200 ") {
            assert!(since.elapsed() < PATIENCE, "callveil is not ready");
            std::thread::sleep(LOOK);
        }
        let ready = since.elapsed();
        server.address = address_in(&lines, "listening");
        (server, ready)
    }

    /// Starts one of the servers that this program is itself.
    pub fn rival(arguments: &[&str], cpus: &[usize]) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(arguments).stdout(Stdio::piped());
        let mut child = spawn(&mut command, cpus);
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let cpus = cpus.to_vec();
        let mut server = Self { child, address: UNKNOWN, cpus, audit_log: None, _folder: None };
        server.address = line.trim().parse().expect("a rival tells its address");
        server
    }

    /// Starts the bare server, which answers as `other` does to this request.
    pub fn bare(other: &Self, request: &[u8], cpus: &[usize]) -> Self {
        let folder = folder();
        let file = folder.path().join("answer");
        let mut stream = TcpStream::connect(other.address).unwrap();
        fs::write(&file, exchange(&mut stream, request)).unwrap();
        Self::rival(&["bare", file.to_str().unwrap()], cpus)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Empties the audit log, which would otherwise fill the memory that its folder is in. After load, it is not empty.
    pub fn forget_audit(&self) {
        if let Some(path) = &self.audit_log {
            assert!(fs::metadata(path).unwrap().len() > 0, "nothing was audited");
            fs::File::options().write(true).open(path).unwrap().set_len(0).unwrap();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// In memory where that is possible: what a disk does is not measured here.
fn folder() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

fn serve(binary: &Path, folder: &Path) -> Command {
    let mut command = Command::new(binary);
    command.args(["serve", "--config", "callveil.toml"]).current_dir(folder).env_remove("CALLVEIL_LOG");
    command.stdin(Stdio::null()).stdout(Stdio::null());
    command
}

/// Auth, audit, the admin listener and all limits are on; rates are limits that the load stays below.
fn write_config(folder: &Path, threads: usize, audit: Audit) {
    let hash = HEXLOWER.encode(&Sha256::digest(PASSWORD));
    let audit = match audit {
        Audit::File => "[audit]\nto = \"audit.log\"",
        Audit::Pipe => "",
    };
    let text = format!(
        "listen = \"127.0.0.1:0\"\nkeyring = \"keyring.json\"\nthreads = {threads}\n\
         [admin]\nlisten = \"127.0.0.1:0\"\n\
         [limits]\nconnections = 20000\nconnections_per_peer = 20000\nidle_seconds = 600\n{audit}\n\
         [[clients]]\nusername = \"{USER}\"\npassword_sha256 = [\"{hash}\"]\n\
         tokenize_per_minute = 1000000000\ndetokenize_per_minute = 1000000000\n"
    );
    fs::write(folder.join("callveil.toml"), text).unwrap();
}

/// Starts a process on these CPUs, by a thread that is bound to them: a child inherits that.
fn spawn(command: &mut Command, cpus: &[usize]) -> Child {
    let bound = || {
        machine::bind(cpus);
        command.spawn().unwrap()
    };
    std::thread::scope(|scope| scope.spawn(bound).join().unwrap())
}

/// The log, read to its end, or the server would wait for a reader.
fn lines(stderr: ChildStderr) -> Receiver<String> {
    let (sender, lines) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            let _ = sender.send(line);
        }
    });
    lines
}

fn address_in(lines: &Receiver<String>, message: &str) -> SocketAddr {
    loop {
        let line = lines.recv_timeout(PATIENCE).expect("callveil tells its addresses");
        let record: Value = serde_json::from_str(&line).unwrap_or_default();
        if record["message"] == message {
            return record["address"].as_str().unwrap().parse().unwrap();
        }
        assert!(record["message"].is_string(), "callveil does not start: {line}");
    }
}
