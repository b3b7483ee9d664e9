//! Whether those without the right credentials are refused.

use data_encoding::HEXLOWER;
use http::StatusCode;

use super::{
    client::{self, Client, Mode, Reply},
    numbers::Numbers,
    report::{Check, Report},
    trouble::{self, Kind, Trouble},
};

const REMEDY: &str = "answer 401 with WWW-Authenticate: Basic, before anything else of the request is looked at";

/// Nothing that answers as an endpoint is there.
pub(super) struct NoEndpoint;

/// How a request without the right credentials was met, from good to bad.
enum Refusal {
    Proper,
    Lax(String),
    None(String),
}

/// Judges how strangers are met.
///
/// # Errors
/// There is no use in asking on: what answers is no endpoint, or none that can be reached.
pub(super) async fn check(
    client: &mut Client,
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
    tell(report, Check::MissingCredentials, refusal(missing));
    let mut guess = [0; 16];
    let _ = getrandom::fill(&mut guess);
    let guess = HEXLOWER.encode(&guess);
    // A wrong password, an empty one, and another user.
    for (user, password) in [(user, &*guess), (user, ""), (&guess, &guess)] {
        let Ok(login) = client::basic(user, password) else { continue };
        let wrong = refusal(client.ask(Some(&login), Mode::PhoneToUid, &[number]).await);
        let is_proper = matches!(wrong, Refusal::Proper);
        tell(report, Check::WrongCredentials, wrong);
        if !is_proper {
            break;
        }
    }
    Ok(())
}

/// What is there instead of an endpoint.
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
            trouble::of_reply(reply).or(strange)
        }
    }
}

fn refusal(reply: Result<Reply, Trouble>) -> Refusal {
    match reply {
        Err(trouble) => Refusal::None(trouble.to_string()),
        Ok(reply) => match reply.status {
            StatusCode::UNAUTHORIZED if reply.challenge.is_some() => Refusal::Proper,
            StatusCode::UNAUTHORIZED => Refusal::Lax("401, without WWW-Authenticate".to_owned()),
            StatusCode::FORBIDDEN => Refusal::Lax("403 instead of 401".to_owned()),
            StatusCode::OK if reply.answer.is_some_and(|answer| answer.code == 0) => {
                Refusal::None("taken: anybody can turn UIDs into numbers".to_owned())
            }
            status => Refusal::None(format!("HTTP {} instead of 401", status.as_u16())),
        },
    }
}

fn tell(report: &mut Report, check: Check, refusal: Refusal) {
    match refusal {
        Refusal::Proper => report.good(check, "yes (HTTP 401)"),
        Refusal::Lax(found) => report.warn(check, found, REMEDY),
        Refusal::None(found) => report.bad(check, found, REMEDY),
    }
}
