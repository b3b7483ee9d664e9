//! One request, step by step, and the only place where an error becomes a status.

use std::{
    borrow::Cow,
    cell::Cell,
    collections::HashMap,
    net::IpAddr,
    ops::RangeInclusive,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use arc_swap::Guard;
use http::{
    HeaderMap, HeaderValue, Method, StatusCode,
    header::{ACCEPT_ENCODING, ALLOW, CONNECTION, CONTENT_ENCODING, HeaderName, RETRY_AFTER, WWW_AUTHENTICATE},
};
use http_body_util::BodyExt as _;
use hyper::{
    Request, Response,
    body::{Body as _, Bytes, Incoming},
};
use jiff::Timestamp;
use smallvec::SmallVec;
use tokio::task::yield_now;
use tracing::debug;

use crate::{
    allowance::{Failures, Refused},
    audit::{Audit, Entry, ItemHash, ItemKey},
    auth::{Client, Clients, Partial, Username},
    budget::{Budget, Share},
    ids::KeyId,
    limits::Terms,
    live::Live,
    lock::lock,
    number::trim,
    peer::{self, Network},
    respond::{Answer, Patience, Respond, json_response},
    strict,
    tokenizer::{KeyUse, Mapped, Mode, PlainNumbers, Tokenizer, has_uid_form},
    usage::{Limit, Outcome},
    wire::{self, Call},
};

/// The name of a request, under which the audit log has it.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// How gzip begins (RFC 1952 section 2.3.1).
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// Bytes of an answer that is counted with its connection, and not by itself.
const SMALL_ANSWER_BYTES: usize = 16 * 1024;

/// Answers CCC.
pub struct Handler {
    live: Arc<Live>,
    audit: Arc<Audit>,
    budget: Arc<Budget>,
    failures: Failures,
    /// Requests under way for each peer behind a proxy, whose connections are the proxy's.
    proxied: Mutex<HashMap<Network, usize>>,
}

impl Handler {
    /// A handler of requests, by what is in use at their time.
    pub fn new(live: Arc<Live>, audit: Arc<Audit>) -> Self {
        let budget = Budget::new(live.terms().limits.buffered_bytes);
        let (failures, proxied) = (Failures::default(), Mutex::default());
        Self { live, audit, budget, failures, proxied }
    }

    /// The steps of a request. Nothing of the body is read before the client is known.
    async fn answer<'c>(
        &self,
        request: &mut Request<Option<Incoming>>,
        patience: &Patience,
        terms: &Terms,
        clients: &'c Clients,
        entry: &mut Entry<'c>,
    ) -> Result<(Vec<u8>, Share), Refusal> {
        let clear = strict::check(request).map_err(|_| Refusal::Ambiguous)?;
        Self::check_route(request, &terms.path)?;
        let client = clients.authenticate(clear.authorization).ok_or_else(|| self.count_failure(entry.record.peer))?;
        entry.record.client = Some(&client.username);
        check_encoding(request.headers())?;
        let mut share = self.budget.share();
        let body = self.read(request.body_mut(), terms.limits.body_bytes, patience, &mut share).await?;
        let call = body.call(terms.limits.numbers)?;
        (entry.record.mode, entry.record.items) = (Some(call.mode), call.count);
        let tokenizer = self.live.tokenizer();
        let size = Size::of(&call, &tokenizer);
        self.check(&call, &size, client, terms.limits.numbers)?;
        share.add(size.bytes).map_err(|_| Refusal::Busy)?;
        // Before the client's allowance is spent: the wait may be longer than the client's patience.
        patience.unless_over(entry.make_room(size.values * hashes_a_value(call.mode))).await.ok_or(Refusal::Busy)?;
        self.spend(&call, &size, client)?;
        let mapped = self.map(&call, tokenizer, client, entry).await;
        let failed = entry.record.failures.total();
        let code = match client.partial {
            _ if failed == 0 => 0,
            Partial::Lenient if failed < mapped.len() => 0,
            Partial::Lenient | Partial::Strict => 207,
        };
        entry.record.code = code;
        let json = wire::answer(code, call.mode, &call.numbers, &mapped);
        keep_room(mapped);
        share.shrink_to(json.capacity());
        Ok((json, share))
    }

    /// Whether `client` may ever have a call of this `size`, where one may have so many numbers.
    fn check(&self, call: &Call<'_>, size: &Size, client: &Client, numbers_max: usize) -> Result<(), Refusal> {
        if !client.modes.contains(&call.mode) {
            return Err(Refusal::NotGranted(call.mode));
        }
        if size.values > numbers_max {
            return Err(Refusal::TooManyNumbers(numbers_max));
        }
        if size.bytes > self.budget.max() {
            return Err(Refusal::AnswerTooLarge);
        }
        Ok(())
    }

    /// Takes a call of this `size` out of what `client` may have.
    fn spend(&self, call: &Call<'_>, size: &Size, client: &Client) -> Result<(), Refusal> {
        spend(client, call, size.values, Instant::now()).map_err(|refused| {
            self.audit.metrics().count_limited(call.mode, call.count);
            client.usage.count(call.mode, Outcome::Limited, call.count);
            match refused {
                Refused::Ever => Refusal::BeyondRate,
                Refused::EverToday => Refusal::BeyondDay,
                Refused::For(wait) => Refusal::OverRate(wait),
                Refused::ForToday(wait) => Refusal::OverDay(wait),
            }
        })
    }

    /// A failed login: too many of one peer are told to wait. Good credentials never are, since CCC may come from behind
    /// the same address as an attacker.
    fn count_failure(&self, peer: IpAddr) -> Refusal {
        self.audit.metrics().count_auth_failure();
        self.failures.count(peer, Instant::now()).map_or_else(Refusal::Guessing, |_| Refusal::Unauthorized)
    }

    fn check_route<B>(request: &Request<B>, path: &str) -> Result<(), Refusal> {
        if request.method() == Method::CONNECT {
            return Err(Refusal::Tunnel);
        }
        if request.uri().path() != path {
            return Err(Refusal::NotFound);
        }
        if request.method() != Method::POST {
            return Err(Refusal::MethodNotAllowed);
        }
        Ok(())
    }

    /// The whole body, while it and all others together stay within their limits; then nothing is left in `unread`.
    async fn read(
        &self,
        unread: &mut Option<Incoming>,
        bytes_max: usize,
        patience: &Patience,
        share: &mut Share,
    ) -> Result<Buffered, Refusal> {
        let body = unread.as_mut().ok_or(Refusal::Interrupted)?;
        let expected = body.size_hint().lower();
        if expected > bytes_max as u64 {
            return Err(Refusal::BodyTooLarge(bytes_max));
        }
        let mut buffered = Buffered::default();
        while !body.is_end_stream()
            && let Some(frame) = patience.unless_over(body.frame()).await.ok_or(Refusal::TooSlow)?
        {
            let Ok(data) = frame.map_err(|_| Refusal::Interrupted)?.into_data() else { continue };
            if share.bytes() + data.len() > bytes_max {
                return Err(Refusal::BodyTooLarge(bytes_max));
            }
            share.add(data.len()).map_err(|_| Refusal::Busy)?;
            buffered.push(data, expected);
        }
        *unread = None;
        Ok(buffered)
    }

    /// Maps with one ring and one `now`. Where that ring lacks a key that an item wants, the file is looked at, and all is
    /// mapped once more with what is then the ring.
    async fn map(
        &self,
        call: &Call<'_>,
        mut tokenizer: Guard<Arc<Tokenizer>>,
        client: &Client,
        entry: &mut Entry<'_>,
    ) -> Mapped {
        let mut done = Done::map(&tokenizer, call, client).await;
        if done.mapped.failures().are_about_keys() && self.live.look().await {
            tokenizer = self.live.tokenizer();
            done = Done::map(&tokenizer, call, client).await;
        }
        let Done { mapped, uses, passed, now } = done;
        self.live.count_decoded(&uses, &client.usage, now);
        let record = &mut entry.record;
        record.time = Some(now);
        record.failures = mapped.failures();
        record.passed = passed;
        record.mapped = mapped.len() - record.failures.total() - passed;
        client.usage.count(call.mode, Outcome::Mapped, record.mapped);
        client.usage.count(call.mode, Outcome::Passed, passed);
        client.usage.count(call.mode, Outcome::Failed, record.failures.total());
        record.keys = uses.iter().map(|(id, uses)| (*id, uses.opened + uses.sealed)).collect();
        if let Some(key) = entry.item_key() {
            entry.record.hashes = hash_items(key, &tokenizer, client, call, &mapped);
        }
        mapped
    }
}

/// Takes `values` that `client` calls for out of what it may have. Numbers that pass where UIDs are wanted reveal nothing,
/// and count as making UIDs.
fn spend(client: &Client, call: &Call<'_>, values: usize, now: Instant) -> Result<(), Refused> {
    let passing = match (call.mode, client.plain_numbers) {
        (Mode::UidToPhone, PlainNumbers::Pass) => call.numbers.iter().filter(|item| !has_uid_form(item)).count(),
        _ => 0,
    };
    let (limit, mapping, passing) = (Limit::of(call.mode), (values - passing) as u64, passing as u64);
    client.allowance(limit).admit(mapping, now)?;
    if passing > 0 {
        let passed = client.allowance(Limit::Tokenize).admit(passing, now);
        passed.inspect_err(|_| client.allowance(limit).give_back(mapping))?;
        client.usage.charge(Limit::Tokenize, passing);
    }
    client.usage.charge(limit, mapping);
    Ok(())
}

/// Values that are made before others get their turn: a millisecond's work, even where each wants libphonenumber.
const VALUES_A_TURN: usize = 512;

/// Bytes of an answer for each value, besides those of its text: a short UID, here and in the answer, what a longer one is
/// rounded up by, and what JSON is around it.
const VALUE_BYTES: usize = 144;

/// Bytes of an answer for each byte of a text: six as a JSON escape in the key; or two so, and 1.6 in its UID, here and in
/// the answer. A text with a control character, which alone takes six, has no UID.
const TEXT_FACTOR: usize = 6;

/// How large what is made of a call will be.
struct Size {
    /// Values of all items together: an item has one, but for aliases one for each enabled key.
    values: usize,
    /// Bytes that they and the answer take at most.
    bytes: usize,
}

impl Size {
    fn of(call: &Call<'_>, tokenizer: &Tokenizer) -> Self {
        let values = values_an_item(call.mode, tokenizer);
        let text: usize = call.numbers.iter().map(|text| text.len()).sum();
        let bytes = text.saturating_mul(TEXT_FACTOR).saturating_add(call.count.saturating_mul(VALUE_BYTES));
        Self { values: call.count.saturating_mul(values), bytes: bytes.saturating_mul(values) }
    }
}

fn values_an_item(mode: Mode, tokenizer: &Tokenizer) -> usize {
    match mode {
        Mode::PhoneToAliases => tokenizer.ring().enabled_newest_first().count(),
        Mode::PhoneToUid | Mode::UidToPhone | Mode::RewrapUid => 1,
    }
}

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
        let items_a_turn = (VALUES_A_TURN / values_an_item(call.mode, tokenizer)).max(1);
        for (at, items) in call.numbers.chunks(items_a_turn).enumerate() {
            if at > 0 {
                yield_now().await;
            }
            batch.map(call.mode, items, &mut mapped);
        }
        Self { mapped, uses: batch.uses().collect(), passed: batch.passed(), now }
    }
}

/// How many UIDs a value of `mode` is hashed with: rewrapping opens one, and makes another.
fn hashes_a_value(mode: Mode) -> usize {
    if mode == Mode::RewrapUid { 2 } else { 1 }
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
        Mode::UidToPhone => done.map(|(item, _)| item).collect(),
        // A UID of the primary key stays as it is.
        Mode::RewrapUid => done
            .flat_map(|(item, uid)| {
                let made = (!uid.eq_ignore_ascii_case(trim(item))).then_some(uid);
                [item].into_iter().chain(made)
            })
            .collect(),
        Mode::PhoneToUid | Mode::PhoneToAliases => done.flat_map(|(_, uid)| uid.split(Mapped::SEPARATOR)).collect(),
    };
    let mut numbers = Mapped::with_capacity(uids.len());
    tokenizer.batch(&client.context, Timestamp::UNIX_EPOCH).canonical(&uids, &mut numbers);
    let pairs = uids.iter().zip(numbers.iter());
    pairs.filter_map(|(uid, number)| Some((key.uid(&client.context, uid), key.number(number.ok()?)))).collect()
}

impl Respond for Handler {
    async fn respond(&self, request: &mut Request<Option<Incoming>>, socket: IpAddr, patience: &Patience) -> Answer {
        let terms = self.live.terms();
        let peer = peer::real(socket, request.headers(), &terms.trusted_proxies);
        // They outlive the entry, which refers to one of them.
        let clients = self.live.clients();
        let mut entry = self.audit.begin(peer);
        let place =
            if peer == socket { Ok(None) } else { self.place_for(peer, terms.limits.connections_per_peer).map(Some) };
        let answer = match &place {
            Ok(_) => self.answer(request, patience, &terms, &clients, &mut entry).await,
            Err(TooManyOfPeer) => Err(Refusal::TooManyOfPeer),
        };
        if entry.record.client.is_some() {
            // One that was refused before it came to be mapped has none yet.
            let _ = patience.unless_over(entry.make_room(0)).await;
        }
        let record = &mut entry.record;
        let mut answer = match answer {
            Ok((json, share)) => {
                let share = Some(share).filter(|share| share.bytes() > SMALL_ANSWER_BYTES);
                Answer { response: json_response(StatusCode::OK, json), granted: true, share }
            }
            Err(refusal) => {
                record.code = refusal.status().as_u16();
                record.limit = refusal.limit();
                Answer::to_stranger(refusal.response())
            }
        };
        record.status = answer.response.status().as_u16();
        let id = record.id.to_hex();
        let value = HeaderValue::from_bytes(&id).expect("hex digits are a header's value");
        answer.response.headers_mut().insert(REQUEST_ID, value);
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
        answer
    }

    fn too_slow(&self) -> Response<Bytes> {
        Refusal::TooSlow.response()
    }
}

impl Handler {
    /// A place for a request of `peer`, one of those behind a proxy, who have so many each.
    fn place_for(&self, peer: IpAddr, places: usize) -> Result<Place<'_>, TooManyOfPeer> {
        let (peer, mut proxied) = (peer::network(peer), lock(&self.proxied));
        let under_way = proxied.entry(peer).or_default();
        if *under_way >= places {
            return Err(TooManyOfPeer);
        }
        *under_way += 1;
        Ok(Place { peer, proxied: &self.proxied })
    }
}

/// The place of one request among those of its peer.
struct Place<'h> {
    peer: Network,
    proxied: &'h Mutex<HashMap<Network, usize>>,
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

/// A body that says how it is encoded is refused, unless that is not at all.
fn check_encoding(headers: &HeaderMap) -> Result<(), Refusal> {
    let is_plain = |value: &HeaderValue| value.is_empty() || value.as_bytes().eq_ignore_ascii_case(b"identity");
    if headers.get_all(CONTENT_ENCODING).iter().all(is_plain) { Ok(()) } else { Err(Refusal::Encoded) }
}

/// A body in memory.
#[derive(Default)]
struct Buffered {
    /// All of it, as long as `rest` is empty: most bodies come in one piece, which is then never copied.
    first: Bytes,
    rest: Vec<u8>,
}

impl Buffered {
    fn bytes(&self) -> &[u8] {
        if self.rest.is_empty() { &self.first } else { &self.rest }
    }

    /// Adds `data` to a body of at least `expected` bytes.
    fn push(&mut self, data: Bytes, expected: u64) {
        if self.first.is_empty() && self.rest.is_empty() {
            self.first = data;
            return;
        }
        if self.rest.is_empty() {
            self.rest.reserve_exact(usize::try_from(expected).unwrap_or(0));
            self.rest.extend_from_slice(&std::mem::take(&mut self.first));
        }
        self.rest.extend_from_slice(&data);
    }

    /// The call that it is.
    fn call(&self, numbers_max: usize) -> Result<Call<'_>, Refusal> {
        if self.bytes().starts_with(&GZIP) {
            return Err(Refusal::Encoded);
        }
        wire::parse(self.bytes(), numbers_max).map_err(Refusal::NotACall)
    }
}

/// Why a request was not mapped at all.
#[derive(Debug)]
enum Refusal {
    Ambiguous,
    NotFound,
    MethodNotAllowed,
    Tunnel,
    Unauthorized,
    Guessing(Duration),
    TooManyOfPeer,
    BodyTooLarge(usize),
    Encoded,
    TooSlow,
    NotACall(wire::NotACall),
    NotGranted(Mode),
    TooManyNumbers(usize),
    BeyondRate,
    BeyondDay,
    AnswerTooLarge,
    OverRate(Duration),
    OverDay(Duration),
    Busy,
    Interrupted,
}

impl Refusal {
    fn status(&self) -> StatusCode {
        match self {
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed | Self::Tunnel => StatusCode::METHOD_NOT_ALLOWED,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::BodyTooLarge(_)
            | Self::TooManyNumbers(_)
            | Self::BeyondRate
            | Self::BeyondDay
            | Self::AnswerTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Encoded => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::Ambiguous | Self::NotACall(_) | Self::Interrupted => StatusCode::BAD_REQUEST,
            Self::Guessing(_) | Self::TooManyOfPeer | Self::OverRate(_) | Self::OverDay(_) => {
                StatusCode::TOO_MANY_REQUESTS
            }
            Self::NotGranted(_) => StatusCode::FORBIDDEN,
            Self::Busy => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The limit of the client that it is over.
    fn limit(&self) -> Option<&'static str> {
        match self {
            Self::BeyondRate | Self::OverRate(_) => Some("minute"),
            Self::BeyondDay | Self::OverDay(_) => Some("day"),
            _ => None,
        }
    }

    fn ends_the_connection(&self) -> bool {
        self.status() == StatusCode::PAYLOAD_TOO_LARGE
            || matches!(
                self,
                Self::Ambiguous
                    | Self::Tunnel
                    | Self::Unauthorized
                    | Self::Guessing(_)
                    | Self::TooSlow
                    | Self::Interrupted
            )
    }

    fn message(&self) -> Cow<'static, str> {
        match self {
            Self::Ambiguous => {
                "Host is missing, or a header is repeated or malformed: this request is not clear".into()
            }
            Self::NotFound => "there is nothing at this path".into(),
            Self::MethodNotAllowed | Self::Tunnel => "only POST is answered here".into(),
            Self::Unauthorized => "Basic credentials of a client are wanted".into(),
            Self::BodyTooLarge(max) => format!("the body is over {max} bytes").into(),
            Self::Encoded => "the body is compressed: send it as it is, without Content-Encoding".into(),
            Self::TooSlow => "the request did not come in time".into(),
            Self::NotACall(error) => error.to_string().into(),
            Self::NotGranted(mode) => format!("this client is not granted {}", mode.name()).into(),
            Self::TooManyNumbers(max) => {
                format!("more than {max} numbers in one request, or UIDs in its answer").into()
            }
            Self::AnswerTooLarge => "the answer would be too large: ask for fewer numbers at once".into(),
            Self::BeyondRate => "more numbers than this client may ever have in a minute".into(),
            Self::BeyondDay => "more numbers than this client may ever have in 24 hours".into(),
            Self::OverRate(_) => "over this client's limit of numbers a minute: see Retry-After".into(),
            Self::OverDay(_) => "over this client's limit of numbers in 24 hours: see Retry-After".into(),
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
            Self::MethodNotAllowed | Self::Tunnel => {
                headers.insert(ALLOW, HeaderValue::from_static("POST"));
            }
            Self::Unauthorized => {
                let challenge = HeaderValue::from_static("Basic realm=\"callveil\", charset=\"UTF-8\"");
                headers.insert(WWW_AUTHENTICATE, challenge);
            }
            Self::Encoded => {
                headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
            }
            Self::Guessing(wait) | Self::OverRate(wait) | Self::OverDay(wait) => {
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
