//! The audit log of a running replica, from its opening to its end.

use std::{
    io,
    net::SocketAddr,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, mpsc},
    time::Duration,
};

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::{
    task::spawn_blocking,
    time::{Instant, interval_at},
};
use tracing::error;

use crate::{
    audit::{Audit, AuditConfig, Destination, Writer},
    cli::{failure::Failure, ring::read_item_key},
    config::Config,
    state::ReplicaState,
    version,
};

/// When the head of the audit log is first logged, and how often after that.
const HEAD_FIRST: Duration = Duration::from_secs(1);
const HEAD_INTERVAL: Duration = Duration::from_secs(60);

/// How long an ending process waits for its audit log to be written: a little longer than the writer keeps trying.
const AUDIT_PATIENCE: Duration = Duration::from_secs(6);

/// Opens the audit log that `config` describes.
pub(super) fn open_audit(config: &Config) -> Result<(Audit, Writer), Failure> {
    let AuditConfig { to, hmac_key, on_full } = &config.audit;
    let item_key = hmac_key.as_deref().map(|path| read_item_key(path, config.keyring.mode)).transpose()?;
    let failed = |error| Failure::config(format_args!("audit log: {error}"));
    let destination = match to {
        None => Destination::stdout().map_err(failed)?,
        Some(path) => {
            Destination::file(path).map_err(|error| failed(io::Error::other(format!("{}: {error}", path.display()))))?
        }
    };
    let mut instance = [0; 8];
    getrandom::fill(&mut instance).map_err(Failure::failed)?;
    Ok(Audit::new(destination, *on_full, item_key, u64::from_be_bytes(instance)))
}

/// Runs the writer on its own thread. At its end, the thread reports how many records were lost. If the writer panics,
/// nothing can be recorded any more, so the process ends.
pub(super) fn run_writer(writer: Writer) -> Result<mpsc::Receiver<usize>, Failure> {
    let (done, written) = mpsc::channel();
    let run = move || match catch_unwind(AssertUnwindSafe(|| writer.run())) {
        Ok(lost) => drop(done.send(lost)),
        Err(_) => {
            error!("the audit log's writer panicked: nothing can be recorded any more");
            std::process::exit(Failure::FAILED.into());
        }
    };
    let thread = std::thread::Builder::new().name("audit".to_owned()).spawn(run);
    thread.map_err(|error| Failure::failed(format_args!("cannot start threads: {error}")))?;
    Ok(written)
}

/// Records at the start of the log's chain which version, ring and clients run here.
pub(super) fn record_start(audit: &Audit, state: &ReplicaState, address: SocketAddr) {
    let (tokenizer, clients) = (state.tokenizer(), state.clients());
    let (ring, hmac_key) = (tokenizer.ring(), audit.item_key_id());
    let fields = json!({
        "version": version::VERSION, "pid": std::process::id(), "instance": state.instance,
        "listen": address.to_string(), "ring": ring.id().to_string(), "ring_hash": ring.hash().to_string(),
        "generation": ring.generation(), "primary": ring.primary(Timestamp::now()).id.to_string(),
        "hmac_key": hmac_key.as_ref().and_then(|id| str::from_utf8(id).ok()),
        "clients": clients.usernames().collect::<Vec<_>>(),
    });
    if let Value::Object(fields) = fields {
        audit.event("start", fields);
    }
}

/// Logs the head of the audit log from time to time. This happens on a thread that may block, since stderr may be a
/// full pipe.
pub(super) async fn tell_heads(audit: Arc<Audit>) {
    let mut ticks = interval_at(Instant::now() + HEAD_FIRST, HEAD_INTERVAL);
    loop {
        ticks.tick().await;
        let audit = audit.clone();
        // If the head cannot be logged, the server goes on.
        let _ = spawn_blocking(move || audit.tell_head()).await;
    }
}

/// Waits until the audit log is written to its end.
pub(super) fn end_audit(audit: &Audit, written: &mpsc::Receiver<usize>) -> Result<(), Failure> {
    audit.stop();
    // A write may never return, so the wait is bounded.
    let lost = written.recv_timeout(AUDIT_PATIENCE).unwrap_or_else(|_| audit.unwritten());
    audit.tell_head();
    if lost == 0 {
        return Ok(());
    }
    error!(lost, "audit records could not be written");
    Err(Failure::failed(format_args!("{lost} audit records could not be written")))
}
