//! The necessary work only: one password hash and callveil's own mapping on the bare server. It has no audit and no
//! limits, and refuses no doubtful request.

use std::sync::Arc;

use callveil::{
    allowance::Allowance,
    auth::{Client, Clients, OnPartial, Username},
    ids::Context,
    item::PlainNumbers,
    keyring::KeyRing,
    mapped::Mapped,
    phone::TrunkZeroRegions,
    tokenizer::{self, Tokenizer},
    wire,
};
use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE},
};
use http_body_util::Full;
use hyper::{Response, StatusCode, body::Bytes};
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use crate::{
    runtime::Answer,
    samples::{PASSWORD, USER, ring, ring_json},
};

/// A server with one key and one client.
pub struct Mapping {
    clients: Clients,
    tokenizer: Tokenizer,
    headers: HeaderMap,
}

impl Mapping {
    pub fn new() -> Self {
        let client = Client {
            username: Username::new(USER).unwrap(),
            password_sha256: vec![Sha256::digest(PASSWORD).into()],
            context: Context::default(),
            modes: Vec::new(),
            partial: OnPartial::Lenient,
            plain_numbers: PlainNumbers::Refuse,
            tokenize: Arc::new(Allowance::new(None)),
            detokenize: Arc::new(Allowance::new(None)),
            usage: Arc::default(),
        };
        let ring = KeyRing::from_note(ring_json(&ring(1)).as_bytes(), tokenizer::supports, &[]).unwrap();
        let headers = [
            (CONTENT_TYPE, HeaderValue::from_static("application/json")),
            (CACHE_CONTROL, HeaderValue::from_static("no-store")),
            (HeaderName::from_static("x-request-id"), HeaderValue::from_static("00000000000000000000000000000000")),
        ];
        let tokenizer = Tokenizer::new(ring, TrunkZeroRegions::new(["CN"]).unwrap()).unwrap();
        Self { clients: Clients::new(vec![client]), tokenizer, headers: headers.into_iter().collect() }
    }
}

impl Answer for Mapping {
    fn answer(&self, head: &http::request::Parts, body: &[u8]) -> Response<Full<Bytes>> {
        let credentials = head.headers.get(AUTHORIZATION).map(HeaderValue::as_bytes).unwrap_or_default();
        let Some(client) = self.clients.authenticate(credentials) else {
            let mut response = Response::default();
            *response.status_mut() = StatusCode::UNAUTHORIZED;
            return response;
        };
        let call = wire::parse(body, usize::MAX).unwrap();
        let mut mapped = Mapped::with_capacity(call.numbers.len());
        self.tokenizer.batch(&client.context, Timestamp::now()).map(call.mode, &call.numbers, &mut mapped);
        let mut response = Response::new(Full::from(wire::answer(0, call.mode, &call.numbers, &mapped)));
        *response.headers_mut() = self.headers.clone();
        response
    }
}
