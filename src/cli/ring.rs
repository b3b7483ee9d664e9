//! Which ring a command uses, and how it is opened.

use std::{
    cell::OnceCell,
    fmt::Display,
    io,
    path::{Path, PathBuf},
};

use age::{NoCallbacks, secrecy::SecretString};
use clap::Args;

use super::{failure::Failure, say::tell};
use crate::{
    audit::{
        ItemKey,
        journal::{Journal, NotRecorded},
    },
    config::{Config, KeyringConfig, Overrides},
    disk::{
        Disk as _, RealDisk,
        exposure::{AtRest, FileMode},
        reading::open_at_once,
        writing::make_folder_of,
    },
    keyring::{KeyRing, file::RingFile, identity, sealed::Identities},
    phone::TrunkZeroRegions,
    tokenizer::{self, Tokenizer},
};

/// The path of the key ring, unless a flag names another.
const KEYRING_DEFAULT: &str = "keys/keyring.json";

/// Which key ring to use.
#[derive(Args)]
pub(super) struct RingArgs {
    /// The key ring file [default: keys/keyring.json]
    #[arg(long, value_name = "FILE")]
    pub(super) keyring: Option<PathBuf>,
    /// The age identity that opens an encrypted key ring
    #[arg(long, value_name = "FILE")]
    pub(super) identity: Option<PathBuf>,
    /// Take the key ring, its identity, and how numbers are dialled, from this configuration
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// The parsed configuration. It is read once, so that all steps of a command see the same one.
    #[arg(skip)]
    read: OnceCell<Config>,
}

impl RingArgs {
    /// The configuration, if there is one, with the values that the other flags override.
    pub(super) fn configuration(&self) -> Result<Option<&Config>, Failure> {
        let Some(path) = &self.config else { return Ok(None) };
        if self.read.get().is_none() {
            // A service may get its configuration through a pipe. A command never waits for one.
            open_at_once(path)
                .map_err(|error| Failure::config(format_args!("configuration: {}: {error}", path.display())))?;
            let overrides = Overrides { listen: None, keyring: self.keyring.clone(), identity: self.identity.clone() };
            // Nothing else can have set it in between.
            let _ = self.read.set(Config::read(path, overrides)?);
        }
        Ok(self.read.get())
    }

    /// The ring's location, and the regions whose numbers are dialled with their trunk prefix.
    pub(super) fn locate(&self) -> Result<(KeyringConfig, TrunkZeroRegions), Failure> {
        if let Some(config) = self.configuration()? {
            return Ok((config.keyring.clone(), config.trunk_zero_regions.clone()));
        }
        let path = self.keyring.clone().unwrap_or_else(|| KEYRING_DEFAULT.into());
        let identity = self.identity.clone();
        Ok((KeyringConfig { identity, ..KeyringConfig::at(path) }, trunk_zero_default()))
    }

    /// The ring file and its configuration. A passphrase is asked for only here.
    pub(super) fn file(&self) -> Result<(RingFile, KeyringConfig), Failure> {
        let config = self.locate()?.0;
        Ok((ring_file(&config, Asking::OnTheTerminal)?, config))
    }

    /// The journal for commands that change or export something: the file of the configuration's audit log, or a file
    /// beside the ring.
    pub(super) fn journal(&self, command: &'static str) -> Result<Journal, Failure> {
        Ok(self.open_journal(command)??)
    }

    /// Does the same, but returns the system's error if the journal cannot be written.
    pub(super) fn open_journal(&self, command: &'static str) -> Result<Result<Journal, NotRecorded>, Failure> {
        match self.configuration()?.and_then(|config| config.audit.to.clone()) {
            Some(log) => {
                make_folder_of(&log).map_err(Failure::failed)?;
                Ok(Journal::open(command, log))
            }
            None => {
                let ring = self.locate()?.0.path;
                make_folder_of(&ring).map_err(Failure::failed)?;
                Ok(Journal::beside(command, &ring))
            }
        }
    }

    /// The ring, if the configuration allows it, whether or not it is approved.
    pub(super) fn ring(&self) -> Result<KeyRing, Failure> {
        let (file, config) = self.file()?;
        let ring = file.read()?;
        config.check_pins(&ring)?;
        Ok(ring)
    }

    /// A tokenizer that maps as replicas do: its ring is one that they would use, and it passes their self-test.
    pub(super) fn tokenizer(&self) -> Result<Tokenizer, Failure> {
        let (config, trunk_zero) = self.locate()?;
        let ring = self.ring()?;
        config.check_approval(&ring)?;
        Ok(Tokenizer::new(ring, trunk_zero)?)
    }
}

/// Whether somebody can be asked for a passphrase.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Asking {
    OnTheTerminal,
    Nobody,
}

/// The terminal on which age plugins show messages and ask for PINs.
#[derive(Clone, Copy)]
pub(super) struct Terminal;

impl age::Callbacks for Terminal {
    fn display_message(&self, message: &str) {
        tell(message.replace(|c: char| c.is_control(), " "));
    }

    fn confirm(&self, _message: &str, _yes: &str, _no: Option<&str>) -> Option<bool> {
        None
    }

    fn request_public_string(&self, _description: &str) -> Option<String> {
        None
    }

    fn request_passphrase(&self, description: &str) -> Option<SecretString> {
        let prompt = description.replace(|c: char| c.is_control(), " ");
        rpassword::prompt_password(format!("{prompt}: ")).ok().map(SecretString::from)
    }
}

/// The ring file of `config`. If that names no identity, systemd's credential `identity` is used.
pub(super) fn ring_file(config: &KeyringConfig, asking: Asking) -> Result<RingFile, Failure> {
    let credential = || {
        let path = Path::new(&std::env::var_os("CREDENTIALS_DIRECTORY")?).join("identity");
        // A credential that exists but cannot be used must be reported, not ignored.
        let missing = path.symlink_metadata().is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
        (!missing).then_some(path)
    };
    let identity = config.identity.clone().or_else(credential);
    let identities = identity.map(|path| read_identities(&path, config.mode, asking)).transpose()?;
    let file = RingFile::new(&config.path, config.mode, tokenizer::supports, identities);
    let waiting = |lock: &Path| tell(format_args!("waiting for {}, which another command holds", lock.display()));
    Ok(file.approved_by(config.approval.clone()).telling_of_waiting(waiting))
}

pub(super) fn read_identities(path: &Path, mode: FileMode, asking: Asking) -> Result<Identities, Failure> {
    let ask = || rpassword::prompt_password("Passphrase of the identity: ").map(SecretString::from);
    let identities = match asking {
        Asking::OnTheTerminal => identity::read(path, mode, Some(&ask), Terminal),
        Asking::Nobody => identity::read(path, mode, None, NoCallbacks),
    };
    identities.map_err(Failure::config)
}

/// The key under which the audit log hashes items.
pub(super) fn read_item_key(path: &Path, mode: FileMode) -> Result<ItemKey, Failure> {
    let failed = |reason: &dyn Display| Failure::config(format_args!("hmac_key {}: {reason}", path.display()));
    let (file, access) = RealDisk.read(path).map_err(|error| failed(&error))?;
    if let Some(how) = mode.exposure(access, AtRest::Plain) {
        return Err(failed(&format_args!("it {how}")));
    }
    let bytes = file.first_chunk().filter(|bytes| bytes.len() == file.len());
    Ok(ItemKey::new(bytes.ok_or_else(|| failed(&"it is not a file of 32 bytes (head -c 32 /dev/urandom makes one)"))?))
}

pub(super) fn trunk_zero_default() -> TrunkZeroRegions {
    TrunkZeroRegions::new(["CN"]).expect("China is a region")
}
