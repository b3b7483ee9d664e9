//! One request, step by step, and the only place where an error becomes a status.

use std::{
    borrow::Cow,
    cell::Cell,
    collections::HashMap,
    future::Future,
    net::IpAddr,
    ops::RangeInclusive,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use http::{
    HeaderMap, HeaderValue, Method, StatusCode, Version,
    header::{ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderName, RETRY_AFTER, WWW_AUTHENTICATE},
};
use http_body_util::BodyExt as _;
use hyper::{
    Request, Response,
    body::{Body as _, Bytes, Incoming},
};
use ipnet::IpNet;
use jiff::Timestamp;
use smallvec::SmallVec;
use tokio::{task::yield_now, time::timeout};
use tracing::debug;

use crate::{
    allowance::{Failures, Refused},
    audit::{Audit, Entry, ItemHash, ItemKey},
    auth::{Client, Clients, Partial, Username},
    ids::KeyId,
    limits::Limits,
    live::Live,
    lock::lock,
    peer, strict,
    tokenizer::{KeyUse, Mapped, Mode, PlainNumbers, Tokenizer, has_uid_form},
    wire::{self, Call},
};

/// The name of a request, under which the audit log has it.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Headers of an answer, but for those that hyper adds.
const HEADERS: usize = 4;

/// Something that answers the requests of a listener.
pub trait Respond: Send + Sync + 'static {
    /// The answer to `request`, which came from `peer`. A body that was read to its end is taken away; what is left of
    /// any other nobody will read.
    fn respond(
        &self,
        request: &mut Request<Option<Incoming>>,
        peer: IpAddr,
    ) -> impl Future<Output = Response<Bytes>> + Send;
}

/// Answers CCC.
pub struct Handler {
    path: String,
    limits: Limits,
    trusted_proxies: Vec<IpNet>,
    live: Arc<Live>,
    audit: Arc<Audit>,
    buffered: AtomicUsize,
    failures: Failures,
    /// Requests under way for each peer behind a proxy, whose connections are the proxy's.
    proxied: Mutex<HashMap<IpAddr, usize>>,
}

impl Handler {
    /// A handler of requests for `path`.
    pub fn new(path: String, limits: Limits, trusted_proxies: Vec<IpNet>, live: Arc<Live>, audit: Arc<Audit>) -> Self {
        let (buffered, failures, proxied) = (AtomicUsize::new(0), Failures::default(), Mutex::default());
        Self { path, limits, trusted_proxies, live, audit, buffered, failures, proxied }
    }

    /// The steps of a request. Nothing of the body is read before the client is known.
    async fn answer<'c>(
        &self,
        request: &mut Request<Option<Incoming>>,
        clients: &'c Clients,
        entry: &mut Entry<'c>,
    ) -> Result<Vec<u8>, Refusal> {
        let clear = strict::check(request).map_err(|_| Refusal::Ambiguous)?;
        self.check_route(request)?;
        let client = clients.authenticate(clear.authorization).ok_or_else(|| self.count_failure(entry.record.peer))?;
        entry.record.client = Some(&client.username);
        let body = match request.version() {
            // Other streams keep the connection busy, so that a slow body must be timed by itself.
            Version::HTTP_2 => {
                let read = timeout(self.limits.request, self.read(request.body_mut()));
                read.await.map_err(|_| Refusal::Interrupted)??
            }
            _ => self.read(request.body_mut()).await?,
        };
        let call = wire::parse(body.bytes(), self.limits.numbers).map_err(Refusal::NotACall)?;
        (entry.record.mode, entry.record.items) = (Some(call.mode), call.count);
        if !client.modes.contains(&call.mode) {
            return Err(Refusal::NotGranted(call.mode));
        }
        if call.count > self.limits.numbers {
            return Err(Refusal::TooManyNumbers(self.limits.numbers));
        }
        admit(client, &call, Instant::now()).map_err(|refused| {
            self.audit.metrics().count_limited(call.mode, call.count);
            match refused {
                Refused::Ever => Refusal::BeyondRate,
                Refused::For(wait) => Refusal::OverRate(wait),
            }
        })?;
        entry.make_room_for(call.count).await;
        let mapped = self.map(&call, client, entry).await;
        let failed = entry.record.failures.total();
        let code = match client.partial {
            _ if failed == 0 => 0,
            Partial::Lenient if failed < mapped.len() => 0,
            Partial::Lenient | Partial::Strict => 207,
        };
        entry.record.code = code;
        let answer = wire::answer(code, call.mode, &call.numbers, &mapped);
        keep_room(mapped);
        Ok(answer)
    }

    /// A failed login: too many of one peer are told to wait. Good credentials never are, since CCC may come from behind
    /// the same address as an attacker.
    fn count_failure(&self, peer: IpAddr) -> Refusal {
        self.audit.metrics().count_auth_failure();
        self.failures.count(peer, Instant::now()).map_or_else(Refusal::Guessing, |()| Refusal::Unauthorized)
    }

    fn check_route<B>(&self, request: &Request<B>) -> Result<(), Refusal> {
        if request.uri().path() != self.path {
            return Err(Refusal::NotFound);
        }
        if request.method() != Method::POST {
            return Err(Refusal::MethodNotAllowed);
        }
        Ok(())
    }

    /// The whole body, while it and all others together stay within their limits; then nothing is left in `unread`.
    async fn read<'h>(&'h self, unread: &mut Option<Incoming>) -> Result<Buffered<'h>, Refusal> {
        let body = unread.as_mut().ok_or(Refusal::Interrupted)?;
        if body.size_hint().lower() > self.limits.body_bytes as u64 {
            return Err(Refusal::BodyTooLarge(self.limits.body_bytes));
        }
        let mut buffered = Buffered { first: Bytes::new(), rest: Vec::new(), counted: 0, total: &self.buffered };
        while !body.is_end_stream()
            && let Some(frame) = body.frame().await
        {
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

    /// Maps with one ring and one `now`. Where that ring lacks a key that an item wants, the file is looked at, and all is
    /// mapped once more with what is then the ring.
    async fn map(&self, call: &Call<'_>, client: &Client, entry: &mut Entry<'_>) -> Mapped {
        let mut tokenizer = self.live.tokenizer();
        let mut done = Done::map(&tokenizer, call, client).await;
        if done.mapped.failures().are_about_keys() && self.live.look().await {
            tokenizer = self.live.tokenizer();
            done = Done::map(&tokenizer, call, client).await;
        }
        let Done { mapped, uses, passed, now } = done;
        self.live.count_decoded(&uses, now);
        let record = &mut entry.record;
        record.time = Some(now);
        record.failures = mapped.failures();
        record.passed = passed;
        record.mapped = mapped.len() - record.failures.total() - passed;
        record.keys = uses.iter().map(|(id, uses)| (*id, uses.opened + uses.sealed)).collect();
        if let Some(key) = entry.item_key() {
            entry.record.hashes = hash_items(key, &tokenizer, client, call, &mapped);
        }
        mapped
    }
}

/// Admits what `client` calls for, as far as its limits go. Numbers that pass where UIDs are wanted reveal nothing, and
/// count as making UIDs.
fn admit(client: &Client, call: &Call<'_>, now: Instant) -> Result<(), Refused> {
    let passing = match (call.mode, client.plain_numbers) {
        (Mode::UidToPhone, PlainNumbers::Pass) => call.numbers.iter().filter(|item| !has_uid_form(item)).count(),
        _ => 0,
    };
    if passing > 0 {
        client.allowance(Mode::PhoneToUid).admit(passing as u64, now)?;
    }
    client.allowance(call.mode).admit((call.count - passing) as u64, now)
}

/// Items that are mapped before others get their turn: a millisecond's work, even where each wants libphonenumber.
const ITEMS_A_TURN: usize = 512;

/// Bytes of texts for which room is kept from one batch to the next: of less, the allocator has some at hand, and more is
/// rare.
const KEPT_BYTES: RangeInclusive<usize> = 32 * 1024..=1024 * 1024;

thread_local! {
    /// Room for what becomes of the next large batch: the allocator would ask the kernel for it each time.
    static ROOM: Cell<Mapped> = Cell::default();
}

fn room_for(items: usize) -> Mapped {
    if !KEPT_BYTES.contains(&Mapped::bytes_for(items)) {
        return Mapped::with_capacity(items);
    }
    let mut room = ROOM.take();
    room.reserve(items);
    room
}

/// Keeps the room that `mapped` takes, and nothing of what is in it.
fn keep_room(mut mapped: Mapped) {
    if KEPT_BYTES.contains(&mapped.capacity()) {
        mapped.clear();
        ROOM.set(mapped);
    }
}

/// A batch that is mapped.
struct Done {
    mapped: Mapped,
    uses: SmallVec<[(KeyId, KeyUse); 2]>,
    passed: usize,
    now: Timestamp,
}

impl Done {
    /// Maps all of `call`, and lets others have their turn now and then.
    async fn map(tokenizer: &Tokenizer, call: &Call<'_>, client: &Client) -> Self {
        let (now, mut mapped) = (Timestamp::now(), room_for(call.numbers.len()));
        let mut batch = tokenizer.batch(&client.context, now).with_plain_numbers(client.plain_numbers);
        for (at, items) in call.numbers.chunks(ITEMS_A_TURN).enumerate() {
            if at > 0 {
                yield_now().await;
            }
            batch.map(call.mode, items, &mut mapped);
        }
        Self { mapped, uses: batch.uses().collect(), passed: batch.passed(), now }
    }
}

/// Keyed hashes of the UIDs that were opened or made, each with that of its number.
fn hash_items(
    key: &ItemKey,
    tokenizer: &Tokenizer,
    client: &Client,
    call: &Call<'_>,
    mapped: &Mapped,
) -> Vec<(ItemHash, ItemHash)> {
    let done = call.numbers.iter().zip(mapped.iter()).filter_map(|(item, outcome)| Some((&**item, outcome.ok()?)));
    let uids: Vec<&str> = match call.mode {
        Mode::UidToPhone | Mode::RewrapUid => done.map(|(item, _)| item).collect(),
        Mode::PhoneToUid | Mode::PhoneToAliases => done.flat_map(|(_, uid)| uid.split(Mapped::SEPARATOR)).collect(),
    };
    let mut numbers = Mapped::with_capacity(uids.len());
    tokenizer.batch(&client.context, Timestamp::UNIX_EPOCH).canonical(&uids, &mut numbers);
    let pairs = uids.iter().zip(numbers.iter());
    pairs.filter_map(|(uid, number)| Some((key.uid(&client.context, uid), key.number(number.ok()?)))).collect()
}

impl Respond for Handler {
    async fn respond(&self, request: &mut Request<Option<Incoming>>, socket: IpAddr) -> Response<Bytes> {
        let peer = peer::real(socket, request.headers(), &self.trusted_proxies);
        // They outlive the entry, which refers to one of them.
        let clients;
        let mut entry = self.audit.begin(peer).await;
        clients = self.live.clients();
        let place = if peer == socket { Ok(None) } else { self.place_for(peer).map(Some) };
        let answer = match &place {
            Ok(_) => self.answer(request, &clients, &mut entry).await,
            Err(TooManyOfPeer) => Err(Refusal::TooManyOfPeer),
        };
        let record = &mut entry.record;
        let mut response = match answer {
            Ok(json) => {
                let mut response = Response::new(json.into());
                // A table that is there already, and that hyper then has the next request use, costs no allocation.
                let headers = response.headers_mut();
                std::mem::swap(headers, request.headers_mut());
                headers.clear();
                describe(headers, "application/json");
                response
            }
            Err(refusal) => {
                record.code = refusal.status().as_u16();
                refusal.response()
            }
        };
        record.status = response.status().as_u16();
        let id = record.id.to_hex();
        response
            .headers_mut()
            .insert(REQUEST_ID, HeaderValue::from_bytes(&id).expect("hex digits are a header's value"));
        debug!(
            %peer,
            id = str::from_utf8(&id).unwrap_or_default(),
            client = record.client.map(Username::as_str),
            mode = record.mode.map(Mode::name),
            items = record.items,
            mapped = record.mapped,
            status = record.status,
            code = record.code,
            "request"
        );
        response
    }
}

impl Handler {
    /// A place for a request of `peer`, one of those behind a proxy.
    fn place_for(&self, peer: IpAddr) -> Result<Place<'_>, TooManyOfPeer> {
        let (peer, mut proxied) = (peer::network(peer), lock(&self.proxied));
        let under_way = proxied.entry(peer).or_default();
        if *under_way >= self.limits.connections_per_peer {
            return Err(TooManyOfPeer);
        }
        *under_way += 1;
        Ok(Place { peer, proxied: &self.proxied })
    }
}

/// The place of one request among those of its peer.
struct Place<'h> {
    peer: IpAddr,
    proxied: &'h Mutex<HashMap<IpAddr, usize>>,
}

struct TooManyOfPeer;

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut proxied = lock(self.proxied);
        if let Some(under_way) = proxied.get_mut(&self.peer) {
            *under_way -= 1;
            if *under_way == 0 {
                proxied.remove(&self.peer);
            }
        }
    }
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
    Ambiguous,
    NotFound,
    MethodNotAllowed,
    Unauthorized,
    Guessing(Duration),
    TooManyOfPeer,
    BodyTooLarge(usize),
    NotACall(wire::NotACall),
    NotGranted(Mode),
    TooManyNumbers(usize),
    BeyondRate,
    OverRate(Duration),
    Busy,
    Interrupted,
}

impl Refusal {
    fn status(&self) -> StatusCode {
        match self {
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::BodyTooLarge(_) | Self::TooManyNumbers(_) | Self::BeyondRate => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Ambiguous | Self::NotACall(_) | Self::Interrupted => StatusCode::BAD_REQUEST,
            Self::Guessing(_) | Self::TooManyOfPeer | Self::OverRate(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::NotGranted(_) => StatusCode::FORBIDDEN,
            Self::Busy => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    fn ends_the_connection(&self) -> bool {
        self.status() == StatusCode::PAYLOAD_TOO_LARGE
            || matches!(self, Self::Ambiguous | Self::Unauthorized | Self::Guessing(_) | Self::Interrupted)
    }

    fn message(&self) -> Cow<'static, str> {
        match self {
            Self::Ambiguous => {
                "Host is missing, or a header is repeated or malformed: this request is not clear".into()
            }
            Self::NotFound => "there is nothing at this path".into(),
            Self::MethodNotAllowed => "only POST is answered here".into(),
            Self::Unauthorized => "Basic credentials of a client are wanted".into(),
            Self::BodyTooLarge(max) => format!("the body is over {max} bytes").into(),
            Self::NotACall(error) => error.to_string().into(),
            Self::NotGranted(mode) => format!("this client is not granted {}", mode.name()).into(),
            Self::TooManyNumbers(max) => format!("more than {max} numbers in one request").into(),
            Self::BeyondRate => "more numbers than a whole minute's limit of this client".into(),
            Self::OverRate(_) => "over this client's limit of numbers a minute: see Retry-After".into(),
            Self::Guessing(_) => "too many failed logins from this address".into(),
            Self::TooManyOfPeer => "too many requests at once from this address".into(),
            Self::Busy => "too much is under way: try again".into(),
            Self::Interrupted => "the body ended too early, or was no HTTP".into(),
        }
    }

    fn response(&self) -> Response<Bytes> {
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
            Self::Guessing(wait) | Self::OverRate(wait) => {
                // Whole seconds, and never so few that the same request would be refused again.
                let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
                headers.insert(RETRY_AFTER, HeaderValue::from(seconds.max(1)));
            }
            Self::TooManyOfPeer => {
                headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
            }
            _ => {}
        }
        if self.ends_the_connection() {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

/// An answer with this body.
pub fn json_response(status: StatusCode, json: Vec<u8>) -> Response<Bytes> {
    response(status, "application/json", json)
}

/// An answer with a body of this type, which nobody is to keep.
pub fn response(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response<Bytes> {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.reserve(HEADERS);
    describe(headers, content_type);
    response
}

/// Says of a body what it is, and that nobody is to keep it.
fn describe(headers: &mut HeaderMap, content_type: &'static str) {
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
}
