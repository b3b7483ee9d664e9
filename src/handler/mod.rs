//! The steps of one request, and the only place where an error becomes a status.

mod batch;
mod body;
mod refusal;
mod slot;

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex},
    time::Instant,
};

use arc_swap::Guard;
use http::{HeaderValue, Method, StatusCode, header::HeaderName};
use hyper::{
    Request, Response,
    body::{Bytes, Incoming},
};
use tokio::task::yield_now;
use tracing::debug;

use self::{
    batch::{Done, Size, hash_items, hashes_a_value, keep_room, turn_of},
    body::check_encoding,
    refusal::Refusal,
    slot::TooManyOfPeer,
};
use crate::{
    allowance::{LoginThrottle, Refused},
    ambiguity,
    audit::{Audit, Entry},
    auth::{Client, Clients, OnPartial, Username},
    budget::{Budget, Share},
    item::{Mode, PlainNumbers},
    limits::Terms,
    mapped::Mapped,
    peer::{self, Network},
    respond::{Answer, Patience, Respond, json_response},
    state::ReplicaState,
    tokenizer::{Tokenizer, has_uid_form},
    usage::{Limit, Outcome},
    wire::{self, Call},
};

/// The header that names a request as the audit log does.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Bytes of the largest answer that is counted with its connection, and not separately.
const SMALL_ANSWER_BYTES: usize = 16 * 1024;

/// Answers CCC.
pub struct Handler {
    state: Arc<ReplicaState>,
    audit: Arc<Audit>,
    budget: Arc<Budget>,
    logins: LoginThrottle,
    /// Requests under way for each peer behind a proxy, whose connections belong to the proxy.
    proxied: Mutex<HashMap<Network, usize>>,
}

impl Handler {
    /// A handler that answers each request with what is in use at that time.
    pub fn new(state: Arc<ReplicaState>, audit: Arc<Audit>) -> Self {
        let budget = Budget::new(state.terms().limits.buffered_bytes);
        let (logins, proxied) = (LoginThrottle::default(), Mutex::default());
        Self { state, audit, budget, logins, proxied }
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
        let clear = ambiguity::check(request).map_err(|_| Refusal::Ambiguous)?;
        Self::check_route(request, &terms.path)?;
        let client = clients.authenticate(clear.authorization).ok_or_else(|| self.count_failure(entry.record.peer))?;
        entry.record.client = Some(&client.username);
        check_encoding(request.headers())?;
        let mut share = self.budget.share();
        let body = self.read(request.body_mut(), terms.limits.body_bytes, patience, &mut share).await?;
        let turn = patience.unless_over(turn_of(body.bytes().len())).await.ok_or(Refusal::Busy)?;
        let call = body.call(terms.limits.numbers)?;
        (entry.record.mode, entry.record.items) = (Some(call.mode), call.count);
        let tokenizer = self.state.tokenizer();
        let size = Size::of(&call, &tokenizer);
        self.check(&call, &size, client, terms.limits.numbers)?;
        share.add(size.bytes).map_err(|_| Refusal::Busy)?;
        // This comes before the client's allowance is spent, since the wait may be longer than the client's patience.
        patience.unless_over(entry.make_room(size.values * hashes_a_value(call.mode))).await.ok_or(Refusal::Busy)?;
        self.spend(&call, &size, client)?;
        let mapped = self.map(&call, tokenizer, client, entry).await;
        let failed = entry.record.failures.total();
        let code = match client.partial {
            _ if failed == 0 => 0,
            OnPartial::Lenient if failed < mapped.len() => 0,
            OnPartial::Lenient | OnPartial::Strict => 207,
        };
        entry.record.code = code;
        let json = wire::answer(code, call.mode, &call.numbers, &mapped);
        keep_room(mapped);
        share.shrink_to(json.capacity());
        if turn.is_some() {
            // Others have their turn before the whole answer is written.
            yield_now().await;
        }
        Ok((json, share))
    }

    /// Whether `client` may ever have a call of this `size`, if a call may have `numbers_max` values.
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

    /// Charges a call of this `size` to the allowances of `client`.
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

    /// Counts a failed login. A peer with too many is told to wait. Good credentials are never told to wait, since CCC
    /// may share an address with an attacker.
    fn count_failure(&self, peer: IpAddr) -> Refusal {
        self.audit.metrics().count_auth_failure();
        self.logins.count(peer, Instant::now()).map_or_else(Refusal::Guessing, |_| Refusal::Unauthorized)
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

    /// Maps with one ring and one `now`. If an item fails because of its key, the file is looked at, and everything is
    /// mapped once more with the ring that is then in use.
    async fn map(
        &self,
        call: &Call<'_>,
        mut tokenizer: Guard<Arc<Tokenizer>>,
        client: &Client,
        entry: &mut Entry<'_>,
    ) -> Mapped {
        let mut done = Done::map(&tokenizer, call, client).await;
        if done.mapped.failures().are_about_keys() && self.state.look().await {
            tokenizer = self.state.tokenizer();
            done = Done::map(&tokenizer, call, client).await;
        }
        let Done { mapped, uses, passed, now } = done;
        self.state.count_decoded(&uses, &client.usage, now);
        let record = &mut entry.record;
        record.time = Some(now);
        record.failures = mapped.failures();
        record.passed = passed;
        record.mapped = mapped.len() - record.failures.total() - passed;
        client.usage.count(call.mode, Outcome::Mapped, record.mapped);
        client.usage.count(call.mode, Outcome::Passed, passed);
        client.usage.count(call.mode, Outcome::Failed, record.failures.total());
        record.keys = uses.iter().map(|(_, id, uses)| (*id, uses.opened + uses.sealed)).collect();
        if let Some(key) = entry.item_key() {
            entry.record.hashes = hash_items(key, &tokenizer, client, call, &mapped);
        }
        mapped
    }
}

/// Charges the `values` of `call` to the allowances of `client`. Numbers that pass where UIDs are wanted reveal
/// nothing, and count as making UIDs.
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

impl Respond for Handler {
    async fn respond(&self, request: &mut Request<Option<Incoming>>, socket: IpAddr, patience: &Patience) -> Answer {
        let terms = self.state.terms();
        let peer = peer::real(socket, request.headers(), &terms.trusted_proxies);
        // The clients outlive the entry, which refers to one of them.
        let clients = self.state.clients();
        let mut entry = self.audit.begin(peer);
        let slot =
            if peer == socket { Ok(None) } else { self.slot_for(peer, terms.limits.connections_per_peer).map(Some) };
        let answer = match &slot {
            Ok(_) => self.answer(request, patience, &terms, &clients, &mut entry).await,
            Err(TooManyOfPeer) => Err(Refusal::TooManyOfPeer),
        };
        if entry.record.client.is_some() && !entry.is_settled() {
            // A request that was refused before it was to be mapped has no room yet.
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
