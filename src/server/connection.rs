//! One connection: hyper, under the eye of a watchdog that knows what the peer is being waited for.
//!
//! hyper's own header time-out runs while a connection is idle, and nothing of hyper's bounds a slow body or a slow
//! reader. So the socket and the requests note here what a connection is doing and since when; how long it may go on
//! doing that is one deadline, looked at when a timer fires, which costs a request no timer of its own.

use std::{
    convert::Infallible,
    future::Future,
    io,
    net::IpAddr,
    pin::{Pin, pin},
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU8, AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use http::{HeaderValue, header::CONNECTION};
use http_body_util::BodyExt as _;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::Notify,
    time::{Instant, sleep_until, timeout},
};

use crate::{handler::Respond, limits::Limits};

/// Bytes that hyper buffers of a request at a time, and so of the longest head.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// Headers of one request.
const HEADERS_MAX: usize = 64;

/// What a connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Nothing: no byte of another request came.
    Idle,
    /// Its peer is sending the head of a request.
    Head,
    /// A request is read and worked on.
    Request,
    /// Its peer is reading the answer.
    Answer,
    /// Its peer is sending a body that nobody will read, and the connection ends with it.
    Discard,
}

impl Phase {
    const ALL: [Self; 5] = [Self::Idle, Self::Head, Self::Request, Self::Answer, Self::Discard];

    fn patience(self, limits: &Limits) -> Duration {
        match self {
            Self::Idle => limits.idle,
            Self::Head => limits.header,
            Self::Request | Self::Answer | Self::Discard => limits.request,
        }
    }
}

/// What a connection has been told to do, each more urgent than the one before.
const GO_ON: u8 = 0;
const LAST_ANSWER: u8 = 1;
const DRAIN: u8 = 2;
const CLOSE: u8 = 3;

/// What a connection is doing and since when, and what it has been told to do.
pub(super) struct Activity {
    /// Milliseconds since [`EPOCH`], times 8, plus the phase.
    state: AtomicU64,
    order: AtomicU8,
    ordered: Notify,
    answered: Notify,
}

static EPOCH: LazyLock<Instant> = LazyLock::new(Instant::now);

impl Activity {
    pub(super) fn new() -> Arc<Self> {
        let (ordered, answered) = (Notify::new(), Notify::new());
        let activity = Self { state: AtomicU64::new(0), order: AtomicU8::new(GO_ON), ordered, answered };
        activity.enter(Phase::Idle);
        Arc::new(activity)
    }

    fn enter(&self, phase: Phase) {
        let millis = u64::try_from(EPOCH.elapsed().as_millis()).unwrap_or(u64::MAX >> 3);
        self.state.store((millis << 3) | phase as u64, Ordering::Relaxed);
    }

    fn enter_from(&self, from: Phase, to: Phase) {
        if self.phase().0 == from {
            self.enter(to);
        }
    }

    fn phase(&self) -> (Phase, Duration) {
        let state = self.state.load(Ordering::Relaxed);
        (Phase::ALL[usize::try_from(state & 7).unwrap_or(0)], Duration::from_millis(state >> 3))
    }

    /// Since when nothing happens here, in time since the process began; `None` while something does.
    pub(super) fn idle_since(&self) -> Option<Duration> {
        let (phase, since) = self.phase();
        (phase == Phase::Idle).then_some(since)
    }

    fn deadline(&self, limits: &Limits) -> Instant {
        let (phase, since) = self.phase();
        *EPOCH + since + phase.patience(limits)
    }

    /// Lets the next answer be the last: its peer then turns to another replica, with no request lost between.
    pub(super) fn answer_last(&self) {
        self.tell(LAST_ANSWER);
    }

    /// Ends the connection after the requests that are under way.
    pub(super) fn drain(&self) {
        self.tell(DRAIN);
    }

    /// Ends the connection now.
    pub(super) fn close(&self) {
        self.tell(CLOSE);
    }

    fn order(&self) -> u8 {
        self.order.load(Ordering::Relaxed)
    }

    fn tell(&self, order: u8) {
        self.order.fetch_max(order, Ordering::Relaxed);
        self.ordered.notify_one();
    }
}

/// Serves the requests of one connection, until either side ends it.
pub(super) async fn serve<S, R>(
    socket: S,
    peer: IpAddr,
    responder: Arc<R>,
    limits: Arc<Limits>,
    activity: Arc<Activity>,
) where
    S: AsyncRead + AsyncWrite + Unpin,
    R: Respond,
{
    let service = service_fn(|request| {
        let (responder, activity, limits) = (responder.clone(), activity.clone(), limits.clone());
        async move {
            activity.enter(Phase::Request);
            let mut reply = responder.respond(request, peer).await;
            if activity.order() >= LAST_ANSWER {
                reply.response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            match reply.unread {
                None => activity.enter(Phase::Answer),
                Some(unread) => {
                    activity.enter(Phase::Discard);
                    tokio::spawn(discard(unread, limits, activity));
                }
            }
            Ok::<_, Infallible>(reply.response)
        }
    });
    let io = TokioIo::new(Watched { socket, activity: activity.clone() });
    let mut builder = http1::Builder::new();
    // A peer that has sent its request and closed its half is still waiting for the answer.
    builder.half_close(true).max_buf_size(HEAD_BYTES_MAX).max_headers(HEADERS_MAX);
    let mut connection = pin!(builder.serve_connection(io, service));
    let mut timer = pin!(sleep_until(activity.deadline(&limits)));
    let mut ordered = pin!(activity.ordered.notified());
    std::future::poll_fn(|cx| {
        while ordered.as_mut().poll(cx).is_ready() {
            ordered.set(activity.ordered.notified());
        }
        // What went wrong with a connection is its peer's to know: here it is over, either way.
        if connection.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        // Only now, with everything read that had arrived, is an idle connection one that no request is lost with. Any
        // other ends with its answer.
        if activity.order() >= DRAIN && activity.idle_since().is_some() {
            return Poll::Ready(());
        }
        loop {
            let deadline = activity.deadline(&limits);
            if deadline < timer.deadline() {
                timer.as_mut().reset(deadline);
            }
            ready!(timer.as_mut().poll(cx));
            if activity.deadline(&limits) <= Instant::now() {
                return Poll::Ready(());
            }
            timer.as_mut().reset(activity.deadline(&limits));
        }
    })
    .await;
}

/// Reads and drops what is left of a body, within bounds.
async fn discard(mut body: Incoming, limits: Arc<Limits>, activity: Arc<Activity>) {
    let mut left = limits.body_bytes.saturating_mul(4);
    let all = async {
        // Reading earlier would have hyper ask a client that waits for `100 Continue` to go on.
        activity.answered.notified().await;
        while let Some(Ok(frame)) = body.frame().await {
            let bytes = frame.data_ref().map_or(0, hyper::body::Bytes::len);
            match left.checked_sub(bytes) {
                Some(rest) => left = rest,
                None => break,
            }
        }
    };
    // Either way the body is dropped here, and hyper then ends the connection.
    let _ = timeout(limits.request, all).await;
}

/// A socket that notes when its peer begins to send, and when an answer has left.
struct Watched<S> {
    socket: S,
    activity: Arc<Activity>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = ready!(Pin::new(&mut self.socket).poll_read(cx, buffer));
        // Some clients send a line end after a body: it begins nothing.
        if buffer.filled()[before..].iter().any(|byte| !matches!(byte, b'\r' | b'\n')) {
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
        if self.activity.phase().0 == Phase::Discard {
            self.activity.answered.notify_one();
        }
        Poll::Ready(flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(cx, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }
}
