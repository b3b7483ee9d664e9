//! Requests that two parsers could read differently. Each is sent whole, with good credentials and a good call. An
//! innocent request follows at once, and must not become part of the answer to the first.

use crate::support::{Folder, PASSWORD, Server, USER, basic, read};

/// An empty call of 34 (hexadecimal 22) bytes. The right answer to it is a 200.
const CALL: &str = r#"{"Numbers":[],"Mode":"PhoneToUID"}"#;

/// The right reaction to a request and to the innocent one after it.
#[derive(Clone, Copy, Debug)]
enum Right {
    /// A 4xx status or no answer; then the connection ends.
    Refuse,
    /// Exactly these answers. The request is legal, or wrong in a way that leaves no doubt where it ends.
    Answer(&'static [u16]),
}
use Right::{Answer, Refuse};

/// Legal, but the connection is closed afterwards: HTTP/1.0, and every chunked request. RFC 9112 section 6.1 demands
/// that of a request with both framings, and hyper does not tell us which requests have them.
const THEN_CLOSE: Right = Answer(&[200]);

/// Fills in a template. `$H` is a good Host, `$A` good credentials, `$C` a call and `$L` its length; `$K` is that call
/// in chunks, and `$T` announces them. `$S` is a request for a missing path: a 404 shows that it was read as a request.
fn expand(template: &str) -> Vec<u8> {
    let chunks = format!("22\r\n{CALL}\r\n0\r\n\r\n");
    let authorization = format!("authorization: {}\r\n", basic(USER, PASSWORD));
    let text = template
        .replace("$S", "GET /smuggled HTTP/1.1\r\nhost: callveil\r\n\r\n")
        .replace("$H", "host: callveil\r\n")
        .replace("$A", &authorization)
        .replace("$L", "content-length: 34\r\n")
        .replace("$T", "transfer-encoding: chunked\r\n")
        .replace("$K", &chunks)
        .replace("$C", CALL);
    text.into_bytes()
}

/// The statuses of all answers to `bytes`, until the connection ends. It is a client's, since strangers get one
/// refusal.
fn statuses(server: &Server, bytes: &[u8]) -> Vec<u16> {
    let mut http = server.connect();
    assert_eq!(http.post(CALL).status, 200);
    // Where the server has ended the connection already, that is an answer too.
    let _ = std::io::Write::write_all(http.0.get_mut(), bytes);
    let _ = http.0.get_ref().shutdown(std::net::Shutdown::Write);
    let mut statuses = Vec::new();
    while let Some(answer) = http.try_read() {
        statuses.push(answer.status);
    }
    let end = read(&mut http.0, &mut [0]);
    let is_over = match &end {
        Ok(read) => *read == 0,
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
    };
    assert!(is_over, "{end:?} after {statuses:?}");
    statuses
}

/// Checks all rows, and reports every one that fails.
#[track_caller]
fn check(server: &Server, rows: &[(&str, Vec<u8>, Right)]) {
    let innocent = expand("POST / HTTP/1.1\r\n$Hconnection: close\r\n$A$L\r\n$C");
    assert_eq!(statuses(server, &innocent), [200]);
    let mut wrong = String::new();
    for (name, request, right) in rows {
        let got = statuses(server, &[&**request, &innocent].concat());
        let is_right = match right {
            Refuse => got.len() <= 1 && got.iter().all(|status| (400..500).contains(status)),
            Answer(all) => got == *all,
        };
        if !is_right {
            wrong += &format!("{name}: {got:?}, not {right:?}\n");
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    println!("{} requests", rows.len());
}

fn rows(templates: &[(&'static str, &str, Right)]) -> Vec<(&'static str, Vec<u8>, Right)> {
    templates.iter().map(|(name, template, right)| (*name, expand(template), *right)).collect()
}

/// Requests with these lines in the head, in addition to the good ones.
fn with(lines: &[(&'static str, &[u8], Right)]) -> Vec<(&'static str, Vec<u8>, Right)> {
    let row = |(name, line, right): &(&'static str, &[u8], Right)| {
        (*name, [&*expand("POST / HTTP/1.1\r\n$H$A$L"), line, b"\r\n\r\n", CALL.as_bytes()].concat(), *right)
    };
    lines.iter().map(row).collect()
}

/// Requests with these Host lines.
fn host(hosts: &[(&'static str, &str, Right)]) -> Vec<(&'static str, Vec<u8>, Right)> {
    let row = |(name, host, right): &(&'static str, &str, Right)| {
        (*name, expand(&format!("POST / HTTP/1.1\r\n{host}\r\n$A$L\r\n$C")), *right)
    };
    hosts.iter().map(row).collect()
}

/// Requests with these request lines.
fn line(lines: &[(&'static str, &str, Right)]) -> Vec<(&'static str, Vec<u8>, Right)> {
    let row =
        |(name, line, right): &(&'static str, &str, Right)| (*name, expand(&format!("{line}\r\n$H$A$L\r\n$C")), *right);
    lines.iter().map(row).collect()
}

/// Requests whose bodies are framed with these lines.
fn framed(framings: &[(&'static str, &str, &str, Right)]) -> Vec<(&'static str, Vec<u8>, Right)> {
    let row = |(name, lines, body, right): &(&'static str, &str, &str, Right)| {
        (*name, expand(&format!("POST / HTTP/1.1\r\n$H$A{lines}\r\n{body}")), *right)
    };
    framings.iter().map(row).collect()
}

#[test]
fn whom_a_request_is_for() {
    let server = Server::start(&Folder::new(), "", "");
    check(
        &server,
        &host(&[
            ("another Host", "Host: elsewhere.example:8443", Answer(&[200, 200])),
            ("an IPv6 Host", "host:[::1]:80", Answer(&[200, 200])),
            ("Host twice", "host: callveil\r\nhost: callveil", Refuse),
            ("two Hosts", "host: callveil\r\nhost: other", Refuse),
            ("an empty Host", "host:", Refuse),
            ("a Host of spaces", "host:   ", Refuse),
            ("a port without a Host", "host: :80", Refuse),
            ("a user without a Host", "host: user@", Refuse),
            ("an at sign", "host: @", Refuse),
            ("a Host with a port with a plus", "host: callveil:+80", Refuse),
            ("a Host with a user", "host: user@callveil", Refuse),
            ("a Host with a user and a password", "host: user:password@callveil", Refuse),
            ("a Host with a space", "host: call veil", Refuse),
            ("a Host with a tab", "host: call\tveil", Refuse),
            ("a Host with a comma", "host: callveil, other", Refuse),
            ("a Host with a path", "host: callveil/path", Refuse),
            ("a Host with a scheme", "host: http://callveil", Refuse),
            ("a Host with a query", "host: callveil?x", Refuse),
            ("a Host with a fragment", "host: callveil#x", Refuse),
            ("a Host with a backslash", "host: callveil\\other", Refuse),
            ("a Host with two ports", "host: callveil:80:81", Refuse),
            ("a Host with a port of letters", "host: callveil:http", Refuse),
            ("a Host with a port over 65535", "host: callveil:65536", Refuse),
            ("half an IPv6 Host", "host: [::1", Refuse),
            ("a Host with non-ASCII letters", "host: cällveil", Refuse),
        ]),
    );
    check(
        &server,
        &rows(&[
            ("no Host", "POST / HTTP/1.1\r\n$A$L\r\n$C", Refuse),
            ("no Host in HTTP/1.0", "POST / HTTP/1.0\r\n$A$L\r\n$C", THEN_CLOSE),
            ("Host twice in HTTP/1.0", "POST / HTTP/1.0\r\n$H$H$A$L\r\n$C", Refuse),
            ("a Host after a fold", "POST / HTTP/1.1\r\nx: y\r\n host: callveil\r\n$A$L\r\n$C", Refuse),
            ("credentials twice", "POST / HTTP/1.1\r\n$H$A$A$L\r\n$C", Refuse),
            ("other credentials", "POST / HTTP/1.1\r\n$H$Aauthorization: Basic eDp5\r\n$L\r\n$C", Refuse),
        ]),
    );
}

#[test]
fn request_lines() {
    let server = Server::start(&Folder::new(), "", "");
    check(
        &server,
        &line(&[
            ("HTTP/0.9", "POST /", Refuse),
            ("HTTP/0.9 in words", "POST / HTTP/0.9", Refuse),
            ("HTTP/1.2", "POST / HTTP/1.2", Refuse),
            ("HTTP/1.10", "POST / HTTP/1.10", Refuse),
            ("HTTP/01.1", "POST / HTTP/01.1", Refuse),
            ("HTTP/2.0 in text", "POST / HTTP/2.0", Refuse),
            ("the half of HTTP/2's preface", "PRI * HTTP/2.0", Refuse),
            ("http in lower case", "POST / http/1.1", Refuse),
            ("two spaces before the target", "POST  / HTTP/1.1", Refuse),
            ("two spaces after the target", "POST /  HTTP/1.1", Refuse),
            ("a space at the end", "POST / HTTP/1.1 ", Refuse),
            ("a space at the start", " POST / HTTP/1.1", Refuse),
            ("a tab before the target", "POST\t/ HTTP/1.1", Refuse),
            ("a tab after the target", "POST /\tHTTP/1.1", Refuse),
            ("a form feed", "POST /\u{c}HTTP/1.1", Refuse),
            ("no target", "POST HTTP/1.1", Refuse),
            ("no method", "/ HTTP/1.1", Refuse),
            ("a method with a colon", "PO:ST / HTTP/1.1", Refuse),
            ("a method with NUL", "POST\0 / HTTP/1.1", Refuse),
            ("a bare CR at the end", "POST / HTTP/1.1\r", Refuse),
            ("a target with NUL", "POST /\0 HTTP/1.1", Refuse),
            ("a target with DEL", "POST /?\u{7f} HTTP/1.1", Refuse),
            ("a target with a bare CR", "POST /?\rx HTTP/1.1", Refuse),
            ("a target that is not ASCII", "POST /?ü HTTP/1.1", Refuse),
            ("a target without a slash", "POST callveil/ HTTP/1.1", Refuse),
            ("a target that is a query", "POST ?x HTTP/1.1", Refuse),
            ("a backslash for a target", "POST \\ HTTP/1.1", Refuse),
            ("a whole URL of another host", "POST http://other/ HTTP/1.1", Refuse),
            ("a whole URL of another port", "POST http://callveil:81/ HTTP/1.1", Refuse),
            ("a whole URL with a user", "POST http://user@callveil/ HTTP/1.1", Refuse),
            ("a whole URL with a user and no host", "POST http://user@/ HTTP/1.1", Refuse),
            ("a whole URL without a host", "POST http:/// HTTP/1.1", Refuse),
            ("an authority", "POST callveil:80 HTTP/1.1", Refuse),
            // Legal: RFC 9112 section 3.2.2.
            ("a whole URL", "POST http://CallVeil/ HTTP/1.1", Answer(&[200, 200])),
            // Section 2.2: empty lines before a request are skipped.
            ("an empty line before", "\r\nPOST / HTTP/1.1", Answer(&[200, 200])),
            ("empty lines before", "\n\r\n\nPOST / HTTP/1.1", Answer(&[200, 200])),
            ("CR alone before", "\rPOST / HTTP/1.1", Refuse),
            ("CR alone before an empty line", "\r\r\nPOST / HTTP/1.1", Refuse),
            // Clear, and nothing of ours. With a body that nobody reads, the connection ends.
            ("CONNECT", "CONNECT callveil:80 HTTP/1.1", Refuse),
            ("POST to an asterisk", "POST * HTTP/1.1", Answer(&[404])),
            ("OPTIONS to an asterisk", "OPTIONS * HTTP/1.1", Answer(&[404])),
            ("another path", "POST // HTTP/1.1", Answer(&[404])),
            ("dots", "POST /x/../ HTTP/1.1", Answer(&[404])),
            ("an escaped path", "POST /%2e HTTP/1.1", Answer(&[404])),
            // hyper takes the fragment off before anybody sees it; where the request ends and whom it is for is clear.
            ("a target with a fragment", "POST /#x HTTP/1.1", Answer(&[200, 200])),
        ]),
    );
}

#[test]
fn header_lines() {
    let server = Server::start(&Folder::new(), "", "");
    let long = format!("x: {}", "y".repeat(70_000));
    let many = "x: y\r\n".repeat(64);
    check(
        &server,
        &with(&[
            ("a tab and letters beyond ASCII", "x:\ty\u{fc}\t".as_bytes(), Answer(&[200, 200])),
            ("a space before the colon", b"x : y", Refuse),
            ("a tab before the colon", b"x\t: y", Refuse),
            ("a space before a length's colon", b"content-length : 0", Refuse),
            ("a fold", b"x: y\r\n z", Refuse),
            ("a fold by a tab", b"x: y\r\n\tz", Refuse),
            ("an empty fold", b"x: y\r\n ", Refuse),
            ("no colon", b"xy", Refuse),
            ("no name", b": y", Refuse),
            ("a name with a space", b"x y: z", Refuse),
            ("a name with NUL", b"x\0: y", Refuse),
            ("a name with a control byte", b"x\x0b: y", Refuse),
            ("a name beyond ASCII", "x\u{fc}: y".as_bytes(), Refuse),
            ("a name with a separator", b"x(y): z", Refuse),
            ("a value with NUL", b"x: y\0z", Refuse),
            ("a value with a control byte", b"x: y\x01z", Refuse),
            ("a value with DEL", b"x: y\x7fz", Refuse),
            ("a value with a bare CR", b"x: y\rz", Refuse),
            ("a value that ends with a bare CR", b"x: y\r", Refuse),
            ("a length behind a bare CR", b"x: y\rcontent-length: 0", Refuse),
            ("a line over 64 KiB", long.as_bytes(), Refuse),
            ("more than 64 headers", many.trim_end().as_bytes(), Refuse),
        ]),
    );
    check(
        &server,
        &rows(&[
            ("a space before the first header", "POST / HTTP/1.1\r\n $H$A$L\r\n$C", Refuse),
            ("a tab before the first header", "POST / HTTP/1.1\r\n\t$H$A$L\r\n$C", Refuse),
            ("an empty fold before the first header", "POST / HTTP/1.1\r\n \r\n$H$A$L\r\n$C", Refuse),
            ("CR alone as line ends", "POST / HTTP/1.1\r$H$A$L\r\r$C", Refuse),
            ("CR twice", "POST / HTTP/1.1\r\r\n$H$A$L\r\n$C", Refuse),
            ("CR, LF, CR at the end", "POST / HTTP/1.1\r\n$H$A$L\r\r\n$C", Refuse),
            // RFC 9112 section 2.2: "a recipient MAY recognize a single LF as a line terminator", as hyper does.
            ("LF after the request line", "POST / HTTP/1.1\n$H$A$L\r\n$C", Answer(&[200, 200])),
            ("LF as the empty line", "POST / HTTP/1.1\r\n$H$A$L\n$C", Answer(&[200, 200])),
        ]),
    );
}

#[test]
fn lengths() {
    let server = Server::start(&Folder::new(), "", "");
    check(
        &server,
        &framed(&[
            ("another length", "$Lcontent-length: 0\r\n", "$C", Refuse),
            ("another length before", "content-length: 0\r\n$L", "$C", Refuse),
            ("a list of lengths", "content-length: 34, 34\r\n", "$C", Refuse),
            ("a list of other lengths", "content-length: 34, 0\r\n", "$C", Refuse),
            ("an empty length", "content-length:\r\n", "$C", Refuse),
            ("a negative length", "content-length: -34\r\n", "$C", Refuse),
            ("a length of minus zero", "content-length: -0\r\n", "$C", Refuse),
            ("a length with a plus", "content-length: +34\r\n", "$C", Refuse),
            ("a hexadecimal length", "content-length: 0x22\r\n", "$C", Refuse),
            ("a length with a fraction", "content-length: 34.0\r\n", "$C", Refuse),
            ("a length with an exponent", "content-length: 34e0\r\n", "$C", Refuse),
            ("a length with a space", "content-length: 3 4\r\n", "$C", Refuse),
            ("a length with an underscore", "content-length: 3_4\r\n", "$C", Refuse),
            ("a length in quotes", "content-length: \"34\"\r\n", "$C", Refuse),
            ("a length in other digits", "content-length: ３４\r\n", "$C", Refuse),
            ("a length over 64 bits", "content-length: 18446744073709551650\r\n", "$C", Refuse),
            ("a length of 64 bits", "content-length: 18446744073709551615\r\n", "$C", Refuse),
            ("a length over 63 bits", "content-length: 9223372036854775808\r\n", "$C", Refuse),
            ("a length that wraps in 32 bits", "content-length: 4294967330\r\n", "$C", Refuse),
            ("a length that never comes", "content-length: 1000\r\n", "$C", Refuse),
            // RFC 9112 section 6.3: the same length again may be taken for one, as hyper does, and zeros may lead it.
            ("the same length twice", "$L$L", "$C", Answer(&[200, 200])),
            ("a length with leading zeros", "content-length: 0034\r\n", "$C", Answer(&[200, 200])),
            ("spaces around a length", "content-length: \t 34 \t\r\n", "$C", Answer(&[200, 200])),
        ]),
    );
}

#[test]
fn transfer_codings() {
    let server = Server::start(&Folder::new(), "", "");
    let te = |value: &str| framed(&[("", &format!("transfer-encoding:{value}\r\n"), "$K", Refuse)]).remove(0).1;
    let refused = |name: &'static str, value: &str| (name, te(value), Refuse);
    check(
        &server,
        &[
            ("chunked", te(" chunked"), THEN_CLOSE),
            ("chunked in capitals", te("\t ChunKed \t"), THEN_CLOSE),
            refused("chunked twice", " chunked, chunked"),
            refused("chunked in two headers", " chunked\r\ntransfer-encoding: chunked"),
            refused("identity", " identity"),
            refused("chunked, identity", " chunked, identity"),
            refused("identity, chunked", " identity, chunked"),
            refused("identity in a header before", " identity\r\ntransfer-encoding: chunked"),
            refused("identity in a header after", " chunked\r\ntransfer-encoding: identity"),
            refused("xchunked", " xchunked"),
            refused("x chunked", " x chunked"),
            refused("chunkedx", " chunkedx"),
            refused("chunked after a fold", "\r\n chunked"),
            refused("chunked before a fold", " chunked\r\n , identity"),
            refused("gzip", " gzip"),
            refused("gzip, chunked", " gzip, chunked"),
            refused("chunked, gzip", " chunked, gzip"),
            refused("empty", ""),
            refused("a comma after", " chunked,"),
            refused("a comma before", " ,chunked"),
            refused("a parameter", " chunked;q=1"),
            refused("quotes", " \"chunked\""),
            refused("single quotes", " 'chunked'"),
            refused("a vertical tab before", " \u{b}chunked"),
            refused("a vertical tab after", " chunked\u{b}"),
            refused("a form feed before", " \u{c}chunked"),
            refused("a no-break space before", " \u{a0}chunked"),
            refused("a bare CR before", " \rchunked"),
            refused("NUL after", " chunked\0"),
        ],
    );
    check(
        &server,
        &rows(&[
            ("chunked in HTTP/1.0", "POST / HTTP/1.0\r\n$H$A$T\r\n$K", Refuse),
            ("chunked in a kept HTTP/1.0", "POST / HTTP/1.0\r\n$H$Aconnection: keep-alive\r\n$T\r\n$K", Refuse),
            ("a space before the colon", "POST / HTTP/1.1\r\n$H$Atransfer-encoding : chunked\r\n\r\n$K", Refuse),
            ("a line that begins with a space", "POST / HTTP/1.1\r\n$H$A transfer-encoding: chunked\r\n\r\n$K", Refuse),
            ("a name with a control byte", "POST / HTTP/1.1\r\n$H$Atransfer-encoding\u{b}: chunked\r\n\r\n$K", Refuse),
            // Another header than Transfer-Encoding: no body at all, and what follows is no request.
            (
                "an underscore for the hyphen",
                "POST / HTTP/1.1\r\n$H$Atransfer_encoding: chunked\r\n\r\n$K",
                Answer(&[400, 400]),
            ),
            ("chunked on a request without a body", "GET / HTTP/1.1\r\n$H$T\r\n$K", Answer(&[405])),
        ]),
    );
}

#[test]
fn chunks() {
    let server = Server::start(&Folder::new(), "", "");
    let chunked = |name: &'static str, body: &str, right: Right| framed(&[(name, "$T", body, right)]).remove(0);
    let refused = |name: &'static str, body: &str| chunked(name, body, Refuse);
    check(
        &server,
        &[
            refused("a negative size", "-22\r\n$C\r\n0\r\n\r\n"),
            refused("a size with a plus", "+22\r\n$C\r\n0\r\n\r\n"),
            refused("a size with 0x", "0x22\r\n$C\r\n0\r\n\r\n"),
            refused("a size that is empty", "\r\n$C\r\n0\r\n\r\n"),
            refused("a size of letters", "xyz\r\n$C\r\n0\r\n\r\n"),
            refused("a size with a space inside", "2 2\r\n$C\r\n0\r\n\r\n"),
            refused("a size with a space before", " 22\r\n$C\r\n0\r\n\r\n"),
            refused("a size with an underscore", "2_2\r\n$C\r\n0\r\n\r\n"),
            refused("a size in quotes", "\"22\"\r\n$C\r\n0\r\n\r\n"),
            refused("a size of 64 bits", "ffffffffffffffff\r\n$C\r\n0\r\n\r\n"),
            refused("a size over 64 bits", "10000000000000022\r\n$C\r\n0\r\n\r\n"),
            refused("a size that wraps in 32 bits", "100000022\r\n$C\r\n0\r\n\r\n"),
            refused("a size that is too small", "21\r\n$C\r\n0\r\n\r\n"),
            refused("a size that is too large", "23\r\n$C\r\n0\r\n\r\n"),
            refused("LF after a size", "22\n$C\r\n0\r\n\r\n"),
            refused("CR after a size", "22\r$C\r\n0\r\n\r\n"),
            refused("CR twice after a size", "22\r\r\n$C\r\n0\r\n\r\n"),
            refused("NUL after a size", "22\0\r\n$C\r\n0\r\n\r\n"),
            refused("LF in an extension", "22;x\ny\r\n$C\r\n0\r\n\r\n"),
            refused("LF after an extension", "22;x\n$C\r\n0\r\n\r\n"),
            refused("CR in an extension", "22;x\ry\r\n$C\r\n0\r\n\r\n"),
            refused("an extension over 64 KiB", &format!("22;{}\r\n$C\r\n0\r\n\r\n", "x".repeat(70_000))),
            refused("no line end after a chunk", "22\r\n$C0\r\n\r\n"),
            refused("LF after a chunk", "22\r\n$C\n0\r\n\r\n"),
            refused("CR after a chunk", "22\r\n$C\r0\r\n\r\n"),
            refused("two bytes for a line end", "22\r\n$CXX0\r\n\r\n"),
            refused("LF after the last size", "22\r\n$C\r\n0\n\r\n"),
            refused("CR at the end", "22\r\n$C\r\n0\r\n\r\r"),
            refused("a last size that is negative", "22\r\n$C\r\n-0\r\n\r\n"),
            refused("no last chunk", "22\r\n$C\r\n"),
            refused("nothing", ""),
            refused("a trailer without a colon", "22\r\n$C\r\n0\r\nxy\r\n\r\n"),
            refused("a trailer with a space before the colon", "22\r\n$C\r\n0\r\nx : y\r\n\r\n"),
            refused("a trailer that is folded", "22\r\n$C\r\n0\r\nx: y\r\n z\r\n\r\n"),
            refused("trailers over 64 KiB", &format!("22\r\n$C\r\n0\r\nx: {}\r\n\r\n", "y".repeat(70_000))),
            // RFC 9112 section 2.2 lets LF alone end a trailer, as it does a header.
            chunked("LF at the end", "22\r\n$C\r\n0\r\n\n", THEN_CLOSE),
            chunked("a trailer with LF", "22\r\n$C\r\n0\r\nx: y\n\r\n", THEN_CLOSE),
            // Legal: RFC 9112 sections 7.1.1 and 7.1.2.
            chunked("an extension", "22;x=y\r\n$C\r\n0;z\r\n\r\n", THEN_CLOSE),
            chunked("a trailer", "22\r\n$C\r\n0\r\nx: y\r\n\r\n", THEN_CLOSE),
            chunked("zeros before a size", "0000022\r\n$C\r\n000\r\n\r\n", THEN_CLOSE),
            chunked("trailers that look like framing", "22\r\n$C\r\n0\r\n$L$T\r\n", THEN_CLOSE),
        ],
    );
}

/// The public classes of smuggling: what one reader takes for a body and another for a request.
#[test]
fn smuggling() {
    let server = Server::start(&Folder::new(), "", "");
    let all = expand("$K$S").len();
    let length = |length: usize| format!("content-length: {length}\r\n");
    check(
        &server,
        &framed(&[
            // Both framings: the chunks count, and the connection ends with their answer (RFC 9112 section 6.1).
            ("CL.TE", &format!("{}$T", length(all)), "$K$S", THEN_CLOSE),
            ("TE.CL", &format!("$T{}", length(4)), "$K$S", THEN_CLOSE),
            ("CL.TE with a length of 0", &format!("{}$T", length(0)), "$K$S", THEN_CLOSE),
            ("CL.TE with an empty body", &format!("{}$T", length(5)), "0\r\n\r\n$S", Answer(&[400])),
            ("CL.TE with a request for a body", &format!("{}$T", length(expand("$S").len())), "$S", Refuse),
            ("TE.CL with a length that is none", "$Tcontent-length: -1\r\n", "$K$S", THEN_CLOSE),
            ("TE.TE, the second unknown", "$Ttransfer-encoding: x\r\n", "$K$S", Refuse),
            ("TE.TE, the first unknown", "transfer-encoding: x\r\n$T", "$K$S", Refuse),
            ("TE.TE in one line", "transfer-encoding: x, chunked\r\n", "$K$S", Refuse),
            ("TE.TE with a tab", "$Ttransfer-encoding:\tx\r\n", "$K$S", Refuse),
            ("TE.TE with a length", &format!("transfer-encoding: xchunked\r\n{}", length(all)), "$K$S", Refuse),
            // Clear: the first ends where it says, and what follows is a request of its own.
            ("after a length of 0", "content-length: 0\r\n", "$S", Answer(&[400, 404, 200])),
            ("after a call", "$L", "$C$S", Answer(&[200, 404, 200])),
            ("after the last chunk", "$T", "$K$S", Answer(&[200])),
            // CL.0: a body is read to its end even if it looks like a request.
            ("CL.0", &length(expand("$S").len()), "$S", Answer(&[400, 200])),
            ("in a chunk", "$T", &format!("{:x}\r\n$S\r\n0\r\n\r\n", expand("$S").len()), Answer(&[400])),
            ("in a trailer", "$T", "22\r\n$C\r\n0\r\n$S", Refuse),
            ("in an extension", "$T", "22;$S\r\n$C\r\n0\r\n\r\n", Refuse),
            ("without a length", "", "$S", Answer(&[400, 404, 200])),
        ]),
    );
    check(
        &server,
        &rows(&[
            // A body that nobody wants is read to its end, too, or the connection ends.
            ("CL.0 on another path", "POST /x HTTP/1.1\r\n$Hcontent-length: 42\r\n\r\n$S", Answer(&[404])),
            ("CL.0 on GET", "GET / HTTP/1.1\r\n$Hcontent-length: 42\r\n\r\n$S", Answer(&[405])),
            ("CL.0 without credentials", "POST / HTTP/1.1\r\n$Hcontent-length: 42\r\n\r\n$S", Answer(&[401])),
            (
                "CL.0 with an upgrade",
                "POST / HTTP/1.1\r\n$H$Aupgrade: h2c\r\nconnection: upgrade\r\ncontent-length: 42\r\n\r\n$S",
                Answer(&[400, 200]),
            ),
            (
                "CL.0 that expects to be asked",
                "POST / HTTP/1.1\r\n$Hexpect: 100-continue\r\ncontent-length: 42\r\n\r\n$S",
                Answer(&[401]),
            ),
        ]),
    );
}

/// The preface of HTTP/2 (RFC 9113 section 3.4), with all that may follow it: the connection ends.
#[test]
fn http2() {
    let server = Server::start(&Folder::new(), "", "");
    let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    for more in [&[][..], &settings, &[0; 4096]] {
        let mut http = server.connect();
        http.write([b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", more].concat());
        assert!(http.try_read().is_none_or(|answer| matches!(answer.status, 400 | 505)));
        assert!(http.is_over());
    }
    assert_eq!(server.call("PhoneToUID", &[])["Code"], 0);
}
