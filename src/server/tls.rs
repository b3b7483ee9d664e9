//! TLS by rustls: versions 1.2 and 1.3, with the post-quantum key exchange that aws-lc-rs offers, for HTTP/1 only.

mod pair;

use std::{
    borrow::Cow,
    fmt, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use arc_swap::ArcSwap;
use jiff::Timestamp;
use rustls::{
    CipherSuite, RootCertStore, ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, pem::PemObject as _},
    server::{NoServerSessionStorage, WebPkiClientVerifier},
};
use tokio_rustls::TlsAcceptor;

use self::pair::Pair;
pub use self::pair::Validity;
use crate::{disk::exposure::FileMode, lock::lock};

/// The protocols that TLS offers, best first (RFC 7301). HTTP/1.0 is for peers that offer nothing else.
const PROTOCOLS: [&[u8]; 2] = [b"http/1.1", b"http/1.0"];

/// The suite that all clients of TLS 1.3 support (RFC 8446 section 9.1). Processors have instructions for its SHA-256.
/// Few have them for SHA-384, which takes 8 % of a handshake.
const FIRST_SUITE: CipherSuite = CipherSuite::TLS13_AES_128_GCM_SHA256;

/// Tickets for each TLS 1.3 handshake. A client that comes back with one gets the next.
const TICKETS: usize = 1;

/// Where the certificate chain and its key are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate chain, leaf first, as PEM.
    pub certificate: PathBuf,
    /// Its private key, as PEM.
    pub private_key: PathBuf,
    /// The CAs that must have issued the certificates of clients, as PEM. Without such a file, clients need no
    /// certificate.
    pub client_ca: Option<PathBuf>,
    /// Whether the key may be open to others on the system.
    pub mode: FileMode,
}

/// The certificate in use, and the files from which a newer one may come.
pub struct Tls {
    files: TlsFiles,
    in_use: ArcSwap<InUse>,
    seen: Mutex<Seen>,
}

/// The files that were last looked at.
struct Seen {
    /// The hash of their content; `None` if they are to be looked at again even if they do not change.
    hash: Option<[u8; 32]>,
    /// Why they are not in use, if they are not.
    refused: Option<String>,
}

struct InUse {
    config: Arc<ServerConfig>,
    validity: Option<Validity>,
}

/// The refusals of the files now on disk, for all of these. Taking up one does not mend another.
pub fn refusals(all: &[Arc<Tls>]) -> Option<String> {
    let refused: Vec<_> = all.iter().filter_map(|tls| tls.refusal()).collect();
    (!refused.is_empty()).then(|| refused.join("; "))
}

impl Tls {
    /// Loads the pair in `files`, whether or not it is valid now.
    ///
    /// # Errors
    /// [`TlsError`] if the files cannot be read, are not PEM, or do not belong together.
    pub fn load(files: TlsFiles) -> Result<Self, TlsError> {
        let (in_use, hash) = {
            let pair = Pair::read(&files)?;
            (InUse::of(&pair, &files)?, pair.hash())
        };
        Ok(Self {
            files,
            in_use: ArcSwap::from_pointee(in_use),
            seen: Mutex::new(Seen { hash: Some(hash), refused: None }),
        })
    }

    /// Accepts connections with the current pair.
    pub fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.in_use.load().config.clone())
    }

    /// When the certificate in use is valid; `None` if it does not state that in a form that we can read.
    pub fn validity(&self) -> Option<Validity> {
        self.in_use.load().validity
    }

    /// Where the certificate is.
    pub fn path(&self) -> &Path {
        &self.files.certificate
    }

    /// Why the files now on disk are not in use, if they are not.
    fn refusal(&self) -> Option<String> {
        lock(&self.seen).refused.clone()
    }

    /// Takes up the files if their content changed; `None` if there is nothing new to report. The pair in use stays if
    /// the new one is refused, or if it is valid at `now` and the new one is not.
    pub fn reload_if_changed(&self, now: Timestamp) -> Option<Result<(), TlsError>> {
        let read = Pair::read(&self.files);
        let hash = read.as_ref().ok().map(Pair::hash);
        // This is locked only after the files are read: that may take as long as a dead mount does, and others ask for
        // the refusal.
        let mut seen = lock(&self.seen);
        if hash.is_some() && hash == seen.hash {
            return None;
        }
        let lack = |validity: Option<Validity>| validity.and_then(|validity| validity.lack(now));
        let (hash, done) = match read.and_then(|pair| InUse::of(&pair, &self.files)) {
            Err(error) => (hash, Err(error)),
            Ok(other) => match lack(other.validity).filter(|_| lack(self.validity()).is_none()) {
                // This is looked at again even if unchanged: it may become valid, and the one in use may expire.
                Some(what) => (None, Err(TlsError::wrong(&self.files.certificate, what))),
                None => {
                    self.in_use.store(Arc::new(other));
                    (hash, Ok(()))
                }
            },
        };
        let refused = done.as_ref().err().map(TlsError::to_string);
        let is_news = done.is_ok() || refused != seen.refused;
        *seen = Seen { hash, refused };
        is_news.then_some(done)
    }
}

impl InUse {
    fn of(pair: &Pair<'_>, files: &TlsFiles) -> Result<Self, TlsError> {
        let checked = pair.check()?;
        let mut provider = aws_lc_rs::default_provider();
        provider.cipher_suites.sort_by_key(|suite| suite.suite() != FIRST_SUITE);
        let provider = Arc::new(provider);
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .expect("the provider has suites for TLS 1.2 and 1.3");
        let builder = match files.client_ca.as_deref().zip(pair.client_ca.as_deref()) {
            None => builder.with_no_client_auth(),
            Some((path, text)) => {
                let roots = client_cas(path, text)?.into();
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider).build();
                builder.with_client_cert_verifier(verifier.map_err(|_| TlsError::wrong(path, NO_CAS))?)
            }
        };
        let config = builder.with_single_cert(checked.chain, checked.key);
        let not_its_key = |_| TlsError::wrong(&files.private_key, "it is not the key of that certificate");
        let mut config = config.map_err(not_its_key)?;
        config.ignore_client_order = true;
        config.send_tls13_tickets = TICKETS;
        if files.client_ca.is_some() {
            // A resumed session would let a client back in without another look at its certificate.
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
        }
        config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).into();
        Ok(Self { config: Arc::new(config), validity: checked.validity })
    }
}

/// The fault of a file of CAs that has none.
const NO_CAS: &str = "it holds no certificates of CAs as PEM";

fn client_cas(path: &Path, text: &[u8]) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(text) {
        let certificate = certificate.map_err(|_| TlsError::wrong(path, NO_CAS))?;
        roots.add(certificate).map_err(|_| TlsError::wrong(path, NO_CAS))?;
    }
    Ok(roots)
}

/// Why a certificate was refused.
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
    /// A file does not hold what it should.
    Wrong {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: Cow<'static, str>,
    },
}

impl TlsError {
    fn wrong(path: &Path, what: impl Into<Cow<'static, str>>) -> Self {
        Self::Wrong { path: path.to_owned(), what: what.into() }
    }
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
