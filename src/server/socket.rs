//! The socket of a connection: notes when its peer begins to send, and when an answer has left.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};

use super::activity::{Activity, Phase};

/// Whether `byte` begins a request. A line end, which some clients send after a body, does not (RFC 9112 section 2.2).
fn begins(byte: &u8) -> bool {
    !matches!(byte, b'\r' | b'\n')
}

/// A socket that notes when its peer begins to send, and when an answer has left.
pub(super) struct Socket<S> {
    socket: S,
    activity: Arc<Activity>,
    /// Bytes that were read from the socket before hyper asked for them.
    first: Vec<u8>,
}

impl<S: AsyncRead + Unpin> Socket<S> {
    pub(super) fn new(socket: S, activity: Arc<Activity>) -> Self {
        Self { socket, activity, first: Vec::new() }
    }

    /// The same socket after hyper gave it back, with the bytes that hyper had read beyond the last request.
    pub(super) fn with_unread(self, unread: &[u8]) -> Self {
        Self { first: unread.iter().copied().skip_while(|byte| !begins(byte)).collect(), ..self }
    }

    /// Waits for the first byte of a request; `false` if the peer ends the connection instead.
    pub(super) async fn begin(&mut self) -> bool {
        let mut bytes = [0; 16];
        while self.first.is_empty() {
            match self.socket.read(&mut bytes).await {
                Ok(0) | Err(_) => return false,
                Ok(read) => self.first.extend(bytes[..read].iter().skip_while(|byte| !begins(byte))),
            }
        }
        self.activity.move_on(Phase::Idle, Phase::Head);
        true
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Socket<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.first.is_empty() {
            let some = self.first.len().min(buffer.remaining());
            buffer.put_slice(&self.first[..some]);
            self.first.drain(..some);
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        let read = ready!(Pin::new(&mut self.socket).poll_read(cx, buffer));
        if buffer.filled()[before..].iter().any(begins) {
            self.activity.move_on(Phase::Idle, Phase::Head);
        }
        Poll::Ready(read)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Socket<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // hyper flushes once its own buffer is empty. By then, the operating system has the whole answer.
        let flushed = ready!(Pin::new(&mut self.socket).poll_flush(cx));
        self.activity.flushed();
        Poll::Ready(flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The connection ends, and must not rest meanwhile: TLS may have to wait for room for its last message.
        self.activity.move_on(Phase::Idle, Phase::Answer);
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}
