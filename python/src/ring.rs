//! A ring file, and the ring that is in use.

use std::{
    path::PathBuf,
    sync::{Arc, PoisonError, RwLock},
};

use age::{NoCallbacks, secrecy::SecretString};
use callveil::{
    config::KeyringConfig,
    disk::exposure::FileMode,
    ids::RingId,
    keyring::{KeyRing, file::RingFile, identity},
    memory,
    phone::TrunkZeroRegions,
    tokenizer::{self, Tokenizer},
};
use jiff::Timestamp;
use pyo3::{prelude::*, types::PyDict};

use crate::failure::Failure;

/// A ring file that was opened.
#[pyclass(frozen, module = "callveil._native")]
pub(crate) struct Ring {
    pub(crate) open: Arc<Open>,
}

/// The parts that tokenizers share with their ring.
pub(crate) struct Open {
    file: RingFile,
    /// The rings that are accepted.
    config: KeyringConfig,
    trunk_zero: TrunkZeroRegions,
    in_use: RwLock<Arc<Tokenizer>>,
}

impl Open {
    /// The current tokenizer. A call keeps the one that it began with.
    pub(crate) fn tokenizer(&self) -> Arc<Tokenizer> {
        self.in_use.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The path of the ring.
    pub(crate) fn path(&self) -> PathBuf {
        self.file.path().to_owned()
    }

    fn reload(&self) -> Result<bool, Failure> {
        let next = read(&self.file, &self.config)?;
        let mut in_use = self.in_use.write().unwrap_or_else(PoisonError::into_inner);
        let ring = in_use.ring();
        if ring.generation() == next.generation() && ring.hash() == next.hash() {
            return Ok(false);
        }
        ring.check_successor(&next, Timestamp::now()).map_err(|reason| {
            Failure::ring(format_args!("key ring {}: {reason}; the one before stays in use", self.path().display()))
        })?;
        *in_use = Arc::new(Tokenizer::new(next, self.trunk_zero.clone()).map_err(Failure::ring)?);
        Ok(true)
    }
}

fn read(file: &RingFile, config: &KeyringConfig) -> Result<KeyRing, Failure> {
    let ring = file.read().map_err(Failure::ring)?;
    config.check_pins(&ring).map_err(Failure::ring)?;
    Ok(ring)
}

/// How to open a ring.
struct How {
    path: PathBuf,
    identity: Option<PathBuf>,
    passphrase: Option<String>,
    mode: FileMode,
    ring_id: Option<RingId>,
    min_generation: u64,
    trunk_zero: TrunkZeroRegions,
}

impl How {
    fn open(self) -> Result<Open, Failure> {
        let ask = self.passphrase.map(|passphrase| {
            let passphrase = SecretString::from(passphrase);
            move || Ok(passphrase.clone())
        });
        let identities = self.identity.map(|path| match &ask {
            Some(ask) => identity::read(&path, self.mode, Some(ask), NoCallbacks),
            None => identity::read(&path, self.mode, None, NoCallbacks),
        });
        let identities = identities.transpose().map_err(Failure::ring)?;
        let (mode, ring_id, min_generation) = (self.mode, self.ring_id, self.min_generation);
        let config = KeyringConfig { mode, ring_id, min_generation, ..KeyringConfig::at(self.path.clone()) };
        let file = RingFile::new(self.path, mode, tokenizer::supports, identities);
        let tokenizer = Tokenizer::new(read(&file, &config)?, self.trunk_zero.clone()).map_err(Failure::ring)?;
        Ok(Open { file, config, trunk_zero: self.trunk_zero, in_use: RwLock::new(Arc::new(tokenizer)) })
    }
}

#[pymethods]
impl Ring {
    /// Opens the ring at `path`.
    #[staticmethod]
    #[pyo3(signature = (path, identity, keyring_mode, pins, trunk_zero_regions))]
    fn open(
        py: Python<'_>,
        path: PathBuf,
        identity: (Option<PathBuf>, Option<String>),
        keyring_mode: Option<&str>,
        pins: (Option<String>, u64),
        trunk_zero_regions: Vec<String>,
    ) -> PyResult<Self> {
        let ((identity, passphrase), (ring_id, min_generation)) = (identity, pins);
        let mode = match keyring_mode {
            None => FileMode::Guarded,
            Some("any") => FileMode::Any,
            Some(_) => return Err(Failure::value("keyring_mode is None or \"any\"").into()),
        };
        let ring_id = ring_id
            .map(|hex| RingId::from_hex(&hex).ok_or_else(|| Failure::value("ring_id is 64 lower-case hex digits")))
            .transpose()?;
        let trunk_zero =
            TrunkZeroRegions::new(trunk_zero_regions.iter().map(String::as_str)).map_err(Failure::value)?;
        let how = How { path, identity, passphrase, mode, ring_id, min_generation, trunk_zero };
        let opened = py.detach(|| {
            let opened = how.open();
            memory::wipe_stack();
            opened
        });
        Ok(Self { open: Arc::new(opened?) })
    }

    /// Takes up the file as it is now: whether it is another.
    fn reload(&self, py: Python<'_>) -> PyResult<bool> {
        let reloaded = py.detach(|| {
            let reloaded = self.open.reload();
            memory::wipe_stack();
            reloaded
        });
        Ok(reloaded?)
    }

    /// The path, as it was given.
    #[getter]
    fn path(&self) -> PathBuf {
        self.open.path()
    }

    /// The name of the ring.
    #[getter]
    fn ring_id(&self) -> String {
        self.open.tokenizer().ring().id().to_string()
    }

    /// How often it was written.
    #[getter]
    fn generation(&self) -> u64 {
        self.open.tokenizer().ring().generation()
    }

    /// What the keys are, without their material.
    fn keys<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyDict>>> {
        let (tokenizer, now) = (self.open.tokenizer(), Timestamp::now());
        let ring = tokenizer.ring();
        let describe = |key: &callveil::keyring::key::Key| {
            let dict = PyDict::new(py);
            dict.set_item("id", key.id.to_string())?;
            dict.set_item("state", ring.state(key, now).name())?;
            dict.set_item("created", key.created.to_string())?;
            dict.set_item("activates", key.activates.to_string())?;
            dict.set_item("region", &*key.region)?;
            dict.set_item("numbers", &*key.numbers)?;
            Ok(dict)
        };
        ring.keys().iter().map(describe).collect()
    }
}
