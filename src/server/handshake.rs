//! TLS handshakes, one at a time on a thread.
//!
//! A handshake computes for some 0.4 ms, a call for some hundredth of that. So handshakes take turns: between two of them
//! a thread asks the operating system which calls came and answers those. What peers say meanwhile waits in the kernel.

use std::{
    future::Future,
    io,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
};

use tokio::{
    net::TcpStream,
    sync::{Notify, Semaphore},
    task::yield_now,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

/// The turn of a thread's handshakes.
pub(super) type Turn = Arc<Semaphore>;

/// A turn, which one handshake has at a time.
pub(super) fn turn() -> Turn {
    Arc::new(Semaphore::new(1))
}

/// Speaks TLS with the peer of `socket`. Nothing is kept for a peer that says nothing.
pub(super) async fn accept(
    acceptor: TlsAcceptor,
    socket: TcpStream,
    turn: &Semaphore,
) -> io::Result<TlsStream<TcpStream>> {
    socket.readable().await?;
    in_turns(acceptor.accept(socket), turn).await
}

/// What `future` gives, polled only while it has the `turn`.
async fn in_turns<F: Future>(future: F, turn: &Semaphore) -> F::Output {
    let mut future = pin!(future);
    let woken = Arc::new(Woken(Notify::new()));
    let waker = Waker::from(woken.clone());
    loop {
        let turn = turn.acquire().await;
        let polled = future.as_mut().poll(&mut Context::from_waker(&waker));
        // The runtime asks for other events before it goes on here.
        yield_now().await;
        drop(turn);
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
