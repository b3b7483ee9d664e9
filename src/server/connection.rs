//! The life of one connection.
//!
//! ```text
//!            a byte of a head             the head is whole             the answer is made
//!   +------+ ---------------> +------+ -----------------> +---------+ ------------------> +--------+
//!   | Idle |                  | Head |                    | Request |                     | Answer |
//!   +------+                  +------+                    +---------+ --+                 +--------+
//!    ^  ^ |                                                             | answered before     |
//!    |  | |                                                             | all of the body came|
//!    |  | |                        it has left                          v                     |
//!    |  +-|----------------------------------------------------- +---------+ <- the end       |
//!    |    | after 0.1 s: rests, with all buffers given back      | Discard |                  |
//!    |    v                                                      +---------+                  |
//!    |  (a byte of a head)                                                                    |
//!    +----------------------------------------------------------------------------------------+
//! ```
//!
//! hyper reads heads and bodies and writes answers. It limits neither slow bodies nor slow readers, and its limit on
//! slow heads also runs while a connection is idle. So the socket and the requests note the phase in the [`Activity`].
//! Every tenth of a second, a connection that does not rest is checked: it may go on, or it must end.

use std::{
    convert::Infallible,
    future::poll_fn,
    net::IpAddr,
    pin::{Pin, pin},
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU8, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use http::{HeaderValue, header::CONNECTION};
use http_body_util::{BodyExt as _, Full};
use hyper::{
    Request, Response,
    body::{Body as _, Bytes, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt as _},
    task::yield_now,
    time::{Instant, MissedTickBehavior, interval_at, sleep, timeout},
};

use super::{
    activity::{Activity, Moment, Order, Phase, REST_AFTER, Verdict},
    connections::Admission,
    socket::Socket,
};
use crate::{limits::Limits, memory, respond::Respond};

/// Bytes of a request that hyper buffers at a time, and so of the longest head.
pub(super) const HEAD_BYTES_MAX: usize = 16 * 1024;

/// The most headers of one request.
const HEADERS_MAX: usize = 64;

/// How long a peer that was too slow may take for the answer that says so.
const FAREWELL: Duration = Duration::from_secs(1);

/// hyper, with a bound on everything that a peer can make it hold. All connections share it, since each would otherwise
/// hold its own.
static HTTP: LazyLock<http1::Builder> = LazyLock::new(|| {
    let mut builder = http1::Builder::new();
    // A peer that has sent its request and closed its half of the connection still waits for the answer. Writing one
    // piece costs the kernel less than writing two.
    builder.half_close(true).max_buf_size(HEAD_BYTES_MAX).max_headers(HEADERS_MAX).writev(false);
    builder
});

/// The peer of a connection, the code that answers it, and the limits that apply.
pub(super) struct Session<R> {
    pub(super) peer: IpAddr,
    pub(super) admission: Admission,
    pub(super) responder: Arc<R>,
    pub(super) limits: Arc<Limits>,
}

/// Serves the requests of one connection, until either side ends it. Each connection is a task of its own.
pub(super) async fn serve<S, R>(socket: S, session: Arc<Session<R>>)
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
    R: Respond,
{
    let mut resting = Socket::new(socket, session.admission.activity().clone());
    while begins(&mut resting, &session).await {
        // Boxed: while it rests, a connection needs no room for this future.
        match Box::pin(speak(resting, &session)).await {
            Some(socket) => resting = socket,
            None => return,
        }
        // This wipes what the requests left on this thread's stack, from a task that is as deep as this one.
        tokio::spawn(async { memory::wipe_stack() });
    }
    // Tells a peer over TLS that this is the proper end, if that can be written at once.
    let _ = timeout(Duration::ZERO, resting.shutdown()).await;
}

/// Waits for a request. Returns whether one begins before the connection is to end.
async fn begins<S: AsyncRead + Unpin, R>(socket: &mut Socket<S>, session: &Session<R>) -> bool {
    let patience = if session.admission.is_stranger() { session.limits.header } else { session.limits.idle };
    let told_to_end = async {
        session.admission.activity().told_to_end().await;
        // A connection that was just accepted has not yet learned what there is to read.
        yield_now().await;
    };
    tokio::select! {
        biased;
        begun = socket.begin() => begun,
        () = told_to_end => false,
        () = sleep(patience) => false,
    }
}

/// Answers requests until the connection rests, and then returns its socket; `None` if the connection ends.
async fn speak<S, R>(socket: Socket<S>, session: &Arc<Session<R>>) -> Option<Socket<S>>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
    R: Respond,
{
    let wakes = Arc::new(Wakes::of(poll_fn(|cx| Poll::Ready(cx.waker().clone())).await));
    let waker = Waker::from(wakes.clone());
    let service = service_fn(|request: Request<Incoming>| {
        // This is done at once, and not when the request is first polled: the connection must not look idle in between.
        session.admission.activity().begin_request();
        answer(session.clone(), wakes.clone(), request)
    });
    let (activity, limits) = (session.admission.activity(), &session.limits);
    let mut http = HTTP.serve_connection(TokioIo::new(socket), service);
    let mut look = interval_at(Instant::now() + REST_AFTER, REST_AFTER);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        // hyper comes first: it reads whatever has arrived before anybody decides that nothing has.
        tokio::select! {
            biased;
            _ = poll_fn(|_| poll(&mut http, &waker)) => return None,
            () = activity.ordered() => {
                // hyper reads whatever has arrived first, so that no request is lost that an idle connection was sent.
                yield_now().await;
                if poll(&mut http, &waker).is_ready() {
                    return None;
                }
            }
            _ = look.tick() => {}
        }
        match activity.verdict(limits, Moment::now()) {
            Verdict::Wait => {}
            Verdict::Rest => {
                let parts = http.into_parts();
                activity.rest();
                return Some(parts.io.into_inner().with_unread(&parts.read_buf));
            }
            Verdict::TooSlow => {
                let socket = http.into_parts().io.into_inner();
                let _ = timeout(FAREWELL, write_last(socket, session.responder.too_slow())).await;
                return None;
            }
            Verdict::End => return None,
        }
    }
}

/// Answers one request.
async fn answer<R: Respond>(
    session: Arc<Session<R>>,
    wakes: Arc<Wakes>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let activity = session.admission.activity();
    let is_chunked = request.body().size_hint().exact().is_none();
    let mut request = request.map(Some);
    let answer = {
        let mut respond = pin!(session.responder.respond(&mut request, session.peer, &activity.patience));
        poll_fn(|cx| wakes.hold(|| respond.as_mut().poll(cx))).await
    };
    let mut response = answer.response;
    if answer.granted {
        session.admission.prove();
    }
    let unread = request.into_body().filter(|body| !body.is_end_stream());
    if unread.is_some() {
        wakes.task.wake_by_ref();
    }
    // A stranger gets one refusal. A connection with a body still under way takes no other request. Neither does one
    // with a chunked request: hyper drops a Content-Length beside it before anybody sees it, and a proxy before us may
    // have relied on that length (RFC 9112 section 6.1).
    let is_last = unread.is_some() || is_chunked || activity.order() >= Order::LastAnswer;
    if is_last || session.admission.is_stranger() {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    activity.begin_answer(if unread.is_some() { Phase::Discard } else { Phase::Answer }, answer.share);
    if let Some(unread) = unread {
        tokio::spawn(discard(unread, session.limits.clone(), activity.clone()));
    }
    Ok(response.map(Full::new))
}

/// Polls `future`, and has `waker` called when it can go on.
fn poll<F: Future + Unpin>(future: &mut F, waker: &Waker) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(waker))
}

/// Wakes the task of a connection. Whenever a piece of a body is taken, hyper wakes the task to read the next piece.
/// Nearly all bodies arrive whole, and then there is no next piece. So wakes are held while the answer to a request is
/// polled, and dropped if it is then ready.
struct Wakes {
    task: Waker,
    state: AtomicU8,
}

/// Wakes are passed to the task.
const OPEN: u8 = 0;
/// Wakes are held, and none has come yet.
const HELD: u8 = 1;
/// Wakes are held, and one has come.
const WOKEN: u8 = 2;

impl Wakes {
    fn of(task: Waker) -> Self {
        Self { task, state: AtomicU8::new(OPEN) }
    }

    /// Calls `poll`. Wakes that come meanwhile are dropped if the result is ready.
    fn hold<T>(&self, poll: impl FnOnce() -> Poll<T>) -> Poll<T> {
        self.state.store(HELD, Ordering::Release);
        let polled = poll();
        if self.state.swap(OPEN, Ordering::AcqRel) == WOKEN && polled.is_pending() {
            self.task.wake_by_ref();
        }
        polled
    }
}

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.state.compare_exchange(HELD, WOKEN, Ordering::AcqRel, Ordering::Acquire) == Err(OPEN) {
            self.task.wake_by_ref();
        }
    }
}

/// Reads and drops what is left of a body, within bounds.
async fn discard(mut body: Incoming, limits: Arc<Limits>, activity: Arc<Activity>) {
    let mut left = limits.body_bytes.saturating_mul(4);
    let all = async {
        // Reading earlier would make hyper ask a client that waits for `100 Continue` to go on.
        activity.answered.notified().await;
        while let Some(Ok(frame)) = body.frame().await {
            let bytes = frame.data_ref().map_or(0, Bytes::len);
            match left.checked_sub(bytes) {
                Some(rest) => left = rest,
                None => break,
            }
            // Calls come before a body that nobody reads.
            yield_now().await;
        }
    };
    // Either way the body is dropped here, and hyper then ends the connection.
    let _ = timeout(limits.request, all).await;
}

/// Writes an answer to a peer that hyper no longer speaks with, and ends the connection.
async fn write_last(mut socket: impl AsyncWrite + Unpin, response: Response<Bytes>) {
    let (mut head, body) = response.into_parts();
    head.headers.insert(CONNECTION, HeaderValue::from_static("close"));
    let mut bytes = format!("HTTP/1.1 {}\r\ncontent-length: {}\r\n", head.status, body.len());
    for (name, value) in &head.headers {
        bytes.push_str(&format!("{name}: {}\r\n", value.to_str().unwrap_or_default()));
    }
    bytes.push_str("\r\n");
    if socket.write_all(&[bytes.as_bytes(), &body].concat()).await.is_ok() {
        let _ = socket.shutdown().await;
    }
}
