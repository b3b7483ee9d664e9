//! One connection: hyper, under the eye of a watchdog that knows what the peer is being waited for.
//!
//! hyper's own header time-out runs while a connection is idle, and nothing of hyper's bounds a slow body or a slow
//! reader. So the socket and the requests note here what a connection is doing and since when; how long it may go on
//! doing that is one deadline, looked at when a timer fires, which costs a request no timer of its own.
//!
//! An idle connection rests: hyper's buffers, which hold its last request, are given back until its peer says more.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    future::{Future, poll_fn},
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

use atomic_waker::AtomicWaker;
use http::{HeaderValue, StatusCode, header::CONNECTION};
use http_body_util::BodyExt as _;
use hyper::{
    Request, Response, Version,
    body::{Body, Bytes, Frame, Incoming, SizeHint},
    server::conn::{http1, http2},
    service::{Service, service_fn},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use smallvec::SmallVec;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::Notify,
    time::{Instant, sleep_until, timeout},
};

use crate::{
    handler::{Reply, Respond},
    limits::Limits,
    lock::lock,
    memory,
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
const HTTP_2_PREFACE: [u8; 16] = *b"PRI * HTTP/2.0\r\n";

/// How long an HTTP/1 connection is idle before it rests: long enough that a busy one never does.
const REST_AFTER: Duration = Duration::from_millis(100);

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
    /// Milliseconds since [`EPOCH`] when the clock was last looked at: doing so at every step would cost more than all
    /// else here.
    clock: AtomicU64,
    /// Whether that was in the present turn of the connection.
    is_fresh: AtomicBool,
    order: AtomicU8,
    ordered: AtomicWaker,
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
        let (ordered, answered) = (AtomicWaker::new(), Notify::new());
        let (state, clock, order) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU8::new(GO_ON));
        let [is_fresh, proved, multiplexed] = [(); 3].map(|()| AtomicBool::new(false));
        let streams = Mutex::default();
        let activity = Self { state, clock, is_fresh, order, ordered, answered, proved, multiplexed, streams };
        activity.enter(Phase::Idle);
        Arc::new(activity)
    }

    fn begin_turn(&self) {
        self.is_fresh.store(false, Ordering::Relaxed);
    }

    /// Milliseconds since [`EPOCH`], looked at once a turn. Requests of HTTP/2 are worked on beside its turns, too.
    fn millis(&self) -> u64 {
        if self.is_fresh.load(Ordering::Relaxed) && !self.is_multiplexed() {
            return self.clock.load(Ordering::Relaxed);
        }
        let millis = u64::try_from(now().as_millis()).unwrap_or(u64::MAX) & (u64::MAX >> 3);
        self.clock.store(millis, Ordering::Relaxed);
        self.is_fresh.store(true, Ordering::Relaxed);
        millis
    }

    fn enter(&self, phase: Phase) {
        self.state.store((self.millis() << 3) | phase as u64, Ordering::Relaxed);
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
        let closed = poll_fn(|cx| {
            self.heed_orders(cx);
            if self.is_to_end() { Poll::Ready(()) } else { Poll::Pending }
        });
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
        self.ordered.wake();
    }

    /// Whether it was told to end, after what it is doing or at once.
    pub(super) fn is_to_end(&self) -> bool {
        self.order() >= DRAIN
    }

    /// Has the task of `cx` woken by the next order.
    fn heed_orders(&self, cx: &Context<'_>) {
        self.ordered.register(cx.waker());
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

/// An answer. That of HTTP/1 is given to hyper whole, so that what hyper has flushed is all of it. That of an HTTP/2 stream
/// is given piece by piece, as its peer makes room, and is under way until then.
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

/// Whose connection it is, who answers, and within which bounds.
struct Link<R> {
    peer: IpAddr,
    responder: Arc<R>,
    limits: Arc<Limits>,
    activity: Arc<Activity>,
}

impl<R: Respond> Link<R> {
    /// What hyper asks for answers.
    fn service(
        self: Arc<Self>,
    ) -> impl Service<
        Request<Incoming>,
        Response = Response<AnswerBody>,
        Error = Infallible,
        Future: Future<Output = Result<Response<AnswerBody>, Infallible>> + Send + 'static,
    > {
        service_fn(move |request: Request<Incoming>| {
            // At once, not when the request is first worked on: in between it must not look idle.
            let under_way = self.activity.begin_request(request.version());
            self.clone().answer(request, under_way)
        })
    }

    async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
        under_way: UnderWay,
    ) -> Result<Response<AnswerBody>, Infallible> {
        let Reply { mut response, unread } = self.responder.respond(request, self.peer).await;
        let activity = &self.activity;
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
                tokio::spawn(discard(unread, self.limits.clone(), activity.clone()));
            }
        }
        Ok(response.map(|left| AnswerBody { left, under_way }))
    }
}

/// What a connection speaks, as far as it has said.
enum Stage<S, H1, H2> {
    /// Nothing, or nothing more: it is idle.
    Resting(Watched<S>),
    Http1(Box<H1>),
    Http2(Box<H2>),
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
    let link = Arc::new(Link { peer, responder, limits: limits.clone(), activity: activity.clone() });
    let mut stage = Some(Stage::Resting(Watched::new(socket, activity.clone())));
    let mut timer = pin!(sleep_until(activity.deadline(&limits)));
    // Until when an HTTP/2 connection that was asked to end may take for it.
    let mut ending: Option<Instant> = None;
    poll_fn(|cx| {
        activity.begin_turn();
        activity.heed_orders(cx);
        while let Some(current) = stage.take() {
            // What went wrong with a connection is its peer's to know: here it is over, either way.
            let mut current = match current {
                Stage::Resting(mut socket) => match socket.poll_version(cx) {
                    Poll::Pending => Stage::Resting(socket),
                    Poll::Ready(version) => {
                        let (io, service) = (TokioIo::new(socket), link.clone().service());
                        stage = version.map(|version| match version {
                            Version::HTTP_2 => Stage::Http2(Box::new(HTTP_2.serve_connection(io, service))),
                            _ => Stage::Http1(Box::new(HTTP_1.serve_connection(io, service))),
                        });
                        continue;
                    }
                },
                Stage::Http1(mut connection) => match Pin::new(&mut *connection).poll(cx) {
                    Poll::Pending => Stage::Http1(connection),
                    Poll::Ready(_) => break,
                },
                Stage::Http2(mut connection) => match Pin::new(&mut *connection).poll(cx) {
                    Poll::Pending => Stage::Http2(connection),
                    Poll::Ready(_) => break,
                },
            };
            let (order, idle_since) = (activity.order(), activity.idle_since());
            // Only now, with everything read that had arrived, is an idle connection one that no request is lost with.
            // Any other ends with its answer.
            let given_up = order == CLOSE && activity.dawdles_since().is_some();
            if (activity.is_to_end() && idle_since.is_some() && !activity.is_multiplexed()) || given_up {
                break;
            }
            let patience = activity.deadline(&limits);
            let deadline = match (&mut current, idle_since, ending) {
                (Stage::Http1(_), Some(since), _) => patience.min(*EPOCH + since + REST_AFTER),
                // HTTP/2 has a way to say that the requests so far were the last.
                (Stage::Http2(connection), _, None) if order >= LAST_ANSWER => {
                    Pin::new(&mut **connection).graceful_shutdown();
                    ending = Some(Instant::now() + FAREWELL);
                    stage = Some(current);
                    continue;
                }
                // The end of the last answer may still be on its way.
                (Stage::Http2(_), Some(since), Some(ending)) => ending.max(*EPOCH + since + FAREWELL),
                _ => patience,
            };
            if deadline < timer.deadline() || timer.is_elapsed() {
                timer.as_mut().reset(deadline);
            }
            if timer.as_mut().poll(cx).is_pending() {
                stage = Some(current);
                return Poll::Pending;
            }
            let now = Instant::now();
            stage = match current {
                current if now < deadline => Some(current),
                Stage::Http1(connection) if now < patience => {
                    let parts = connection.into_parts();
                    // Its requests left something on the stack of this thread, too: from a task that is as deep as this.
                    tokio::spawn(async { memory::wipe_stack() });
                    Some(Stage::Resting(parts.io.into_inner().rested(&parts.read_buf)))
                }
                Stage::Http2(mut connection) if idle_since.is_some() && ending.is_none() => {
                    Pin::new(&mut *connection).graceful_shutdown();
                    ending = Some(now + FAREWELL);
                    Some(Stage::Http2(connection))
                }
                _ => None,
            };
        }
        Poll::Ready(())
    })
    .await;
}

/// hyper, with a bound on all that a peer can have it hold. One for all connections: each would otherwise hold its own.
static HTTP_1: LazyLock<http1::Builder> = LazyLock::new(|| {
    let mut builder = http1::Builder::new();
    // A peer that has sent its request and closed its half is still waiting for the answer. One piece costs the kernel
    // less than two.
    builder.half_close(true).max_buf_size(HEAD_BYTES_MAX).max_headers(HEADERS_MAX).writev(false);
    builder
});

/// The same for HTTP/2.
static HTTP_2: LazyLock<http2::Builder<TokioExecutor>> = LazyLock::new(|| {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .max_concurrent_streams(STREAMS_MAX)
        .max_pending_accept_reset_streams(RESETS_MAX)
        .max_local_error_reset_streams(RESETS_MAX)
        .max_header_list_size(HEADER_LIST_BYTES_MAX)
        .max_send_buf_size(SEND_BYTES_MAX);
    builder
});

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

/// Whether `byte` begins a request. Some clients send a line end after a body: it begins nothing.
fn begins(byte: &u8) -> bool {
    !matches!(byte, b'\r' | b'\n')
}

/// A socket that notes when its peer begins to send, and when an answer has left.
struct Watched<S> {
    socket: S,
    activity: Arc<Activity>,
    /// What was read to see what its peer speaks, and is still to be read by hyper.
    first: SmallVec<[u8; HTTP_2_PREFACE.len()]>,
    /// Whether its peer has spoken HTTP/1, from which nothing leads to HTTP/2.
    is_http_1: bool,
}

impl<S: AsyncRead + Unpin> Watched<S> {
    fn new(socket: S, activity: Arc<Activity>) -> Self {
        Self { socket, activity, first: SmallVec::new(), is_http_1: false }
    }

    /// The same after a rest, with what hyper had read of a next request.
    fn rested(self, unread: &[u8]) -> Self {
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
    fn poll_version(&mut self, cx: &mut Context<'_>) -> Poll<Option<Version>> {
        loop {
            let may_be_line_end = matches!(&*self.first, [] | [b'\r']);
            if !may_be_line_end && (self.is_http_1 || !HTTP_2_PREFACE.starts_with(&self.first)) {
                return Poll::Ready(Some(Version::HTTP_11));
            }
            if *self.first == HTTP_2_PREFACE {
                self.activity.multiplexed.store(true, Ordering::Relaxed);
                // It waits for nothing until there is a request.
                self.activity.enter(Phase::Idle);
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
        if self.activity.phase().0 == Phase::Discard {
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
