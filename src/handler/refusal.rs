//! Why a request was not mapped at all, and the answer that says so.

use std::{borrow::Cow, time::Duration};

use http::{
    HeaderValue, StatusCode,
    header::{ACCEPT_ENCODING, ALLOW, CONNECTION, RETRY_AFTER, WWW_AUTHENTICATE},
};
use hyper::{Response, body::Bytes};

use crate::{item::Mode, respond::json_response, wire};

/// Why a request was not mapped at all.
#[derive(Debug)]
pub(super) enum Refusal {
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
    pub(super) fn status(&self) -> StatusCode {
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

    /// Which of the client's limits was exceeded, if one was.
    pub(super) fn limit(&self) -> Option<&'static str> {
        match self {
            Self::BeyondRate | Self::OverRate(_) => Some("minute"),
            Self::BeyondDay | Self::OverDay(_) => Some("day"),
            _ => None,
        }
    }

    pub(super) fn ends_the_connection(&self) -> bool {
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

    pub(super) fn message(&self) -> Cow<'static, str> {
        match self {
            Self::Ambiguous => "ambiguous request: Host is missing, or a header is repeated or malformed".into(),
            Self::NotFound => "there is nothing at this path".into(),
            Self::MethodNotAllowed | Self::Tunnel => "only POST is answered here".into(),
            Self::Unauthorized => "Basic credentials of a client are required".into(),
            Self::BodyTooLarge(max) => format!("the body is over {max} bytes").into(),
            Self::Encoded => "the body is compressed: send it as it is, without Content-Encoding".into(),
            Self::TooSlow => "the request did not come in time".into(),
            Self::NotACall(error) => error.to_string().into(),
            Self::NotGranted(mode) => format!("this client is not granted {}", mode.name()).into(),
            Self::TooManyNumbers(max) => {
                format!("the request has more than {max} numbers, or its answer would have more than {max} UIDs").into()
            }
            Self::AnswerTooLarge => "the answer would be too large: ask for fewer numbers at once".into(),
            Self::BeyondRate => "this request alone exceeds this client's limit of numbers a minute".into(),
            Self::BeyondDay => "this request alone exceeds this client's limit of numbers in 24 hours".into(),
            Self::OverRate(_) => "over this client's limit of numbers a minute: see Retry-After".into(),
            Self::OverDay(_) => "over this client's limit of numbers in 24 hours: see Retry-After".into(),
            Self::Guessing(_) => "too many failed logins from this address".into(),
            Self::TooManyOfPeer => "too many requests at once from this address".into(),
            Self::Busy => "the service is busy: try again".into(),
            Self::Interrupted => "the body ended too early, or was not valid HTTP".into(),
        }
    }

    pub(super) fn response(&self) -> Response<Bytes> {
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
                // Whole seconds, rounded up so that the same request would not be refused again.
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
