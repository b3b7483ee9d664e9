//! One connection: hyper, under the eye of a watchdog that knows what the peer is being waited for.
//!
//! hyper's own header time-out runs while a connection is idle, and nothing of hyper's bounds a slow body or a slow
//! reader. So the socket and the requests note in the [`Activity`] what a connection is doing and since when; how long it
//! may go on doing that is one deadline, looked at when a timer fires, which costs a request no timer of its own.
//!
//! An idle connection rests: hyper's buffers, which hold its last request, are given back until its peer says more.

use std::{
    convert::Infallible,
    future::{Future, poll_fn},
    net::IpAddr,
    pin::{Pin, pin},
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU8, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use http::{HeaderValue, StatusCode, header::CONNECTION};
use http_body_util::BodyExt as _;
use hyper::{
    Request, Response, Version,
    body::{Body, Bytes, Frame, Incoming, SizeHint},
    server::conn::{http1, http2},
    service::{Service, service_fn},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::{Instant, sleep_until, timeout},
};

use super::{
    activity::{Activity, Order, Phase, UnderWay, instant},
    watched::Watched,
};
use crate::{handler::Respond, limits::Limits, memory};

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

/// How long an HTTP/1 connection is idle before it rests: long enough that a busy one never does.
const REST_AFTER: Duration = Duration::from_millis(100);

/// How long an idle HTTP/2 connection has to say farewell.
const FAREWELL: Duration = Duration::from_secs(5);

/// Serves the requests of one connection, until either side ends it. A connection is a task of its own.
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
    let turn = Arc::new(Turn::new(poll_fn(|cx| Poll::Ready(cx.waker().clone())).await));
    let waker = Waker::from(turn.clone());
    let mut watch = Watch { limits: limits.clone(), activity: activity.clone(), ending: None };
    let link = Arc::new(Link { peer, responder, limits, activity: activity.clone(), turn });
    let mut stage = Some(Stage::Resting(Watched::new(socket, activity.clone())));
    let mut timer = pin!(sleep_until(activity.deadline(&watch.limits)));
    poll_fn(|task| {
        activity.heed_orders(task);
        let cx = &mut Context::from_waker(&waker);
        while let Some(current) = stage.take() {
            let Some(mut current) = current.go_on(cx, || link.clone().service()).filter(|_| !watch.is_over()) else {
                break;
            };
            if watch.says_farewell(&mut current) {
                stage = Some(current);
                continue;
            }
            let deadline = watch.deadline(&current);
            if deadline < timer.deadline() || timer.is_elapsed() {
                timer.as_mut().reset(deadline);
            }
            if timer.as_mut().poll(cx).is_pending() {
                stage = Some(current);
                return Poll::Pending;
            }
            stage = watch.expire(current, deadline);
        }
        Poll::Ready(())
    })
    .await;
}

/// What hyper asks for answers.
trait Answers:
    Service<Request<Incoming>, Response = Response<AnswerBody>, Error = Infallible, Future: Send + 'static>
{
}

impl<V> Answers for V where
    V: Service<Request<Incoming>, Response = Response<AnswerBody>, Error = Infallible, Future: Send + 'static>
{
}

/// What a connection speaks, as far as it has said.
enum Stage<S, V>
where
    S: AsyncRead + AsyncWrite + Unpin,
    V: Answers,
{
    /// Nothing, or nothing more: it is idle.
    Resting(Watched<S>),
    Http1(Box<http1::Connection<TokioIo<Watched<S>>, V>>),
    Http2(Box<http2::Connection<TokioIo<Watched<S>>, V, TokioExecutor>>),
}

impl<S, V> Stage<S, V>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
    V: Answers,
{
    /// Does what can be done now; `None` once the connection is over. What went wrong with it is its peer's to know.
    fn go_on(self, cx: &mut Context<'_>, service: impl FnOnce() -> V) -> Option<Self> {
        let mut begun = match self {
            Self::Resting(mut socket) => match socket.poll_version(cx) {
                Poll::Pending => return Some(Self::Resting(socket)),
                Poll::Ready(version) => match version? {
                    Version::HTTP_2 => Self::Http2(Box::new(HTTP_2.serve_connection(TokioIo::new(socket), service()))),
                    _ => Self::Http1(Box::new(HTTP_1.serve_connection(TokioIo::new(socket), service()))),
                },
            },
            begun => begun,
        };
        let polled = match &mut begun {
            Self::Resting(_) => Poll::Pending,
            Self::Http1(connection) => Pin::new(&mut **connection).poll(cx),
            Self::Http2(connection) => Pin::new(&mut **connection).poll(cx),
        };
        polled.is_pending().then_some(begun)
    }
}

/// Looks after one connection: when it has to end, and when it is to rest.
struct Watch {
    limits: Arc<Limits>,
    activity: Arc<Activity>,
    /// Until when an HTTP/2 connection that was asked to end may take for it.
    ending: Option<Instant>,
}

impl Watch {
    /// Whether the connection ends here. Only after its turn, with everything read that had arrived, is an idle one
    /// such that no request is lost with it. Any other ends with its answer.
    fn is_over(&self) -> bool {
        let activity = &self.activity;
        let is_idle = activity.idle_since().is_some() && !activity.is_multiplexed();
        (activity.is_to_end() && is_idle) || (activity.order() == Order::Close && activity.dawdles_since().is_some())
    }

    /// Has an HTTP/2 connection that was told to end say which of its requests were the last, once.
    fn says_farewell<S, V>(&mut self, stage: &mut Stage<S, V>) -> bool
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
        V: Answers,
    {
        let Stage::Http2(connection) = stage else { return false };
        if self.activity.order() < Order::LastAnswer || self.ending.is_some() {
            return false;
        }
        Pin::new(&mut **connection).graceful_shutdown();
        self.ending = Some(Instant::now() + FAREWELL);
        true
    }

    /// When `stage` is to be looked at again though nothing happens to it.
    fn deadline<S, V>(&self, stage: &Stage<S, V>) -> Instant
    where
        S: AsyncRead + AsyncWrite + Unpin,
        V: Answers,
    {
        let patience = self.activity.deadline(&self.limits);
        match (stage, self.activity.idle_since(), self.ending) {
            (Stage::Http1(_), Some(since), _) => patience.min(instant(since + REST_AFTER)),
            // The end of the last answer may still be on its way.
            (Stage::Http2(_), Some(since), Some(ending)) => ending.max(instant(since + FAREWELL)),
            _ => patience,
        }
    }

    /// What becomes of `stage`, if its `deadline` is over.
    fn expire<S, V>(&mut self, stage: Stage<S, V>, deadline: Instant) -> Option<Stage<S, V>>
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
        V: Answers,
    {
        let now = Instant::now();
        match stage {
            stage if now < deadline => Some(stage),
            Stage::Http1(connection) if now < self.activity.deadline(&self.limits) => {
                let parts = connection.into_parts();
                // Its requests left something on the stack of this thread, too: from a task that is as deep as this.
                tokio::spawn(async { memory::wipe_stack() });
                Some(Stage::Resting(parts.io.into_inner().rested(&parts.read_buf)))
            }
            Stage::Http2(mut connection) if self.activity.idle_since().is_some() && self.ending.is_none() => {
                Pin::new(&mut *connection).graceful_shutdown();
                self.ending = Some(now + FAREWELL);
                Some(Stage::Http2(connection))
            }
            _ => None,
        }
    }
}

/// One turn of a connection's task, and what wakes it for the next.
///
/// hyper has itself called again whenever a piece of a body is taken, to read the next. Of a body that came whole, as
/// nearly all do, there is none, and this happens in the midst of a turn. So wakes are held while an HTTP/1 request is
/// answered, and given unless the answer came, and all of the body before: hyper then looks at its socket once more in
/// any case, and so does [`serve`] at its timer.
struct Turn {
    task: Waker,
    state: AtomicU8,
}

/// Wakes go on to the task.
const OPEN: u8 = 0;
/// They are held, if there are any.
const HELD: u8 = 1;
/// There was one.
const WOKEN: u8 = 2;

impl Turn {
    fn new(task: Waker) -> Self {
        Self { task, state: AtomicU8::new(OPEN) }
    }

    fn hold(&self) {
        self.state.store(HELD, Ordering::Release);
    }

    /// Lets wakes go on, and with `give` also those that were held.
    fn release(&self, give: bool) {
        if self.state.swap(OPEN, Ordering::AcqRel) == WOKEN && give {
            self.task.wake_by_ref();
        }
    }
}

impl Wake for Turn {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        match self.state.compare_exchange(HELD, WOKEN, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) | Err(WOKEN) => {}
            Err(_) => self.task.wake_by_ref(),
        }
    }
}

/// Whose connection it is, who answers, and within which bounds.
struct Link<R> {
    peer: IpAddr,
    responder: Arc<R>,
    limits: Arc<Limits>,
    activity: Arc<Activity>,
    turn: Arc<Turn>,
}

impl<R: Respond> Link<R> {
    fn service(self: Arc<Self>) -> impl Answers {
        service_fn(move |request: Request<Incoming>| {
            // At once, not when the request is first worked on: in between it must not look idle.
            let under_way = self.activity.begin_request(request.version());
            self.clone().answer(request, under_way)
        })
    }

    async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
        under_way: Option<UnderWay>,
    ) -> Result<Response<AnswerBody>, Infallible> {
        let (is_stream, is_chunked) = (under_way.is_some(), request.body().size_hint().exact().is_none());
        let mut request = request.map(Some);
        let mut response = {
            let mut respond = pin!(self.responder.respond(&mut request, self.peer));
            poll_fn(|cx| {
                if is_stream {
                    return respond.as_mut().poll(cx);
                }
                self.turn.hold();
                let polled = respond.as_mut().poll(cx);
                if polled.is_pending() {
                    self.turn.release(true);
                }
                polled
            })
            .await
        };
        if response.status() == StatusCode::OK {
            self.activity.prove();
        }
        if is_stream {
            return Ok(response.map(|left| AnswerBody { left, under_way }));
        }
        let unread = request.into_body().filter(|body| !body.is_end_stream());
        self.turn.release(unread.is_some());
        // A connection with a body still under way takes no other request. Nor does one with a chunked request: hyper
        // drops a Content-Length beside it before anybody sees it, and a proxy before us may have gone by that (RFC 9112
        // section 6.1).
        if unread.is_some() || is_chunked || self.activity.order() >= Order::LastAnswer {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        self.activity.enter(if unread.is_some() { Phase::Discard } else { Phase::Answer });
        if let Some(unread) = unread {
            tokio::spawn(discard(unread, self.limits.clone(), self.activity.clone()));
        }
        Ok(response.map(|left| AnswerBody { left, under_way: None }))
    }
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
