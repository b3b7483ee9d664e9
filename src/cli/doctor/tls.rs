//! Checks the certificate and the TLS versions, each part on its own, by the rules of the verifier that all later
//! connections use too.

use std::{
    io,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    SupportedProtocolVersion,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_cert_signed_by_trust_anchor, verify_server_name,
    },
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject as _},
    server::ParsedCertificate,
    version::{TLS12, TLS13},
};
use tokio::time::{Duration, timeout};
use tokio_rustls::TlsConnector;

use super::{
    old_tls,
    report::{Check, Report},
    target::Target,
};
use crate::disk::reading;

/// Maximum bytes of a file of CAs.
const CA_BYTES_MAX: usize = 4 * 1024 * 1024;

const DAY: u64 = 86_400;

/// A certificate with fewer days left is reported.
const DAYS_MIN: u64 = 30;

/// A time when no certificate is valid any more: the end of the year 9999.
const FAR_AHEAD: UnixTime = UnixTime::since_unix_epoch(Duration::from_secs(253_402_300_799));

/// The CAs that are trusted.
pub(super) struct Trust {
    machine: Arc<RootCertStore>,
    all: Arc<RootCertStore>,
}

impl Trust {
    /// The CAs of this machine, and those in the file `ca`.
    ///
    /// # Errors
    /// The reason why that file is not a file of CAs.
    pub(super) fn load(ca: Option<&Path>) -> Result<Self, String> {
        let mut machine = RootCertStore::empty();
        // A CA that cannot be read or parsed is left out; the others stay good.
        machine.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        let mut all = machine.clone();
        if let Some(path) = ca {
            let failed = |reason: &dyn std::fmt::Display| format!("{}: {reason}", path.display());
            let pem = reading::file(path, CA_BYTES_MAX).map_err(|error| match error.kind() {
                io::ErrorKind::FileTooLarge => failed(&"it is too large"),
                _ => failed(&error),
            })?;
            let certificates = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>();
            let certificates = certificates.ok().filter(|certificates| !certificates.is_empty());
            for certificate in certificates.ok_or_else(|| failed(&"it holds no certificate as PEM"))? {
                all.add(certificate).map_err(|_| failed(&"it holds a certificate that cannot be a CA's"))?;
            }
        }
        Ok(Self { machine: Arc::new(machine), all: Arc::new(all) })
    }
}

/// The usual verifier, which also keeps the certificates that it was shown, so that a refusal can be explained.
#[derive(Debug)]
struct Recorder {
    verifier: Arc<WebPkiServerVerifier>,
    shown: Mutex<Vec<CertificateDer<'static>>>,
}

impl ServerCertVerifier for Recorder {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let shown = std::iter::once(leaf).chain(intermediates).map(|certificate| certificate.clone().into_owned());
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner) = shown.collect();
        self.verifier.verify_server_cert(leaf, intermediates, name, ocsp, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}

/// Judges versions and certificate. Returns a connector if both are good enough to send a password.
pub(super) async fn check(target: &Target, trust: &Trust, report: &mut Report) -> Option<TlsConnector> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let Ok(name) = ServerName::try_from(target.host.clone()) else {
        report.bad(Check::Name, "the host is no name that a certificate could have", "use a DNS name");
        return None;
    };
    let verifier = WebPkiServerVerifier::builder_with_provider(trust.all.clone(), provider.clone()).build();
    let Ok(verifier) = verifier else {
        report.bad(
            Check::Chain,
            "this machine trusts no CA at all",
            "install its CA certificates (Debian: ca-certificates), or name one with --ca",
        );
        return None;
    };
    let recorder = Arc::new(Recorder { verifier, shown: Mutex::default() });
    let connector = |versions: &[&'static SupportedProtocolVersion]| {
        let builder = ClientConfig::builder_with_provider(provider.clone()).with_protocol_versions(versions);
        let builder = builder.expect("the provider has suites for TLS 1.2 and 1.3");
        let builder = builder.dangerous().with_custom_certificate_verifier(recorder.clone());
        let mut config = builder.with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        TlsConnector::from(Arc::new(config))
    };
    let mut accepted = Vec::new();
    let mut refusal = String::new();
    for (version, text) in [(&TLS13, "1.3"), (&TLS12, "1.2")] {
        match shake(target, &connector(&[version]), &name).await {
            Ok(()) => accepted.push(text),
            Err(reason) => refusal = reason,
        }
    }
    if accepted.is_empty() {
        if old_tls::speaks_http(target).await {
            let remedy = "give the endpoint [tls], or the URL the port of the proxy that has the certificate";
            report.bad(Check::TlsVersions, "neither: the port speaks plain HTTP", remedy);
        } else {
            report.bad(Check::TlsVersions, format!("neither: {refusal}"), "let the port speak TLS 1.2 and 1.3");
        }
        for check in [Check::Chain, Check::Name, Check::Expiry] {
            report.not_applicable(check, "no certificate was shown");
        }
        return None;
    }
    report.good(Check::TlsVersions, accepted.join(" and "));
    let shown = recorder.shown.lock().unwrap_or_else(PoisonError::into_inner).clone();
    Judge { shown: &shown, trust, provider: &provider, now: UnixTime::now() }.judge(&name, report)?;
    Some(connector(rustls::DEFAULT_VERSIONS))
}

/// Whether the endpoint speaks this version, however bad its certificate is.
async fn shake(target: &Target, connector: &TlsConnector, name: &ServerName<'static>) -> Result<(), String> {
    let socket = target.connect().await.map_err(|trouble| trouble.to_string())?;
    let Ok(shaken) = timeout(target.patience, connector.connect(name.clone(), socket)).await else {
        return Err(format!("no answer within {:?}", target.patience));
    };
    match shaken {
        Ok(_) => Ok(()),
        Err(error) if matches!(rustls_error(&error), Some(Error::InvalidCertificate(_))) => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}

fn rustls_error(error: &io::Error) -> Option<&Error> {
    error.get_ref()?.downcast_ref()
}

/// The certificates that were shown, the endpoint's own first.
struct Judge<'a> {
    shown: &'a [CertificateDer<'static>],
    trust: &'a Trust,
    provider: &'a CryptoProvider,
    now: UnixTime,
}

impl Judge<'_> {
    /// Judges chain, name and dates. `None` if any of them is wrong.
    fn judge(&self, name: &ServerName<'_>, report: &mut Report) -> Option<()> {
        let leaf = self.shown.first().and_then(|leaf| ParsedCertificate::try_from(leaf).ok());
        let Some(leaf) = leaf else {
            report.bad(Check::Chain, "it is no X.509 certificate", "give the endpoint another certificate");
            return None;
        };
        let named = verify_server_name(&leaf, name).is_ok();
        if named {
            report.good(Check::Name, "yes");
        } else {
            report.bad(
                Check::Name,
                "it is for another name than the URL's",
                "get one whose subject alternative names include the URL's host",
            );
        }
        let dated = self.judge_dates(&leaf, report);
        let trusted = self.judge_chain(&leaf, report);
        (named && dated && trusted).then_some(())
    }

    fn judge_dates(&self, leaf: &ParsedCertificate<'_>, report: &mut Report) -> bool {
        let Some((from, to)) = self.validity(leaf) else {
            report.not_applicable(Check::Expiry, "its dates cannot be read");
            return true;
        };
        let now = self.now.as_secs();
        let days = to.saturating_sub(now) / DAY;
        match () {
            () if now < from => report.bad(
                Check::Expiry,
                "it is not valid yet",
                "wait, or get another; look at the clocks of both machines",
            ),
            () if now > to => {
                report.bad(Check::Expiry, "it has expired", "renew it, and let that happen by itself from now on");
            }
            () if days < DAYS_MIN => {
                report.warn(Check::Expiry, format!("{days} days left"), "renew it, best by itself")
            }
            () => report.good(Check::Expiry, format!("{days} days left")),
        }
        (from..=to).contains(&now)
    }

    /// Judges the chain alone, at a time when the certificate itself is valid.
    fn judge_chain(&self, leaf: &ParsedCertificate<'_>, report: &mut Report) -> bool {
        let (from, to) = self.validity(leaf).unwrap_or((0, u64::MAX));
        let now = UnixTime::since_unix_epoch(Duration::from_secs(self.now.as_secs().min(to).max(from)));
        if self.verify(leaf, &self.trust.machine, now).is_ok() {
            report.good(Check::Chain, "by a CA of this machine");
            return true;
        }
        match self.verify(leaf, &self.trust.all, now) {
            Ok(()) => {
                report.good(Check::Chain, "by a CA of --ca alone, which CCC must trust too");
                true
            }
            Err(error) => {
                if self.is_self_signed(leaf) {
                    report.bad(
                        Check::Chain,
                        "it is signed by itself, and nobody stands behind it",
                        "get a certificate of a public CA (such as by ACME): CCC trusts none that was made so",
                    );
                    return false;
                }
                let found = match error {
                    Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
                        "no CA that this machine trusts stands behind it".to_owned()
                    }
                    error => error.to_string(),
                };
                report.bad(
                    Check::Chain,
                    found,
                    "use a certificate of a public CA, and send its intermediates along; --ca FILE trusts a private one",
                );
                false
            }
        }
    }

    /// Whether the certificate is signed with its own key: it would be good if it were a trusted CA.
    fn is_self_signed(&self, leaf: &ParsedCertificate<'_>) -> bool {
        let (Some(shown), mut roots) = (self.shown.first(), RootCertStore::empty()) else { return false };
        if self.shown.len() > 1 || roots.add(shown.clone()).is_err() {
            return false;
        }
        // A certificate of another CA with the same name has another key.
        let is_of_another = |error: &CertificateError| {
            matches!(error, CertificateError::UnknownIssuer | CertificateError::BadSignature)
        };
        match self.verify(leaf, &roots, self.now) {
            Err(Error::InvalidCertificate(error)) => !is_of_another(&error),
            _ => true,
        }
    }

    fn verify(&self, leaf: &ParsedCertificate<'_>, roots: &RootCertStore, now: UnixTime) -> Result<(), Error> {
        let algorithms = self.provider.signature_verification_algorithms.all;
        verify_server_cert_signed_by_trust_anchor(leaf, roots, &self.shown[1..], now, algorithms)
    }

    /// When the certificate is valid, in seconds. The verifier says so when asked about times long before and long
    /// after.
    fn validity(&self, leaf: &ParsedCertificate<'_>) -> Option<(u64, u64)> {
        let at = |now| self.verify(leaf, &self.trust.all, now);
        let (before, after) = (at(UnixTime::since_unix_epoch(Duration::ZERO)), at(FAR_AHEAD));
        let from = match before {
            Err(Error::InvalidCertificate(CertificateError::NotValidYetContext { not_before, .. })) => {
                not_before.as_secs()
            }
            _ => 0,
        };
        match after {
            Err(Error::InvalidCertificate(CertificateError::ExpiredContext { not_after, .. })) => {
                Some((from, not_after.as_secs()))
            }
            _ => None,
        }
    }
}
