//! The machines that the page reaches with `ssh`: folders, each with a callveil that the test runs.

use std::{
    collections::HashMap,
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    thread::JoinHandle,
};

use crate::{
    runbook::Rehearsal,
    support::{Server, callveil},
};

/// A substitute for `ssh`. Each machine is a folder, which stands for its /etc/callveil. Commands for systemd go to the
/// test.
const SSH: &str = r#"#!/bin/bash
set -euo pipefail
host=${1#root@}
here=MACHINES/$host
mkdir -p "$here"
systemctl() {
  exec 3<>/dev/tcp/ORDERS
  echo "$host $*" >&3
  read -r answer <&3
  [ "$answer" = done ]
}
command=${2//\/etc\/callveil/$here}
eval "${command// -g callveil/}"
"#;

/// All machines, and the thread that carries out the commands for systemd.
pub struct Machines {
    folder: PathBuf,
    orders: SocketAddr,
    systemd: Option<JoinHandle<()>>,
}

impl Machines {
    pub fn start(rehearsal: &Rehearsal) -> Self {
        let folder = rehearsal.behind("machines");
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let orders = listener.local_addr().unwrap();
        let place = format!("{}/{}", orders.ip(), orders.port());
        rehearsal.program("ssh", &SSH.replace("MACHINES", folder.to_str().unwrap()).replace("ORDERS", &place));
        let machines = folder.clone();
        let systemd = std::thread::spawn(move || heed(&listener, &machines));
        Self { folder, orders, systemd: Some(systemd) }
    }

    /// The audit logs of the replicas.
    pub fn audit_logs(&self) -> Vec<String> {
        let machines = fs::read_dir(&self.folder).unwrap().map(|machine| machine.unwrap().path().join("audit.log"));
        machines.map(|log| fs::read_to_string(log).unwrap()).collect()
    }
}

impl Drop for Machines {
    fn drop(&mut self) {
        // Where it panicked before, nobody listens.
        let told = TcpStream::connect(self.orders).and_then(|mut orders| orders.write_all(b"the test ends\n"));
        let ended = self.systemd.take().expect("it runs until now").join();
        if !std::thread::panicking() {
            told.and(Ok(ended)).unwrap().expect("systemd did what it was told");
        }
    }
}

/// Carries out the page's `systemctl` commands one after the other, and ends all replicas at the end.
fn heed(listener: &TcpListener, machines: &Path) {
    let mut replicas: HashMap<String, Server> = HashMap::new();
    loop {
        let mut order = String::new();
        let mut orders = BufReader::new(listener.accept().unwrap().0);
        orders.read_line(&mut order).unwrap();
        match order.trim_end().split(' ').collect::<Vec<_>>()[..] {
            ["the", "test", "ends"] => return,
            [host, "enable", "--now", "callveil"] => _ = replicas.insert(host.to_owned(), replica(machines, host)),
            [host, "reload", "callveil"] => {
                replicas[host].signal("HUP");
                replicas[host].wait_for("configuration reloaded");
            }
            [host, "restart", "callveil"] => {
                let mut old = replicas.remove(host).expect("it runs");
                old.signal("TERM");
                assert_eq!(old.wait(), Some(0), "{}", old.log());
                replicas.insert(host.to_owned(), replica(machines, host));
            }
            _ => panic!("no such order is known: {order}"),
        }
        orders.get_mut().write_all(b"done\n").unwrap();
    }
}

/// Starts the replica of `host` and waits until it is ready, as systemd does.
fn replica(machines: &Path, host: &str) -> Server {
    Server::spawn(callveil().arg("serve").arg("--config").arg(machines.join(host).join("callveil.toml")))
}
