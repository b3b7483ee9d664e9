//! `serve --dev`: on loopback, with a password that everybody knows and a ring made on first use.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use sha2::{Digest, Sha256};

use crate::{
    allowance::Allowance,
    audit::AuditConfig,
    auth::{Client, OnPartial, Username},
    cli::{failure::Failure, ring::trunk_zero_default, say::tell},
    config::{AdminConfig, Config, KeyringConfig, Overrides, Settings},
    disk::writing::make_folder_of,
    ids::Context,
    item::{Mode, PlainNumbers},
    keyring::{file::RingFile, rotation},
    limits::{Limits, Terms},
    phone,
};

/// The key ring of `--dev`.
const DEV_KEYRING: &str = "keys/dev.json";

/// The client of `--dev`.
const DEV_CREDENTIALS: (&str, &str) = ("dev", "dev-password");

/// The configuration of `--dev`.
pub(super) fn dev_config(Overrides { listen, keyring, identity }: Overrides) -> Result<Config, Failure> {
    let listen = listen.unwrap_or((Ipv4Addr::LOCALHOST, 8080).into());
    if !listen.ip().is_loopback() {
        return Err(Failure::usage("--dev listens on loopback only: its password is known to everybody"));
    }
    // A caller that asks for any free port has something else on the usual ones.
    let admin_port = if listen.port() == 0 { 0 } else { 9640 };
    let (username, password) = DEV_CREDENTIALS;
    let client = Client {
        username: Username::new(username).expect("it has no colon"),
        password_sha256: vec![Sha256::digest(password).into()],
        context: Context::default(),
        modes: Mode::ALL.into(),
        partial: OnPartial::Lenient,
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

/// Makes the ring if it does not exist yet.
pub(super) fn make_dev_ring(file: &RingFile) -> Result<(), Failure> {
    if file.path().exists() {
        return Ok(());
    }
    make_folder_of(file.path()).map_err(Failure::failed)?;
    let plain = rotation::init(Timestamp::now(), phone::NUMBERS_NEWEST, "CN", &[], rotation::Export::Never)
        .map_err(Failure::failed)?;
    file.create(&plain)?;
    Ok(())
}

/// Shows the developer how to call.
pub(super) fn greet_developer(address: SocketAddr) {
    let (username, password) = DEV_CREDENTIALS;
    tell("For development only: everybody knows this password. Try:");
    tell("");
    tell(format_args!(
        "  curl -s -u {username}:{password} http://{address}/ -d '{{\"Numbers\": [\"13988888888\", \"13788888888\"], \"Mode\": \"PhoneToUID\"}}'"
    ));
    tell("");
}
