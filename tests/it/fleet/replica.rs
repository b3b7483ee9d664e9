//! One replica of the fleet, with its own clock.

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
    thread::sleep,
};

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::{
    Fleet, POLL_EVERY,
    caller::{Caller, Manner},
};
use crate::support::{Folder, Http, PASSWORD, Server, USER, callveil, sha256_hex};

/// One replica, as its callers know it.
pub struct Replica {
    pub name: &'static str,
    pub skew: SignedDuration,
    pub address: SocketAddr,
    pub admin: SocketAddr,
    /// Odd while the replica is down; it grows by two with every life.
    life: AtomicU32,
}

impl Replica {
    /// The replica has its own loopback address, as a machine would. While it is down, no other connection on 127.0.0.1
    /// can be given its ports.
    pub fn new(name: &'static str, skew: SignedDuration, host: [u8; 4]) -> Self {
        let reserved = [(); 2].map(|()| TcpListener::bind(SocketAddr::from((host, 0))).unwrap());
        let [address, admin] = reserved.map(|listener| listener.local_addr().unwrap());
        Self { name, skew, address, admin, life: AtomicU32::new(0) }
    }

    /// Starts it for the first time, with the operator's ring.
    pub fn set_up(&self, folder: &Folder, operator: &Folder) -> Server {
        self.set_up_with(folder, operator, "", "")
    }

    /// The same, with `top` at the beginning of its configuration and `more` at the end.
    pub fn set_up_with(&self, folder: &Folder, operator: &Folder, top: &str, more: &str) -> Server {
        fs::copy(operator.ring(), folder.ring()).unwrap();
        let (address, admin, hash) = (self.address, self.admin, sha256_hex(PASSWORD));
        let config = format!(
            "listen = \"{address}\"\n{top}\n[admin]\nlisten = \"{admin}\"\n[[clients]]\nusername = \"{USER}\"\n\
             password_sha256 = [\"{hash}\"]\ntokenize_per_minute = \"unlimited\"\ndetokenize_per_minute = \"unlimited\"\n{more}"
        );
        fs::write(folder.path().join("callveil.toml"), config).unwrap();
        self.start(folder)
    }

    pub fn start(&self, folder: &Folder) -> Server {
        let mut command = callveil();
        command.args(["serve", "--config"]).arg(folder.path().join("callveil.toml"));
        if !self.skew.is_zero() {
            command
                .env("LD_PRELOAD", libfaketime())
                .env("FAKETIME", format!("{:+}s", self.skew.as_secs()))
                .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        }
        let server = Server::spawn(&mut command);
        // Nobody else would: the process is going to be killed.
        for shared in ["faketime_shm", "sem.faketime_sem"] {
            let _ = fs::remove_file(format!("/dev/shm/{shared}_{}", server.pid()));
        }
        server
    }

    pub fn caller(&self) -> Caller {
        Caller::new(self.address, Manner::KeepAlive)
    }

    /// Announces that the replica goes down, or that it is back.
    pub fn turn_life(&self) {
        self.life.fetch_add(1, Ordering::SeqCst);
    }

    /// The time on its own clock when ours shows `time`.
    pub fn own(&self, time: Timestamp) -> Timestamp {
        time + self.skew
    }

    /// Its answer at `/keyring`.
    pub fn keyring(&self) -> Value {
        Http::connect(self.admin).send("GET /keyring HTTP/1.1\r\nhost: admin\r\n\r\n").json()
    }

    /// Makes `caller` do `what` with the replica. If the replica is or goes down, that is not a failure: it is done
    /// again when the replica is back. `None` if the load ends before that.
    pub(super) fn ask<T>(
        &self,
        fleet: &Fleet,
        caller: &mut Caller,
        mut what: impl FnMut(&mut Caller) -> Result<T, String>,
    ) -> Option<Result<T, String>> {
        loop {
            let life = self.life.load(Ordering::SeqCst);
            if life.is_multiple_of(2) {
                caller.use_life(life);
                let done = what(caller);
                if done.is_ok() || self.life.load(Ordering::SeqCst) == life {
                    return Some(done);
                }
            }
            if fleet.minting_over.load(Ordering::Relaxed) {
                return None;
            }
            sleep(POLL_EVERY);
        }
    }
}

/// The library that shifts the clock of a process with several threads.
fn libfaketime() -> PathBuf {
    let listed = Command::new("dpkg").args(["-L", "libfaketime"]).output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    listed.lines().find(|line| line.ends_with("/libfaketimeMT.so.1")).expect("libfaketime's library").into()
}
