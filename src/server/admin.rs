//! The admin listener (SPEC 7): for those who run callveil, never for CCC.

use std::net::IpAddr;

use http::{
    HeaderMap, HeaderValue, Method, StatusCode,
    header::{ACCEPT, ALLOW, AUTHORIZATION, WWW_AUTHENTICATE},
};
use hyper::{
    Request, Response,
    body::{Bytes, Incoming},
};
use jiff::Timestamp;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::{
    auth::HASH_BYTES,
    handler::{Respond, json_response, response},
    server::exposition::{Format, State},
    strict, wire,
};

/// What this listener and the other answer, for those who write clients.
const OPENAPI: &str = include_str!("../../deploy/openapi.yaml");

/// Answers probes and the people who run callveil.
pub struct Admin {
    /// What they ask about.
    pub state: State,
    /// SHA-256 of the bearer token that `/metrics` and `/keyring` want, if they want one.
    pub token_sha256: Option<[u8; HASH_BYTES]>,
}

impl Admin {
    fn answer(&self, method: &Method, path: &str, headers: &HeaderMap) -> Response<Bytes> {
        let is_for_all = match path {
            "/healthz" | "/readyz" | "/openapi.yaml" => true,
            "/metrics" | "/keyring" => false,
            _ => return refuse(StatusCode::NOT_FOUND, "there is nothing at this path"),
        };
        if !matches!(*method, Method::GET | Method::HEAD) {
            let mut response = refuse(StatusCode::METHOD_NOT_ALLOWED, "only GET is answered here");
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        if !is_for_all && !self.may(headers) {
            let mut response = refuse(StatusCode::UNAUTHORIZED, "the admin listener's bearer token is wanted");
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"callveil\""));
            return response;
        }
        let (status, body) = match path {
            "/metrics" => {
                let format = Format::of(headers.get(ACCEPT).map(HeaderValue::as_bytes).unwrap_or_default());
                return response(StatusCode::OK, format.content_type(), self.state.write(format));
            }
            "/openapi.yaml" => return response(StatusCode::OK, "application/yaml", OPENAPI),
            "/readyz" => self.readyz(),
            "/keyring" => (StatusCode::OK, self.keyring()),
            _ => (StatusCode::OK, json!({"status": "alive"})),
        };
        json_response(status, body.to_string().into_bytes())
    }

    fn may(&self, headers: &HeaderMap) -> bool {
        let Some(wanted) = &self.token_sha256 else { return true };
        let value = headers.get(AUTHORIZATION).map(HeaderValue::as_bytes).unwrap_or_default();
        let Some((scheme, token)) = value.split_at_checked(7) else { return false };
        let hash: [u8; HASH_BYTES] = Sha256::digest(token).into();
        scheme.eq_ignore_ascii_case(b"Bearer ") && bool::from(wanted.ct_eq(&hash))
    }

    fn readyz(&self) -> (StatusCode, Value) {
        let lack = self.state.readiness.lack();
        let status = if lack.is_none() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        let reloads = self.state.live.reloads();
        let body = json!({
            "status": lack.unwrap_or("ready"),
            "keyring_refused": reloads.ring_refused,
            "keyring_awaits": reloads.ring_awaits,
            "configuration_refused": reloads.config_refused,
            "certificate_refused": reloads.certificate_refused,
            "audit": {
                "queued": self.state.audit.queued(),
                "dropped": self.state.audit.dropped(),
                "stuck": self.state.audit.is_stuck(),
            },
        });
        (status, body)
    }

    fn keyring(&self) -> Value {
        let (now, tokenizer) = (Timestamp::now(), self.state.live.tokenizer());
        let ring = tokenizer.ring();
        let primary = ring.primary(now).id;
        let keys = ring.keys().iter().map(|key| {
            let decoded = self.state.live.decoded(key.id);
            json!({
                "id": key.id.to_string(),
                "status": key.status,
                "created": key.created.to_string(),
                "activates": key.activates.to_string(),
                "check": key.check.to_string(),
                "primary": key.id == primary,
                "decoded": decoded.count,
                "last_decoded": decoded.last.map(|last| last.to_string()),
            })
        });
        json!({
            "instance": self.state.live.instance,
            "started": self.state.live.started.to_string(),
            "now": now.to_string(),
            "since": self.state.live.reloads().ring_since.map(|since| since.to_string()),
            "refused": self.state.live.reloads().ring_refused,
            "awaits": self.state.live.reloads().ring_awaits,
            "ring": ring.ring().to_string(),
            "ring_hash": ring.hash().to_string(),
            "generation": ring.generation(),
            "recipients": ring.recipients(),
            "keys": keys.collect::<Vec<_>>(),
        })
    }
}

fn refuse(status: StatusCode, message: &str) -> Response<Bytes> {
    json_response(status, wire::refusal(status.as_u16(), message))
}

impl Respond for Admin {
    async fn respond(&self, request: &mut Request<Option<Incoming>>, _peer: IpAddr) -> Response<Bytes> {
        match strict::check(request) {
            Ok(_) => self.answer(request.method(), request.uri().path(), request.headers()),
            Err(_) => refuse(StatusCode::BAD_REQUEST, "this request is not clear"),
        }
    }
}
