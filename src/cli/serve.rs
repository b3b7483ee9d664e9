//! `callveil serve`: answer CCC.

use std::{
    collections::HashSet,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use anstream::eprintln;
use clap::Args;
use data_encoding::HEXLOWER;
use jiff::Timestamp;
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;
use tracing::{error, info};

use super::{Failure, log, make_folder_of, ring_file, trunk_zero_default};
use crate::{
    auth::{Client, Clients, Partial, Username},
    config::{AdminConfig, Config, KeyringConfig, Limits, Overrides},
    handler::Handler,
    ids::Context,
    keyring::{file::FileMode, rotation},
    live::Live,
    phone,
    server::{
        self,
        admin::{Admin, Readiness},
    },
    tokenizer::{Mode, Tokenizer},
};

/// The key ring of `--dev`.
const DEV_KEYRING: &str = "keys/dev.json";

/// The client of `--dev`.
const DEV_CREDENTIALS: (&str, &str) = ("dev", "dev-password");

/// Connections of the admin listener: probes, scrapes and a few people.
const ADMIN_CONNECTIONS_MAX: usize = 256;

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
    /// For development: on loopback, with a known password and a key ring made on first use
    #[arg(long)]
    dev: bool,
}

pub(super) fn run(args: ServeArgs) -> Result<(), Failure> {
    let dev = args.dev;
    let config = match args.config {
        Some(path) => Config::read(&path, Overrides { listen: args.listen, keyring: args.keyring })?,
        None => dev_config(args.listen, args.keyring)?,
    };
    log::init()?;
    if dev {
        make_dev_ring(&config.keyring.path)?;
    }
    let ring = ring_file(&config.keyring).read()?;
    config.keyring.check_pins(&ring)?;
    let tokenizer = Tokenizer::new(ring, config.trunk_zero_regions.clone());
    let threads = config.threads.or_else(|| std::thread::available_parallelism().ok()).map_or(1, usize::from);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build();
    let runtime = runtime.map_err(|error| Failure::failed(format_args!("cannot start threads: {error}")))?;
    runtime.block_on(serve(config, tokenizer, dev))
}

async fn serve(config: Config, tokenizer: Tokenizer, dev: bool) -> Result<(), Failure> {
    let terminations = server::terminations().map_err(|error| Failure::failed(format_args!("no signals: {error}")))?;
    let listener = bind(config.listen).await?;
    let admin_listener = match &config.admin {
        Some(admin) => Some(bind(admin.listen).await?),
        None => None,
    };
    let live = Arc::new(Live::new(tokenizer, Clients::new(config.clients), new_instance()?, Timestamp::now()));
    let readiness = Arc::new(Readiness::default());
    if let (Some(listener), Some(AdminConfig { token_sha256, .. })) = (admin_listener, config.admin) {
        let admin = Admin { live: live.clone(), readiness: readiness.clone(), token_sha256 };
        serve_admin(listener, admin)?;
    }
    let tokenizer = live.tokenizer();
    tokenizer.warm_up();
    let address = listener.local_addr().map_err(Failure::failed)?;
    if dev {
        greet_developer(address);
    }
    let ring = tokenizer.ring();
    info!(%address, path = config.path, instance = live.instance, ring = %ring.ring(), ring_hash = %ring.hash(),
        generation = ring.generation(), primary = %ring.primary(Timestamp::now()).id, "listening");
    drop(tokenizer);
    readiness.warm.store(true, Ordering::Relaxed);
    let handler = Arc::new(Handler::new(config.path, config.limits.clone(), live));
    server::run(listener, handler, config.limits, config.allow_from, &readiness.draining, terminations).await;
    info!("stopped");
    Ok(())
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
    tokio::spawn(async move {
        let (_never, terminations) = tokio::sync::watch::channel(0);
        let unused = std::sync::atomic::AtomicBool::new(false);
        server::run(listener, Arc::new(admin), limits, Vec::new(), &unused, terminations).await;
        error!("the admin listener ended");
    });
    Ok(())
}

fn new_instance() -> Result<String, Failure> {
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(Failure::failed)?;
    Ok(HEXLOWER.encode(&random))
}

fn dev_config(listen: Option<SocketAddr>, keyring: Option<PathBuf>) -> Result<Config, Failure> {
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
        modes: HashSet::from(Mode::ALL),
        partial: Partial::Lenient,
    };
    Ok(Config {
        listen,
        path: "/".to_owned(),
        keyring: KeyringConfig::at(keyring.unwrap_or_else(|| DEV_KEYRING.into())),
        trunk_zero_regions: trunk_zero_default(),
        threads: None,
        allow_from: Vec::new(),
        admin: Some(AdminConfig { listen: (Ipv4Addr::LOCALHOST, admin_port).into(), token_sha256: None }),
        limits: Limits { drain_delay: Duration::ZERO, ..Limits::default() },
        clients: vec![client],
    })
}

fn make_dev_ring(path: &Path) -> Result<(), Failure> {
    if path.exists() {
        return Ok(());
    }
    make_folder_of(path)?;
    let plain = rotation::init(Timestamp::now(), phone::NUMBERS_NEWEST, "CN").map_err(Failure::failed)?;
    ring_file(&KeyringConfig { mode: FileMode::Guarded, ..KeyringConfig::at(path.to_owned()) }).create(&plain)?;
    Ok(())
}

fn greet_developer(address: SocketAddr) {
    let (username, password) = DEV_CREDENTIALS;
    eprintln!("For development only: everybody knows this password. Try:");
    eprintln!();
    eprintln!(
        "  curl -s -u {username}:{password} http://{address}/ -d '{{\"Numbers\": [\"13988888888\", \"13788888888\"], \"Mode\": \"PhoneToUID\"}}'"
    );
    eprintln!();
}
