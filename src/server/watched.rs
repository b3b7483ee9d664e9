//! The socket of a connection: notes when its peer begins to send and when an answer has left, and sees what it speaks.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use hyper::Version;
use smallvec::SmallVec;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::activity::{Activity, Phase};

/// How an HTTP/2 connection begins (RFC 9113 section 3.4).
const HTTP_2_PREFACE: [u8; 16] = *b"PRI * HTTP/2.0\r\n";

/// Whether `byte` begins a request. Some clients send a line end after a body: it begins nothing.
fn begins(byte: &u8) -> bool {
    !matches!(byte, b'\r' | b'\n')
}

/// A socket that notes when its peer begins to send, and when an answer has left.
pub(super) struct Watched<S> {
    socket: S,
    activity: Arc<Activity>,
    /// What was read to see what its peer speaks, and is still to be read by hyper.
    first: SmallVec<[u8; HTTP_2_PREFACE.len()]>,
    /// Whether its peer has spoken HTTP/1, from which nothing leads to HTTP/2.
    is_http_1: bool,
}

impl<S: AsyncRead + Unpin> Watched<S> {
    pub(super) fn new(socket: S, activity: Arc<Activity>) -> Self {
        Self { socket, activity, first: SmallVec::new(), is_http_1: false }
    }

    /// The same after a rest, with what hyper had read of a next request.
    pub(super) fn rested(self, unread: &[u8]) -> Self {
        let mut rested = Self { is_http_1: true, ..self };
        rested.take(unread);
        rested
    }

    /// Takes bytes that begin a request, without line ends before them, which are no part of it (RFC 9112 section 2.2).
    /// No preface of HTTP/2 has any.
    fn take(&mut self, bytes: &[u8]) {
        for byte in bytes {
            match (&*self.first, byte) {
                ([] | [b'\r'], b'\n') => {
                    self.first.clear();
                    self.is_http_1 = true;
                }
                _ => self.first.push(*byte),
            }
        }
        if self.first.iter().any(begins) {
            self.activity.enter_from(Phase::Idle, Phase::Head);
        }
    }

    /// What the peer speaks, from the first bytes that it sends; `None` where it sends none.
    pub(super) fn poll_version(&mut self, cx: &mut Context<'_>) -> Poll<Option<Version>> {
        loop {
            let may_be_line_end = matches!(&*self.first, [] | [b'\r']);
            if !may_be_line_end && (self.is_http_1 || !HTTP_2_PREFACE.starts_with(&self.first)) {
                return Poll::Ready(Some(Version::HTTP_11));
            }
            if *self.first == HTTP_2_PREFACE {
                self.activity.multiplex();
                return Poll::Ready(Some(Version::HTTP_2));
            }
            let mut bytes = [0; HTTP_2_PREFACE.len()];
            let mut buffer = ReadBuf::new(&mut bytes[self.first.len()..]);
            let read = ready!(Pin::new(&mut self.socket).poll_read(cx, &mut buffer));
            if read.is_err() || buffer.filled().is_empty() {
                return Poll::Ready(None);
            }
            self.take(buffer.filled());
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.first.is_empty() {
            let some = self.first.len().min(buffer.remaining());
            buffer.put_slice(&self.first[..some]);
            self.first.drain(..some);
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        let read = ready!(Pin::new(&mut self.socket).poll_read(cx, buffer));
        // HTTP/2 has much to say beside requests, so that bytes mean nothing there.
        if !self.activity.is_multiplexed() && buffer.filled()[before..].iter().any(begins) {
            self.activity.enter_from(Phase::Idle, Phase::Head);
        }
        Poll::Ready(read)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // hyper flushes once its own buffer is empty: then the whole answer is with the kernel.
        let flushed = ready!(Pin::new(&mut self.socket).poll_flush(cx));
        self.activity.enter_from(Phase::Answer, Phase::Idle);
        if self.activity.phase() == Phase::Discard {
            self.activity.answered.notify_one();
        }
        Poll::Ready(flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // It ends, and is not to rest meanwhile: TLS may have to wait for room to say so.
        self.activity.enter_from(Phase::Idle, Phase::Answer);
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}
