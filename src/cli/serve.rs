//! `callveil serve`: answer CCC.

#[cfg(test)]
mod tests;

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    num::NonZeroUsize,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use clap::Args;
use jiff::Timestamp;
use rustix::process::{Signal, getpid, kill_process};
use sd_notify::NotifyState;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::{
    net::{TcpListener, TcpSocket},
    signal::unix::{SignalKind, signal},
    sync::watch,
    task::{JoinHandle, spawn_blocking},
    time::{Instant as TokioInstant, interval_at},
};
use tracing::{error, info, warn};

use super::{Asking, Failure, log, make_folder_of, read_item_key, ring_file, tell, trunk_zero_default};
use crate::{
    allowance::Allowance,
    audit::{Audit, AuditConfig, Destination, Writer},
    auth::{Client, Clients, Partial, Username},
    config::{AdminConfig, Config, KeyringConfig, Overrides, Settings},
    handler::Handler,
    ids::Context,
    keyring::{
        file::{ContentHash, RingFile},
        rotation,
    },
    limits::{Limits, Load, Terms},
    live::Live,
    memory, phone,
    server::{
        self, Access, Counts, Readiness,
        admin::Admin,
        exposition::State,
        process::memory_limit,
        reload::{ConfigFile, Reloader},
        tls::{Tls, TlsFiles},
        workers::Workers,
    },
    tokenizer::{Mode, PlainNumbers, Tokenizer},
    version,
};

/// The key ring of `--dev`.
const DEV_KEYRING: &str = "keys/dev.json";

/// The client of `--dev`.
const DEV_CREDENTIALS: (&str, &str) = ("dev", "dev-password");

/// Files that are open beside connections: logs, the ring, sockets of the runtime.
const FILES_OF_OUR_OWN: usize = 64;

/// Connections of the admin listener: probes, scrapes and a few people.
const ADMIN_CONNECTIONS_MAX: usize = 256;

/// Connections that wait to be taken, as far as the system allows it: in a flood, one more would wait for a second.
const BACKLOG: u32 = 65_535;

/// How soon the head of the audit log is told of at first, and how often after that.
const HEAD_FIRST: Duration = Duration::from_secs(1);
const HEAD_INTERVAL: Duration = Duration::from_secs(60);

/// How long a process that ends waits for its audit log to be written: a little longer than the writer tries.
const AUDIT_PATIENCE: Duration = Duration::from_secs(6);

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

/// Serves until it is told to end; `lacking` of what protects the memory could not be had.
pub(super) fn run(args: ServeArgs, mut lacking: Vec<&'static str>) -> Result<(), Failure> {
    let no_threads = |error| Failure::failed(format_args!("cannot start threads: {error}"));
    // This thread takes connections, and answers on the admin listener, however busy the others are.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(no_threads)?;
    // First of all, since SIGHUP ends a process that does not expect it. One that comes early is heeded later.
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
    // Reading the ring left parts of keys behind, on a stack that nothing else will use.
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
    let reload = |live, certificates: &Certificates| Reloader {
        live,
        ring: file,
        trunk_zero,
        config: args.config.map(|path| ConfigFile { path, overrides, settings }),
        tls: certificates.iter().cloned().collect(),
        audit: audit.clone(),
        seen: Some(seen),
    };
    let reload = |live, certificates: &Certificates| reload(live, certificates).start(hangup);
    let served = runtime.block_on(serve(config, tokenizer, certificates, reload, audit.clone(), workers, args.dev));
    // A look at a file system that is gone may never return.
    runtime.shutdown_background();
    served.and(end_audit(&audit, &written))
}

/// The certificates of both listeners, where they have any.
struct Certificates {
    calls: Option<Arc<Tls>>,
    admin: Option<Arc<Tls>>,
}

impl Certificates {
    /// Those that `config` names. One that is not valid now is warned of: this clock may be the wrong one.
    fn load(config: &Config) -> Result<Self, Failure> {
        let load = |files: Option<&TlsFiles>| {
            let tls = files.cloned().map(Tls::load).transpose();
            tls.map(|tls| tls.map(Arc::new)).map_err(|error| Failure::config(format_args!("certificate: {error}")))
        };
        let admin = config.admin.as_ref().and_then(|admin| admin.tls.as_ref());
        let certificates = Self { calls: load(config.tls.as_ref())?, admin: load(admin)? };
        for tls in certificates.iter() {
            if let Some(lack) = tls.validity().and_then(|validity| validity.lack(Timestamp::now())) {
                warn!(path = %tls.path().display(), "{lack}");
            }
        }
        Ok(certificates)
    }

    fn iter(&self) -> impl Iterator<Item = &Arc<Tls>> {
        [&self.calls, &self.admin].into_iter().flatten()
    }
}

/// Warns of settings that are allowed and hardly meant.
fn warn_of(config: &Config) {
    for doubt in config.doubts() {
        warn!("{doubt}");
    }
}

fn no_signals(error: io::Error) -> Failure {
    Failure::failed(format_args!("no signals: {error}"))
}

/// Waits for the audit log to be written to its end.
fn end_audit(audit: &Audit, written: &mpsc::Receiver<usize>) -> Result<(), Failure> {
    audit.stop();
    // A write that does not return cannot be waited for.
    let lost = written.recv_timeout(AUDIT_PATIENCE).unwrap_or_else(|_| audit.unwritten());
    audit.tell_head();
    if lost == 0 {
        return Ok(());
    }
    error!(lost, "audit records could not be written");
    Err(Failure::failed(format_args!("{lost} audit records could not be written")))
}

/// The ring as it is now, ready to map. In a frame of its own, which is wiped after it.
#[inline(never)]
fn read_ring(file: &RingFile, config: &Config) -> Result<(Tokenizer, ContentHash), Failure> {
    let found = file.read_if_other_than(None).map_err(|refused| Failure::from(refused.error))?;
    let (ring, seen) = found.expect("a ring is other than none");
    config.keyring.check_pins(&ring)?;
    config.keyring.check_approval(&ring)?;
    let tokenizer = Tokenizer::new(ring, config.trunk_zero_regions.clone());
    tokenizer.self_test().map_err(Failure::failed)?;
    Ok((tokenizer, seen))
}

/// The audit log that `config` wants.
fn open_audit(config: &Config) -> Result<(Audit, Writer), Failure> {
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

/// Runs the writer on a thread of its own, which tells how many records it lost in the end. Where it panics, nothing can be
/// recorded any more, and so the process ends.
fn run_writer(writer: Writer) -> Result<mpsc::Receiver<usize>, Failure> {
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

async fn serve(
    config: Config,
    tokenizer: Tokenizer,
    certificates: Certificates,
    reload: impl FnOnce(Arc<Live>, &Certificates) -> JoinHandle<()>,
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
    let live = Arc::new(Live::new(tokenizer, clients, config.terms, instance, Timestamp::now()));
    // The first line of its chain, before a reload can have one.
    record_start(&audit, &live, listener.local_addr().map_err(Failure::failed)?);
    tokio::spawn(tell_heads(audit.clone()));
    let has_fallen = end_after(reload(live.clone(), &certificates));
    let (readiness, counts) = (Arc::new(Readiness::default()), Arc::new(Counts::default()));
    if let (Some(listener), Some(AdminConfig { token_sha256, .. })) = (admin_listener, config.admin) {
        let state = State {
            counts: counts.clone(),
            live: live.clone(),
            audit: audit.clone(),
            readiness: readiness.clone(),
            tls: certificates.iter().cloned().collect(),
            connections_max: live.terms().limits.connections,
        };
        serve_admin(listener, Admin::new(state, token_sha256), certificates.admin)?;
    }
    let warming = live.clone();
    spawn_blocking(move || warming.tokenizer().warm_up()).await.map_err(Failure::failed)?;
    let tokenizer = live.tokenizer();
    readiness.warm.store(true, Ordering::Relaxed);
    let address = listener.local_addr().map_err(Failure::failed)?;
    if dev {
        greet_developer(address);
    }
    let ring = tokenizer.ring();
    info!(%address, path = live.terms().path, instance = live.instance, ring = %ring.ring(), ring_hash = %ring.hash(),
        generation = ring.generation(), primary = %ring.primary(Timestamp::now()).id, "listening");
    if config.keyring.ring_id.is_none() && !dev {
        warn!(ring_id = %ring.ring(), "not pinned: a start takes any key ring; set this `ring_id` in the configuration");
    }
    drop(tokenizer);
    let (terms, access) = (live.all_terms(), Access { tls: certificates.calls, counts });
    let handler = Arc::new(Handler::new(live, audit));
    notify(&[NotifyState::Ready]);
    let stopping = terminations.clone();
    tokio::spawn(tell_systemd(stopping, workers.clone()));
    server::run(listener, handler, terms, access, &workers, &readiness.draining, terminations).await;
    info!("stopped");
    if has_fallen.load(Ordering::Relaxed) {
        return Err(Failure::failed("the reloader panicked: please report it"));
    }
    Ok(())
}

/// Ends this process, as SIGTERM does, when `task` ends: without its reloader it would go on with keys and clients that
/// are taken away. Tells then that this is why.
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

/// Tells systemd, where it started us, that we are alive, as often as it wants to hear that, and that we are about to end.
async fn tell_systemd(mut terminations: watch::Receiver<u32>, workers: Arc<Workers>) {
    let mut alive = sd_notify::watchdog_enabled().map(|patience| tokio::time::interval(patience / 2));
    loop {
        let tick = async {
            match &mut alive {
                Some(alive) => {
                    alive.tick().await;
                    workers.are_alive().await;
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = tick => notify(&[NotifyState::Watchdog]),
            terminated = terminations.changed() => match terminated {
                Ok(()) => notify(&[NotifyState::Stopping]),
                Err(_) => return,
            },
        }
    }
}

/// Tells systemd something. Where there is none, there is nobody to tell.
fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        warn!(%error, "cannot notify systemd");
    }
}

/// Tells of the head of the audit log, now and then. On a thread that may wait, since stderr may be a pipe that is full.
async fn tell_heads(audit: Arc<Audit>) {
    let mut ticks = interval_at(TokioInstant::now() + HEAD_FIRST, HEAD_INTERVAL);
    loop {
        ticks.tick().await;
        let audit = audit.clone();
        // A log that cannot be told is no reason to stop.
        let _ = spawn_blocking(move || audit.tell_head()).await;
    }
}

fn record_start(audit: &Audit, live: &Live, address: SocketAddr) {
    let (tokenizer, clients) = (live.tokenizer(), live.clients());
    let (ring, hmac_key) = (tokenizer.ring(), audit.item_key_id());
    let fields = json!({
        "version": version::VERSION, "pid": std::process::id(), "instance": live.instance,
        "listen": address.to_string(), "ring": ring.ring().to_string(), "ring_hash": ring.hash().to_string(),
        "generation": ring.generation(), "primary": ring.primary(Timestamp::now()).id.to_string(),
        "hmac_key": hmac_key.as_ref().and_then(|id| str::from_utf8(id).ok()),
        "clients": clients.usernames().collect::<Vec<_>>(),
    });
    if let Value::Object(fields) = fields {
        audit.event("start", fields);
    }
}

fn bind(address: SocketAddr) -> Result<TcpListener, Failure> {
    let bound = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    bound().map_err(|error| Failure::failed(format_args!("cannot listen on {address}: {error}")))
}

/// The admin listener goes on through the drain, for the probes that watch it, and ends with the process.
fn serve_admin(listener: TcpListener, admin: Admin, tls: Option<Arc<Tls>>) -> Result<(), Failure> {
    let address = listener.local_addr().map_err(Failure::failed)?;
    info!(%address, "admin listening");
    let limits =
        Limits { connections: ADMIN_CONNECTIONS_MAX, connections_per_peer: ADMIN_CONNECTIONS_MAX, ..Limits::default() };
    let terms = Arc::new(ArcSwap::from_pointee(Terms { limits: Arc::new(limits), ..Terms::default() }));
    let (own, access) = (Workers::this_thread(), Access { tls, ..Access::default() });
    tokio::spawn(async move {
        let (_never, terminations) = tokio::sync::watch::channel(0);
        let unused = std::sync::atomic::AtomicBool::new(false);
        server::run(listener, Arc::new(admin), terms, access, &own, &unused, terminations).await;
        error!("the admin listener ended");
    });
    Ok(())
}

fn dev_config(Overrides { listen, keyring, identity }: Overrides) -> Result<Config, Failure> {
    let listen = listen.unwrap_or((Ipv4Addr::LOCALHOST, 8080).into());
    if !listen.ip().is_loopback() {
        return Err(Failure::usage("--dev listens on loopback only: its password is known to everybody"));
    }
    // Whoever asks for any free port has something on the usual ones.
    let admin_port = if listen.port() == 0 { 0 } else { 9640 };
    let (username, password) = DEV_CREDENTIALS;
    let client = Client {
        username: Username::new(username).expect("it has no colon"),
        password_sha256: vec![Sha256::digest(password).into()],
        context: Context::default(),
        modes: Mode::ALL.into(),
        partial: Partial::Lenient,
        plain_numbers: PlainNumbers::Refuse,
        tokenize: Arc::new(Allowance::new(None)),
        detokenize: Arc::new(Allowance::new(None)),
        usage: Arc::default(),
    };
    let limits = Limits { drain_delay: Duration::ZERO, ..Limits::default() };
    Ok(Config {
        listen,
        terms: Terms { path: "/".to_owned(), limits: Arc::new(limits), ..Terms::default() },
        keyring: KeyringConfig { identity, ..KeyringConfig::at(keyring.unwrap_or_else(|| DEV_KEYRING.into())) },
        trunk_zero_regions: trunk_zero_default(),
        threads: None,
        tls: None,
        admin: Some(AdminConfig { listen: (Ipv4Addr::LOCALHOST, admin_port).into(), token_sha256: None, tls: None }),
        audit: AuditConfig::default(),
        clients: vec![client],
        settings: Settings::default(),
    })
}

/// Says how much memory the configuration may take, and warns where there is less.
fn tell_memory(config: &Config, threads: NonZeroUsize, keys: usize) {
    let load = Load { threads: threads.get(), over_tls: config.tls.is_some(), keys };
    let memory_max_bytes = config.terms.limits.memory_max(&load);
    match memory_limit() {
        Some(limit) if limit < memory_max_bytes => warn!(
            memory_max_bytes,
            memory_limit_bytes = limit,
            "less memory than the configuration may take: lower limits.connections or limits.buffered_bytes"
        ),
        limit => info!(memory_max_bytes, memory_limit_bytes = limit, "memory"),
    }
}

fn make_dev_ring(file: &RingFile) -> Result<(), Failure> {
    if file.path().exists() {
        return Ok(());
    }
    make_folder_of(file.path())?;
    let plain = rotation::init(Timestamp::now(), phone::NUMBERS_NEWEST, "CN", &[], rotation::Export::Never)
        .map_err(Failure::failed)?;
    file.create(&plain)?;
    Ok(())
}

/// Lets the process have as many files open as the system allows it, and takes no more connections than that leaves
/// room for: out of files, it could not even take one to refuse it.
fn raise_open_files(limits: &mut Limits) {
    let Ok(files) = rlimit::increase_nofile_limit(u64::MAX) else { return };
    let room =
        usize::try_from(files).unwrap_or(usize::MAX).saturating_sub(ADMIN_CONNECTIONS_MAX + FILES_OF_OUR_OWN).max(1);
    if room < limits.connections {
        warn!(
            open_files = files,
            connections = room,
            "fewer connections than configured: raise the limit of open files"
        );
        limits.connections = room;
    }
}

fn greet_developer(address: SocketAddr) {
    let (username, password) = DEV_CREDENTIALS;
    tell("For development only: everybody knows this password. Try:");
    tell("");
    tell(format_args!(
        "  curl -s -u {username}:{password} http://{address}/ -d '{{\"Numbers\": [\"13988888888\", \"13788888888\"], \"Mode\": \"PhoneToUID\"}}'"
    ));
    tell("");
}
