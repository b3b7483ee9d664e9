//! The servers. Each is a separate process on its own CPUs, killed when dropped.

use std::{
    fs,
    io::{self, BufRead as _, BufReader},
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
    connection::{Way, exchange, get, head_end, open},
    machine,
    samples::{BULK_USER, PASSWORD, RingKey, USER, ring_json},
    tls::{CERTIFICATE, Certificate, PRIVATE_KEY},
};

/// The build that is measured.
pub const BINARY: &str = env!("CARGO_BIN_EXE_callveil");

/// How long a server may take to come up.
const PATIENCE: Duration = Duration::from_secs(30);

/// The time between two checks whether a server is ready.
const LOOK: Duration = Duration::from_millis(1);

/// The address of a server that has not reported it yet.
const UNKNOWN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// A running server.
pub struct Server {
    child: Child,
    pub address: SocketAddr,
    /// The CPUs that it is bound to.
    pub cpus: Vec<usize>,
    audit_log: Option<PathBuf>,
    /// Holds the configuration, the ring and the audit log, if there are any.
    _folder: Option<TempDir>,
}

/// How callveil is run.
#[derive(Clone, Copy)]
pub struct Setup<'s> {
    pub ring: &'s [RingKey],
    pub threads: usize,
    pub cpus: &'s [usize],
    pub audit: Audit,
    pub certificate: Option<&'s Certificate>,
}

/// The destination of the audit log.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Audit {
    /// A file in memory. On a virtual machine whose host reclaims free memory, each page costs time.
    File,
    /// A file on the disk of the build folder.
    Disk,
    /// Stdout: a pipe that is read on a CPU of the load.
    Pipe,
}

impl Server {
    /// Starts callveil and waits until it reports that it is ready. Also returns how long that took.
    pub fn callveil(setup: Setup<'_>) -> (Self, Duration) {
        let folder = match setup.audit {
            Audit::Disk => tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap(),
            Audit::File | Audit::Pipe => folder(),
        };
        write_config(folder.path(), setup);
        write_secret(&folder.path().join("keyring.json"), &ring_json(setup.ring));
        if let Some(certificate) = setup.certificate {
            certificate.write(folder.path());
        }
        Self::start(Path::new(BINARY), folder, setup)
    }

    /// Starts the callveil `binary` on one thread, with a ring that it makes itself.
    pub fn of_binary(binary: &Path, cpus: &[usize], audit: Audit) -> Self {
        let folder = folder();
        let setup = Setup { ring: &[], threads: 1, cpus, audit, certificate: None };
        write_config(folder.path(), setup);
        let mut init = Command::new(binary);
        init.args(["keys", "init", "--region", "CN", "--keyring", "keyring.json"]).current_dir(folder.path());
        let output = init.stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Self::start(binary, folder, setup).0
    }

    fn start(binary: &Path, folder: TempDir, setup: Setup<'_>) -> (Self, Duration) {
        let mut command = serve(binary, folder.path());
        command.stderr(Stdio::piped());
        if setup.audit == Audit::Pipe {
            command.stdout(Stdio::piped());
        }
        let since = Instant::now();
        let mut child = spawn(&mut command, setup.cpus).unwrap();
        if let Some(mut stdout) = child.stdout.take() {
            std::thread::spawn(move || std::io::copy(&mut stdout, &mut std::io::sink()));
        }
        let lines = lines(child.stderr.take().unwrap());
        let audit_log = (setup.audit != Audit::Pipe).then(|| folder.path().join("audit.log"));
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

    /// Starts one of the servers that this program contains.
    pub fn rival(arguments: &[&str], cpus: &[usize]) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(arguments).stdout(Stdio::piped());
        let mut child = spawn(&mut command, cpus).unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let cpus = cpus.to_vec();
        let mut server = Self { child, address: UNKNOWN, cpus, audit_log: None, _folder: None };
        server.address = line.trim().parse().expect("a rival tells its address");
        server
    }

    /// Starts the bare server, which gives the answer of `other` to this request.
    pub fn bare(other: &Self, request: &[u8], cpus: &[usize]) -> Self {
        let folder = folder();
        let file = folder.path().join("answer");
        let mut stream = open(other.address, Way::default()).unwrap();
        fs::write(&file, exchange(&mut stream, request)).unwrap();
        Self::rival(&["bare", file.to_str().unwrap()], cpus)
    }

    /// Does the same over TLS, with this answer.
    pub fn bare_over_tls(answer: &[u8], certificate: &Certificate, cpus: &[usize]) -> Self {
        let folder = folder();
        let file = folder.path().join("answer");
        fs::write(&file, answer).unwrap();
        certificate.write(folder.path());
        Self::rival(&["bare", file.to_str().unwrap(), folder.path().to_str().unwrap()], cpus)
    }

    /// Starts nginx, which gives this answer over TLS, in one process; `None` if there is no nginx.
    pub fn nginx(answer: &[u8], certificate: &Certificate, cpus: &[usize]) -> Option<Self> {
        let folder = folder();
        certificate.write(folder.path());
        let address = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
        fs::write(folder.path().join("nginx.conf"), nginx_config(answer, address)).unwrap();
        let mut command = Command::new("nginx");
        command.args(["-e", "stderr", "-c", "nginx.conf", "-p"]).arg(folder.path());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = spawn(&mut command, cpus).ok()?;
        let server = Self { child, address, cpus: cpus.to_vec(), audit_log: None, _folder: Some(folder) };
        let since = Instant::now();
        while TcpStream::connect(address).is_err() {
            assert!(since.elapsed() < PATIENCE, "nginx does not listen");
            std::thread::sleep(LOOK);
        }
        Some(server)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Empties the audit log, which would otherwise fill its folder's memory. After a load, it must not be empty.
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

/// A folder in memory if possible, since disks are not measured here.
fn folder() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

fn serve(binary: &Path, folder: &Path) -> Command {
    let mut command = Command::new(binary);
    command.args(["serve", "--config", "callveil.toml"]).current_dir(folder).env_remove("CALLVEIL_LOG");
    command.stdin(Stdio::null()).stdout(Stdio::null());
    command
}

/// Auth, audit, the admin listener and all limits are on. The limits are above the rates of the load.
fn write_config(folder: &Path, setup: Setup<'_>) {
    let hash = HEXLOWER.encode(&Sha256::digest(PASSWORD));
    let audit = match setup.audit {
        Audit::File | Audit::Disk => "[audit]\nto = \"audit.log\"\n",
        Audit::Pipe => "",
    };
    let tls = match setup.certificate {
        Some(_) => format!("[tls]\ncertificate = \"{CERTIFICATE}\"\nprivate_key = \"{PRIVATE_KEY}\"\n"),
        None => String::new(),
    };
    let client = |name| {
        format!(
            "[[clients]]\nusername = \"{name}\"\npassword_sha256 = [\"{hash}\"]\n\
             tokenize_per_minute = 1000000000\ndetokenize_per_minute = 1000000000\n"
        )
    };
    let text = format!(
        "listen = \"127.0.0.1:0\"\nkeyring = \"keyring.json\"\nthreads = {}\n\
         [admin]\nlisten = \"127.0.0.1:0\"\n\
         [limits]\nconnections = 20000\nconnections_per_peer = 20000\nidle_seconds = 600\n{audit}{tls}{}{}",
        setup.threads,
        client(USER),
        client(BULK_USER),
    );
    fs::write(folder.join("callveil.toml"), text).unwrap();
}

/// A file that only its owner may read.
pub fn write_secret(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

/// One process that gives a fixed answer. It has nginx's defaults, except that it logs nothing and never closes a
/// connection.
fn nginx_config(answer: &[u8], address: SocketAddr) -> String {
    let end = head_end(answer).unwrap();
    let (head, body) = (str::from_utf8(&answer[..end]).unwrap(), str::from_utf8(&answer[end..]).unwrap());
    let headers = head.lines().skip(1).filter_map(|line| line.split_once(": "));
    let headers = headers.filter(|(name, _)| !matches!(*name, "date" | "content-length" | "content-type"));
    let headers: String = headers.map(|(name, value)| format!("add_header {name} '{value}';\n")).collect();
    let paths = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(|name| format!("{name}_temp_path {name};\n"));
    format!(
        "daemon off;\nmaster_process off;\npid nginx.pid;\nevents {{ worker_connections 4096; }}\n\
         http {{\naccess_log off;\ndefault_type application/json;\n{}\
         keepalive_requests 1000000000;\nkeepalive_timeout 600s;\n\
         server {{\nlisten {address} ssl backlog=4096;\nssl_protocols TLSv1.3;\n\
         ssl_certificate {CERTIFICATE};\nssl_certificate_key {PRIVATE_KEY};\n\
         location / {{\n{headers}return 200 '{body}';\n}}\n}}\n}}\n",
        paths.concat()
    )
}

/// Starts a process on these CPUs, from a thread bound to them: a child inherits the binding.
fn spawn(command: &mut Command, cpus: &[usize]) -> io::Result<Child> {
    let bound = || {
        machine::bind(cpus);
        command.spawn()
    };
    std::thread::scope(|scope| scope.spawn(bound).join().unwrap())
}

/// The lines of the log. They are read to the end, since the server would otherwise wait for a reader.
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
