//! What collectors put around lines, taken off: CRI, Docker, journald, syslog.

use std::{
    borrow::Cow,
    io::{self, BufRead, Read as _},
};

use serde::Deserialize;

use super::prefix;
use crate::audit::chain::LINE_BYTES_MAX;

/// Bytes of the longest line with what collectors put around it: as text in JSON, it is up to four times as long.
pub(super) const RAW_BYTES_MAX: usize = 4 * LINE_BYTES_MAX;

/// How each line of ours begins.
pub(super) const BEGIN: &[u8] = b"{\"time\":\"";

/// Something in a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Piece<'l> {
    /// What a program wrote as a line, to stdout as far as that is known.
    Message(&'l [u8]),
    /// The same, to stderr, as a collector says.
    Aside(&'l [u8]),
    /// A line that is too long, or not what its collector writes.
    Unreadable,
    /// The beginning of a line whose end was never written.
    Torn(&'l [u8]),
}

/// Takes off what collectors put around lines.
#[derive(Default)]
pub(super) struct Unwrap {
    /// What a collector broke in pieces, so far: of stdout, and of stderr.
    pieces: [Vec<u8>; 2],
    /// The message that was last put together.
    message: Vec<u8>,
    /// The entry of a journal's export that is being read.
    entry: Option<JournalEntry>,
}

#[derive(Default)]
struct JournalEntry {
    message: Option<(u64, Vec<u8>)>,
    transport: Vec<u8>,
}

#[derive(Deserialize)]
struct DockerLine<'l> {
    #[serde(borrow)]
    log: Cow<'l, str>,
    #[serde(borrow, default)]
    stream: Cow<'l, str>,
}

#[derive(Deserialize)]
struct JournalLine<'l> {
    #[serde(borrow, rename = "MESSAGE")]
    message: Option<Cow<'l, str>>,
    #[serde(borrow, default, rename = "_TRANSPORT")]
    transport: Cow<'l, str>,
}

impl Unwrap {
    /// What `line` holds, or ends, and at which line that began.
    pub(super) fn line<'l>(&'l mut self, number: u64, line: &'l [u8]) -> Option<(u64, Piece<'l>)> {
        if self.entry.is_some() || line.starts_with(b"__CURSOR=") || line.starts_with(b"__REALTIME_TIMESTAMP=") {
            return self.export_line(number, line);
        }
        let piece = match line {
            b"" => None,
            _ if line.starts_with(BEGIN) => Some(Piece::Message(line)),
            _ if line.starts_with(b"{\"log\":\"") => self.docker_line(line),
            _ if line.starts_with(b"{") && memchr::memmem::find(line, b"\"MESSAGE\"").is_some() => {
                self.journal_line(line)
            }
            _ if line.starts_with(b"{") => Some(Piece::Message(line)),
            _ => match prefix::cri(line) {
                Some(cri) => self.join(cri.is_stderr, cri.is_whole, cri.text),
                None => Some(Piece::Message(prefix::syslog(line).unwrap_or(line))),
            },
        };
        piece.map(|piece| (number, piece))
    }

    /// What is left when the log is over.
    pub(super) fn end(&mut self) -> Option<(u64, Piece<'_>)> {
        if self.entry.is_some() {
            return self.export_line(0, b"");
        }
        let is_broken = self.pieces.iter().any(|pieces| !pieces.is_empty());
        is_broken.then_some((0, Piece::Unreadable))
    }

    /// Adds a piece of a line that a collector broke.
    fn join(&mut self, is_stderr: bool, is_whole: bool, text: &[u8]) -> Option<Piece<'_>> {
        let pieces = &mut self.pieces[usize::from(is_stderr)];
        if pieces.len() + text.len() > RAW_BYTES_MAX {
            pieces.clear();
            return Some(Piece::Unreadable);
        }
        pieces.extend_from_slice(text);
        if !is_whole {
            return None;
        }
        self.message.clear();
        self.message.append(pieces);
        Some(if is_stderr { Piece::Aside(&self.message) } else { Piece::Message(&self.message) })
    }

    fn docker_line(&mut self, line: &[u8]) -> Option<Piece<'_>> {
        let Ok(DockerLine { log, stream }) = serde_json::from_slice::<DockerLine<'_>>(line) else {
            return Some(Piece::Unreadable);
        };
        let whole = log.strip_suffix('\n');
        self.join(stream == "stderr", whole.is_some(), whole.unwrap_or(&log).as_bytes())
    }

    fn journal_line(&mut self, line: &[u8]) -> Option<Piece<'_>> {
        let Ok(JournalLine { message, transport }) = serde_json::from_slice::<JournalLine<'_>>(line) else {
            return Some(Piece::Unreadable);
        };
        if !is_of_the_program(transport.as_bytes()) {
            return None;
        }
        // `journalctl -o json` writes null for what is long, unless it is told `--all`.
        let Some(message) = message else { return Some(Piece::Unreadable) };
        self.message.clear();
        self.message.extend_from_slice(message.as_bytes());
        Some(Piece::Message(&self.message))
    }

    fn export_line(&mut self, number: u64, line: &[u8]) -> Option<(u64, Piece<'_>)> {
        if line.is_empty() {
            let JournalEntry { message, transport } = self.entry.take()?;
            let (number, message) = message.filter(|_| is_of_the_program(&transport))?;
            self.message = message;
            return Some((number, Piece::Message(&self.message)));
        }
        let entry = self.entry.get_or_insert_default();
        if let Some(message) = line.strip_prefix(b"MESSAGE=") {
            entry.message = Some((number, message.to_owned()));
        } else if let Some(transport) = line.strip_prefix(b"_TRANSPORT=") {
            entry.transport = transport.to_owned();
        }
        None
    }

    /// Whether `line` names a field of an export whose bytes follow, and if so whether it is the message.
    pub(super) fn binary_field(&self, line: &[u8]) -> Option<bool> {
        let is_name = |byte: &u8| matches!(byte, b'A'..=b'Z' | b'0'..=b'9' | b'_');
        (self.entry.is_some() && !line.is_empty() && line.iter().all(is_name)).then_some(line == b"MESSAGE")
    }

    /// Passes over the bytes of such a field: its length, itself, and a line end. No line of ours is one.
    pub(super) fn skip(&mut self, log: &mut impl BufRead, is_message: bool) -> io::Result<()> {
        let mut length = [0; 8];
        log.read_exact(&mut length)?;
        let length = u64::from_le_bytes(length).saturating_add(1);
        if io::copy(&mut log.take(length), &mut io::sink())? < length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if let Some(entry) = self.entry.as_mut().filter(|_| is_message) {
            entry.message = Some((0, Vec::new()));
        }
        Ok(())
    }
}

/// Whether a journal's entry is what a program wrote to its stdout or stderr, and not, say, what systemd tells of it.
fn is_of_the_program(transport: &[u8]) -> bool {
    matches!(transport, b"" | b"stdout")
}
