//! The prefixes that CRI and syslog put before a line. Pure.

/// Maximum bytes of a prefix.
const PREFIX_BYTES_MAX: usize = 1024;

/// A line of a container's log (Kubernetes CRI): `TIME stdout|stderr P|F TEXT`.
pub(super) struct Cri<'l> {
    pub(super) is_stderr: bool,
    /// Whether this piece completes the line.
    pub(super) is_whole: bool,
    pub(super) text: &'l [u8],
}

pub(super) fn cri(line: &[u8]) -> Option<Cri<'_>> {
    let (time, rest) = word(line)?;
    if !is_iso_time(time) {
        return None;
    }
    let (stream, rest) = word(rest)?;
    let is_stderr = match stream {
        b"stdout" => false,
        b"stderr" => true,
        _ => return None,
    };
    let (tags, text) = word(rest)?;
    let is_whole = match tags.split(|byte| *byte == b':').next()? {
        b"F" => true,
        b"P" => false,
        _ => return None,
    };
    Some(Cri { is_stderr, is_whole, text })
}

/// The message of a syslog line: RFC 5424, RFC 3164, or RFC 3164 with an ISO 8601 time.
pub(super) fn syslog(line: &[u8]) -> Option<&[u8]> {
    let rest = priority(line).unwrap_or(line);
    if let Some(rest) = rest.strip_prefix(b"1 ").filter(|_| rest.len() < line.len()) {
        return rfc5424(rest);
    }
    let rest = match rest {
        [b'A'..=b'Z', ..] => rest.get(15..).filter(|_| is_rfc3164_time(&rest[..15]))?.strip_prefix(b" ")?,
        _ => word(rest).filter(|(time, _)| is_iso_time(time))?.1,
    };
    let (_host, rest) = word(rest)?;
    let end = memchr::memmem::find(&rest[..rest.len().min(PREFIX_BYTES_MAX)], b": ")?;
    Some(&rest[end + 2..])
}

/// The text after `<N>`.
fn priority(line: &[u8]) -> Option<&[u8]> {
    let rest = line.strip_prefix(b"<")?;
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    rest[digits..].strip_prefix(b">").filter(|_| (1..=3).contains(&digits))
}

/// The text after time, host, program, process, message id and structured data.
fn rfc5424(line: &[u8]) -> Option<&[u8]> {
    let mut rest = line;
    for _ in 0..5 {
        rest = word(rest)?.1;
    }
    rest = match rest.strip_prefix(b"-") {
        Some(rest) => rest,
        None => structured_data(rest)?,
    };
    let message = rest.strip_prefix(b" ")?;
    Some(message.strip_prefix("\u{feff}".as_bytes()).unwrap_or(message))
}

/// The text after `[…][…]`. A `]` within quotes does not end an element.
fn structured_data(line: &[u8]) -> Option<&[u8]> {
    let (mut is_quoted, mut is_escaped, mut is_inside) = (false, false, false);
    for (at, byte) in line.iter().enumerate().take(PREFIX_BYTES_MAX) {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_quoted => is_escaped = true,
            b'"' if is_inside => is_quoted = !is_quoted,
            b'[' if !is_inside => is_inside = true,
            b']' if is_inside && !is_quoted => is_inside = false,
            b' ' if !is_inside && at > 0 => return Some(&line[at..]),
            _ if !is_inside => return None,
            _ => {}
        }
    }
    None
}

/// The first word, and the text after the space that follows it.
fn word(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let space = memchr::memchr(b' ', &line[..line.len().min(PREFIX_BYTES_MAX)])?;
    Some((&line[..space], &line[space + 1..]))
}

/// Whether the text is like `2026-11-26T…`.
fn is_iso_time(text: &[u8]) -> bool {
    let is_it = |(at, byte): (usize, &u8)| match at {
        4 | 7 => *byte == b'-',
        10 => *byte == b'T',
        _ => byte.is_ascii_digit(),
    };
    text.len() > 11 && text[..11].iter().enumerate().all(is_it)
}

/// Whether the text is like `Nov 26 08:00:00`.
fn is_rfc3164_time(text: &[u8]) -> bool {
    text.len() == 15 && text[3] == b' ' && text[6] == b' ' && text[9] == b':' && text[12] == b':'
}
