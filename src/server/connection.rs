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
        atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use http::{HeaderValue, header::CONNECTION};
use http_body_util::BodyExt as _;
use hyper::{Request, Version, body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
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

/// Streams of one HTTP/2 connection.
const STREAMS_MAX: u32 = 64;

/// Streams that an HTTP/2 peer may reset before we have taken them, and that its errors may have us reset.
const RESETS_MAX: usize = 20;

/// Bytes of the headers of one HTTP/2 request, unpacked.
const HEADER_LIST_BYTES_MAX: u32 = 16 * 1024;

/// Bytes of an answer that are buffered for one HTTP/2 stream.
const SEND_BYTES_MAX: usize = 64 * 1024;

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
    /// Requests under way: several at once in HTTP/2.
    requests: AtomicUsize,
    multiplexed: AtomicBool,
}

static EPOCH: LazyLock<Instant> = LazyLock::new(Instant::now);

impl Activity {
    pub(super) fn new() -> Arc<Self> {
        let (ordered, answered) = (Notify::new(), Notify::new());
        let (state, order) = (AtomicU64::new(0), AtomicU8::new(GO_ON));
        let (requests, multiplexed) = (AtomicUsize::new(0), AtomicBool::new(false));
        let activity = Self { state, order, ordered, answered, requests, multiplexed };
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

    /// Notes a request, until what this gives is dropped.
    fn begin_request(&self, multiplexed: bool) -> RequestPhase<'_> {
        if multiplexed {
            self.multiplexed.store(true, Ordering::Relaxed);
        }
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.enter(Phase::Request);
        RequestPhase(self)
    }

    fn is_multiplexed(&self) -> bool {
        self.multiplexed.load(Ordering::Relaxed)
    }

    /// What `future` gives, unless it takes longer than `limit`, fails, or the connection is told to close.
    pub(super) async fn unless_closed<T>(
        &self,
        limit: Duration,
        future: impl Future<Output = io::Result<T>>,
    ) -> Option<T> {
        let closed = async {
            while self.order() < DRAIN {
                self.ordered.notified().await;
            }
        };
        tokio::select! {
            done = timeout(limit, future) => done.ok()?.ok(),
            () = closed => None,
        }
    }

    fn order(&self) -> u8 {
        self.order.load(Ordering::Relaxed)
    }

    fn tell(&self, order: u8) {
        self.order.fetch_max(order, Ordering::Relaxed);
        self.ordered.notify_one();
    }
}

/// A request under way.
struct RequestPhase<'a>(&'a Activity);

impl Drop for RequestPhase<'_> {
    fn drop(&mut self) {
        if self.0.requests.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.0.enter(Phase::Answer);
        }
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
    S: AsyncRead + AsyncWrite + Unpin + 'static,
    R: Respond,
{
    let service = service_fn(|request: Request<Incoming>| {
        let (responder, activity, limits) = (responder.clone(), activity.clone(), limits.clone());
        // Boxed, or hyper would hold the room for a request under way for every connection that is idle.
        Box::pin(async move {
            let multiplexed = request.version() == Version::HTTP_2;
            let request_phase = activity.begin_request(multiplexed);
            let mut reply = responder.respond(request, peer).await;
            drop(request_phase);
            if activity.order() >= LAST_ANSWER && !multiplexed {
                reply.response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            match reply.unread {
                None => {}
                // A stream of its own is reset by dropping its body; its connection goes on.
                Some(_) if multiplexed => {}
                Some(unread) => {
                    activity.enter(Phase::Discard);
                    tokio::spawn(discard(unread, limits, activity));
                }
            }
            Ok::<_, Infallible>(reply.response)
        })
    });
    let io = TokioIo::new(Watched { socket, activity: activity.clone() });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    // A peer that has sent its request and closed its half is still waiting for the answer.
    builder.http1().half_close(true).max_buf_size(HEAD_BYTES_MAX).max_headers(HEADERS_MAX);
    builder
        .http2()
        .max_concurrent_streams(STREAMS_MAX)
        .max_pending_accept_reset_streams(RESETS_MAX)
        .max_local_error_reset_streams(RESETS_MAX)
        .max_header_list_size(HEADER_LIST_BYTES_MAX)
        .max_send_buf_size(SEND_BYTES_MAX);
    let mut connection = pin!(builder.serve_connection(io, service));
    let mut timer = pin!(sleep_until(activity.deadline(&limits)));
    let mut told = false;
    let mut ordered = pin!(activity.ordered.notified());
    std::future::poll_fn(|cx| {
        while ordered.as_mut().poll(cx).is_ready() {
            ordered.set(activity.ordered.notified());
        }
        // What went wrong with a connection is its peer's to know: here it is over, either way.
        if connection.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        // HTTP/2 has a way to say that the requests so far were the last.
        if activity.order() >= LAST_ANSWER && activity.is_multiplexed() && !std::mem::replace(&mut told, true) {
            connection.as_mut().graceful_shutdown();
            cx.waker().wake_by_ref();
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
        let begins = |byte: &u8| !matches!(byte, b'\r' | b'\n');
        // HTTP/2 has much to say beside requests.
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
