//! TOML and flags to a checked [`Config`] (specification, section 6); nothing past here validates settings.
//!
//! An error names the key that is wrong and never quotes its value, which may be a secret in the wrong place.

mod networks;
mod section;
mod settings;

use std::{
    collections::HashSet,
    fmt, fs, io,
    net::{Ipv4Addr, SocketAddr},
    num::NonZeroUsize,
    path::{Path, PathBuf},
    sync::Arc,
};

use ipnet::IpNet;
use sha2::{Digest, Sha256};

pub use self::settings::Settings;
use self::{
    networks::{is_everybody, networks},
    section::Section,
};
use crate::{
    allowance::Allowance,
    audit::{AuditConfig, OnFull},
    auth::{Client, HASH_BYTES, Partial, Username},
    ids::Context,
    keyring::{GENERATION_MAX, KeyRing, RING_NAME, RingId, approval::Approval, file::FileMode, note::Verifier},
    limits::Limits,
    phone::TrunkZeroRegions,
    server::tls::TlsFiles,
    tokenizer::{Mode, PlainNumbers},
};

/// Numbers a minute that a client may have mapped to UIDs, unless it is told otherwise.
const TOKENIZE_PER_MINUTE: u64 = 600_000;

/// UIDs a minute that a client may have mapped to numbers, unless it is told otherwise.
const DETOKENIZE_PER_MINUTE: u64 = 60_000;

/// The greatest rate that is a limit.
const RATE_MAX: u64 = 1_000_000_000;

/// Minutes whose limit a client may have mapped in a day, unless it is told otherwise: the busiest twenty.
const MINUTES_A_DAY: u64 = 20;

/// The greatest number of numbers a day that is a limit.
const DAY_MAX: u64 = RATE_MAX * 24 * 60;

/// Bytes of the largest configuration file.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// What `serve` does, and for whom.
pub struct Config {
    /// Where CCC calls.
    pub listen: SocketAddr,
    /// The one path that is answered.
    pub path: String,
    /// The key ring.
    pub keyring: KeyringConfig,
    /// The regions whose numbers UIDToPhone gives with their trunk prefix.
    pub trunk_zero_regions: TrunkZeroRegions,
    /// Worker threads; `None` is as many as the CPUs that the process may use.
    pub threads: Option<NonZeroUsize>,
    /// Peers that may connect; all where it is empty.
    pub allow_from: Vec<IpNet>,
    /// Proxies whose word about whom they speak for is taken.
    pub trusted_proxies: Vec<IpNet>,
    /// The certificate; plain HTTP where there is none.
    pub tls: Option<TlsFiles>,
    /// The admin listener, if there is one.
    pub admin: Option<AdminConfig>,
    /// Bounds of everything.
    pub limits: Limits,
    /// How the audit log is kept.
    pub audit: AuditConfig,
    /// Who may call.
    pub clients: Vec<Client>,
    /// All but the clients as it was written, to tell later what of it changed.
    pub settings: Settings,
}

/// Where the key ring is, and which one it must be.
#[derive(Clone)]
pub struct KeyringConfig {
    /// The ring file.
    pub path: PathBuf,
    /// The age identity that opens it, where it is encrypted; without one it must be plain.
    pub identity: Option<PathBuf>,
    /// Whether a plain ring, or an identity, may be open to others on the system.
    pub mode: FileMode,
    /// The ring that it must be at the start.
    pub ring_id: Option<RingId>,
    /// The least generation that it must have at the start.
    pub min_generation: u64,
    /// Whose signatures it needs besides its own.
    pub approval: Approval,
}

impl KeyringConfig {
    /// The ring at `path`, whichever it is.
    pub fn at(path: PathBuf) -> Self {
        let (mode, approval) = (FileMode::default(), Approval::default());
        Self { path, identity: None, mode, ring_id: None, min_generation: 0, approval }
    }

    /// Whether `ring` is one that the configuration allows at the start.
    ///
    /// # Errors
    /// [`ConfigError`] naming the key that forbids it.
    pub fn check_pins(&self, ring: &KeyRing) -> Result<(), ConfigError> {
        if self.ring_id.is_some_and(|pinned| pinned != ring.ring()) {
            return Err(ConfigError::new("ring_id", format!("the key ring is another one, {}", ring.ring())));
        }
        if ring.generation() < self.min_generation {
            let found = format!("the key ring is older: its generation is {}", ring.generation());
            return Err(ConfigError::new("min_generation", found));
        }
        Ok(())
    }

    /// Whether `ring` is approved of by as many as the configuration wants.
    ///
    /// # Errors
    /// [`ConfigError`] telling who has yet to sign it.
    pub fn check_approval(&self, ring: &KeyRing) -> Result<(), ConfigError> {
        self.approval.check(ring).map_err(|awaited| ConfigError::new("approvers", format!("the key ring's {awaited}")))
    }
}

/// The listener for the people who run callveil.
pub struct AdminConfig {
    /// Its address.
    pub listen: SocketAddr,
    /// SHA-256 of the bearer token that all but health wants.
    pub token_sha256: Option<[u8; HASH_BYTES]>,
    /// The certificate, and whose certificates clients must have; plain HTTP where there is none.
    pub tls: Option<TlsFiles>,
}

/// What flags say instead of the file.
#[derive(Clone, Default)]
pub struct Overrides {
    /// `--listen`.
    pub listen: Option<SocketAddr>,
    /// `--keyring`, relative to the working directory.
    pub keyring: Option<PathBuf>,
    /// `--identity`, relative to the working directory.
    pub identity: Option<PathBuf>,
}

impl Config {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// [`ConfigError`]: the first key that is wrong, or why the file cannot be read.
    pub fn read(path: &Path, overrides: Overrides) -> Result<Self, ConfigError> {
        let failed = |error: io::Error| ConfigError::file(path, error.to_string());
        let length = fs::metadata(path).map_err(failed)?.len();
        if length > FILE_BYTES_MAX {
            return Err(ConfigError::file(path, format!("it is larger than {FILE_BYTES_MAX} bytes")));
        }
        let text = fs::read_to_string(path).map_err(failed)?;
        let folder = path.parent().unwrap_or(Path::new(""));
        Self::from_toml(&text, folder, overrides)
    }

    /// Reads `text`, whose relative paths begin in `folder`.
    ///
    /// # Errors
    /// [`ConfigError`]: the first key that is wrong.
    pub fn from_toml(text: &str, folder: &Path, overrides: Overrides) -> Result<Self, ConfigError> {
        let mut top = Section::parse(text)?;
        let settings = Settings::new(top.table.clone(), &overrides);
        let listen = overrides.listen.or(top.address("listen")?).unwrap_or((Ipv4Addr::UNSPECIFIED, 8443).into());
        let path = top.string("path")?.unwrap_or_else(|| "/".to_owned());
        if !path.starts_with('/') || path.contains(|c: char| !c.is_ascii_graphic() || matches!(c, '?' | '#')) {
            return Err(top.wrong("path", "must begin with / and have no query"));
        }
        let keyring = keyring(&mut top, folder, overrides.keyring, overrides.identity)?;
        let trunk_zero = top.strings("trunk_zero_regions")?.unwrap_or_else(|| vec!["CN".to_owned()]);
        let trunk_zero_regions = TrunkZeroRegions::new(trunk_zero.iter().map(String::as_str))
            .map_err(|error| top.wrong("trunk_zero_regions", error))?;
        let threads = top.integer("threads", 1..=1024)?.and_then(NonZeroUsize::new);
        let plaintext = top.boolean("plaintext")?.unwrap_or(false);
        let allow_from = networks(&mut top, "allow_from")?;
        let trusted_proxies = networks(&mut top, "trusted_proxies")?;
        let tls = top.section("tls")?.map(|section| tls(section, folder, keyring.mode)).transpose()?;
        match (&tls, plaintext) {
            (Some(_), true) => return Err(top.wrong("plaintext", "and [tls] exclude each other")),
            (None, false) if !listen.ip().is_loopback() => {
                let what =
                    "another address than loopback wants [tls]; behind a proxy that ends TLS, say plaintext = true";
                return Err(top.wrong("listen", what));
            }
            _ => {}
        }
        let admin = top.section("admin")?.map(|section| admin(section, folder, keyring.mode)).transpose()?;
        let limits = top.section("limits")?.map(limits).transpose()?.unwrap_or_default();
        let audit = top.section("audit")?.map(|section| audit(section, folder)).transpose()?.unwrap_or_default();
        let clients = top.sections("clients")?.into_iter().map(client).collect::<Result<Vec<_>, _>>()?;
        check_clients(&clients, &top)?;
        top.finish()?;
        Ok(Self {
            listen,
            path,
            keyring,
            trunk_zero_regions,
            threads,
            allow_from,
            trusted_proxies,
            tls,
            admin,
            limits,
            audit,
            clients,
            settings,
        })
    }

    /// What is no mistake, and hardly meant.
    pub fn doubts(&self) -> Vec<&'static str> {
        let proxies = "trusted_proxies holds everybody: all can say who they are, and no limit of a peer holds";
        let peers = "allow_from holds everybody: it keeps nobody out";
        let doubts = [(&self.trusted_proxies, proxies), (&self.allow_from, peers)];
        doubts.into_iter().filter(|(networks, _)| is_everybody(networks)).map(|(_, doubt)| doubt).collect()
    }
}

fn keyring(
    top: &mut Section,
    folder: &Path,
    keyring: Option<PathBuf>,
    identity: Option<PathBuf>,
) -> Result<KeyringConfig, ConfigError> {
    let path = top.string("keyring")?.unwrap_or_else(|| "keys/keyring.json".to_owned());
    let path = keyring.unwrap_or_else(|| folder.join(path));
    let identity = identity.or(top.string("identity")?.map(|path| folder.join(path)));
    let mode = match top.string("keyring_mode")?.as_deref() {
        None => FileMode::default(),
        Some("any") => FileMode::Any,
        Some(_) => return Err(top.wrong("keyring_mode", "can only be \"any\"")),
    };
    let ring_id = match top.string("ring_id")? {
        None => None,
        Some(text) => {
            Some(RingId::from_hex(&text).ok_or_else(|| top.wrong("ring_id", "must be 64 lower-case hex digits"))?)
        }
    };
    let min_generation = top.integer("min_generation", 1..=GENERATION_MAX)?.unwrap_or(0);
    let approval = approval(top)?;
    Ok(KeyringConfig { path, identity, mode, ring_id, min_generation, approval })
}

fn approval(top: &mut Section) -> Result<Approval, ConfigError> {
    let texts = top.strings("approvers")?;
    let Some(texts) = texts else {
        return match top.take("approvals") {
            None => Ok(Approval::default()),
            Some(_) => Err(top.wrong("approvals", "says how many of `approvers` must have signed, and there are none")),
        };
    };
    let approvers = texts.iter().map(|text| Verifier::parse(text)).collect::<Option<Vec<_>>>();
    let approvers = approvers.filter(|approvers| !approvers.is_empty());
    let approvers = approvers
        .ok_or_else(|| top.wrong("approvers", "must be verifier keys, as `callveil keys approver new` prints them"))?;
    // Nobody counts twice, under two names or with two keys of one name; and the ring counts not at all.
    let (mut names, mut keys) = (HashSet::from([RING_NAME]), HashSet::new());
    if !approvers.iter().all(|approver| names.insert(approver.name().as_str()) && keys.insert(approver.key())) {
        return Err(top.wrong("approvers", "has two with one name or one key, or one with the name of rings"));
    }
    let needed = top.integer("approvals", 1..=approvers.len())?.unwrap_or(1);
    Ok(Approval::new(approvers, needed))
}

fn tls(mut section: Section, folder: &Path, mode: FileMode) -> Result<TlsFiles, ConfigError> {
    let files = tls_files(&mut section, folder, mode)?;
    section.finish()?;
    Ok(files)
}

fn tls_files(section: &mut Section, folder: &Path, mode: FileMode) -> Result<TlsFiles, ConfigError> {
    let mut file =
        |key| section.string(key)?.map(|path| folder.join(path)).ok_or_else(|| section.wrong(key, "is missing"));
    let (certificate, private_key) = (file("certificate")?, file("private_key")?);
    Ok(TlsFiles { certificate, private_key, client_ca: None, mode })
}

fn admin(mut section: Section, folder: &Path, mode: FileMode) -> Result<AdminConfig, ConfigError> {
    let listen = section.address("listen")?.unwrap_or((Ipv4Addr::LOCALHOST, 9640).into());
    let token_sha256 = section.string("token_sha256")?.map(|hex| section.sha256("token_sha256", &hex)).transpose()?;
    if !listen.ip().is_loopback() && token_sha256.is_none() {
        return Err(section.wrong("token_sha256", "is required where `listen` is not loopback"));
    }
    let tls = section.section("tls")?.map(|mut section| {
        let files = tls_files(&mut section, folder, mode)?;
        let client_ca = section.string("client_ca")?.map(|path| folder.join(path));
        section.finish()?;
        Ok(TlsFiles { client_ca, ..files })
    });
    let tls = tls.transpose()?;
    section.finish()?;
    Ok(AdminConfig { listen, token_sha256, tls })
}

fn limits(mut section: Section) -> Result<Limits, ConfigError> {
    let default = Limits::default();
    let limits = Limits {
        body_bytes: section.integer("body_bytes", 1024..=1 << 28)?.unwrap_or(default.body_bytes),
        buffered_bytes: section.integer("buffered_bytes", 1024..=1 << 40)?.unwrap_or(default.buffered_bytes),
        numbers: section.integer("numbers", 1..=1_000_000)?.unwrap_or(default.numbers),
        connections: section.integer("connections", 1..=1_000_000)?.unwrap_or(default.connections),
        connections_per_peer: section
            .integer("connections_per_peer", 1..=1_000_000)?
            .unwrap_or(default.connections_per_peer),
        header: section.seconds("header_seconds", 1..=3600)?.unwrap_or(default.header),
        request: section.seconds("request_seconds", 1..=3600)?.unwrap_or(default.request),
        idle: section.seconds("idle_seconds", 1..=3600)?.unwrap_or(default.idle),
        drain_delay: section.seconds("drain_delay_seconds", 0..=3600)?.unwrap_or(default.drain_delay),
        drain: section.seconds("drain_seconds", 0..=3600)?.unwrap_or(default.drain),
    };
    if limits.buffered_bytes < limits.body_bytes {
        return Err(section.wrong("buffered_bytes", "must be at least `body_bytes`"));
    }
    section.finish()?;
    Ok(limits)
}

fn audit(mut section: Section, folder: &Path) -> Result<AuditConfig, ConfigError> {
    let to = section.string("to")?.filter(|to| to != "stdout");
    if let Some(wrong) = to.as_deref().and_then(no_file_for_audit) {
        return Err(section.wrong("to", wrong));
    }
    let to = to.map(|path| folder.join(path));
    let key = section.string("hmac_key")?.map(|path| folder.join(path));
    let hmac_key = match (section.string("items")?.as_deref(), key) {
        (Some("hmac"), Some(key)) => Some(key),
        (Some("hmac"), None) => {
            return Err(section.wrong("hmac_key", "is missing: items = \"hmac\" wants a file of 32 bytes"));
        }
        (None | Some("none"), None) => None,
        (None | Some("none"), Some(_)) => return Err(section.wrong("hmac_key", "is for items = \"hmac\"")),
        (Some(_), _) => return Err(section.wrong("items", "must be \"none\" or \"hmac\"")),
    };
    let on_full = match section.string("on_full")?.as_deref() {
        None | Some("block") => OnFull::Block,
        Some("drop") => OnFull::Drop,
        Some(_) => return Err(section.wrong("on_full", "must be \"block\" or \"drop\"")),
    };
    section.finish()?;
    Ok(AuditConfig { to, hmac_key, on_full })
}

/// How the names begin of what is opened like a file, and keeps nothing.
const STREAMS: [&str; 6] = ["/dev/std", "/dev/fd/", "/dev/tty", "/dev/console", "/dev/log", "/proc/"];

/// Why this is no file to write the audit log to, though the system would take it for one.
fn no_file_for_audit(to: &str) -> Option<&'static str> {
    match to.to_ascii_lowercase().as_str() {
        "" | "none" | "off" | "no" | "false" | "null" | "nil" | "disabled" | "discard" | "/dev/null" => {
            Some("must be \"stdout\" or a file: there is always an audit log (a file of that name is \"./…\")")
        }
        "stderr" | "stdin" | "console" | "-" | "syslog" | "journal" | "journald" | "stdout" => Some(
            "must be \"stdout\", written so, or a file (one of that name is \"./…\"): the log on stderr is another",
        ),
        path if STREAMS.iter().any(|stream| path.starts_with(stream)) => {
            Some("must be \"stdout\" or a file, and not another name of a stream or a terminal")
        }
        _ if to.ends_with('/') => Some("must be \"stdout\" or a file, and no folder"),
        _ => None,
    }
}

fn client(mut section: Section) -> Result<Client, ConfigError> {
    let username = section.string("username")?.ok_or_else(|| section.wrong("username", "is missing"))?;
    let username = Username::new(&username)
        .ok_or_else(|| section.wrong("username", "must be 1 to 64 bytes without a colon or control characters"))?;
    let hashes = section.strings("password_sha256")?.unwrap_or_default();
    if hashes.is_empty() {
        return Err(section.wrong("password_sha256", "is missing: `callveil clients new-password` makes one"));
    }
    let password_sha256 =
        hashes.iter().map(|hex| section.sha256("password_sha256", hex)).collect::<Result<Vec<_>, _>>()?;
    let empty: [u8; HASH_BYTES] = Sha256::digest("").into();
    if password_sha256.contains(&empty) {
        return Err(section.wrong("password_sha256", "is that of an empty password"));
    }
    let context = match section.string("context")? {
        None => Context::default(),
        Some(text) => text.parse().map_err(|error| section.wrong("context", error))?,
    };
    let modes = match section.strings("modes")? {
        None => vec![Mode::PhoneToUid, Mode::UidToPhone],
        Some(names) => names
            .iter()
            .map(|name| Mode::from_name(name).ok_or_else(|| section.wrong("modes", "names an unknown mode")))
            .collect::<Result<_, _>>()?,
    };
    let partial = match section.string("partial")?.as_deref() {
        None | Some("lenient") => Partial::Lenient,
        Some("strict") => Partial::Strict,
        Some(_) => return Err(section.wrong("partial", "must be \"lenient\" or \"strict\"")),
    };
    let plain_numbers = match section.string("plain_numbers")?.as_deref() {
        None | Some("refuse") => PlainNumbers::Refuse,
        Some("pass") => PlainNumbers::Pass,
        Some(_) => return Err(section.wrong("plain_numbers", "must be \"refuse\" or \"pass\"")),
    };
    let tokenize = allowance(&mut section, "tokenize", TOKENIZE_PER_MINUTE)?;
    let detokenize = allowance(&mut section, "detokenize", DETOKENIZE_PER_MINUTE)?;
    section.finish()?;
    let usage = Arc::default();
    Ok(Client { username, password_sha256, context, modes, partial, plain_numbers, tokenize, detokenize, usage })
}

/// The limits a minute and a day of `what` a client does. Who has no limit a minute has none a day, unless it is told so.
fn allowance(section: &mut Section, what: &str, per_minute: u64) -> Result<Arc<Allowance>, ConfigError> {
    let (minute, day) = (format!("{what}_per_minute"), format!("{what}_per_day"));
    let per_minute = section.rate(&minute, "minute", RATE_MAX)?.unwrap_or(Some(per_minute));
    let usual = per_minute.map(|per_minute| per_minute * MINUTES_A_DAY);
    let per_day = section.rate(&day, "day", DAY_MAX)?.unwrap_or(usual);
    Ok(Arc::new(Allowance::new(per_minute).and_per_day(per_day)))
}

fn check_clients(clients: &[Client], top: &Section) -> Result<(), ConfigError> {
    if clients.is_empty() {
        return Err(top.wrong("clients", "is missing: nobody could call"));
    }
    let mut seen = HashSet::new();
    if !clients.iter().all(|client| seen.insert(&client.username)) {
        return Err(top.wrong("clients", "has two with one username"));
    }
    Ok(())
}

/// What is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    place: String,
    what: String,
}

impl ConfigError {
    fn new(key: &str, what: String) -> Self {
        Self { place: format!("`{key}`"), what }
    }

    fn file(path: &Path, what: String) -> Self {
        Self { place: path.display().to_string(), what }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "configuration: {}: {}", self.place, self.what)
    }
}

impl std::error::Error for ConfigError {}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const CLIENT: &str = r#"
        [[clients]]
        username = "ccc"
        password_sha256 = ["5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8"]
    "#;

    fn read(text: &str) -> Result<Config, ConfigError> {
        Config::from_toml(text, Path::new("/etc/callveil"), Overrides::default())
    }

    #[track_caller]
    fn check(text: &str, place: &str) {
        let Err(error) = read(text) else { panic!("accepted {text}") };
        assert_eq!(error.place, place, "{error}");
        assert!(!error.to_string().contains("s3cret"), "{error}");
    }

    #[test]
    fn a_day_is_twenty_minutes_unless_it_is_told_otherwise() {
        let in_client = |line: &str| format!("plaintext = true\n{CLIENT}\n{line}");
        for (limits, tokenize, detokenize) in [
            ("", Some(12_000_000), Some(1_200_000)),
            ("tokenize_per_minute = 5\ndetokenize_per_minute = 1000000000", Some(100), Some(20_000_000_000)),
            ("tokenize_per_minute = \"unlimited\"\ndetokenize_per_day = 7", None, Some(7)),
            (
                "tokenize_per_minute = \"unlimited\"\ntokenize_per_day = 1440000000000",
                Some(1_440_000_000_000),
                Some(1_200_000),
            ),
            ("tokenize_per_day = \"unlimited\"", None, Some(1_200_000)),
        ] {
            let config = read(&in_client(limits)).map_err(|error| error.to_string()).expect("it is right");
            let client = &config.clients[0];
            assert_eq!((client.tokenize.per_day(), client.detokenize.per_day()), (tokenize, detokenize), "{limits}");
        }
    }

    #[test]
    fn defaults_are_those_of_the_specification() {
        let config = read(&format!("plaintext = true\n{CLIENT}")).expect("a good configuration");
        assert_eq!(config.listen.to_string(), "0.0.0.0:8443");
        assert_eq!(
            (config.path.as_str(), config.keyring.path),
            ("/", PathBuf::from("/etc/callveil/keys/keyring.json"))
        );
        assert!(config.admin.is_none() && config.threads.is_none() && config.allow_from.is_empty());
        assert_eq!((config.limits.numbers, config.limits.idle), (10_000, Duration::from_secs(75)));
        let client = &config.clients[0];
        assert_eq!((client.context.as_str(), client.partial), ("default", Partial::Lenient));
        assert_eq!(client.modes, [Mode::PhoneToUid, Mode::UidToPhone]);
    }

    #[test]
    fn what_is_wrong_is_named_and_not_quoted() {
        let top = |line: &str| format!("listen = \"127.0.0.1:0\"\n{line}\n{CLIENT}");
        let limit = |line: &str| top(&format!("[limits]\n{line}"));
        let in_client = |line: &str| format!("{}\n{line}", top(""));
        check(&format!("listen = \"0.0.0.0:8443\"{CLIENT}"), "`listen`");
        check("listen = \"127.0.0.1:0\"", "`clients`");
        check(&top("password = \"s3cret\""), "`password`");
        check(&top("path = \"s3cret\""), "`path`");
        check(&top("path = 5"), "`path`");
        check(&top("keyring_mode = \"s3cret\""), "`keyring_mode`");
        check(&top("ring_id = \"s3cret\""), "`ring_id`");
        check(&top(&format!("ring_id = \"{}\"", "a".repeat(32))), "`ring_id`");
        check(&top("min_generation = 0"), "`min_generation`");
        let alice = "alice+4124365a+AYqI4910CfGV/VLbLTy6XXLKZwm/HZQSG/N0iAG0D29c";
        check(&top("approvals = 1"), "`approvals`");
        check(&top("approvers = []"), "`approvers`");
        check(&top("approvers = [\"s3cret\"]"), "`approvers`");
        check(&top(&format!("approvers = [\"{alice}\", \"{alice}\"]")), "`approvers`");
        check(&top(&format!("approvers = [\"{alice}\"]\napprovals = 2")), "`approvals`");
        check(&top(&format!("approvers = [\"{alice}\"]\napprovals = 0")), "`approvals`");
        assert!(read(&top(&format!("approvers = [\"{alice}\"]"))).is_ok_and(|it| it.keyring.approval.needed() == 1));
        check(&top("trunk_zero_regions = [\"s3cret\"]"), "`trunk_zero_regions`");
        check(&top("trunk_zero_regions = [\"ZZ\"]"), "`trunk_zero_regions`");
        check(&top("threads = 0"), "`threads`");
        check(&top("allow_from = [\"10.0.0.0/33\"]"), "`allow_from`");
        check(&top("allow_from = []"), "`allow_from`");
        for no_network in ["0.0.0.0", "::", "::ffff:10.0.0.0/104", "10.0.0.7/8"] {
            check(&top(&format!("allow_from = [\"{no_network}\"]")), "`allow_from`");
        }
        check(&top("[tls]\ncertificate = \"s3cret\""), "`tls.private_key`");
        check(&top("[tls]\ncertificate = \"a\"\nprivate_key = \"b\"\nkey = \"s3cret\""), "`tls.key`");
        check(&top("plaintext = true\n[tls]\ncertificate = \"a\"\nprivate_key = \"b\""), "`plaintext`");
        check(&top("trusted_proxies = []"), "`trusted_proxies`");
        check(&top("[audit]\nto = 5"), "`audit.to`");
        for no_file in ["none", "NONE", "stderr", "off", "-", "/dev/null", "/dev/stderr", "/dev/fd/2", "Stdout", "log/"]
        {
            check(&top(&format!("[audit]\nto = \"{no_file}\"")), "`audit.to`");
        }
        check(&top("[admin.tls]\ncertificate = \"s3cret\""), "`admin.tls.private_key`");
        check(&top("[tls]\ncertificate = \"a\"\nprivate_key = \"b\"\nclient_ca = \"c\""), "`tls.client_ca`");
        check(&top("[audit]\nitems = \"s3cret\""), "`audit.items`");
        check(&top("[audit]\nitems = \"hmac\""), "`audit.hmac_key`");
        check(&top("[audit]\nhmac_key = \"s3cret\""), "`audit.hmac_key`");
        check(&top("[audit]\non_full = \"s3cret\""), "`audit.on_full`");
        check(&top("[audit]\nfull = \"s3cret\""), "`audit.full`");
        check(&top("[admin]\nlisten = \"0.0.0.0:9640\""), "`admin.token_sha256`");
        check(&top("[admin]\ntoken_sha256 = \"s3cret\""), "`admin.token_sha256`");
        check(&top("[admin]\ntoken = \"s3cret\""), "`admin.token`");
        check(&limit("numbers = 0"), "`limits.numbers`");
        check(&limit("numbers = \"s3cret\""), "`limits.numbers`");
        check(&limit("numbers = 1.5"), "`limits.numbers`");
        check(&limit("numbers = -1"), "`limits.numbers`");
        check(&limit("body_bytes = 2000000\nbuffered_bytes = 1000000"), "`limits.buffered_bytes`");
        check(&limit("nmubers = 1"), "`limits.nmubers`");
        check(&in_client("password = \"s3cret\""), "`clients[0].password`");
        check(&in_client("context = \"S3CRET\""), "`clients[0].context`");
        check(&in_client("modes = [\"s3cret\"]"), "`clients[0].modes`");
        check(&in_client("partial = \"s3cret\""), "`clients[0].partial`");
        check(&in_client("plain_numbers = \"s3cret\""), "`clients[0].plain_numbers`");
        check(&in_client("tokenize_per_minute = 0"), "`clients[0].tokenize_per_minute`");
        check(&in_client("detokenize_per_minute = \"s3cret\""), "`clients[0].detokenize_per_minute`");
        check(&in_client(CLIENT), "`clients`");
        check(&top("clients = 5").replace("[[clients]]", "[x]"), "`clients`");
        check(&top("x = \"s3cret"), "line 2, column 12");
        check(&top("x = s3cret"), "line 2, column 5");
        check(&top("x = \"\\s3cret\""), "line 2, column 7");
        check(&top("s3cret.a = 1\ns3cret = 2"), "line 3, column 1");
        check(&top("s3cret\u{1}"), "line 2, column 8");
        check(&top("path = \"s3cret\"\npath = \"/\""), "line 3, column 1");
        check(&top("[limits\nnumbers = 5"), "line 2, column 8");
        check(&top("\"s3cret\" 5"), "line 2, column 10");
        check(&in_client("[[clients]]\nusername = \"s3:cret\""), "`clients[1].username`");
        check(
            &in_client("[[clients]]\nusername = \"b\"\npassword_sha256 = \"s3cret\""),
            "`clients[1].password_sha256`",
        );
        check(
            &in_client("[[clients]]\nusername = \"b\"\npassword_sha256 = [\"s3cret\"]"),
            "`clients[1].password_sha256`",
        );
        check(
            &top("").replace(
                "5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8",
                "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            ),
            "`clients[0].password_sha256`",
        );
        check(&in_client("[[clients]]\nusername = \"b\"\npassword_sha256 = []"), "`clients[1].password_sha256`");
        check(&in_client("tokenize_per_day = 0"), "`clients[0].tokenize_per_day`");
        check(&in_client("detokenize_per_day = \"s3cret\""), "`clients[0].detokenize_per_day`");
        assert!(read(&in_client("tokenize_per_minute = \"unlimited\"")).is_ok());
        assert!(read(&top("allow_from = [\"10.0.0.0/8\", \"::1\"]")).is_ok());
    }

    #[test]
    fn no_message_of_the_parser_quotes_the_file() {
        let message = |text: &str| read(text).err().map(|error| error.to_string()).unwrap_or_default();
        let digits = "31337".repeat(20);
        for text in [format!("x = {digits}"), format!("x = [{digits}]"), format!("x = {{y = {digits}}}")] {
            assert!(message(&text).contains("a value beyond what TOML has"), "{}", message(&text));
            assert!(!message(&text).contains("31337"), "{}", message(&text));
        }
        for text in
            ["x = 0x31337g", "x = 3133-7", "x = 31337.", "x = 31:33:7", "x = +-31337", "31337", "[31337", "a.31337 ="]
        {
            assert!(message(text).contains("not TOML") && !message(text).contains("3133"), "{}", message(text));
        }
    }

    #[test]
    fn everybody_is_doubted() {
        let doubts = |key: &str, networks: &str| {
            let config = read(&format!("listen = \"127.0.0.1:0\"\n{key} = [{networks}]\n{CLIENT}"));
            config.unwrap_or_else(|error| panic!("{error}")).doubts().len()
        };
        for networks in
            ["\"0.0.0.0/0\"", "\"::/0\"", "\"0.0.0.0/1\", \"128.0.0.0/1\"", "\"2000::/3\"", "\"::/1\", \"8000::/1\""]
        {
            assert_eq!((doubts("trusted_proxies", networks), doubts("allow_from", networks)), (1, 1), "{networks}");
        }
        for networks in ["\"10.0.0.0/8\", \"172.16.0.0/12\", \"192.168.0.0/16\"", "\"fc00::/7\"", "\"2001:db8::/32\""] {
            assert_eq!(doubts("trusted_proxies", networks), 0, "{networks}");
        }
    }
}
