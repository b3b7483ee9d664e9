//! A certificate chain and its key, as they were read from files, and the checks of both.

use std::path::Path;

use jiff::Timestamp;
use rustls::pki_types::{
    CertificateDer, PrivateKeyDer,
    pem::{PemObject as _, SectionKind},
};
use sha2::{Digest, Sha256};
use x509_cert::{
    certificate::{CertificateInner, Raw},
    der::{self, Decode as _, Reader as _, SliceReader, asn1::UintRef, oid::ObjectIdentifier},
    ext::pkix::BasicConstraints,
    spki::SubjectPublicKeyInfoOwned,
    time::Time,
};
use zeroize::Zeroizing;

use super::{TlsError, TlsFiles};
use crate::disk::{Disk as _, RealDisk, exposure::AtRest};

/// Bits of the shortest RSA key that is accepted for TLS.
const RSA_BITS_MIN: usize = 2048;

/// Object identifiers of keys: RFC 8017 appendix C, RFC 5480 section 2.1.1, RFC 8410 section 3.
const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const RSA_PSS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.10");
const ELLIPTIC_CURVE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
const ED448: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.113");

/// The curves that are accepted for TLS: P-256, P-384 and P-521.
const CURVES: [ObjectIdentifier; 3] = [
    ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7"),
    ObjectIdentifier::new_unwrap("1.3.132.0.34"),
    ObjectIdentifier::new_unwrap("1.3.132.0.35"),
];

/// The content of the files.
pub(super) struct Pair<'f> {
    files: &'f TlsFiles,
    certificate: Zeroizing<Vec<u8>>,
    private_key: Zeroizing<Vec<u8>>,
    /// The CAs of the clients' certificates, if there are any.
    pub(super) client_ca: Option<Zeroizing<Vec<u8>>>,
}

/// When a certificate is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// The first moment at which it is valid.
    pub not_before: Timestamp,
    /// The last moment at which it is valid.
    pub not_after: Timestamp,
}

impl Validity {
    /// Why the certificate is not valid at `now`, if it is not.
    pub fn lack(&self, now: Timestamp) -> Option<&'static str> {
        if now < self.not_before {
            Some("the certificate is not valid yet")
        } else if now > self.not_after {
            Some("the certificate has expired")
        } else {
            None
        }
    }
}

/// A chain and a key that belong together, as far as that can be told without using them.
pub(super) struct Checked {
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) key: PrivateKeyDer<'static>,
    /// The validity of the leaf, if the leaf states it in a form that we can read.
    pub(super) validity: Option<Validity>,
}

impl<'f> Pair<'f> {
    pub(super) fn read(files: &'f TlsFiles) -> Result<Self, TlsError> {
        let read = |path: &Path| RealDisk.read(path).map_err(|error| TlsError::Io { path: path.to_owned(), error });
        let ((certificate, _), (private_key, access)) = (read(&files.certificate)?, read(&files.private_key)?);
        if let Some(how) = files.mode.exposure(access, AtRest::Plain) {
            return Err(TlsError::wrong(&files.private_key, format!("it {how}")));
        }
        let client_ca = files.client_ca.as_deref().map(|path| Ok(read(path)?.0)).transpose()?;
        Ok(Self { files, certificate, private_key, client_ca })
    }

    pub(super) fn hash(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(Sha256::digest(&*self.certificate));
        hash.update(Sha256::digest(&*self.private_key));
        hash.update(Sha256::digest(self.client_ca.as_deref().map_or(&[][..], Vec::as_slice)));
        hash.finalize().into()
    }

    pub(super) fn check(&self) -> Result<Checked, TlsError> {
        let chain = self.chain()?;
        let validity = self.check_chain(&chain)?;
        Ok(Checked { chain, key: self.key()?, validity })
    }

    fn chain(&self) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        let chain = CertificateDer::pem_slice_iter(&self.certificate).collect::<Result<Vec<_>, _>>();
        chain.ok().filter(|chain| !chain.is_empty()).ok_or_else(|| {
            self.wrong_certificate(match kinds(&self.certificate).first() {
                Some(SectionKind::Csr) => "it holds a request for a certificate: the CA's answer is wanted",
                Some(SectionKind::PrivateKey | SectionKind::RsaPrivateKey | SectionKind::EcPrivateKey) => {
                    "it holds a private key: the certificate is wanted"
                }
                _ => "it holds no certificate as PEM",
            })
        })
    }

    /// The private key. There must be exactly one, and it must not be encrypted.
    fn key(&self) -> Result<PrivateKeyDer<'static>, TlsError> {
        let text = String::from_utf8_lossy(&self.private_key);
        if text.contains("ENCRYPTED") {
            let what = "the private key is encrypted: openssl pkey -in OLD -out NEW decrypts it";
            return Err(self.wrong_key(what));
        }
        let is_key = |kind: &&SectionKind| {
            matches!(kind, SectionKind::PrivateKey | SectionKind::RsaPrivateKey | SectionKind::EcPrivateKey)
        };
        if kinds(&self.private_key).iter().filter(is_key).count() > 1 {
            return Err(self.wrong_key("it holds several private keys"));
        }
        PrivateKeyDer::from_pem_slice(&self.private_key).map_err(|_| self.wrong_key("it holds no private key as PEM"))
    }

    /// Checks that the leaf comes first, that its key is accepted for TLS, and that each certificate issued the one
    /// before it.
    fn check_chain(&self, chain: &[CertificateDer<'_>]) -> Result<Option<Validity>, TlsError> {
        let parsed = chain
            .iter()
            .map(|certificate| CertificateInner::<Raw>::from_der(certificate))
            .collect::<Result<Vec<_>, _>>();
        let parsed = parsed.map_err(|_| self.wrong_certificate("it holds a certificate that is no X.509"))?;
        let parsed: Vec<_> = parsed.iter().map(CertificateInner::tbs_certificate).collect();
        let leaf = parsed[0];
        if let Some(what) = unusable_key(leaf.subject_public_key_info()) {
            return Err(self.wrong_certificate(what));
        }
        let constraints = leaf.get_extension::<BasicConstraints>();
        if constraints.is_ok_and(|found| found.is_some_and(|(_, constraints)| constraints.ca)) && parsed.len() > 1 {
            return Err(self.wrong_certificate("its first certificate is a CA's: the server's own comes first"));
        }
        if !parsed.windows(2).all(|pair| pair[0].issuer() == pair[1].subject()) {
            let what = "its chain is out of order: each certificate comes before the one that issued it";
            return Err(self.wrong_certificate(what));
        }
        let second = |time: Time| Timestamp::new(i64::try_from(time.to_unix_duration().as_secs()).ok()?, 0).ok();
        let (not_before, not_after) = (second(leaf.validity().not_before), second(leaf.validity().not_after));
        Ok(not_before.zip(not_after).map(|(not_before, not_after)| Validity { not_before, not_after }))
    }

    fn wrong_certificate(&self, what: &'static str) -> TlsError {
        TlsError::wrong(&self.files.certificate, what)
    }

    fn wrong_key(&self, what: &'static str) -> TlsError {
        TlsError::wrong(&self.files.private_key, what)
    }
}

/// The kinds of the PEM sections in `text`, in order.
fn kinds(text: &[u8]) -> Vec<SectionKind> {
    <(SectionKind, Vec<u8>)>::pem_slice_iter(text).map_while(Result::ok).map(|(kind, _)| kind).collect()
}

/// Why `key` is not accepted for TLS, if it is not.
fn unusable_key(key: &SubjectPublicKeyInfoOwned) -> Option<&'static str> {
    match key.algorithm.oid {
        ELLIPTIC_CURVE => {
            let curve = key.algorithm.parameters.as_ref().and_then(|curve| curve.decode_as::<ObjectIdentifier>().ok());
            let is_usable = curve.is_some_and(|curve| CURVES.contains(&curve));
            (!is_usable).then_some("its key is on another curve than P-256, P-384 and P-521")
        }
        ED25519 => None,
        ED448 => Some("its key is an Ed448 one: RSA, P-256, P-384, P-521 or Ed25519 is wanted"),
        RSA_PSS => Some("its key is for RSA-PSS alone: a plain RSA key is wanted"),
        _ => match rsa_bits(key) {
            Some(RSA_BITS_MIN..) => None,
            Some(_) => Some("its RSA key has less than 2048 bits"),
            None => {
                Some("its key is of a kind that TLS is not spoken with: RSA, P-256, P-384, P-521 or Ed25519 is wanted")
            }
        },
    }
}

/// The bits of the modulus, rounded up to whole bytes, if this is an RSA key (RFC 8017 appendix A.1.1).
fn rsa_bits(key: &SubjectPublicKeyInfoOwned) -> Option<usize> {
    if key.algorithm.oid != RSA {
        return None;
    }
    let mut reader = SliceReader::new(key.subject_public_key.as_bytes()?).ok()?;
    let modulus = reader.sequence(|key| {
        let modulus = UintRef::decode(key)?;
        UintRef::decode(key)?;
        Ok::<_, der::Error>(modulus)
    });
    Some(modulus.ok()?.as_bytes().len() * 8)
}
