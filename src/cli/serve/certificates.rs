//! The certificates of both listeners.

use std::sync::Arc;

use jiff::Timestamp;
use tracing::warn;

use crate::{
    cli::failure::Failure,
    config::Config,
    server::tls::{Tls, TlsFiles},
};

/// The certificates of both listeners, where they have any.
pub(super) struct Certificates {
    pub(super) calls: Option<Arc<Tls>>,
    pub(super) admin: Option<Arc<Tls>>,
}

impl Certificates {
    /// Loads the certificates that `config` names. One that is not valid now only gets a warning: this clock may be
    /// wrong.
    pub(super) fn load(config: &Config) -> Result<Self, Failure> {
        let load = |files: Option<&TlsFiles>| {
            let tls = files.cloned().map(Tls::load).transpose();
            tls.map(|tls| tls.map(Arc::new)).map_err(|error| Failure::config(format_args!("certificate: {error}")))
        };
        let admin = config.admin.as_ref().and_then(|admin| admin.tls.as_ref());
        let certificates = Self { calls: load(config.tls.as_ref())?, admin: load(admin)? };
        for tls in certificates.iter() {
            if let Some(lack) = tls.validity().and_then(|validity| validity.lack(Timestamp::now())) {
                warn!(path = %tls.path().display(), "{lack}");
            }
        }
        Ok(certificates)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Tls>> {
        [&self.calls, &self.admin].into_iter().flatten()
    }
}
