//! `callveil serve`: answer CCC.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    num::NonZeroUsize,
    path::PathBuf,
    sync::{Arc, atomic::Ordering, mpsc},
    time::Duration,
};

use clap::Args;
use data_encoding::HEXLOWER;
use jiff::Timestamp;
use sd_notify::NotifyState;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use tokio::{net::TcpListener, sync::watch};
use tracing::{error, info, warn};

use super::{Asking, Failure, log, make_folder_of, read_item_key, ring_file, tell, trunk_zero_default};
use crate::{
    allowance::Allowance,
    audit::{Audit, AuditConfig, Destination, Writer},
    auth::{Client, Clients, Partial, Username},
    config::{AdminConfig, Config, KeyringConfig, Overrides},
    handler::Handler,
    ids::Context,
    keyring::{
        file::{ContentHash, RingFile},
        rotation,
    },
    limits::Limits,
    live::Live,
    memory, phone,
    server::{
        self, Access, Counts, Readiness, admin::Admin, exposition::State, reload::Reloader, tls::Tls, workers::Workers,
    },
    tokenizer::{Mode, Tokenizer},
};

/// The key ring of `--dev`.
const DEV_KEYRING: &str = "keys/dev.json";

/// The client of `--dev`.
const DEV_CREDENTIALS: (&str, &str) = ("dev", "dev-password");

/// Files that are open beside connections: logs, the ring, sockets of the runtime.
const FILES_OF_OUR_OWN: usize = 64;

/// Connections of the admin listener: probes, scrapes and a few people.
const ADMIN_CONNECTIONS_MAX: usize = 256;

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
    let overrides = Overrides { listen: args.listen, keyring: args.keyring, identity: args.identity };
    let mut config = match &args.config {
        Some(path) => Config::read(path, overrides.clone())?,
        None => dev_config(overrides.clone())?,
    };
    log::init()?;
    raise_open_files(&mut config.limits);
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
    let no_threads = |error| Failure::failed(format_args!("cannot start threads: {error}"));
    let workers = Arc::new(Workers::start(threads).map_err(no_threads)?);
    // This thread takes connections, and answers on the admin listener, however busy the others are.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(no_threads)?;
    let tls = config.tls.clone().map(Tls::load).transpose();
    let tls = tls.map_err(|error| Failure::config(format_args!("certificate: {error}")))?.map(Arc::new);
    let (audit, writer) = open_audit(&config)?;
    let written = run_writer(writer)?;
    let audit = Arc::new(audit);
    let reload = |live, tls| Reloader {
        live,
        ring: file,
        trunk_zero,
        config: args.config.map(|path| (path, overrides)),
        tls,
        audit: audit.clone(),
        seen: Some(seen),
    };
    let served = runtime.block_on(serve(config, tokenizer, tls, reload, audit.clone(), workers, args.dev));
    audit.event("stop", Map::new());
    audit.stop();
    match written.recv_timeout(AUDIT_PATIENCE) {
        Ok(0) => {}
        Ok(lost) => error!(lost, "audit records could not be written"),
        Err(_) => error!("the audit log could not be written to its end"),
    }
    served
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

/// Runs the writer on a thread of its own, which tells how many records it lost in the end.
fn run_writer(writer: Writer) -> Result<mpsc::Receiver<usize>, Failure> {
    let (done, written) = mpsc::channel();
    let run = move || {
        let _ = done.send(writer.run());
    };
    let thread = std::thread::Builder::new().name("audit".to_owned()).spawn(run);
    thread.map_err(|error| Failure::failed(format_args!("cannot start threads: {error}")))?;
    Ok(written)
}

async fn serve(
    config: Config,
    tokenizer: Tokenizer,
    tls: Option<Arc<Tls>>,
    reload: impl FnOnce(Arc<Live>, Option<Arc<Tls>>) -> Reloader,
    audit: Arc<Audit>,
    workers: Arc<Workers>,
    dev: bool,
) -> Result<(), Failure> {
    let terminations = server::terminations().map_err(|error| Failure::failed(format_args!("no signals: {error}")))?;
    let listener = bind(config.listen).await?;
    let admin_listener = match &config.admin {
        Some(admin) => Some(bind(admin.listen).await?),
        None => None,
    };
    let live = Arc::new(Live::new(tokenizer, Clients::new(config.clients), new_instance()?, Timestamp::now()));
    reload(live.clone(), tls.clone()).start().map_err(|error| Failure::failed(format_args!("no signals: {error}")))?;
    let (readiness, counts) = (Arc::new(Readiness::default()), Arc::new(Counts::default()));
    if let (Some(listener), Some(AdminConfig { token_sha256, .. })) = (admin_listener, config.admin) {
        let state = State {
            counts: counts.clone(),
            live: live.clone(),
            audit: audit.clone(),
            readiness: readiness.clone(),
            tls: tls.clone(),
        };
        serve_admin(listener, Admin { state, token_sha256 })?;
    }
    let tokenizer = live.tokenizer();
    tokenizer.warm_up();
    readiness.warm.store(true, Ordering::Relaxed);
    let address = listener.local_addr().map_err(Failure::failed)?;
    if dev {
        greet_developer(address);
    }
    let ring = tokenizer.ring();
    info!(%address, path = config.path, instance = live.instance, ring = %ring.ring(), ring_hash = %ring.hash(),
        generation = ring.generation(), primary = %ring.primary(Timestamp::now()).id, "listening");
    if config.keyring.ring_id.is_none() && !dev {
        warn!(ring_id = %ring.ring(), "not pinned: a start takes any key ring; set this `ring_id` in the configuration");
    }
    record_start(&audit, &live, &tokenizer, address);
    drop(tokenizer);
    let (allow_from, trusted_proxies) = (config.allow_from, config.trusted_proxies);
    let handler = Arc::new(Handler::new(config.path, config.limits.clone(), trusted_proxies.clone(), live, audit));
    let access = Access { allow_from, trusted_proxies, tls, counts };
    notify(&[NotifyState::Ready]);
    let stopping = terminations.clone();
    tokio::spawn(tell_systemd(stopping, workers.clone()));
    server::run(listener, handler, config.limits, access, &workers, &readiness.draining, terminations).await;
    info!("stopped");
    Ok(())
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

fn record_start(audit: &Audit, live: &Live, tokenizer: &Tokenizer, address: SocketAddr) {
    let ring = tokenizer.ring();
    let clients = live.clients();
    let fields = json!({
        "version": env!("CARGO_PKG_VERSION"), "pid": std::process::id(), "instance": live.instance,
        "listen": address.to_string(), "ring": ring.ring().to_string(), "ring_hash": ring.hash().to_string(),
        "generation": ring.generation(), "primary": ring.primary(Timestamp::now()).id.to_string(),
        "clients": clients.usernames().collect::<Vec<_>>(),
    });
    if let Value::Object(fields) = fields {
        audit.event("start", fields);
    }
}

async fn bind(address: SocketAddr) -> Result<TcpListener, Failure> {
    let bound = TcpListener::bind(address).await;
    bound.map_err(|error| Failure::failed(format_args!("cannot listen on {address}: {error}")))
}

/// The admin listener goes on through the drain, for the probes that watch it, and ends with the process.
fn serve_admin(listener: TcpListener, admin: Admin) -> Result<(), Failure> {
    let address = listener.local_addr().map_err(Failure::failed)?;
    info!(%address, "admin listening");
    let limits =
        Limits { connections: ADMIN_CONNECTIONS_MAX, connections_per_peer: ADMIN_CONNECTIONS_MAX, ..Limits::default() };
    let own = Workers::this_thread();
    tokio::spawn(async move {
        let (_never, terminations) = tokio::sync::watch::channel(0);
        let unused = std::sync::atomic::AtomicBool::new(false);
        server::run(listener, Arc::new(admin), limits, Access::default(), &own, &unused, terminations).await;
        error!("the admin listener ended");
    });
    Ok(())
}

fn new_instance() -> Result<String, Failure> {
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(Failure::failed)?;
    Ok(HEXLOWER.encode(&random))
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
        tokenize: Arc::new(Allowance::new(None)),
        detokenize: Arc::new(Allowance::new(None)),
    };
    Ok(Config {
        listen,
        path: "/".to_owned(),
        keyring: KeyringConfig { identity, ..KeyringConfig::at(keyring.unwrap_or_else(|| DEV_KEYRING.into())) },
        trunk_zero_regions: trunk_zero_default(),
        threads: None,
        allow_from: Vec::new(),
        trusted_proxies: Vec::new(),
        tls: None,
        admin: Some(AdminConfig { listen: (Ipv4Addr::LOCALHOST, admin_port).into(), token_sha256: None }),
        limits: Limits { drain_delay: Duration::ZERO, ..Limits::default() },
        audit: AuditConfig::default(),
        clients: vec![client],
    })
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
