//! HAProxy as an operator would set it up.

use std::{
    collections::HashMap,
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener},
    os::{fd::OwnedFd, unix::net::UnixStream},
    path::Path,
    process::{Child, Command},
    thread::sleep,
    time::Instant,
};

use tempfile::TempDir;

use super::{POLL_EVERY, replica::Replica};
use crate::support::PATIENCE;

/// A running HAProxy, killed when dropped.
pub struct Balancer {
    child: Child,
    pub address: SocketAddr,
    folder: TempDir,
}

impl Balancer {
    pub fn start<'r>(replicas: impl IntoIterator<Item = &'r Replica>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let log = fs::File::create(folder.path().join("log")).unwrap();
        let configuration = folder.path().join("haproxy.cfg");
        fs::write(&configuration, haproxy_configuration(folder.path(), replicas)).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let mut command = Command::new("haproxy");
        command.arg("-db").arg("-f").arg(&configuration).stdin(OwnedFd::from(listener));
        let child = command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        let balancer = Self { child, address, folder };
        let begun = Instant::now();
        while !balancer.folder.path().join("stats").exists() {
            assert!(begun.elapsed() < PATIENCE, "HAProxy does not start:\n{}", balancer.log());
            sleep(POLL_EVERY);
        }
        balancer
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    /// Its counters by server. `BACKEND` has the sums.
    pub fn stats(&self) -> HashMap<String, HashMap<String, String>> {
        let mut socket = UnixStream::connect(self.folder.path().join("stats")).unwrap();
        socket.write_all(b"show stat\n").unwrap();
        let mut text = String::new();
        socket.read_to_string(&mut text).unwrap();
        let mut rows = text.lines().map(|line| line.trim_start_matches("# ").split(',').map(str::to_owned));
        let names: Vec<_> = rows.next().unwrap().collect();
        let tables = rows.map(|row| names.iter().cloned().zip(row).collect::<HashMap<_, _>>());
        tables.filter(|row| row.contains_key("svname")).map(|row| (row["svname"].clone(), row)).collect()
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The configuration that an operator would write. Only its socket on standard input is the test's own.
fn haproxy_configuration<'r>(folder: &Path, replicas: impl IntoIterator<Item = &'r Replica>) -> String {
    let server = |replica: &Replica| {
        let Replica { name, address, admin, .. } = replica;
        format!("    server {name} {address} check port {}\n", admin.port())
    };
    let servers: String = replicas.into_iter().map(server).collect();
    format!(
        r"
global
    stats socket {folder}/stats level user
    log stdout format raw local0
    maxconn 500
    nbthread 1
defaults
    mode http
    log global
    option httplog
    option dontlog-normal
    timeout connect 1s
    timeout client 30s
    timeout http-request 10s
    # Shorter than callveil's idle_seconds, so that it is never callveil that ends an idle connection.
    timeout http-keep-alive 60s
    # Longer than callveil's request_seconds: whatever it answers is heard.
    timeout server 15s
    timeout check 1s
frontend ccc
    bind fd@0
    default_backend callveil
backend callveil
    balance roundrobin
    # Mapping changes nothing: the same request may be sent again after any failure, though it is a POST, and at once to
    # another replica. Only a request that is in HAProxy's buffer as a whole (tune.bufsize) can be: so it waits for the
    # body, which many clients send apart from the head.
    retries 3
    option redispatch 1
    retry-on all-retryable-errors
    option http-buffer-request
    option httpchk GET /readyz
    http-check expect status 200
    http-response set-header x-replica %s
    default-server inter 1s fall 2 rise 2
{servers}",
        folder = folder.display()
    )
}
