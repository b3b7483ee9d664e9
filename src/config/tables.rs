//! Makes the parts of a configuration, each from its table. A fault is noted, and another value stands in for the wrong
//! one. Nothing uses that value, since a configuration with a fault is never put in use.

use std::{
    collections::HashSet,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    num::NonZeroUsize,
    path::{Path, PathBuf},
    sync::Arc,
};

use sha2::{Digest, Sha256};

use super::{
    AdminConfig, Config, KeyringConfig, Overrides, Settings,
    networks::networks,
    section::{Section, sha256},
};
use crate::{
    allowance::Allowance,
    audit::{AuditConfig, OnFull},
    auth::{Client, HASH_BYTES, OnPartial, Username},
    disk::exposure::FileMode,
    ids::{Context, RingId},
    item::{Mode, PlainNumbers},
    keyring::{RING_NAME, approval::Approval, note::Verifier},
    limits::{Limits, Terms},
    phone::TrunkZeroRegions,
    server::tls::TlsFiles,
};

/// The limit a day is this many times the limit a minute, unless the configuration says otherwise.
const MINUTES_A_DAY: u64 = 20;

/// The address of a listener that has none. This happens only beside a fault.
const NOWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

pub(super) fn config(mut top: Section<'_>, folder: &Path, overrides: Overrides, settings: Settings) -> Config {
    let listen = top.address("listen");
    let listen = overrides.listen.or(listen).unwrap_or(NOWHERE);
    let path = top.parsed("path", "must begin with / and have no query", |path| {
        let odd = |c: char| !c.is_ascii_graphic() || matches!(c, '?' | '#');
        (path.starts_with('/') && !path.contains(odd)).then(|| path.to_owned())
    });
    let keyring = keyring(&mut top, folder, overrides.keyring, overrides.identity);
    let trunk_zero_regions = trunk_zero_regions(&mut top);
    let threads = top.integer("threads").and_then(NonZeroUsize::new);
    let plaintext = top.boolean("plaintext").unwrap_or(false);
    let allow_from = networks(&mut top, "allow_from");
    let trusted_proxies = networks(&mut top, "trusted_proxies");
    let speaks_tls = top.has("tls");
    let tls = top.section("tls").and_then(|section| tls(section, folder, keyring.mode));
    if speaks_tls && plaintext {
        top.wrong("plaintext", "excludes [tls]: leave one of them out");
    }
    if !speaks_tls && !plaintext && !listen.ip().is_loopback() && !top.is_wrong("listen") {
        let what = "another address than loopback wants [tls]; behind a proxy that ends TLS, say plaintext = true";
        top.wrong("listen", what);
    }
    let admin = top.section("admin").map(|section| admin(section, folder, keyring.mode));
    let limits = top.section("limits").map(limits).unwrap_or_default();
    let audit = top.section("audit").map(|section| audit(section, folder)).unwrap_or_default();
    let clients = clients(&mut top);
    top.finish();
    let terms = Terms { path: path.unwrap_or_default(), allow_from, trusted_proxies, limits: Arc::new(limits) };
    Config { listen, terms, keyring, trunk_zero_regions, threads, tls, admin, audit, clients, settings }
}

fn keyring(top: &mut Section<'_>, folder: &Path, keyring: Option<PathBuf>, identity: Option<PathBuf>) -> KeyringConfig {
    let file = |path: String| folder.join(path);
    let (path, own) = (top.string("keyring").map(file), top.string("identity").map(file));
    let mode = match top.choice("keyring_mode") {
        Some("any") => FileMode::Any,
        _ => FileMode::default(),
    };
    let ring_id = top.parsed("ring_id", "must be 64 lower-case hex digits", RingId::from_hex);
    let min_generation = top.integer("min_generation").unwrap_or(0);
    let approval = approval(top);
    let path = keyring.or(path).unwrap_or_default();
    KeyringConfig { path, identity: identity.or(own), mode, ring_id, min_generation, approval }
}

fn approval(top: &mut Section<'_>) -> Approval {
    if !top.has("approvers") {
        if top.has("approvals") {
            top.wrong("approvals", "says how many of `approvers` must have signed, but no `approvers` are set");
        }
        let _ = top.integer::<u64>("approvals");
        return Approval::default();
    }
    let demand = "must be verifier keys, as `callveil keys approver new` prints them";
    let approvers = top.all_parsed("approvers", demand, Verifier::parse);
    let needed = top.limit("approvals");
    let Some(approvers) = approvers else { return Approval::default() };
    // Nobody counts twice, with two names or with two keys of the same name. The ring itself does not count at all.
    let (mut names, mut keys) = (HashSet::from([RING_NAME]), HashSet::new());
    if approvers.is_empty() {
        top.wrong("approvers", demand);
    } else if needed > approvers.len() {
        top.wrong("approvals", format_args!("must be an integer from 1 to {}", approvers.len()));
    }
    if !approvers.iter().all(|approver| names.insert(approver.name().as_str()) && keys.insert(approver.key())) {
        top.wrong("approvers", "has a name or a key twice, or the name that is reserved for rings");
    }
    Approval::new(approvers, needed)
}

fn trunk_zero_regions(top: &mut Section<'_>) -> TrunkZeroRegions {
    let codes = top.strings("trunk_zero_regions").unwrap_or_default();
    TrunkZeroRegions::new(codes.iter().map(String::as_str)).unwrap_or_else(|error| {
        top.wrong("trunk_zero_regions", error);
        TrunkZeroRegions::new([]).expect("no region is unknown")
    })
}

fn tls(mut section: Section<'_>, folder: &Path, mode: FileMode) -> Option<TlsFiles> {
    let files = tls_files(&mut section, folder, mode);
    section.finish();
    files
}

fn tls_files(section: &mut Section<'_>, folder: &Path, mode: FileMode) -> Option<TlsFiles> {
    let mut file = |key| section.string(key).map(|path| folder.join(path));
    let (certificate, private_key) = (file("certificate"), file("private_key"));
    Some(TlsFiles { certificate: certificate?, private_key: private_key?, client_ca: None, mode })
}

fn admin(mut section: Section<'_>, folder: &Path, mode: FileMode) -> AdminConfig {
    let listen = section.address("listen").unwrap_or(NOWHERE);
    let has_token = section.has("token_sha256");
    let token_sha256 = section.parsed("token_sha256", "", sha256);
    if !listen.ip().is_loopback() && !has_token {
        section.wrong("token_sha256", "is required where `listen` is not loopback");
    }
    let tls = section.section("tls").and_then(|mut section| {
        let files = tls_files(&mut section, folder, mode);
        let client_ca = section.string("client_ca").map(|path| folder.join(path));
        section.finish();
        files.map(|files| TlsFiles { client_ca, ..files })
    });
    section.finish();
    AdminConfig { listen, token_sha256, tls }
}

fn limits(mut section: Section<'_>) -> Limits {
    let limits = Limits {
        body_bytes: section.limit("body_bytes"),
        buffered_bytes: section.limit("buffered_bytes"),
        numbers: section.limit("numbers"),
        connections: section.limit("connections"),
        connections_per_peer: section.limit("connections_per_peer"),
        header: section.seconds("header_seconds"),
        request: section.seconds("request_seconds"),
        idle: section.seconds("idle_seconds"),
        drain_delay: section.seconds("drain_delay_seconds"),
        drain: section.seconds("drain_seconds"),
    };
    if limits.buffered_bytes < limits.body_bytes {
        section.wrong("buffered_bytes", "must be at least `body_bytes`");
    }
    section.finish();
    limits
}

fn audit(mut section: Section<'_>, folder: &Path) -> AuditConfig {
    let to = section.string("to").filter(|to| to != "stdout");
    if let Some(wrong) = to.as_deref().and_then(no_file_for_audit) {
        section.wrong("to", wrong);
    }
    let has_key = section.has("hmac_key");
    let key = section.string("hmac_key").map(|path| folder.join(path));
    let hmac_key = match section.choice("items") {
        Some("hmac") if !has_key => {
            section.wrong("hmac_key", "is missing: items = \"hmac\" wants a file of 32 bytes");
            None
        }
        Some("hmac") => key,
        _ if has_key => {
            section.wrong("hmac_key", "is for items = \"hmac\"");
            None
        }
        _ => None,
    };
    let on_full = match section.choice("on_full") {
        Some("drop") => OnFull::Drop,
        _ => OnFull::Block,
    };
    section.finish();
    AuditConfig { to: to.map(|path| folder.join(path)), hmac_key, on_full }
}

/// The beginnings of the names of streams, which open like files but keep nothing.
const STREAMS: [&str; 6] = ["/dev/std", "/dev/fd/", "/dev/tty", "/dev/console", "/dev/log", "/proc/"];

/// Why the audit log cannot be written to `to`, although the system would take it for a file.
fn no_file_for_audit(to: &str) -> Option<&'static str> {
    match to.to_ascii_lowercase().as_str() {
        "" | "none" | "off" | "no" | "false" | "null" | "nil" | "disabled" | "discard" | "/dev/null" => {
            Some("must be \"stdout\" or a file: there is always an audit log (a file of that name is \"./…\")")
        }
        "stderr" | "stdin" | "console" | "-" | "syslog" | "journal" | "journald" | "stdout" => Some(
            "must be \"stdout\", spelled exactly so, or a file (\"./…\" for a file of that name): \
             stderr has a different log",
        ),
        path if STREAMS.iter().any(|stream| path.starts_with(stream)) => {
            Some("must be \"stdout\" or a file, and not another name of a stream or a terminal")
        }
        _ if to.ends_with('/') => Some("must be \"stdout\" or a file, and no folder"),
        _ => None,
    }
}

fn clients(top: &mut Section<'_>) -> Vec<Client> {
    if !top.has("clients") {
        top.wrong("clients", "is missing: nobody could call");
        return Vec::new();
    }
    let Some(sections) = top.sections("clients") else { return Vec::new() };
    if sections.is_empty() {
        top.wrong("clients", "is empty: nobody could call");
    }
    let mut seen = HashSet::new();
    sections.into_iter().filter_map(|section| client(section, &mut seen)).collect()
}

/// A client, whose name must differ from those `seen`; `None` if it has no good name.
fn client(mut section: Section<'_>, seen: &mut HashSet<Username>) -> Option<Client> {
    let demand = "must be 1 to 64 bytes without a colon or control characters";
    let username = section.parsed("username", demand, Username::new);
    if username.as_ref().is_some_and(|username| !seen.insert(username.clone())) {
        section.wrong("username", "is already the username of another client");
    }
    let password_sha256 = section.all_parsed("password_sha256", "", sha256);
    let empty: [u8; HASH_BYTES] = Sha256::digest("").into();
    match &password_sha256 {
        Some(hashes) if hashes.is_empty() => {
            section.wrong("password_sha256", "has none: `callveil clients new-password` makes one");
        }
        Some(hashes) if hashes.contains(&empty) => {
            section.wrong("password_sha256", "contains the hash of an empty password");
        }
        _ => {}
    }
    let context =
        section.parsed("context", "must be 1 to 64 of a-z, 0-9, '.', '_' and '-', the first a-z or 0-9", |text| {
            text.parse::<Context>().ok()
        });
    let modes = section.all_parsed("modes", "", Mode::from_name);
    let partial = match section.choice("partial") {
        Some("strict") => OnPartial::Strict,
        _ => OnPartial::Lenient,
    };
    let plain_numbers = match section.choice("plain_numbers") {
        Some("pass") => PlainNumbers::Pass,
        _ => PlainNumbers::Refuse,
    };
    let tokenize = allowance(&mut section, "tokenize");
    let detokenize = allowance(&mut section, "detokenize");
    section.finish();
    Some(Client {
        username: username?,
        password_sha256: password_sha256.unwrap_or_default(),
        context: context.unwrap_or_default(),
        modes: modes.unwrap_or_default(),
        partial,
        plain_numbers,
        tokenize,
        detokenize,
        usage: Arc::default(),
    })
}

/// The limits a minute and a day on what a client does (`what`). A client without a limit a minute has none a day,
/// unless one is set.
fn allowance(section: &mut Section<'_>, what: &str) -> Arc<Allowance> {
    let per_minute = section.rate(&format!("{what}_per_minute")).flatten();
    let usual = per_minute.map(|per_minute| per_minute * MINUTES_A_DAY);
    let per_day = section.rate(&format!("{what}_per_day")).unwrap_or(usual);
    Arc::new(Allowance::new(per_minute).and_per_day(per_day))
}
