//! Turns a file and flags into a checked [`Config`] (specification, section 6). Nothing past this module validates
//! settings.
//!
//! [`list`] has every key: its values, its default, and what it does. `section` reads keys by that list, `tables` makes
//! the parts of the configuration of them, and `fault` collects everything that is wrong. An error names the wrong key
//! and never quotes its value, which may be a secret in the wrong place.

mod example;
mod fault;
pub mod keys;
pub mod list;
mod networks;
mod schema;
mod section;
mod settings;
mod tables;
#[cfg(test)]
mod tests;

use std::{
    net::SocketAddr,
    num::NonZeroUsize,
    path::{Path, PathBuf},
};

pub use self::{
    example::example,
    fault::{ConfigError, Fault},
    schema::schema,
    settings::Settings,
};
use self::{
    networks::is_everybody,
    section::{Reading, Section},
};
use crate::{
    audit::AuditConfig,
    auth::{Client, HASH_BYTES},
    disk::{exposure::FileMode, reading},
    ids::RingId,
    keyring::{KeyRing, approval::Approval},
    limits::Terms,
    phone::TrunkZeroRegions,
    server::tls::TlsFiles,
};

/// Bytes of the largest configuration file.
const FILE_BYTES_MAX: usize = 1024 * 1024;

/// What `serve` does, and for whom.
pub struct Config {
    /// Where CCC calls.
    pub listen: SocketAddr,
    /// On which terms calls are taken.
    pub terms: Terms,
    /// The key ring.
    pub keyring: KeyringConfig,
    /// The regions whose numbers UIDToPhone gives with their trunk prefix.
    pub trunk_zero_regions: TrunkZeroRegions,
    /// Worker threads; `None` is as many as the CPUs that the process may use.
    pub threads: Option<NonZeroUsize>,
    /// The certificate; plain HTTP where there is none.
    pub tls: Option<TlsFiles>,
    /// The admin listener, if there is one.
    pub admin: Option<AdminConfig>,
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
    /// [`ConfigError`] naming the keys that forbid it.
    pub fn check_pins(&self, ring: &KeyRing) -> Result<(), ConfigError> {
        let mut faults = Vec::new();
        if self.ring_id.is_some_and(|pinned| pinned != ring.id()) {
            faults.push(Fault::of_key("ring_id", format!("the key ring is another one, {}", ring.id())));
        }
        if ring.generation() < self.min_generation {
            let found = format!("the key ring is older: its generation is {}", ring.generation());
            faults.push(Fault::of_key("min_generation", found));
        }
        if faults.is_empty() { Ok(()) } else { Err(ConfigError::all(faults)) }
    }

    /// Whether as many approvers as the configuration wants have signed `ring`.
    ///
    /// # Errors
    /// [`ConfigError`] telling who has yet to sign the ring.
    pub fn check_approval(&self, ring: &KeyRing) -> Result<(), ConfigError> {
        self.approval
            .check(ring)
            .map_err(|awaited| ConfigError::all(vec![Fault::of_key("approvers", format!("the key ring's {awaited}"))]))
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
    /// [`ConfigError`]: every key that is wrong, or why the file cannot be read.
    pub fn read(path: &Path, overrides: Overrides) -> Result<Self, ConfigError> {
        Self::from_toml(&read_text(path)?, folder_of(path), overrides)
    }

    /// Reads the file at `path` as far as possible, and returns what is right together with every fault. Keys that are
    /// wrong get other values, so the result serves only to look for more faults.
    ///
    /// # Errors
    /// [`ConfigError`] if the file cannot be read, or is not TOML.
    pub fn examine(path: &Path) -> Result<(Self, Vec<Fault>), ConfigError> {
        let (config, reading) = read_all(&read_text(path)?, folder_of(path), Overrides::default())?;
        Ok((config, reading.end().err().map_or_else(Vec::new, |error| error.faults().to_vec())))
    }

    /// Reads `text`. Relative paths in it start from `folder`.
    ///
    /// # Errors
    /// [`ConfigError`]: every key that is wrong.
    pub fn from_toml(text: &str, folder: &Path, overrides: Overrides) -> Result<Self, ConfigError> {
        let (config, reading) = read_all(text, folder, overrides)?;
        reading.end()?;
        Ok(config)
    }

    /// Settings that are not wrong, but hardly intended.
    pub fn doubts(&self) -> Vec<String> {
        let proxies =
            "trusted_proxies contains everybody: every peer can claim any address, so no limit per peer works";
        let peers = "allow_from contains everybody: it keeps nobody out";
        let doubts = [(&self.terms.trusted_proxies, proxies), (&self.terms.allow_from, peers)];
        let wide = doubts.into_iter().filter(|(networks, _)| is_everybody(networks)).map(|(_, doubt)| doubt.to_owned());
        let placeholder = |client: &&Client| client.password_sha256.contains(&[0; HASH_BYTES]);
        let nobody = self.clients.iter().filter(placeholder).map(|client| {
            format!("client {} has the password_sha256 of the example, which no password has", client.username.as_str())
        });
        wide.chain(nobody).collect()
    }
}

fn read_text(path: &Path) -> Result<String, ConfigError> {
    reading::text(path, FILE_BYTES_MAX).map_err(|error| ConfigError::file(path, error.to_string()))
}

fn folder_of(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new(""))
}

fn read_all(text: &str, folder: &Path, overrides: Overrides) -> Result<(Config, Reading), ConfigError> {
    let (reading, table) = Reading::begin(text)?;
    let settings = Settings::new(table.clone(), &overrides);
    let config = tables::config(Section::top(&reading, table), folder, overrides, settings);
    Ok((config, reading))
}
