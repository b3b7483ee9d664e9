//! Checks of a request's head beyond those of hyper. If two readers could read the head differently, it is refused, so
//! that we and a proxy before us never disagree about where a request ends or whom it is for.

use http::{
    HeaderValue, Request, Version,
    header::{AUTHORIZATION, CONTENT_LENGTH, HOST, TRANSFER_ENCODING},
    uri::Authority,
};

/// A head that is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ambiguous;

/// The parts of a head that later steps need.
pub struct Clear<'h> {
    /// The credentials; empty if there are none.
    pub authorization: &'h [u8],
}

/// Refuses a `Host` that is missing, repeated, empty, malformed or contradicted by the target; a target that is not
/// ASCII; repeated or unknown framing; and repeated credentials.
///
/// # Errors
/// [`Ambiguous`].
pub fn check<B>(request: &Request<B>) -> Result<Clear<'_>, Ambiguous> {
    let (mut host, mut authorization, mut length, mut coding) = (None, None, None, None);
    for (name, value) in request.headers() {
        let only = match name {
            name if *name == HOST => &mut host,
            name if *name == AUTHORIZATION => &mut authorization,
            name if *name == CONTENT_LENGTH => &mut length,
            name if *name == TRANSFER_ENCODING => &mut coding,
            _ => continue,
        };
        if only.replace(value).is_some() {
            return Err(Ambiguous);
        }
    }
    check_host(request, host)?;
    // RFC 3986 section 2: readers decode other bytes in different ways.
    if !request.uri().path_and_query().is_none_or(|target| target.as_str().is_ascii()) {
        return Err(Ambiguous);
    }
    // HTTP/1.0 has no transfer codings (RFC 9112 section 6.1), and we know only one (section 7).
    let is_known = |coding: &HeaderValue| coding.as_bytes().eq_ignore_ascii_case(b"chunked");
    if coding.is_some_and(|coding| request.version() != Version::HTTP_11 || !is_known(coding)) {
        return Err(Ambiguous);
    }
    Ok(Clear { authorization: authorization.map(HeaderValue::as_bytes).unwrap_or_default() })
}

/// RFC 9112 section 3.2: HTTP/1.1 has exactly one `Host`. If the target is a whole URL, `Host` must agree with it,
/// because readers differ on which of the two counts.
fn check_host<B>(request: &Request<B>, host: Option<&HeaderValue>) -> Result<(), Ambiguous> {
    let authority = request.uri().authority();
    if authority.is_none() && host.is_some_and(|host| is_plain_host(host.as_bytes())) {
        return Ok(());
    }
    let host = host.map(|host| Authority::try_from(host.as_bytes()).map_err(|_| Ambiguous)).transpose()?;
    if ![host.as_ref(), authority].into_iter().flatten().all(is_host) {
        return Err(Ambiguous);
    }
    match (request.version(), &host, authority) {
        (Version::HTTP_11, None, _) => Err(Ambiguous),
        (_, Some(host), Some(authority)) if host != authority => Err(Ambiguous),
        _ => Ok(()),
    }
}

/// Whether `host` is a name or an IPv4 address, with or without a port. Nearly every `Host` is, and needs no closer
/// look.
fn is_plain_host(host: &[u8]) -> bool {
    let end = host.iter().position(|byte| *byte == b':').unwrap_or(host.len());
    let (name, port) = host.split_at(end);
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
    let port = port.split_first().map(|(_, digits)| digits);
    // A number of five digits that begins with at most 5 is surely a port.
    let is_port = |digits: &[u8]| {
        let is_small = matches!((digits.len(), digits.first()), (1..=4, _) | (5, Some(b'0'..=b'5')));
        is_small && digits.iter().all(u8::is_ascii_digit)
    };
    !name.is_empty() && name.iter().all(is_name) && port.is_none_or(is_port)
}

/// Whether this is a host, with or without a port, and without a user.
fn is_host(authority: &Authority) -> bool {
    let Some(rest) = authority.as_str().strip_prefix(authority.host()) else { return false };
    let digits = rest.strip_prefix(':').unwrap_or_default();
    let is_port = rest.is_empty() || digits.bytes().all(|byte| byte.is_ascii_digit()) && rest.starts_with(':');
    !authority.host().is_empty() && is_port && (digits.is_empty() || digits.parse::<u16>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether the head that begins with `line` and has these `headers` is clear, and which credentials it has.
    fn read(line: &str, headers: &[(&str, &str)]) -> Option<Vec<u8>> {
        let (target, version) = line.split_once(' ').expect("a target and a version");
        let version = if version == "HTTP/1.1" { Version::HTTP_11 } else { Version::HTTP_10 };
        let request = Request::builder().uri(target).version(version);
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        check(&request.body(()).expect("hyper would read it")).ok().map(|clear| clear.authorization.to_vec())
    }

    #[test]
    fn hosts() {
        let host = |host: &str| read("/ HTTP/1.1", &[("host", host)]).is_some();
        for clear in
            "a a-1.example a: a:0 a:8443 a:59999 a:00080 a:65535 a:000080 a_b a_b:1 192.0.2.1:80 [::1] [::1]:60000"
                .split(' ')
        {
            assert!(host(clear), "{clear}");
        }
        for wrong in
            ["", "a b", "a, b", "a/b", ":", ":80", "a@", "u@a", "u:p@a", "[::1", "[::1]80", "[::1]:x", "[::1]:65536"]
        {
            assert!(!host(wrong), "{wrong}");
        }
        for port in ["x", "8x", "+80", "-1", "80:81", "65536", "99999", "100000"] {
            assert!(!host(&format!("a:{port}")) && !host(&format!("a_b:{port}")), "{port}");
        }
    }

    #[test]
    fn heads() {
        let (host, chunked) = (("host", "a"), ("transfer-encoding", "chunked"));
        let check = |line: &str, headers: &[(&str, &str)], expected: Option<&str>| {
            assert_eq!(read(line, headers).as_deref(), expected.map(str::as_bytes), "{line} {headers:?}");
        };
        check("/?x HTTP/1.1", &[host], Some(""));
        check("/ HTTP/1.1", &[host, ("authorization", "Basic eDp5")], Some("Basic eDp5"));
        check("/ HTTP/1.1", &[host, ("x", "y"), ("x", "z"), ("content-length", "1")], Some(""));
        check("/ HTTP/1.1", &[host, chunked], Some(""));
        check("/ HTTP/1.1", &[host, ("transfer-encoding", "Chunked")], Some(""));
        check("/ HTTP/1.0", &[], Some(""));
        check("/ HTTP/1.0", &[host], Some(""));
        check("http://a/ HTTP/1.1", &[host], Some(""));
        check("http://A/ HTTP/1.1", &[host], Some(""));
        check("http://a/ HTTP/1.0", &[], Some(""));
        check("/ HTTP/1.1", &[], None);
        check("/ HTTP/1.1", &[host, host], None);
        check("/ HTTP/1.1", &[host, ("authorization", "x"), ("authorization", "x")], None);
        check("/ HTTP/1.1", &[host, ("content-length", "1"), ("content-length", "1")], None);
        check("/ HTTP/1.1", &[host, chunked, chunked], None);
        check("/ HTTP/1.1", &[host, ("transfer-encoding", "gzip, chunked")], None);
        check("/ HTTP/1.0", &[host, chunked], None);
        check("/?é HTTP/1.1", &[host], None);
        check("http://a/ HTTP/1.1", &[], None);
        check("http://b/ HTTP/1.1", &[host], None);
        check("http://a:80/ HTTP/1.1", &[host], None);
        check("http://u@a/ HTTP/1.1", &[("host", "u@a")], None);
    }
}
