//! Sockets: accepting, bounds on connections, and the drain. Knows nothing of phones.

pub mod admin;
mod connection;
mod connections;

use std::{
    io,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use ipnet::IpNet;
use tokio::{
    net::{TcpListener, TcpStream},
    signal::unix::{SignalKind, signal},
    sync::watch,
    task::JoinSet,
    time::{sleep, timeout},
};
use tracing::{info, warn};

use self::connections::Connections;
use crate::{config::Limits, handler::Respond};

/// First and longest wait after the operating system failed to hand over a connection.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(5), Duration::from_secs(1));

/// Answers the requests that come in on `listener`, until the first of the `terminations`, and the drain after it.
///
/// The drain has two parts: for `limits.drain_delay` connections are still taken, `draining` is set so that whoever
/// balances the load can turn away, and every answer is its connection's last; then no connection is taken any more, requests under way are answered, and after
/// `limits.drain` what is left is cut. A second termination ends the first part early.
pub async fn run<R: Respond>(
    listener: TcpListener,
    responder: Arc<R>,
    limits: Limits,
    allow_from: Vec<IpNet>,
    draining: &AtomicBool,
    mut terminations: watch::Receiver<u32>,
) {
    let listener = Listener {
        listener,
        allow_from,
        connections: Arc::new(Connections::new(limits.connections, limits.connections_per_peer)),
        limits: Arc::new(limits),
    };
    let mut tasks = JoinSet::new();
    let stop = async {
        let _ = terminations.wait_for(|count| *count >= 1).await;
        draining.store(true, Ordering::Relaxed);
        listener.connections.answer_last();
        info!(seconds = listener.limits.drain_delay.as_secs(), "shutting down: still taking connections");
        tokio::select! {
            () = sleep(listener.limits.drain_delay) => {}
            _ = terminations.wait_for(|count| *count >= 2) => {}
        }
    };
    tokio::select! {
        () = listener.accept(&responder, &mut tasks) => {}
        () = stop => {}
    }
    let (drain, connections) = (listener.limits.drain, listener.connections.clone());
    drop(listener);
    info!(connections = connections.open(), seconds = drain.as_secs(), "draining");
    connections.drain();
    let drained = timeout(drain, async { while tasks.join_next().await.is_some() {} }).await;
    if drained.is_err() {
        warn!(connections = tasks.len(), "cut the connections that were left");
        tasks.shutdown().await;
    }
}

struct Listener {
    listener: TcpListener,
    allow_from: Vec<IpNet>,
    connections: Arc<Connections>,
    limits: Arc<Limits>,
}

impl Listener {
    async fn accept<R: Respond>(&self, responder: &Arc<R>, tasks: &mut JoinSet<()>) {
        let mut back_off = BACK_OFF.0;
        loop {
            // Finished tasks are taken away as they finish, or they would pile up.
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                Some(_) = tasks.join_next() => continue,
            };
            match accepted {
                Ok((socket, address)) => {
                    back_off = BACK_OFF.0;
                    self.take(socket, address.ip().to_canonical(), responder, tasks);
                }
                Err(error) if concerns_one_connection(&error) => {}
                Err(error) => {
                    warn!(%error, wait_ms = back_off.as_millis(), "cannot take connections");
                    sleep(back_off).await;
                    back_off = (back_off * 2).min(BACK_OFF.1);
                }
            }
        }
    }

    fn take<R: Respond>(&self, socket: TcpStream, peer: IpAddr, responder: &Arc<R>, tasks: &mut JoinSet<()>) {
        if !self.allow_from.is_empty() && !self.allow_from.iter().any(|network| network.contains(&peer)) {
            return;
        }
        // Without room, dropping the socket closes it.
        let Some(slot) = self.connections.admit(peer) else { return };
        let (responder, limits) = (responder.clone(), self.limits.clone());
        tasks.spawn(async move {
            // An answer is written whole: there is nothing for Nagle's algorithm to wait for.
            let _ = socket.set_nodelay(true);
            connection::serve(socket, peer, responder, limits, slot.activity().clone()).await;
        });
    }
}

fn concerns_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

/// How often the process was asked to end, by SIGTERM or SIGINT.
///
/// # Errors
/// The operating system's, where it takes no handlers.
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
