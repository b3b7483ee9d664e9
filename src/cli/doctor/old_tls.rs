//! Protocols that a TLS port should refuse: TLS 1.0 and 1.1, which rustls does not speak, and plain HTTP. So the
//! messages are written by hand, and only the beginning of the answer is read.

use std::net::IpAddr;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::{Duration, timeout},
};

use super::{
    report::{Check, Report},
    target::Target,
    trouble::Trouble,
};

/// If nothing comes for this long, that counts as a refusal.
const SILENCE: Duration = Duration::from_secs(3);

/// Bytes that are enough to recognise the answer: a record's header and the version after it, or a status line.
const ANSWER_BYTES: usize = 64;

const TLS_1_0: [u8; 2] = [3, 1];
const TLS_1_1: [u8; 2] = [3, 2];
const TLS_1_2: [u8; 2] = [3, 3];

/// The suites of a server of that time: ECDHE, DHE and plain RSA with AES-CBC and 3DES (RFC 8422, 5246), and the signal
/// for secure renegotiation (RFC 5746).
const SUITES: [u16; 11] = [0xC009, 0xC00A, 0xC013, 0xC014, 0x0033, 0x0039, 0x002F, 0x0035, 0xC012, 0x000A, 0x00FF];

pub(super) async fn check(target: &Target, report: &mut Report) {
    let mut accepted = Vec::new();
    for version in [TLS_1_0, TLS_1_1] {
        let answer = say(target, &client_hello(version, &target.host)).await;
        // The server may choose a lower version than the one offered.
        accepted.extend(answer.ok().and_then(|answer| chosen_version(&answer)).filter(|name| !accepted.contains(name)));
    }
    if accepted.is_empty() {
        report.good(Check::OldTls, "yes");
    } else {
        report.bad(
            Check::OldTls,
            format!("TLS {} accepted", accepted.join(" and ")),
            "switch them off: they are broken (RFC 8996)",
        );
    }
    check_plain_http(target, report).await;
}

async fn check_plain_http(target: &Target, report: &mut Report) {
    let body = r#"{"Numbers":[],"Mode":"PhoneToUID"}"#;
    let request = format!(
        "POST {} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        target.path,
        target.authority,
        body.len(),
    );
    let answer = say(target, request.as_bytes()).await.unwrap_or_default();
    let status = str::from_utf8(&answer).ok().and_then(|line| line.strip_prefix("HTTP/1.")?.get(2..5)?.parse().ok());
    match status {
        // A 401 asks for a password in plain text.
        Some(status @ (200..=299 | 401 | 407)) => report.bad(
            Check::PlainHttp,
            format!("answered as if it were TLS (HTTP {status})"),
            "let the port speak TLS only: a client set to http:// would send its password for all to read",
        ),
        Some(status) => report.good(Check::PlainHttp, format!("yes (HTTP {status})")),
        None => report.good(Check::PlainHttp, "yes"),
    }
}

/// Whether the port speaks any version of TLS, which it shows by answering a ClientHello with a TLS record.
pub(super) async fn speaks_tls(target: &Target) -> bool {
    let answer = say(target, &client_hello(TLS_1_2, &target.host)).await.unwrap_or_default();
    // This is a handshake or an alert.
    matches!(answer[..], [21 | 22, 3, _, ..])
}

/// Whether the port speaks plain HTTP.
pub(super) async fn speaks_http(target: &Target) -> bool {
    let request = format!("HEAD / HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", target.authority);
    say(target, request.as_bytes()).await.is_ok_and(|answer| answer.starts_with(b"HTTP/"))
}

/// The first bytes of the answer to `words`; empty if the connection is closed or nothing comes.
async fn say(target: &Target, words: &[u8]) -> Result<Vec<u8>, Trouble> {
    let mut socket = target.connect().await?;
    let mut answer = Vec::with_capacity(ANSWER_BYTES);
    let talk = async {
        socket.write_all(words).await?;
        // The shortest useful answer has 12 bytes.
        while answer.len() < 12 && socket.read_buf(&mut answer).await? > 0 {}
        std::io::Result::Ok(())
    };
    // A reset is a refusal too, and what came before it counts.
    let _ = timeout(SILENCE.min(target.patience), talk).await;
    Ok(answer)
}

/// The version that a ServerHello of TLS 1.0 or 1.1 chooses; `None` for everything else, such as an alert.
fn chosen_version(answer: &[u8]) -> Option<&'static str> {
    let &[22, 3, _, _, _, 2, _, _, _, major, minor, ..] = answer else { return None };
    match [major, minor] {
        TLS_1_0 => Some("1.0"),
        TLS_1_1 => Some("1.1"),
        _ => None,
    }
}

/// A ClientHello that offers no version above `version`.
fn client_hello(version: [u8; 2], host: &str) -> Vec<u8> {
    let mut random = [0; 32];
    // It need not be random for a connection that ends here.
    let _ = getrandom::fill(&mut random);
    let suites: Vec<u8> = SUITES.iter().flat_map(|suite| suite.to_be_bytes()).collect();
    let mut extensions = Vec::new();
    if host.parse::<IpAddr>().is_err() {
        let name = [&[0][..], &with_length(host.as_bytes())].concat();
        extensions.extend(extension(0, &with_length(&name)));
    }
    // The groups are X25519, P-256 and P-384; points are uncompressed.
    extensions.extend(extension(10, &with_length(&[0, 29, 0, 23, 0, 24])));
    extensions.extend(extension(11, &[1, 0]));
    let body = [
        &version[..],
        &random,
        &[0], // no session to resume
        &with_length(&suites),
        &[1, 0], // no compression
        &with_length(&extensions),
    ]
    .concat();
    let message = [&[1, 0][..], &with_length(&body)].concat();
    [&[22, 3, 1][..], &with_length(&message)].concat()
}

fn extension(kind: u8, content: &[u8]) -> Vec<u8> {
    [&[0, kind][..], &with_length(content)].concat()
}

/// `content` after its length in two bytes. A host name has at most 255 bytes.
fn with_length(content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).unwrap_or(u16::MAX);
    [&length.to_be_bytes()[..], content].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_server_hello_of_an_old_version_is_one() {
        let hello = |major, minor| [22, 3, 1, 0, 42, 2, 0, 0, 38, major, minor, 7];
        assert_eq!(chosen_version(&hello(3, 1)), Some("1.0"));
        assert_eq!(chosen_version(&hello(3, 2)), Some("1.1"));
        assert_eq!(chosen_version(&hello(3, 3)), None);
        assert_eq!(chosen_version(&hello(2, 1)), None);
        for answer in [&b""[..], &[21, 3, 1, 0, 2, 2, 70], &[22, 3, 1, 0, 42, 2], b"HTTP/1.1 400 Bad Request"] {
            assert_eq!(chosen_version(answer), None);
        }
    }

    #[test]
    fn lengths_in_a_hello_are_those_of_what_follows() {
        for host in ["uid.example.com", "192.0.2.1", "::1"] {
            let hello = client_hello(TLS_1_0, host);
            let length = |at: usize| usize::from(u16::from_be_bytes([hello[at], hello[at + 1]]));
            assert_eq!((length(3), length(7)), (hello.len() - 5, hello.len() - 9), "{host}");
            assert_eq!(hello.windows(host.len()).any(|part| part == host.as_bytes()), host.contains("example"));
        }
    }
}
