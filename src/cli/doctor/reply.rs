//! The answer of an endpoint, or of something else in its place.

use http::{HeaderValue, StatusCode};
use serde::Deserialize;
use tokio::time::Duration;

use super::trouble::Trouble;

/// The part of the envelope that CCC reads.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Envelope {
    pub(super) code: i64,
    #[serde(default)]
    pub(super) results: Option<Vec<Item>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Item {
    pub(super) key: String,
    #[serde(default)]
    pub(super) value: Option<String>,
}

impl Item {
    /// The value that the item was mapped to; `None` if it was refused.
    pub(super) fn value(&self) -> Option<&str> {
        self.value.as_deref().filter(|value| !value.is_empty())
    }
}

/// An answer.
pub(super) struct Reply {
    pub(super) status: StatusCode,
    /// The header that says how to log in, if there is one.
    pub(super) challenge: Option<HeaderValue>,
    /// The kind of its body.
    pub(super) kind: Kind,
    /// The envelope, if the body is one.
    pub(super) envelope: Option<Envelope>,
    pub(super) took: Duration,
}

impl Reply {
    /// The results of a request that was accepted, with its `Code`.
    ///
    /// # Errors
    /// What the answer was instead.
    pub(super) fn results(self) -> Result<(i64, Vec<Item>), Trouble> {
        if let Some(trouble) = self.trouble() {
            return Err(trouble);
        }
        let granted = "grant this user both modes: `modes` of its [[clients]] in callveil's configuration";
        match self.status {
            StatusCode::OK => {}
            StatusCode::UNAUTHORIZED => {
                return Err(Trouble::of(
                    "the user name or the password is refused (HTTP 401)",
                    "compare both with the endpoint's: callveil has the password's SHA-256 (`callveil clients new-password`)",
                ));
            }
            StatusCode::FORBIDDEN => return Err(Trouble::of("the mode is refused (HTTP 403)", granted)),
            status => return Err(Trouble::only(format!("HTTP {}", status.as_u16()))),
        }
        let envelope = "answer {\"Code\": 0, \"Results\": [{\"Key\", \"Value\"}]} as JSON";
        let answer = self.envelope.ok_or_else(|| Trouble::of("not the JSON of an answer", envelope))?;
        match answer.results {
            Some(results) => Ok((answer.code, results)),
            None if answer.code == 0 => Err(Trouble::of("Code 0, and no Results", envelope)),
            None if answer.code == 403 => Err(Trouble::of("the mode is refused (Code 403)", granted)),
            None => Err(Trouble::only(format!("Code {}", answer.code))),
        }
    }
}

impl Reply {
    /// The trouble that an answer shows on its own, whatever was asked; `None` if it is the answer of an endpoint, good
    /// or bad.
    pub(super) fn trouble(&self) -> Option<Trouble> {
        let status = self.status;
        let found = |what: &str| format!("{what} (HTTP {})", status.as_u16());
        let is_envelope = self.kind == Kind::Envelope;
        let trouble = match status {
            status if status.is_redirection() => Trouble::of(
                found("a redirect"),
                "CCC follows none: tell it the URL where the endpoint itself is, with that scheme, host and path",
            ),
            StatusCode::NOT_FOUND => Trouble::of(
                found("nothing at this path"),
                "compare the URL's path with `path` of the configuration, and with the rules of a proxy before it",
            ),
            StatusCode::METHOD_NOT_ALLOWED => Trouble::of(
                found("no POST here"),
                "something else answers: compare host, port and path with the endpoint's",
            ),
            StatusCode::TOO_MANY_REQUESTS => Trouble::of(
                found("over a limit"),
                "wait a minute; then raise the limits of this user, or of the proxy or firewall before the endpoint",
            ),
            StatusCode::BAD_GATEWAY => Trouble::of(
                found("a proxy gets no answer from the endpoint"),
                "look at the proxy's log: is the endpoint started, on that port, and spoken to with TLS if it has [tls]?",
            ),
            StatusCode::SERVICE_UNAVAILABLE if !is_envelope => Trouble::of(
                found("a proxy has no endpoint to ask"),
                "look at the proxy's health checks and at the endpoint's /readyz",
            ),
            StatusCode::GATEWAY_TIMEOUT => Trouble::of(
                found("a proxy waited in vain for the endpoint"),
                "is the endpoint stopped or overloaded, or does a firewall stand between it and the proxy?",
            ),
            StatusCode::FORBIDDEN if !is_envelope => {
                Trouble::of(found("forbidden"), "a proxy or its firewall refuses it: let CCC's requests through")
            }
            status if status.is_server_error() => {
                Trouble::of(found("the endpoint failed"), "look at its log: the cause stands there")
            }
            StatusCode::OK if self.kind == Kind::Html => Trouble::of(
                found("a web page"),
                "the URL leads to a web site: compare host and path with the endpoint's",
            ),
            StatusCode::OK if self.kind == Kind::OtherJson => Trouble::of(
                found("JSON of something else"),
                "is that another service? The endpoint answers {\"Code\": 0, \"Results\": [{\"Key\", \"Value\"}]}",
            ),
            _ => return None,
        };
        Some(trouble)
    }
}

/// The kind of an answer's body.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Envelope,
    OtherJson,
    Html,
    Other,
}

impl Kind {
    /// The kind of a body that is not an envelope.
    pub(super) fn of(body: &[u8]) -> Self {
        let begin = body.trim_ascii_start();
        if serde_json::from_slice::<serde::de::IgnoredAny>(body).is_ok() {
            Self::OtherJson
        } else if begin.first() == Some(&b'<') {
            Self::Html
        } else {
            Self::Other
        }
    }
}
