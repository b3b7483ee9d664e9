//! The sockets of both listeners.

use std::{
    net::{SocketAddr, TcpListener},
    sync::{Arc, atomic::AtomicBool},
};

use arc_swap::ArcSwap;
use tokio::{net::TcpSocket, sync::watch};
use tracing::{error, info};

use crate::{
    cli::failure::Failure,
    limits::{Limits, Terms},
    operate::admin::Admin,
    server::{self, Access, tls::Tls, workers::Workers},
};

/// Maximum connections of the admin listener: it serves probes, scrapes and a few people.
pub(super) const ADMIN_CONNECTIONS_MAX: usize = 256;

/// Connections that may wait to be accepted, as far as the system allows: in a flood, the next one waits for a second.
const BACKLOG: u32 = 65_535;

/// Listens on `address`.
pub(super) fn bind(address: SocketAddr) -> Result<TcpListener, Failure> {
    let bound = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)?.into_std()
    };
    bound().map_err(|error| Failure::failed(format_args!("cannot listen on {address}: {error}")))
}

/// Serves the admin listener. It keeps running during the drain, for the probes that watch it, and ends with the
/// process.
pub(super) fn serve_admin(listener: TcpListener, admin: Admin, tls: Option<Arc<Tls>>) -> Result<(), Failure> {
    let address = listener.local_addr().map_err(Failure::failed)?;
    info!(%address, "admin listening");
    let limits =
        Limits { connections: ADMIN_CONNECTIONS_MAX, connections_per_peer: ADMIN_CONNECTIONS_MAX, ..Limits::default() };
    let terms = Arc::new(ArcSwap::from_pointee(Terms { limits: Arc::new(limits), ..Terms::default() }));
    let (own, access) = (Workers::this_thread(), Access { tls, ..Access::default() });
    tokio::spawn(async move {
        let (_never, terminations) = watch::channel(0);
        let unused = AtomicBool::new(false);
        let ended = server::run(listener, Arc::new(admin), terms, access, &own, &unused, terminations).await;
        error!(error = ended.err().map(tracing::field::display), "the admin listener ended");
    });
    Ok(())
}
