//! Why there was no good answer, and what to do about that: by its cause, whichever check met it.

use std::{fmt, io};

use http::StatusCode;

use super::client::Reply;

/// What was found instead of an answer, and a remedy, where its cause tells one.
#[derive(Debug)]
pub(super) struct Trouble {
    found: String,
    remedy: Option<&'static str>,
}

impl Trouble {
    /// Of a cause that has this remedy.
    pub(super) fn of(found: impl Into<String>, remedy: &'static str) -> Self {
        Self { found: found.into(), remedy: Some(remedy) }
    }

    /// Of a cause that only the check can judge.
    pub(super) fn only(found: impl Into<String>) -> Self {
        Self { found: found.into(), remedy: None }
    }

    /// The same, met by a request of this name.
    pub(super) fn of_request(self, name: &str) -> Self {
        Self { found: format!("{name}: {}", self.found), ..self }
    }

    /// The remedy of the cause, or else that of the check.
    pub(super) fn remedy_or(&self, of_the_check: &'static str) -> &'static str {
        self.remedy.unwrap_or(of_the_check)
    }

    /// No connection.
    pub(super) fn of_connecting(port: u16, error: &io::Error) -> Self {
        let remedy = match error.kind() {
            io::ErrorKind::ConnectionRefused => {
                "nothing listens there: start the endpoint, and compare its port with the URL's"
            }
            io::ErrorKind::TimedOut => {
                "nothing comes back: let the port through in firewalls and security groups, and compare the address"
            }
            _ => "the network does not lead there: look at the address, at routes and at firewalls",
        };
        Self::of(format!("port {port}: {error}"), remedy)
    }

    /// No answer in time.
    pub(super) fn of_waiting(patience: std::time::Duration) -> Self {
        Self::of(
            format!("no answer within {patience:?}"),
            "it takes connections and says nothing: is it stopped or overloaded, or waits a proxy for it? --timeout waits longer",
        )
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.found)
    }
}

/// What the body of an answer is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Envelope,
    OtherJson,
    Html,
    Other,
}

impl Kind {
    /// The kind of a body that is no envelope.
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

/// The trouble that an answer is, whatever was asked; `None` where it is one of an endpoint, good or bad.
pub(super) fn of_reply(reply: &Reply) -> Option<Trouble> {
    let status = reply.status;
    let found = |what: &str| format!("{what} (HTTP {})", status.as_u16());
    let is_envelope = reply.kind == Kind::Envelope;
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
        StatusCode::OK if reply.kind == Kind::Html => {
            Trouble::of(found("a web page"), "the URL leads to a web site: compare host and path with the endpoint's")
        }
        StatusCode::OK if reply.kind == Kind::OtherJson => Trouble::of(
            found("JSON of something else"),
            "is that another service? The endpoint answers {\"Code\": 0, \"Results\": [{\"Key\", \"Value\"}]}",
        ),
        _ => return None,
    };
    Some(trouble)
}
