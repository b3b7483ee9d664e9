//! TLS handshakes, one at a time on each thread.
//!
//! A handshake takes about 0.4 ms of computing, and a call about a hundredth of that. So handshakes take turns: between
//! two of them, a thread asks the operating system which calls came, and answers those. Meanwhile, whatever peers send
//! waits in the kernel. Peers take turns too, so that nobody waits for all the handshakes of a flood.

use std::{
    collections::{HashMap, VecDeque},
    future::Future,
    io,
    net::IpAddr,
    pin::pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, Wake, Waker},
    time::{Duration, Instant},
};

use tokio::{
    net::TcpStream,
    sync::{Notify, oneshot},
    task::yield_now,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tracing::warn;

use super::seldom::Seldom;
use crate::{
    lock::lock,
    peer::{self, Network},
};

/// How requests without TLS begin.
const METHODS: [&[u8; 4]; 5] = [b"POST", b"GET ", b"HEAD", b"PUT ", b"OPTI"];

/// Limits how often such requests are logged, over all threads.
static PLAIN: Seldom = Seldom::new(Duration::from_secs(60));

/// Performs the TLS handshake with the peer of `socket`. Nothing is kept for a peer that sends nothing.
pub(super) async fn accept(
    acceptor: TlsAcceptor,
    socket: TcpStream,
    peer: IpAddr,
    queue: &HandshakeQueue,
) -> io::Result<TlsStream<TcpStream>> {
    socket.readable().await?;
    let mut begin = [0; 4];
    if socket.peek(&mut begin).await.is_ok_and(|_| METHODS.contains(&&begin)) && PLAIN.is_due(Instant::now()) {
        warn!(
            peer = %peer::network(peer),
            "plain HTTP arrived on the TLS port: its clients must use https:// (logged at most once a minute)"
        );
    }
    in_turns(acceptor.accept(socket), peer::network(peer), queue).await
}

/// Runs `future` to its end, but polls it only while it has the turn.
async fn in_turns<F: Future>(future: F, peer: Network, queue: &HandshakeQueue) -> F::Output {
    let mut future = pin!(future);
    let woken = Arc::new(Woken(Notify::new()));
    let waker = Waker::from(woken.clone());
    loop {
        let permit = queue.next(peer).await;
        let polled = future.as_mut().poll(&mut Context::from_waker(&waker));
        // The runtime asks for other events before this task goes on.
        yield_now().await;
        drop(permit);
        if let Poll::Ready(done) = polled {
            return done;
        }
        woken.0.notified().await;
    }
}

/// Remembers that a future can go on.
struct Woken(Notify);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.notify_one();
    }
}

/// The queue for the turn to compute on a thread.
#[derive(Clone, Default)]
pub(super) struct HandshakeQueue(Arc<Mutex<Waiting>>);

#[derive(Default)]
struct Waiting {
    is_taken: bool,
    /// Each peer's handshakes, in the order in which they came.
    of_peer: HashMap<Network, VecDeque<oneshot::Sender<HandshakePermit>>>,
    /// Peers that wait, the next one first.
    peers: VecDeque<Network>,
}

/// One handshake's turn. Dropping it gives the turn to the next.
struct HandshakePermit(HandshakeQueue);

impl HandshakeQueue {
    /// Waits for the turn of `peer`.
    async fn next(&self, peer: Network) -> HandshakePermit {
        let permit = {
            let mut waiting = lock(&self.0);
            if !waiting.is_taken {
                waiting.is_taken = true;
                return HandshakePermit(self.clone());
            }
            let (sender, permit) = oneshot::channel();
            let queue = waiting.of_peer.entry(peer).or_default();
            queue.push_back(sender);
            if queue.len() == 1 {
                waiting.peers.push_back(peer);
            }
            permit
        };
        permit.await.expect("a turn goes to each who waits")
    }
}

impl Waiting {
    /// Takes the next handshake from the queue. If nobody waits, the turn becomes free and the result is `None`.
    fn pop(&mut self) -> Option<oneshot::Sender<HandshakePermit>> {
        let Some(peer) = self.peers.pop_front() else {
            self.is_taken = false;
            return None;
        };
        let queue = self.of_peer.get_mut(&peer)?;
        let sender = queue.pop_front();
        if queue.is_empty() {
            self.of_peer.remove(&peer);
        } else {
            self.peers.push_back(peer);
        }
        sender
    }
}

impl Drop for HandshakePermit {
    fn drop(&mut self) {
        let next = lock(&self.0.0).pop();
        if let Some(next) = next {
            // If that handshake no longer waits, this drops the turn, and so gives it to the one after.
            let _ = next.send(Self(self.0.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(last: u8) -> Network {
        peer::network(IpAddr::from([0, 0, 0, last]))
    }

    #[tokio::test]
    async fn peers_take_turns_and_those_who_left_are_passed_over() {
        let (queue, order) = (HandshakeQueue::default(), Arc::new(Mutex::new(Vec::new())));
        let first = queue.next(network(0)).await;
        let mut tasks = Vec::new();
        for (peer, name) in [(1, 'a'), (1, 'b'), (1, 'c'), (2, 'd'), (2, 'e'), (3, 'f')] {
            let (queue, order) = (queue.clone(), order.clone());
            tasks.push(tokio::spawn(async move {
                let permit = queue.next(network(peer)).await;
                lock(&order).push(name);
                yield_now().await;
                drop(permit);
            }));
            yield_now().await;
        }
        tasks[3].abort();
        yield_now().await;
        drop(first);
        for task in tasks {
            let _ = task.await;
        }
        assert_eq!(lock(&order).iter().collect::<String>(), "afbec");
        assert!(!lock(&queue.0).is_taken && lock(&queue.0).of_peer.is_empty());
    }
}
