//! Panics that end the process. Each happens in a process of its own.

use std::{
    path::Path,
    process::{Command, Output, exit},
};

use zeroize::Zeroizing;

use super::*;
use crate::{
    audit::{Destination, OnFull, Writer},
    cli::ring::trunk_zero_default,
    disk::{Access, Disk, Lock},
    keyring::{KeyRing, rotation},
    limits::Terms,
    phone, tokenizer,
};

/// Set in the child process that a test starts from its own binary, to see it end.
const CHILD: &str = "CALLVEIL_TEST_CHILD";

/// The exit code of a test's child when all went well.
const ENDED: i32 = 77;

/// A disk and a log that panic.
struct Broken;

impl Disk for Broken {
    fn resolve(&self, _: &Path) -> PathBuf {
        panic!("broken")
    }
    fn lock(&self, _: &Path, _: Option<Access>, _: &dyn Fn()) -> io::Result<Lock> {
        panic!("broken")
    }
    fn exists(&self, _: &Path) -> bool {
        panic!("broken")
    }
    fn read(&self, _: &Path) -> io::Result<(Zeroizing<Vec<u8>>, Access)> {
        panic!("broken")
    }
    fn remove(&self, _: &Path) -> io::Result<()> {
        panic!("broken")
    }
    fn create(&self, _: &Path, _: &[u8], _: Option<Access>) -> io::Result<()> {
        panic!("broken")
    }
    fn sync(&self, _: &Path) -> io::Result<()> {
        panic!("broken")
    }
    fn rename(&self, _: &Path, _: &Path) -> io::Result<()> {
        panic!("broken")
    }
    fn sync_folder(&self, _: &Path) -> io::Result<()> {
        panic!("broken")
    }
}

impl io::Write for Broken {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        panic!("broken")
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn broken_audit() -> (Audit, Writer) {
    Audit::new(Destination::Other(Box::new(Broken)), OnFull::Block, None, 1)
}

/// Runs the test `name` in a child process. Returns `None` in the child itself.
fn child(name: &str) -> Option<Output> {
    if std::env::var_os(CHILD).is_some() {
        assert!(log::init().is_ok(), "logs begin once");
        return None;
    }
    let mut command = Command::new(std::env::current_exe().expect("a test is a program"));
    command.args(["--exact", "--nocapture", &format!("cli::serve::tests::{name}")]).env(CHILD, "1");
    Some(command.output().expect("it starts"))
}

#[track_caller]
fn check(output: &Output, code: i32, message: &str) {
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{told}");
    assert!(told.contains(message), "{told}");
}

#[test]
fn a_panic_of_the_writer_ends_the_process() {
    let Some(output) = child("a_panic_of_the_writer_ends_the_process") else {
        let (audit, writer) = broken_audit();
        let written = run_writer(writer);
        audit.event("start", serde_json::Map::new());
        let _ = written.map(|written| written.recv());
        exit(ENDED);
    };
    check(&output, Failure::FAILED.into(), "the audit log's writer panicked");
}

#[test]
fn a_panic_of_the_reloader_ends_the_process_as_sigterm_does() {
    let Some(output) = child("a_panic_of_the_reloader_ends_the_process_as_sigterm_does") else {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(lose_the_reloader());
        exit(ENDED);
    };
    check(&output, ENDED, "the reloader panicked");
}

async fn lose_the_reloader() {
    let mut terminations = server::terminations().expect("signals");
    let hangup = signal(SignalKind::hangup()).expect("signals");
    let plain =
        rotation::init(Timestamp::now(), phone::NUMBERS_NEWEST, "CN", &[], rotation::Export::Never).expect("a ring");
    let ring = KeyRing::from_note(&plain, tokenizer::supports, &[]).expect("a ring");
    let tokenizer = Tokenizer::new(ring, trunk_zero_default()).expect("a known numbering");
    let (clients, terms) = (Clients::new(Vec::new()), Terms::default());
    let state = ReplicaState::new(tokenizer, clients, terms, String::new(), Timestamp::now());
    let ring = RingFile::new("ring", Default::default(), tokenizer::supports, None).on(Arc::new(Broken));
    let (audit, _writer) = broken_audit();
    let (state, audit, trunk_zero) = (Arc::new(state), Arc::new(audit), trunk_zero_default());
    let reloader = Reloader { state, ring, trunk_zero, config: None, tls: Vec::new(), audit, seen: None };
    let has_fallen = end_after(reloader.start(hangup));
    terminations.wait_for(|count| *count == 1).await.expect("a termination");
    assert!(has_fallen.load(Ordering::Relaxed));
}
