//! How commands connect to the admin listeners of replicas: the token, the trusted CAs, and the client certificate.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::Args;
use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use tokio_rustls::TlsConnector;
use zeroize::Zeroizing;

use super::failure::Failure;
use crate::disk::{Disk as _, RealDisk};

/// How admin listeners are spoken with.
#[derive(Args)]
pub(super) struct AdminArgs {
    /// A file with the bearer token of the admin listeners
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// CAs (PEM) to trust for https:// listeners, instead of this machine's
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// The certificate that an https:// listener wants to see (`client_ca`), as PEM
    #[arg(long, value_name = "FILE", requires = "client_key")]
    client_certificate: Option<PathBuf>,
    /// Its private key, as PEM
    #[arg(long, value_name = "FILE", requires = "client_certificate")]
    client_key: Option<PathBuf>,
}

impl AdminArgs {
    /// The bearer token, if one is given.
    pub(super) fn token(&self) -> Result<Option<Zeroizing<String>>, Failure> {
        let Some(path) = &self.token_file else { return Ok(None) };
        let text = read(path)?;
        let token = str::from_utf8(&text).map_err(|_| wrong(path, "it holds no token"))?;
        Ok(Some(Zeroizing::new(token.trim().to_owned())))
    }

    /// A TLS connector with these settings.
    pub(super) fn connector(&self) -> Result<TlsConnector, Failure> {
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("the provider has suites for TLS 1.2 and 1.3")
            .with_root_certificates(self.roots()?);
        let config = match (&self.client_certificate, &self.client_key) {
            (Some(certificate), Some(key)) => {
                let chain = certificates(certificate)?;
                let text = read(key)?;
                let key =
                    PrivateKeyDer::from_pem_slice(&text).map_err(|_| wrong(key, "it holds no private key as PEM"))?;
                let config = builder.with_client_auth_cert(chain, key);
                config.map_err(|_| wrong(certificate, "it is not the certificate of that key"))?
            }
            _ => builder.with_no_client_auth(),
        };
        Ok(TlsConnector::from(Arc::new(config)))
    }

    fn roots(&self) -> Result<RootCertStore, Failure> {
        let mut roots = RootCertStore::empty();
        match &self.ca {
            None => drop(roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs)),
            Some(path) => {
                for certificate in certificates(path)? {
                    roots.add(certificate).map_err(|_| wrong(path, "it holds a certificate that is no CA's"))?;
                }
            }
        }
        Ok(roots)
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let certificates = CertificateDer::pem_slice_iter(&read(path)?).collect::<Result<Vec<_>, _>>();
    certificates.ok().filter(|some| !some.is_empty()).ok_or_else(|| wrong(path, "it holds no certificate as PEM"))
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, Failure> {
    RealDisk
        .read(path)
        .map(|(text, _)| text)
        .map_err(|error| Failure::config(format_args!("{}: {error}", path.display())))
}

fn wrong(path: &Path, what: &str) -> Failure {
    Failure::config(format_args!("{}: {what}", path.display()))
}
