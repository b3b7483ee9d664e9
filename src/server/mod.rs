//! Sockets: accepting connections, limiting them, and draining them. This module knows nothing of phones.

mod activity;
mod connection;
mod connections;
mod handshake;
mod seldom;
mod socket;
pub mod tls;
pub mod workers;

use std::{
    io,
    net::{self, IpAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use ipnet::IpNet;
use tokio::{
    net::{TcpListener, TcpStream},
    signal::unix::{SignalKind, signal},
    sync::watch,
    task::{JoinSet, yield_now},
    time::{sleep, timeout},
};
use tokio_rustls::TlsAcceptor;
use tracing::{info, warn};

use self::{
    connection::Session, connections::Connections, handshake::HandshakeQueue, seldom::Seldom, tls::Tls,
    workers::Workers,
};
use crate::{limits::Terms, memory, respond::Respond};

/// First and longest wait after the operating system failed to hand over a connection.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(5), Duration::from_secs(1));

/// Answers the requests that come in on `listener`, until the first of the `terminations`, and the drain after it.
///
/// Each connection is accepted, and the drain is done, on the `terms` of that moment.
///
/// The drain has two parts. For `limits.drain_delay`, connections are still accepted, `draining` is set so that load
/// balancers can turn away, and every answer is its connection's last. After that, no connection is accepted, requests
/// under way are answered, and whatever is left after `limits.drain` is cut. A second termination ends the first part
/// early.
///
/// # Errors
/// The system's, where it cannot tell of new connections.
pub async fn run<R: Respond>(
    listener: net::TcpListener,
    responder: Arc<R>,
    terms: Arc<ArcSwap<Terms>>,
    access: Access,
    workers: &Workers,
    draining: &AtomicBool,
    mut terminations: watch::Receiver<u32>,
) -> io::Result<()> {
    let limits = terms.load().limits.clone();
    let connections = Connections::new(limits.connections, limits.connections_per_peer, access.counts.clone());
    let listener = Listener {
        listener: TcpListener::from_std(listener)?,
        terms,
        access,
        workers,
        connections: Arc::new(connections),
        refusals: Seldom::new(REFUSALS_QUIET),
    };
    let mut tasks = JoinSet::new();
    let stop = async {
        let _ = terminations.wait_for(|count| *count >= 1).await;
        draining.store(true, Ordering::Relaxed);
        listener.connections.answer_last();
        let delay = listener.terms.load().limits.drain_delay;
        info!(seconds = delay.as_secs(), "shutting down: still taking connections");
        tokio::select! {
            () = sleep(delay) => {}
            _ = terminations.wait_for(|count| *count >= 2) => {}
        }
    };
    tokio::select! {
        () = listener.accept(&responder, &mut tasks) => {}
        () = stop => {}
    }
    let (drain, connections) = (listener.terms.load().limits.drain, listener.connections.clone());
    drop(listener);
    info!(connections = connections.open(), seconds = drain.as_secs(), "draining");
    connections.drain();
    let drained = timeout(drain, async { while tasks.join_next().await.is_some() {} }).await;
    if drained.is_err() {
        warn!(connections = tasks.len(), "the drain time is over: cut the remaining connections");
        tasks.shutdown().await;
    }
    Ok(())
}

/// How peers connect.
#[derive(Default)]
pub struct Access {
    /// The certificate; plain HTTP if there is none.
    pub tls: Option<Arc<Tls>>,
    /// Counts of the connections.
    pub counts: Arc<ConnectionCounts>,
}

/// Counts of connections.
#[derive(Default)]
pub struct ConnectionCounts {
    /// Connections that are open now.
    pub open: AtomicUsize,
    /// Connections that were refused since the start.
    pub refused: AtomicU64,
    /// Connections since the start on which TLS could not be established.
    pub tls_failed: AtomicU64,
}

fn allows(terms: &Terms, peer: &IpAddr) -> bool {
    terms.allow_from.is_empty() || contains(&terms.allow_from, peer)
}

fn contains(networks: &[IpNet], peer: &IpAddr) -> bool {
    networks.iter().any(|network| network.contains(peer))
}

struct Listener<'w> {
    listener: TcpListener,
    terms: Arc<ArcSwap<Terms>>,
    access: Access,
    workers: &'w Workers,
    connections: Arc<Connections>,
    /// Limits how often refused connections are logged.
    refusals: Seldom,
}

/// The shortest time between two messages about refused connections.
const REFUSALS_QUIET: Duration = Duration::from_secs(10);

/// Connections that are accepted before calls are answered. Each takes some 10 microseconds. Newcomers wait for those
/// before them in the kernel's queue, while handshakes take turns by peer.
const ACCEPTED_A_TURN: u32 = 8;

impl Listener<'_> {
    async fn accept<R: Respond>(&self, responder: &Arc<R>, tasks: &mut JoinSet<()>) {
        let (mut back_off, mut accepted_in_turn) = (BACK_OFF.0, 0);
        loop {
            // Finished tasks are removed as they finish, or they would pile up.
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                Some(_) = tasks.join_next() => continue,
            };
            match accepted {
                Ok((socket, address)) => {
                    back_off = BACK_OFF.0;
                    self.take(socket, address.ip().to_canonical(), responder, tasks);
                    accepted_in_turn += 1;
                    if accepted_in_turn == ACCEPTED_A_TURN {
                        accepted_in_turn = 0;
                        yield_now().await;
                    }
                }
                Err(error) if concerns_one_connection(&error) => {}
                Err(error) => {
                    // If the process has run out of files, ending a connection frees one.
                    self.connections.spare_one();
                    warn!(%error, wait_ms = back_off.as_millis(), "cannot accept connections");
                    sleep(back_off).await;
                    back_off = (back_off * 2).min(BACK_OFF.1);
                }
            }
        }
    }

    fn take<R: Respond>(&self, socket: TcpStream, peer: IpAddr, responder: &Arc<R>, tasks: &mut JoinSet<()>) {
        let terms = self.terms.load();
        // A proxy connects for many peers, and so has no limit of its own.
        let counted = Some(peer).filter(|peer| !contains(&terms.trusted_proxies, peer));
        // Dropping the socket closes it.
        let Some(admission) = allows(&terms, &peer).then(|| self.connections.admit(counted)).flatten() else {
            let refused = self.access.counts.refused.fetch_add(1, Ordering::Relaxed) + 1;
            if self.refusals.is_due(Instant::now()) {
                warn!(
                    since_start = refused,
                    "connections refused: the limit is reached, one peer has too many, or the peer is not in allow_from"
                );
            }
            return;
        };
        let acceptor = self.access.tls.as_ref().map(|tls| tls.acceptor());
        let session = Session { peer, admission, responder: responder.clone(), limits: terms.limits.clone() };
        // An answer is written whole: there is nothing for Nagle's algorithm to wait for.
        let _ = socket.set_nodelay(true);
        // It was accepted on one thread's runtime, and may belong to another's from now on.
        let Ok(socket) = socket.into_std() else { return };
        let worker = self.workers.least_busy();
        let queue = worker.handshakes.clone();
        tasks.spawn_on(
            async move {
                serve(socket, acceptor, Arc::new(session), &queue).await;
                drop(worker.slot);
                // This wipes what the requests left on the thread's stack, from a task that is as deep as this one.
                tokio::spawn(async { memory::wipe_stack() });
            },
            worker.handle,
        );
    }
}

/// Serves one connection, over TLS where there is an `acceptor`.
async fn serve<R: Respond>(
    socket: net::TcpStream,
    acceptor: Option<TlsAcceptor>,
    session: Arc<Session<R>>,
    queue: &HandshakeQueue,
) {
    let Ok(socket) = TcpStream::from_std(socket) else { return };
    let Some(acceptor) = acceptor else {
        return connection::serve(socket, session).await;
    };
    // Boxed: a connection keeps the room for its handshake no longer than the handshake takes.
    let accepted = tokio::select! {
        accepted = timeout(session.limits.header, Box::pin(handshake::accept(acceptor, socket, session.peer, queue))) => accepted,
        () = session.admission.activity().told_to_end() => return,
    };
    // A peer that cannot or will not speak TLS is dropped, and its error is not logged.
    match accepted {
        Ok(Ok(socket)) => connection::serve(Box::new(socket), session).await,
        Ok(Err(_)) | Err(_) => session.admission.count_tls_failure(),
    }
}

fn concerns_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

/// Counts how often the process is asked to end, by SIGTERM or SIGINT.
///
/// # Errors
/// The operating system's error, if it takes no handlers.
pub fn terminations() -> io::Result<watch::Receiver<u32>> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let (count, terminations) = watch::channel(0);
    tokio::spawn(async move {
        while !count.is_closed() {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            count.send_modify(|count| *count += 1);
        }
    });
    Ok(terminations)
}
