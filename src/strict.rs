//! What a request's head must be beyond what hyper wants: wherever two readers of one head could read it differently,
//! it is refused, so that no proxy before us and we ever disagree about where a request ends or whom it is for.

use http::{
    HeaderMap, HeaderValue, Version,
    header::{AUTHORIZATION, CONTENT_LENGTH, HOST, HeaderName, TRANSFER_ENCODING},
    request::Parts,
    uri::Authority,
};

/// A head that is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ambiguous;

/// Refuses a missing, repeated, empty or malformed `Host`, and repeated or unknown framing and credentials.
///
/// # Errors
/// [`Ambiguous`].
pub fn check(head: &Parts) -> Result<(), Ambiguous> {
    check_host(head)?;
    at_most_one(&head.headers, AUTHORIZATION)?;
    at_most_one(&head.headers, CONTENT_LENGTH)?;
    match at_most_one(&head.headers, TRANSFER_ENCODING)? {
        None => Ok(()),
        // HTTP/1.0 has no transfer codings (RFC 9112 section 6.1), and we know of one (section 7).
        Some(coding) if head.version == Version::HTTP_11 && coding.as_bytes().eq_ignore_ascii_case(b"chunked") => {
            Ok(())
        }
        Some(_) => Err(Ambiguous),
    }
}

/// RFC 9112 section 3.2: one `Host` in HTTP/1.1; in HTTP/2 `:authority` says it (RFC 9113 section 8.3.1), and a `Host`
/// beside it must not say otherwise.
fn check_host(head: &Parts) -> Result<(), Ambiguous> {
    let host = at_most_one(&head.headers, HOST)?;
    let parsed = host.map(|host| parse_host(host).ok_or(Ambiguous)).transpose()?;
    match (head.version, parsed, head.uri.authority()) {
        (Version::HTTP_11, None, _) => Err(Ambiguous),
        (Version::HTTP_2, None, None) => Err(Ambiguous),
        (Version::HTTP_2, Some(host), Some(authority)) if host != *authority => Err(Ambiguous),
        _ => Ok(()),
    }
}

fn parse_host(host: &HeaderValue) -> Option<Authority> {
    let host = Authority::try_from(host.as_bytes()).ok()?;
    (!host.host().is_empty() && !host.as_str().contains('@')).then_some(host)
}

fn at_most_one(headers: &HeaderMap, name: HeaderName) -> Result<Option<&HeaderValue>, Ambiguous> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (first, None) => Ok(first),
        _ => Err(Ambiguous),
    }
}
