//! One request, step by step, and the only place where an error becomes a status.

use std::{
    borrow::Cow,
    future::Future,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use http::{
    HeaderValue, Method, StatusCode,
    header::{ALLOW, AUTHORIZATION, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, WWW_AUTHENTICATE},
    request::Parts,
};
use http_body_util::{BodyExt as _, Full};
use hyper::{
    Request, Response,
    body::{Body as _, Bytes, Incoming},
};
use jiff::Timestamp;
use tracing::debug;

use crate::{
    auth::{Client, Partial},
    limits::Limits,
    live::Live,
    tokenizer::{Mode, Outcome},
    wire::{self, Answer, Call},
};

/// Something that answers the requests of a listener.
pub trait Respond: Send + Sync + 'static {
    /// The answer to `request`, which came from `peer`.
    fn respond(&self, request: Request<Incoming>, peer: IpAddr) -> impl Future<Output = Reply> + Send;
}

/// An answer, and what is left of the request.
pub struct Reply {
    /// The answer.
    pub response: Response<Full<Bytes>>,
    /// A body that nobody will read: to be dropped, within bounds, so that the client gets to see the answer.
    pub unread: Option<Incoming>,
}

/// Answers CCC.
pub struct Handler {
    path: String,
    limits: Limits,
    live: Arc<Live>,
    buffered: AtomicUsize,
}

impl Handler {
    /// A handler of requests for `path`.
    pub fn new(path: String, limits: Limits, live: Arc<Live>) -> Self {
        Self { path, limits, live, buffered: AtomicUsize::new(0) }
    }

    /// The steps of a request. Nothing of the body is read before the client is known.
    async fn answer(
        &self,
        head: &Parts,
        unread: &mut Option<Incoming>,
        log: &mut RequestLog,
    ) -> Result<Vec<u8>, Refusal> {
        self.check_route(head)?;
        let clients = self.live.clients();
        let credentials = head.headers.get(AUTHORIZATION).ok_or(Refusal::Unauthorized)?;
        let client = clients.authenticate(credentials.as_bytes()).ok_or(Refusal::Unauthorized)?;
        log.client = Some(client.username.as_str().to_owned());
        let body = self.read(unread).await?;
        let call = wire::parse(body.bytes(), self.limits.numbers).map_err(Refusal::NotACall)?;
        (log.mode, log.items) = (Some(call.mode), call.count);
        if !client.modes.contains(&call.mode) {
            return Err(Refusal::NotGranted(call.mode));
        }
        if call.count > self.limits.numbers {
            return Err(Refusal::TooManyNumbers(self.limits.numbers));
        }
        let results = self.map(call, client).await;
        log.failed = results.iter().filter(|(_, outcome)| matches!(outcome, Outcome::Failed(_))).count();
        let code = match client.partial {
            _ if log.failed == 0 => 0,
            Partial::Lenient if log.failed < results.len() => 0,
            Partial::Lenient | Partial::Strict => 207,
        };
        log.code = code;
        Ok(Answer { code, results: &results }.to_json())
    }

    fn check_route(&self, head: &Parts) -> Result<(), Refusal> {
        if head.uri.path() != self.path {
            return Err(Refusal::NotFound);
        }
        if head.method != Method::POST {
            return Err(Refusal::MethodNotAllowed);
        }
        Ok(())
    }

    /// The whole body, while it and all others together stay within their limits; what is left in `unread` otherwise.
    async fn read<'h>(&'h self, unread: &mut Option<Incoming>) -> Result<Buffered<'h>, Refusal> {
        let body = unread.as_mut().ok_or(Refusal::Interrupted)?;
        if body.size_hint().lower() > self.limits.body_bytes as u64 {
            return Err(Refusal::BodyTooLarge(self.limits.body_bytes));
        }
        let mut buffered = Buffered { first: Bytes::new(), rest: Vec::new(), counted: 0, total: &self.buffered };
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(|_| Refusal::Interrupted)?.into_data() else { continue };
            if buffered.counted + data.len() > self.limits.body_bytes {
                return Err(Refusal::BodyTooLarge(self.limits.body_bytes));
            }
            buffered.count(data.len(), self.limits.buffered_bytes)?;
            buffered.push(data);
        }
        *unread = None;
        Ok(buffered)
    }

    /// Maps with one ring and one `now`. Where that ring lacks a key that an item wants, the file is looked at, and those
    /// items are tried once more.
    async fn map<'c>(&self, call: Call<'c>, client: &Client) -> Vec<(Cow<'c, str>, Outcome)> {
        let now = Timestamp::now();
        let tokenizer = self.live.tokenizer();
        let mut batch = tokenizer.batch(&client.context, now);
        let map = |item: Cow<'c, str>| {
            let outcome = batch.map(call.mode, &item);
            (item, outcome)
        };
        let mut results: Vec<_> = call.numbers.into_iter().map(map).collect();
        self.live.count_decoded(batch.opened(), now);
        let lacks_key = |outcome: &Outcome| matches!(outcome, Outcome::Failed(error) if error.is_about_the_key());
        if results.iter().any(|(_, outcome)| lacks_key(outcome)) && self.live.look().await {
            let newer = self.live.tokenizer();
            let mut batch = newer.batch(&client.context, now);
            for (item, outcome) in results.iter_mut().filter(|(_, outcome)| lacks_key(outcome)) {
                *outcome = batch.map(call.mode, item);
            }
            self.live.count_decoded(batch.opened(), now);
        }
        results
    }
}

impl Respond for Handler {
    async fn respond(&self, request: Request<Incoming>, peer: IpAddr) -> Reply {
        let started = Instant::now();
        let (head, body) = request.into_parts();
        let (mut unread, mut log) = (Some(body), RequestLog::default());
        let response = match self.answer(&head, &mut unread, &mut log).await {
            Ok(json) => json_response(StatusCode::OK, json),
            Err(refusal) => {
                log.code = refusal.status().as_u16();
                refusal.response()
            }
        };
        debug!(
            %peer,
            client = log.client,
            mode = log.mode.map(Mode::name),
            items = log.items,
            failed = log.failed,
            status = response.status().as_u16(),
            code = log.code,
            microseconds = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX),
            "request"
        );
        reply(response, unread)
    }
}

/// What is told of a request: counts, never contents.
#[derive(Default)]
struct RequestLog {
    client: Option<String>,
    mode: Option<Mode>,
    items: usize,
    failed: usize,
    code: u16,
}

/// A body in memory, counted among all others until it is dropped.
struct Buffered<'h> {
    /// All of it, as long as `rest` is empty: most bodies come in one piece, which is then never copied.
    first: Bytes,
    rest: Vec<u8>,
    counted: usize,
    total: &'h AtomicUsize,
}

impl Buffered<'_> {
    fn bytes(&self) -> &[u8] {
        if self.rest.is_empty() { &self.first } else { &self.rest }
    }

    fn push(&mut self, data: Bytes) {
        if self.first.is_empty() && self.rest.is_empty() {
            self.first = data;
        } else {
            self.rest.extend_from_slice(&std::mem::take(&mut self.first));
            self.rest.extend_from_slice(&data);
        }
    }

    fn count(&mut self, bytes: usize, total_max: usize) -> Result<(), Refusal> {
        self.counted += bytes;
        let before = self.total.fetch_add(bytes, Ordering::Relaxed);
        if before + bytes > total_max { Err(Refusal::Busy) } else { Ok(()) }
    }
}

impl Drop for Buffered<'_> {
    fn drop(&mut self) {
        self.total.fetch_sub(self.counted, Ordering::Relaxed);
    }
}

/// Why a request was not mapped at all.
#[derive(Debug)]
enum Refusal {
    NotFound,
    MethodNotAllowed,
    Unauthorized,
    BodyTooLarge(usize),
    NotACall(wire::NotACall),
    NotGranted(Mode),
    TooManyNumbers(usize),
    Busy,
    Interrupted,
}

impl Refusal {
    fn status(&self) -> StatusCode {
        match self {
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::BodyTooLarge(_) | Self::TooManyNumbers(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::NotACall(_) | Self::Interrupted => StatusCode::BAD_REQUEST,
            Self::NotGranted(_) => StatusCode::FORBIDDEN,
            Self::Busy => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    fn message(&self) -> Cow<'static, str> {
        match self {
            Self::NotFound => "there is nothing at this path".into(),
            Self::MethodNotAllowed => "only POST is answered here".into(),
            Self::Unauthorized => "Basic credentials of a client are wanted".into(),
            Self::BodyTooLarge(max) => format!("the body is over {max} bytes").into(),
            Self::NotACall(error) => error.to_string().into(),
            Self::NotGranted(mode) => format!("this client is not granted {}", mode.name()).into(),
            Self::TooManyNumbers(max) => format!("more than {max} numbers in one request").into(),
            Self::Busy => "too much is under way: try again".into(),
            Self::Interrupted => "the body ended too early, or was no HTTP".into(),
        }
    }

    fn response(&self) -> Response<Full<Bytes>> {
        let status = self.status();
        let mut response = json_response(status, wire::refusal(status.as_u16(), &self.message()));
        let headers = response.headers_mut();
        match self {
            Self::MethodNotAllowed => {
                headers.insert(ALLOW, HeaderValue::from_static("POST"));
            }
            Self::Unauthorized => {
                let challenge = HeaderValue::from_static("Basic realm=\"callveil\", charset=\"UTF-8\"");
                headers.insert(WWW_AUTHENTICATE, challenge);
            }
            _ => {}
        }
        if matches!(self, Self::Unauthorized | Self::BodyTooLarge(_) | Self::TooManyNumbers(_)) {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

/// An answer with this body.
pub fn json_response(status: StatusCode, json: Vec<u8>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(json.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// `response`, with the `body` that was not read to its end, if it must be.
///
/// A connection with a body still under way takes no other request.
pub fn reply(mut response: Response<Full<Bytes>>, body: Option<Incoming>) -> Reply {
    let unread = body.filter(|body| !body.is_end_stream());
    if unread.is_some() {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    Reply { response, unread }
}
