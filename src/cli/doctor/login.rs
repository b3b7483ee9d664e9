//! Whether requests without the right credentials are refused.

use data_encoding::HEXLOWER;
use http::StatusCode;

use super::{
    client::{self, EndpointClient},
    numbers::Numbers,
    reply::{Kind, Reply},
    report::{Check, Report},
    trouble::Trouble,
};
use crate::item::Mode;

const REMEDY: &str = "answer 401 with WWW-Authenticate: Basic, before anything else of the request is looked at";

/// An error: what answers there is not an endpoint.
pub(super) struct NoEndpoint;

/// The answer to a request without the right credentials, from good to bad.
enum Challenge {
    Proper,
    Lax(String),
    None(String),
}

/// Judges the answers to requests without the right credentials.
///
/// # Errors
/// There is no point in going on: what answers is no endpoint, or it cannot be reached.
pub(super) async fn check(
    client: &mut EndpointClient,
    report: &mut Report,
    user: &str,
    numbers: &Numbers,
) -> Result<(), NoEndpoint> {
    let number = &numbers.as_ccc_writes_them()[0].1;
    let missing = client.ask(None, Mode::PhoneToUid, &[number]).await;
    if let Some(trouble) = no_endpoint(&missing) {
        let trouble = client.explain(trouble).await;
        report.trouble(Check::MissingCredentials, &trouble, REMEDY);
        return Err(NoEndpoint);
    }
    tell(report, Check::MissingCredentials, challenge_of(missing));
    let mut guess = [0; 16];
    let _ = getrandom::fill(&mut guess);
    let guess = HEXLOWER.encode(&guess);
    // These are a wrong password, an empty one, and another user.
    for (user, password) in [(user, &*guess), (user, ""), (&guess, &guess)] {
        let Ok(login) = client::basic(user, password) else { continue };
        let wrong = challenge_of(client.ask(Some(&login), Mode::PhoneToUid, &[number]).await);
        let is_proper = matches!(wrong, Challenge::Proper);
        tell(report, Check::WrongCredentials, wrong);
        if !is_proper {
            break;
        }
    }
    Ok(())
}

/// The trouble, if what answers is not an endpoint.
fn no_endpoint(reply: &Result<Reply, Trouble>) -> Option<Trouble> {
    match reply {
        Err(trouble) => Some(Trouble::of(trouble.to_string(), trouble.remedy_or(REMEDY))),
        Ok(reply) => {
            let wants_token = reply.status == StatusCode::UNAUTHORIZED
                && reply.challenge.as_ref().is_some_and(|how| how.as_bytes().starts_with(b"Bearer"));
            let wants_tls = reply.status == StatusCode::BAD_REQUEST && reply.kind == Kind::Html;
            let strange = (wants_token || wants_tls).then(|| {
                Trouble::of(
                    format!("HTTP {}", reply.status.as_u16()),
                    "compare host, port and path with the endpoint's",
                )
            });
            reply.trouble().or(strange)
        }
    }
}

fn challenge_of(reply: Result<Reply, Trouble>) -> Challenge {
    match reply {
        Err(trouble) => Challenge::None(trouble.to_string()),
        Ok(reply) => match reply.status {
            StatusCode::UNAUTHORIZED if reply.challenge.is_some() => Challenge::Proper,
            StatusCode::UNAUTHORIZED => Challenge::Lax("401, without WWW-Authenticate".to_owned()),
            StatusCode::FORBIDDEN => Challenge::Lax("403 instead of 401".to_owned()),
            StatusCode::OK if reply.envelope.is_some_and(|envelope| envelope.code == 0) => {
                Challenge::None("taken: anybody can turn UIDs into numbers".to_owned())
            }
            status => Challenge::None(format!("HTTP {} instead of 401", status.as_u16())),
        },
    }
}

fn tell(report: &mut Report, check: Check, challenge: Challenge) {
    match challenge {
        Challenge::Proper => report.good(check, "yes (HTTP 401)"),
        Challenge::Lax(found) => report.warn(check, found, REMEDY),
        Challenge::None(found) => report.bad(check, found, REMEDY),
    }
}
