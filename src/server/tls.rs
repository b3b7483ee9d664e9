//! TLS by rustls: 1.2 and 1.3, with the post-quantum key exchange that aws-lc-rs offers, for HTTP/1.1 and HTTP/2.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use arc_swap::ArcSwap;
use jiff::Timestamp;
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use sha2::{Digest, Sha256};
use tokio_rustls::TlsAcceptor;
use x509_parser::prelude::{FromDer as _, X509Certificate};
use zeroize::Zeroizing;

use crate::{config::TlsFiles, lock::lock};

/// Bytes of the largest certificate or key file.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// The certificate in use, and the files from which a newer one may come.
pub struct Tls {
    files: TlsFiles,
    /// The pair, and when it expires, where that can be read.
    config: ArcSwap<(Arc<ServerConfig>, Option<Timestamp>)>,
    /// What was last looked at, in use or refused; `None` where it could not even be read.
    seen: Mutex<Option<[u8; 32]>>,
}

impl Tls {
    /// The pair in `files`.
    ///
    /// # Errors
    /// [`TlsError`] where they cannot be read, are no PEM, or do not fit each other.
    pub fn load(files: TlsFiles) -> Result<Self, TlsError> {
        let pair = Pair::read(&files)?;
        let config = pair.config(&files)?;
        Ok(Self { files, config: ArcSwap::from_pointee(config), seen: Mutex::new(Some(pair.hash())) })
    }

    /// Accepts connections with the pair of this moment.
    pub fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.config.load().0.clone())
    }

    /// When the certificate in use expires; `None` where it does not say so in a way that we read.
    pub fn not_after(&self) -> Option<Timestamp> {
        self.config.load().1
    }

    /// Takes up the files if their content changed; `None` where it did not. The pair in use stays on any refusal.
    pub fn reload_if_changed(&self) -> Option<Result<(), TlsError>> {
        let read = Pair::read(&self.files);
        let hash = read.as_ref().ok().map(Pair::hash);
        let before = std::mem::replace(&mut *lock(&self.seen), hash);
        let pair = match read {
            Ok(_) if hash == before => return None,
            Ok(pair) => pair,
            Err(error) => return Some(Err(error)),
        };
        Some(pair.config(&self.files).map(|config| self.config.store(Arc::new(config))))
    }
}

/// The two files as they were found.
struct Pair {
    certificate: Vec<u8>,
    private_key: Zeroizing<Vec<u8>>,
}

impl Pair {
    fn read(files: &TlsFiles) -> Result<Self, TlsError> {
        let certificate = read(&files.certificate)?;
        Ok(Self { certificate, private_key: Zeroizing::new(read(&files.private_key)?) })
    }

    fn hash(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(Sha256::digest(&self.certificate));
        hash.update(Sha256::digest(&*self.private_key));
        hash.finalize().into()
    }

    fn config(&self, files: &TlsFiles) -> Result<(Arc<ServerConfig>, Option<Timestamp>), TlsError> {
        let wrong = |path: &Path, what| TlsError::Wrong { path: path.to_owned(), what };
        let chain = CertificateDer::pem_slice_iter(&self.certificate).collect::<Result<Vec<_>, _>>();
        let chain = chain.ok().filter(|chain| !chain.is_empty());
        let chain = chain.ok_or_else(|| wrong(&files.certificate, "it holds no certificate as PEM"))?;
        let key = PrivateKeyDer::from_pem_slice(&self.private_key);
        let key = key.map_err(|_| wrong(&files.private_key, "it holds no private key as PEM"))?;
        let not_after = X509Certificate::from_der(&chain[0]).ok();
        let not_after = not_after.map(|(_, certificate)| certificate.validity().not_after.timestamp());
        let not_after = not_after.and_then(|second| Timestamp::from_second(second).ok());
        let builder = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("the provider has suites for TLS 1.2 and 1.3");
        let config = builder.with_no_client_auth().with_single_cert(chain, key);
        let mut config = config.map_err(|_| wrong(&files.private_key, "it is not the key of that certificate"))?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok((Arc::new(config), not_after))
    }
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    let failed = |error| TlsError::Io { path: path.to_owned(), error };
    let metadata = fs::metadata(path).map_err(failed)?;
    if !metadata.is_file() {
        return Err(failed(io::Error::new(io::ErrorKind::InvalidInput, "it is not a file")));
    }
    if metadata.len() > FILE_BYTES_MAX {
        return Err(failed(io::Error::new(io::ErrorKind::FileTooLarge, "it is too large")));
    }
    fs::read(path).map_err(failed)
}

/// Why a certificate was not taken.
#[derive(Debug)]
#[non_exhaustive]
pub enum TlsError {
    /// A file could not be read.
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        error: io::Error,
    },
    /// A file holds something else than it should.
    Wrong {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: &'static str,
    },
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { path, error } => write!(f, "cannot read {}: {error}", path.display()),
            Self::Wrong { path, what } => write!(f, "{}: {what}", path.display()),
        }
    }
}

impl std::error::Error for TlsError {}
