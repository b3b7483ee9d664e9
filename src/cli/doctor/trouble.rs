//! Why there was no good answer, and what to do about it. The remedy depends on the cause, not on the check that met
//! it.

use std::{fmt, io};

/// What was found instead of an answer, and a remedy if the cause suggests one.
#[derive(Debug)]
pub(super) struct Trouble {
    found: String,
    remedy: Option<&'static str>,
}

impl Trouble {
    /// A trouble whose cause has this remedy.
    pub(super) fn of(found: impl Into<String>, remedy: &'static str) -> Self {
        Self { found: found.into(), remedy: Some(remedy) }
    }

    /// A trouble whose remedy only the check knows.
    pub(super) fn only(found: impl Into<String>) -> Self {
        Self { found: found.into(), remedy: None }
    }

    /// The same trouble, met by the request with this name.
    pub(super) fn of_request(self, name: &str) -> Self {
        Self { found: format!("{name}: {}", self.found), ..self }
    }

    /// The remedy of the cause, or else the remedy of the check.
    pub(super) fn remedy_or(&self, of_the_check: &'static str) -> &'static str {
        self.remedy.unwrap_or(of_the_check)
    }

    /// The trouble that there is no connection.
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

    /// The trouble that no answer came in time.
    pub(super) fn of_waiting(patience: std::time::Duration) -> Self {
        Self::of(
            format!("no answer within {patience:?}"),
            "it accepts connections but does not answer: is it stopped or overloaded, or is a proxy waiting \
             for it? --timeout waits longer",
        )
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.found)
    }
}
