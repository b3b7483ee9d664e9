//! The endpoint to check: the parts of its URL, and the addresses behind its name.

use std::{io, net::SocketAddr, time::Duration};

use http::Uri;
use tokio::{
    net::{TcpStream, lookup_host},
    time::timeout,
};

use super::{
    report::{Check, Report},
    trouble::Trouble,
};

/// Maximum addresses of one name that are tried.
const ADDRESSES_MAX: usize = 8;

/// An endpoint.
#[derive(Clone)]
pub(super) struct Target {
    scheme: Scheme,
    /// The name or address, without the brackets of IPv6.
    pub(super) host: String,
    port: u16,
    /// The value of the `Host` header.
    pub(super) authority: String,
    pub(super) path: String,
    /// The time limit for each single step.
    pub(super) patience: Duration,
    addresses: Vec<SocketAddr>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Scheme {
    Http,
    Https,
}

impl Target {
    /// The endpoint at `url`.
    ///
    /// # Errors
    /// The reason why this is not the URL of an endpoint.
    pub(super) fn parse(url: &Uri, patience: Duration) -> Result<Self, &'static str> {
        let scheme = match url.scheme_str() {
            Some("https") => Scheme::Https,
            Some("http") => Scheme::Http,
            _ => return Err("the URL begins with https:// (or http://, for one on this machine)"),
        };
        let authority = url.authority().filter(|authority| !authority.host().is_empty());
        let authority = authority.ok_or("the URL names no host")?;
        if authority.as_str().contains('@') {
            return Err("the URL holds no user and no password: --user NAME, and --password-file FILE");
        }
        let usual = if scheme == Scheme::Https { 443 } else { 80 };
        Ok(Self {
            scheme,
            host: authority.host().trim_matches(['[', ']']).to_owned(),
            port: authority.port_u16().unwrap_or(usual),
            authority: authority.as_str().to_owned(),
            path: url.path_and_query().map_or("/", |path| path.as_str()).to_owned(),
            patience,
            addresses: Vec::new(),
        })
    }

    pub(super) fn is_tls(&self) -> bool {
        self.scheme == Scheme::Https
    }

    /// Resolves the name and connects once.
    ///
    /// # Errors
    /// The reason why nothing more can be checked.
    pub(super) async fn find(&mut self, report: &mut Report) -> Result<(), &'static str> {
        const UNREACHED: &str = "it could not be reached";
        let found = timeout(self.patience, lookup_host((self.host.as_str(), self.port))).await;
        self.addresses = found.ok().and_then(Result::ok).map_or_else(Vec::new, |all| all.take(ADDRESSES_MAX).collect());
        if self.addresses.is_empty() {
            report.bad(Check::Address, "the name does not resolve", "make a DNS record of it, and mind its spelling");
            return Err(UNREACHED);
        }
        if !self.is_tls() && !self.is_loopback() {
            report.bad(
                Check::TlsVersions,
                "plain HTTP, to another machine",
                "CCC sends a password and phone numbers: give the endpoint a certificate, and CCC an https:// URL",
            );
            return Err("nothing is sent to another machine over plain HTTP");
        }
        if let Err(trouble) = self.connect().await {
            report.trouble(Check::Address, &trouble, "is it running, and listening on that port?");
            return Err(UNREACHED);
        }
        let count = self.addresses.len();
        report.good(Check::Address, format!("{count} address{}", if count == 1 { "" } else { "es" }));
        Ok(())
    }

    /// The same endpoint with another path.
    pub(super) fn at(&self, path: &str) -> Self {
        Self { path: path.to_owned(), ..self.clone() }
    }

    /// Whether what is sent there never leaves this machine.
    fn is_loopback(&self) -> bool {
        self.addresses.iter().all(|address| address.ip().to_canonical().is_loopback())
    }

    /// Connects to the first address that accepts. Each address gets its share of the time.
    pub(super) async fn connect(&self) -> Result<TcpStream, Trouble> {
        let mut failed = io::Error::other("no address");
        let share = self.patience / u32::try_from(self.addresses.len().max(1)).unwrap_or(u32::MAX);
        for address in &self.addresses {
            match timeout(share, TcpStream::connect(address)).await {
                Ok(Ok(socket)) => {
                    // Without this option, answers are only slower.
                    let _ = socket.set_nodelay(true);
                    return Ok(socket);
                }
                Ok(Err(error)) => failed = error,
                Err(_) => failed = io::Error::new(io::ErrorKind::TimedOut, format!("no connection within {share:?}")),
            }
        }
        Err(Trouble::of_connecting(self.port, &failed))
    }
}
