//! One connection: hyper, under the eye of a watchdog that knows what the peer is being waited for.
//!
//! hyper's own header time-out runs while a connection is idle, and nothing of hyper's bounds a slow body or a slow
//! reader. So the socket and the requests note here what a connection is doing and since when; how long it may go on
//! doing that is one deadline, looked at when a timer fires, which costs a request no timer of its own.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    future::Future,
    io,
    net::IpAddr,
    pin::{Pin, pin},
    sync::{
        Arc, LazyLock, Mutex,
        atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use http::{HeaderValue, StatusCode, header::CONNECTION};
use http_body_util::BodyExt as _;
use hyper::{
    Request, Version,
    body::{Body, Bytes, Frame, Incoming, SizeHint},
    service::service_fn,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::Notify,
    time::{Instant, sleep_until, timeout},
};

use crate::{
    handler::{Reply, Respond},
    limits::Limits,
    lock::lock,
};

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

/// Bytes of an answer that are given to an HTTP/2 stream at a time.
const PIECE_BYTES: usize = 16 * 1024;

/// How an HTTP/2 connection begins (RFC 9113 section 3.4).
const HTTP_2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n";

/// How long an idle HTTP/2 connection has to say farewell.
const FAREWELL: Duration = Duration::from_secs(5);

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
    /// Milliseconds since [`EPOCH`] when the connection was last worked on: reading the clock at every step would cost
    /// more than all else here.
    clock: AtomicU64,
    order: AtomicU8,
    ordered: Notify,
    answered: Notify,
    /// Whether a request of this connection was ever granted.
    proved: AtomicBool,
    /// Whether this is HTTP/2, where many requests are under way at once: since when each of them is.
    multiplexed: AtomicBool,
    streams: Mutex<Streams>,
}

#[derive(Default)]
struct Streams {
    under_way: BTreeMap<u64, Duration>,
    next: u64,
}

static EPOCH: LazyLock<Instant> = LazyLock::new(Instant::now);

impl Activity {
    pub(super) fn new() -> Arc<Self> {
        let (ordered, answered) = (Notify::new(), Notify::new());
        let (state, clock, order) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU8::new(GO_ON));
        let (proved, multiplexed, streams) = (AtomicBool::new(false), AtomicBool::new(false), Mutex::default());
        let activity = Self { state, clock, order, ordered, answered, proved, multiplexed, streams };
        activity.look_at_clock(Instant::now());
        activity.enter(Phase::Idle);
        Arc::new(activity)
    }

    fn look_at_clock(&self, now: Instant) {
        let millis = now.saturating_duration_since(*EPOCH).as_millis();
        self.clock.store(u64::try_from(millis).unwrap_or(u64::MAX >> 3), Ordering::Relaxed);
    }

    fn enter(&self, phase: Phase) {
        if self.is_multiplexed() {
            // Requests are worked on beside the connection, too.
            self.look_at_clock(Instant::now());
        }
        let millis = self.clock.load(Ordering::Relaxed);
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

    /// Since when a peer that has shown no good credentials makes us wait, where it does.
    pub(super) fn dawdles_since(&self) -> Option<Duration> {
        let (phase, since) = self.phase();
        let dawdles = matches!(phase, Phase::Head | Phase::Discard) && !self.proved.load(Ordering::Relaxed);
        dawdles.then_some(since)
    }

    fn deadline(&self, limits: &Limits) -> Instant {
        let (phase, since) = self.phase();
        // An HTTP/2 peer may take its time for the body, and again for the answer, of the oldest of its requests.
        let oldest = lock(&self.streams).under_way.values().min().copied();
        *EPOCH + oldest.map_or(since + phase.patience(limits), |oldest| oldest + limits.request * 2)
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
    fn begin_request(self: &Arc<Self>, version: Version) -> UnderWay {
        if version != Version::HTTP_2 {
            self.enter(Phase::Request);
            return UnderWay { activity: self.clone(), stream: None };
        }
        let mut streams = lock(&self.streams);
        let stream = streams.next;
        streams.next += 1;
        streams.under_way.insert(stream, now());
        self.enter(Phase::Request);
        UnderWay { activity: self.clone(), stream: Some(stream) }
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
struct UnderWay {
    activity: Arc<Activity>,
    stream: Option<u64>,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let Some(stream) = self.stream else { return self.activity.enter_from(Phase::Request, Phase::Answer) };
        let mut streams = lock(&self.activity.streams);
        streams.under_way.remove(&stream);
        if streams.under_way.is_empty() {
            self.activity.enter(Phase::Idle);
        }
    }
}

/// Time since the process began to have connections.
fn now() -> Duration {
    EPOCH.elapsed()
}

/// An answer. That of an HTTP/2 stream is given piece by piece, as its peer makes room, and is under way until then.
struct AnswerBody {
    left: Bytes,
    under_way: Option<UnderWay>,
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.left.is_empty() {
            return Poll::Ready(None);
        }
        let piece = if self.under_way.is_some() { self.left.len().min(PIECE_BYTES) } else { self.left.len() };
        Poll::Ready(Some(Ok(Frame::data(self.left.split_to(piece)))))
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left.len() as u64)
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
        // At once, not when the request is first worked on: in between it must not look idle.
        let under_way = activity.begin_request(request.version());
        let (responder, limits) = (responder.clone(), limits.clone());
        // Boxed, or hyper would hold the room for a request under way for every connection that is idle.
        Box::pin(async move {
            let Reply { mut response, unread } = responder.respond(request, peer).await;
            let activity = under_way.activity.clone();
            if response.status() == StatusCode::OK {
                activity.proved.store(true, Ordering::Relaxed);
            }
            let under_way = Some(under_way).filter(|under_way| under_way.stream.is_some());
            if under_way.is_none() {
                if activity.order() >= LAST_ANSWER {
                    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                }
                if let Some(unread) = unread {
                    activity.enter(Phase::Discard);
                    tokio::spawn(discard(unread, limits, activity));
                }
            }
            Ok::<_, Infallible>(response.map(|left| AnswerBody { left, under_way }))
        })
    });
    let io = TokioIo::new(Watched { socket, activity: activity.clone() });
    let mut connection = pin!(BUILDER.serve_connection(io, service));
    let mut timer = pin!(sleep_until(activity.deadline(&limits)));
    // Until when an HTTP/2 connection that was asked to end may take for it.
    let mut ending: Option<Instant> = None;
    let mut ordered = pin!(activity.ordered.notified());
    std::future::poll_fn(|cx| {
        let mut now = Instant::now();
        activity.look_at_clock(now);
        while ordered.as_mut().poll(cx).is_ready() {
            ordered.set(activity.ordered.notified());
        }
        // What went wrong with a connection is its peer's to know: here it is over, either way.
        if connection.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        loop {
            let (order, idle_since) = (activity.order(), activity.idle_since());
            let idle = idle_since.is_some();
            // Only now, with everything read that had arrived, is an idle connection one that no request is lost with.
            // Any other ends with its answer.
            let given_up = order == CLOSE && activity.dawdles_since().is_some();
            if (order >= DRAIN && idle && !activity.is_multiplexed()) || given_up {
                return Poll::Ready(());
            }
            let mut deadline = activity.deadline(&limits);
            // HTTP/2 has a way to say that the requests so far were the last.
            let over = deadline <= now;
            if activity.is_multiplexed() && ending.is_none() && (order >= LAST_ANSWER || (over && idle)) {
                ending = Some(now + FAREWELL);
                connection.as_mut().graceful_shutdown();
                if connection.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(());
                }
            }
            if let (Some(ending), Some(since)) = (ending, idle_since) {
                // The end of the last answer may still be on its way.
                deadline = ending.max(*EPOCH + since + FAREWELL);
            }
            if deadline <= now {
                return Poll::Ready(());
            }
            if deadline < timer.deadline() || timer.is_elapsed() {
                timer.as_mut().reset(deadline);
            }
            ready!(timer.as_mut().poll(cx));
            now = Instant::now();
        }
    })
    .await;
}

/// One for all connections: each would otherwise hold its own.
static BUILDER: LazyLock<auto::Builder<TokioExecutor>> = LazyLock::new(bounded_builder);

/// hyper, with a bound on all that a peer can have it hold.
fn bounded_builder() -> auto::Builder<TokioExecutor> {
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
    builder
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

/// Bytes of an answer that are written in one piece.
const SMALL_WRITE_BYTES: usize = 1024;

/// What `buffers` hold, one after the other, where it fits into `small`.
fn gather<'s>(buffers: &[io::IoSlice<'_>], small: &'s mut [u8; SMALL_WRITE_BYTES]) -> Option<&'s [u8]> {
    let mut filled = 0;
    for buffer in buffers {
        small.get_mut(filled..)?.get_mut(..buffer.len())?.copy_from_slice(buffer);
        filled += buffer.len();
    }
    Some(&small[..filled])
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
        let new = &buffer.filled()[before..];
        if !self.activity.is_multiplexed() && new.iter().any(begins) {
            // HTTP/2 has much to say beside requests, so that bytes mean nothing there.
            if new.starts_with(HTTP_2_PREFACE) {
                self.activity.multiplexed.store(true, Ordering::Relaxed);
            } else {
                self.activity.enter_from(Phase::Idle, Phase::Head);
            }
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
        // One small piece costs the kernel less than two.
        let mut small = [0; SMALL_WRITE_BYTES];
        match gather(buffers, &mut small) {
            Some(bytes) => Pin::new(&mut self.socket).poll_write(cx, bytes),
            None => Pin::new(&mut self.socket).poll_write_vectored(cx, buffers),
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }
}
