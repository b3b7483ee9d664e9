//! `callveil serve`: run the endpoint that CCC calls.

mod audit_log;
mod certificates;
mod dev;
mod listen;
mod machine;
mod systemd;
#[cfg(test)]
mod tests;

use std::{
    io,
    net::SocketAddr,
    num::NonZeroUsize,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use clap::Args;
use jiff::Timestamp;
use rustix::process::{Signal, getpid, kill_process};
use sd_notify::NotifyState;
use tokio::{
    signal::unix::{SignalKind, signal},
    task::{JoinHandle, spawn_blocking},
};
use tracing::{error, info, warn};

use self::{
    audit_log::{end_audit, open_audit, record_start, run_writer, tell_heads},
    certificates::Certificates,
    dev::{dev_config, greet_developer, make_dev_ring},
    listen::{bind, serve_admin},
    machine::{raise_open_files, tell_memory},
    systemd::{notify, tell_systemd},
};
use super::{
    failure::Failure,
    log,
    ring::{Asking, ring_file},
};
use crate::{
    audit::Audit,
    auth::Clients,
    config::{AdminConfig, Config, Overrides},
    handler::Handler,
    keyring::file::{ContentHash, RingFile},
    memory,
    operate::{
        admin::Admin,
        exposition::Telemetry,
        readiness::Readiness,
        reload::{ConfigFile, Reloader},
    },
    server::{self, Access, ConnectionCounts, workers::Workers},
    state::ReplicaState,
    tokenizer::Tokenizer,
};

#[derive(Args)]
pub(super) struct ServeArgs {
    /// The configuration
    #[arg(long, value_name = "FILE", required_unless_present = "dev", conflicts_with = "dev")]
    config: Option<PathBuf>,
    /// Listen here, whatever the configuration says
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// Use this key ring, whatever the configuration says
    #[arg(long, value_name = "FILE")]
    keyring: Option<PathBuf>,
    /// The age identity that opens an encrypted key ring
    #[arg(long, value_name = "FILE")]
    identity: Option<PathBuf>,
    /// For development: on loopback, with a known password and a key ring made on first use
    #[arg(long)]
    dev: bool,
}

/// Serves until the process is told to end. `lacking` names the protections of memory that could not be had.
pub(super) fn run(args: ServeArgs, mut lacking: Vec<&'static str>) -> Result<(), Failure> {
    let no_threads = |error| Failure::failed(format_args!("cannot start threads: {error}"));
    // This thread answers on the admin listener, however busy the other threads are.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(no_threads)?;
    // This comes first, since SIGHUP ends a process without a handler. A signal that comes early is handled later.
    let hangup = runtime.block_on(async { signal(SignalKind::hangup()) }).map_err(no_signals)?;
    let overrides = Overrides { listen: args.listen, keyring: args.keyring, identity: args.identity };
    let mut config = match &args.config {
        Some(path) => Config::read(path, overrides.clone())?,
        None => dev_config(overrides.clone())?,
    };
    log::init()?;
    raise_open_files(Arc::make_mut(&mut config.terms.limits));
    let file = ring_file(&config.keyring, Asking::Nobody)?;
    if args.dev {
        make_dev_ring(&file)?;
    }
    let trunk_zero = config.trunk_zero_regions.clone();
    let (tokenizer, seen) = read_ring(&file, &config)?;
    lacking.extend(memory::lacking());
    lacking.iter().for_each(|what| warn!(what, "less protected than it could be"));
    // Reading the ring left parts of keys on a stack that nothing else will overwrite.
    memory::wipe_stack();
    let threads = config.threads.or_else(|| std::thread::available_parallelism().ok()).unwrap_or(NonZeroUsize::MIN);
    let workers = Arc::new(Workers::start(threads).map_err(no_threads)?);
    warn_of(&config);
    tell_memory(&config, threads, tokenizer.ring().keys().len());
    let certificates = Certificates::load(&config)?;
    let (audit, writer) = open_audit(&config)?;
    let written = run_writer(writer)?;
    let audit = Arc::new(audit);
    let settings = std::mem::take(&mut config.settings);
    let reload = |state, certificates: &Certificates| Reloader {
        state,
        ring: file,
        trunk_zero,
        config: args.config.map(|path| ConfigFile { path, overrides, settings }),
        tls: certificates.iter().cloned().collect(),
        audit: audit.clone(),
        seen: Some(seen),
    };
    let reload = |state, certificates: &Certificates| reload(state, certificates).start(hangup);
    let served = runtime.block_on(serve(config, tokenizer, certificates, reload, audit.clone(), workers, args.dev));
    // A call to a file system that is gone may never return.
    runtime.shutdown_background();
    served.and(end_audit(&audit, &written))
}

/// Warns of settings that are allowed but probably not intended.
fn warn_of(config: &Config) {
    for doubt in config.doubts() {
        warn!("{doubt}");
    }
}

fn no_signals(error: io::Error) -> Failure {
    Failure::failed(format_args!("no signals: {error}"))
}

/// Reads the current ring and prepares it for mapping. It has its own stack frame, which is wiped afterwards.
#[inline(never)]
fn read_ring(file: &RingFile, config: &Config) -> Result<(Tokenizer, ContentHash), Failure> {
    let found = file.read_if_other_than(None).map_err(|refused| Failure::from(refused.error))?;
    let (ring, seen) = found.expect("a ring is other than none");
    config.keyring.check_pins(&ring)?;
    config.keyring.check_approval(&ring)?;
    Ok((Tokenizer::new(ring, config.trunk_zero_regions.clone())?, seen))
}

async fn serve(
    config: Config,
    tokenizer: Tokenizer,
    certificates: Certificates,
    reload: impl FnOnce(Arc<ReplicaState>, &Certificates) -> JoinHandle<()>,
    audit: Arc<Audit>,
    workers: Arc<Workers>,
    dev: bool,
) -> Result<(), Failure> {
    let terminations = server::terminations().map_err(no_signals)?;
    let listener = bind(config.listen)?;
    let admin_listener = match &config.admin {
        Some(admin) => Some(bind(admin.listen)?),
        None => None,
    };
    let (clients, instance) = (Clients::new(config.clients), audit.instance().to_owned());
    let state = Arc::new(ReplicaState::new(tokenizer, clients, config.terms, instance, Timestamp::now()));
    // This is the first line of the log's chain. It must come before a reload can write one.
    record_start(&audit, &state, listener.local_addr().map_err(Failure::failed)?);
    tokio::spawn(tell_heads(audit.clone()));
    let has_fallen = end_after(reload(state.clone(), &certificates));
    let (readiness, counts) = (Arc::new(Readiness::default()), Arc::new(ConnectionCounts::default()));
    if let (Some(listener), Some(AdminConfig { token_sha256, .. })) = (admin_listener, config.admin) {
        let telemetry = Telemetry {
            counts: counts.clone(),
            state: state.clone(),
            audit: audit.clone(),
            readiness: readiness.clone(),
            tls: certificates.iter().cloned().collect(),
            connections_max: state.terms().limits.connections,
        };
        serve_admin(listener, Admin::new(telemetry, token_sha256), certificates.admin)?;
    }
    let warming = state.clone();
    spawn_blocking(move || warming.tokenizer().warm_up()).await.map_err(Failure::failed)?;
    let tokenizer = state.tokenizer();
    readiness.warm.store(true, Ordering::Relaxed);
    let address = listener.local_addr().map_err(Failure::failed)?;
    if dev {
        greet_developer(address);
    }
    let ring = tokenizer.ring();
    info!(%address, path = state.terms().path, instance = state.instance, ring = %ring.id(), ring_hash = %ring.hash(),
        generation = ring.generation(), primary = %ring.primary(Timestamp::now()).id, "listening");
    if config.keyring.ring_id.is_none() && !dev {
        warn!(ring_id = %ring.id(), "not pinned: a start takes any key ring; set this `ring_id` in the configuration");
    }
    drop(tokenizer);
    let (terms, access) = (state.all_terms(), Access { tls: certificates.calls, counts });
    let handler = Arc::new(Handler::new(state, audit));
    notify(&[NotifyState::Ready]);
    let stopping = terminations.clone();
    tokio::spawn(tell_systemd(stopping, workers.clone()));
    let first = workers.first().clone();
    let serving =
        async move { server::run(listener, handler, terms, access, &workers, &readiness.draining, terminations).await };
    let served = first.spawn(serving).await.map_err(io::Error::from).flatten();
    served.map_err(|error| Failure::failed(format_args!("cannot accept connections: {error}")))?;
    info!("stopped");
    if has_fallen.load(Ordering::Relaxed) {
        return Err(Failure::failed("the reloader panicked: please report it"));
    }
    Ok(())
}

/// Ends this process, as SIGTERM does, when `task` ends: without its reloader, it would go on with keys and clients
/// that were withdrawn. The flag that is returned then says that this was the reason.
fn end_after(task: JoinHandle<()>) -> Arc<AtomicBool> {
    let has_fallen = Arc::new(AtomicBool::new(false));
    let falls = has_fallen.clone();
    tokio::spawn(async move {
        let _ = task.await;
        error!("the reloader panicked: nothing is taken up any more, so this process ends");
        falls.store(true, Ordering::Relaxed);
        if kill_process(getpid(), Signal::TERM).is_err() {
            std::process::exit(Failure::FAILED.into());
        }
    });
    has_fallen
}
