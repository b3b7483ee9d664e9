//! The admin listener (specification, section 7): for operators, never for CCC.

use std::{net::IpAddr, time::Instant};

use http::{
    HeaderMap, HeaderValue, Method, StatusCode,
    header::{
        ACCEPT, ALLOW, AUTHORIZATION, CONTENT_SECURITY_POLICY, REFERRER_POLICY, RETRY_AFTER, WWW_AUTHENTICATE,
        X_CONTENT_TYPE_OPTIONS,
    },
};
use hyper::{
    Request, Response,
    body::{Bytes, Incoming},
};
use jiff::Timestamp;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tracing::warn;

use super::{
    exposition::{Format, Telemetry},
    page::{self, POLICY},
    ring_in_use::{AuditHead, KeyInUse, RingInUse},
};
use crate::{
    allowance::LoginThrottle,
    ambiguity,
    auth::{self, HASH_BYTES},
    peer,
    respond::{Answer, Patience, Respond, json_response, response},
    server::tls::refusals,
    version, wire,
};

/// The OpenAPI description of this listener and the other one, for those who write clients.
const OPENAPI: &str = include_str!("../../deploy/openapi.yaml");

/// Answers probes and the people who run callveil.
pub struct Admin {
    telemetry: Telemetry,
    token_sha256: Option<[u8; HASH_BYTES]>,
    logins: LoginThrottle,
}

impl Admin {
    /// Answers with what `telemetry` knows. `token_sha256` is the SHA-256 of the bearer token that everything but
    /// `/healthz` and `/readyz` requires, if a token is required.
    pub fn new(telemetry: Telemetry, token_sha256: Option<[u8; HASH_BYTES]>) -> Self {
        Self { telemetry, token_sha256, logins: LoginThrottle::default() }
    }

    fn answer(&self, method: &Method, path: &str, headers: &HeaderMap, peer: IpAddr) -> Response<Bytes> {
        let is_for_all = match path {
            "/healthz" | "/readyz" => true,
            "/" | "/metrics" | "/keyring" | "/openapi.yaml" => false,
            _ => return refuse(StatusCode::NOT_FOUND, "there is nothing at this path"),
        };
        if !matches!(*method, Method::GET | Method::HEAD) {
            let mut response = refuse(StatusCode::METHOD_NOT_ALLOWED, "only GET is answered here");
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        if !is_for_all && !self.may(headers) {
            return self.refuse_token(path, peer);
        }
        let (status, body) = match path {
            "/" => return self.page(),
            "/metrics" => {
                let format = Format::of(headers.get(ACCEPT).map(HeaderValue::as_bytes).unwrap_or_default());
                return response(StatusCode::OK, format.content_type(), self.telemetry.write(format));
            }
            "/openapi.yaml" => return response(StatusCode::OK, "application/yaml", OPENAPI),
            "/readyz" => self.readyz(),
            "/keyring" => (StatusCode::OK, json!(self.keyring())),
            _ => (StatusCode::OK, json!({"status": "alive", "version": version::VERSION, "commit": version::COMMIT})),
        };
        json_response(status, body.to_string().into_bytes())
    }

    fn may(&self, headers: &HeaderMap) -> bool {
        let Some(wanted) = &self.token_sha256 else { return true };
        let value = headers.get(AUTHORIZATION).map(HeaderValue::as_bytes).unwrap_or_default();
        // A browser has a login form only for Basic. The token is the password there, whatever the name.
        let basic = auth::with_basic(value, |credentials| {
            let colon = credentials.iter().position(|byte| *byte == b':');
            colon.is_some_and(|colon| is_token(&credentials[colon + 1..], wanted))
        });
        let bearer = value.split_at_checked(7).filter(|(scheme, _)| scheme.eq_ignore_ascii_case(b"Bearer "));
        basic.unwrap_or(false) || bearer.is_some_and(|(_, token)| is_token(token, wanted))
    }

    /// The page for people: see `operate/page`.
    fn page(&self) -> Response<Bytes> {
        let page = page::replica(&self.telemetry.overview(Timestamp::now()));
        let mut response = response(StatusCode::OK, "text/html; charset=utf-8", page);
        let headers = response.headers_mut();
        headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(&POLICY));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        response
    }

    /// Refuses a request without the token. A peer with too many is told to wait, and the first of each minute is
    /// logged.
    fn refuse_token(&self, path: &str, peer: IpAddr) -> Response<Bytes> {
        self.telemetry.audit.metrics().count_admin_auth_failure();
        let failed = self.logins.count(peer, Instant::now());
        if failed == Ok(1) {
            warn!(peer = %peer::network(peer), "a request to the admin listener without its token");
        }
        match failed {
            Ok(_) => {
                let mut response = refuse(StatusCode::UNAUTHORIZED, "the admin listener's token is wanted");
                // Browsers ask people for a password only if Basic is offered.
                let basic = (path == "/").then_some("Basic realm=\"callveil\", charset=\"UTF-8\"");
                for challenge in ["Bearer realm=\"callveil\""].into_iter().chain(basic) {
                    response.headers_mut().append(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
                }
                response
            }
            Err(wait) => {
                let mut response = refuse(StatusCode::TOO_MANY_REQUESTS, "too many wrong tokens from this address");
                response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(wait.as_secs() + 1));
                response
            }
        }
    }

    fn readyz(&self) -> (StatusCode, Value) {
        let lack = self.telemetry.lack();
        let status = if lack.is_none() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        let reloads = self.telemetry.state.reloads();
        let body = json!({
            "status": lack.unwrap_or("ready"),
            "keyring_refused": reloads.ring_refused(),
            "keyring_awaits": reloads.ring_awaits(),
            "configuration_refused": reloads.config_refused,
            "certificate_refused": refusals(&self.telemetry.tls),
            "reload_stuck": self.telemetry.state.is_look_stuck(),
            "audit": {
                "queued": self.telemetry.audit.queued(),
                "dropped": self.telemetry.audit.dropped(),
                "stuck": self.telemetry.audit.is_stuck(),
            },
        });
        (status, body)
    }

    fn keyring(&self) -> RingInUse {
        let (now, tokenizer) = (Timestamp::now(), self.telemetry.state.tokenizer());
        let ring = tokenizer.ring();
        let (primary, head, reloads) =
            (ring.primary(now).id, self.telemetry.audit.head(), self.telemetry.state.reloads());
        let keys = ring.keys().iter().map(|key| {
            let (decoded, _) = self.telemetry.state.decoded(key.id, now);
            KeyInUse {
                id: key.id,
                status: key.status,
                created: key.created,
                activates: key.activates,
                disabled: key.disabled,
                check: key.check.to_string(),
                primary: key.id == primary,
                decoded: decoded.count,
                last_decoded: decoded.last,
            }
        });
        RingInUse {
            instance: self.telemetry.state.instance.clone(),
            started: self.telemetry.state.started,
            now,
            since: reloads.ring_since,
            refused: reloads.ring_refused().map(str::to_owned),
            awaits: reloads.ring_awaits().map(str::to_owned),
            ring: ring.id().to_string(),
            ring_hash: ring.hash().to_string(),
            generation: ring.generation(),
            recipients: ring.recipients().to_vec(),
            audit_head: AuditHead { lines: head.lines, hash: head.hash.to_string() },
            keys: keys.collect(),
        }
    }
}

/// Whether `token` has this SHA-256.
fn is_token(token: &[u8], wanted: &[u8; HASH_BYTES]) -> bool {
    let hash: [u8; HASH_BYTES] = Sha256::digest(token).into();
    bool::from(wanted.ct_eq(&hash))
}

fn refuse(status: StatusCode, message: &str) -> Response<Bytes> {
    json_response(status, wire::refusal(status.as_u16(), message))
}

impl Respond for Admin {
    async fn respond(&self, request: &mut Request<Option<Incoming>>, peer: IpAddr, _patience: &Patience) -> Answer {
        let response = match ambiguity::check(request) {
            Ok(_) => self.answer(request.method(), request.uri().path(), request.headers(), peer),
            Err(_) => refuse(StatusCode::BAD_REQUEST, "ambiguous request"),
        };
        // If there is a token, peers that have not shown it stay strangers: health is for everybody.
        let is_known = self.token_sha256.is_none() || !matches!(request.uri().path(), "/healthz" | "/readyz");
        let granted = response.status() == StatusCode::OK && is_known;
        Answer { response, granted, share: None }
    }

    fn too_slow(&self) -> Response<Bytes> {
        refuse(StatusCode::REQUEST_TIMEOUT, "the request did not come in time")
    }
}
