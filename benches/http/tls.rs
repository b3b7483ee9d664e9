//! TLS: the servers' certificates, and the load's client configuration.

use std::{path::Path, sync::Arc};

use rcgen::{CertificateParams, KeyPair, PKCS_RSA_SHA256, RsaKeySize};
use rustls::{
    ClientConfig, DigitallySignedStruct, Error, ServerConfig, SignatureScheme,
    client::{
        Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, SupportedKxGroup, aws_lc_rs},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject as _},
    version::TLS13,
};

/// File names of a certificate and its key, in a server's folder.
pub const CERTIFICATE: &str = "tls.crt";
pub const PRIVATE_KEY: &str = "tls.key";

/// A self-signed certificate and its key, as PEM.
pub struct Certificate {
    certificate: String,
    private_key: String,
}

impl Certificate {
    /// A certificate with a P-256 key.
    pub fn p256() -> Self {
        Self::of(&KeyPair::generate().unwrap())
    }

    /// A certificate with an RSA key of 2,048 bits.
    pub fn rsa() -> Self {
        Self::of(&KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap())
    }

    fn of(key: &KeyPair) -> Self {
        let certificate = CertificateParams::new(["localhost".to_owned()]).unwrap().self_signed(key).unwrap();
        Self { certificate: certificate.pem(), private_key: key.serialize_pem() }
    }

    pub fn write(&self, folder: &Path) {
        std::fs::write(folder.join(CERTIFICATE), &self.certificate).unwrap();
        crate::servers::write_secret(&folder.join(PRIVATE_KEY), &self.private_key);
    }
}

/// The bare server's TLS: the certificate in `folder`, and otherwise the defaults of rustls.
pub fn server(folder: &Path) -> Arc<ServerConfig> {
    let chain = vec![CertificateDer::from_pem_file(folder.join(CERTIFICATE)).unwrap()];
    let key = PrivateKeyDer::from_pem_file(folder.join(PRIVATE_KEY)).unwrap();
    let builder = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    let mut config = builder.with_single_cert(chain, key).unwrap();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Arc::new(config)
}

/// The load's TLS 1.3.
#[derive(Clone, Copy)]
pub struct Client {
    pub group: &'static dyn SupportedKxGroup,
    /// Whether sessions are resumed.
    pub resumes: bool,
}

impl Client {
    pub const HYBRID: Self = Self { group: aws_lc_rs::kx_group::X25519MLKEM768, resumes: false };
    pub const CLASSIC: Self = Self { group: aws_lc_rs::kx_group::X25519, resumes: false };

    pub fn resuming(self) -> Self {
        Self { resumes: true, ..self }
    }

    /// A configuration with its own store of tickets. It trusts everybody and checks no signature, so that the load
    /// costs less than the server.
    pub fn config(self) -> Arc<ClientConfig> {
        let provider = CryptoProvider { kx_groups: vec![self.group], ..aws_lc_rs::default_provider() };
        let builder = ClientConfig::builder_with_provider(Arc::new(provider));
        let builder = builder.with_protocol_versions(&[&TLS13]).unwrap().dangerous();
        let mut config = builder.with_custom_certificate_verifier(Arc::new(Anybody)).with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.resumption = if self.resumes { Resumption::in_memory_sessions(1) } else { Resumption::disabled() };
        Arc::new(config)
    }
}

/// The name of a benchmark's servers.
pub fn name() -> ServerName<'static> {
    ServerName::try_from("localhost").unwrap()
}

#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        aws_lc_rs::default_provider().signature_verification_algorithms.supported_schemes()
    }
}
