//! Removes what collectors put around lines: CRI, Docker, journald, syslog.

use std::{
    borrow::Cow,
    io::{self, BufRead, Read as _},
};

use serde::Deserialize;

use super::prefix;
use crate::audit::chain::LINE_BYTES_MAX;

/// Maximum bytes of a line with the wrapping of collectors: as text in JSON, it is up to four times as long.
pub(super) const RAW_BYTES_MAX: usize = 4 * LINE_BYTES_MAX;

/// The beginning of each of our lines.
pub(super) const BEGIN: &[u8] = b"{\"time\":\"";

/// A piece of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Piece<'l> {
    /// A line that a program wrote to stdout, as far as is known.
    Message(&'l [u8]),
    /// A line that a program wrote to stderr, as the collector says.
    Aside(&'l [u8]),
    /// A line that is too long, or that its collector would not write.
    Unreadable,
    /// The beginning of a line whose end was never written.
    Torn(&'l [u8]),
}

/// Removes what collectors put around lines.
#[derive(Default)]
pub(super) struct Unwrap {
    /// The pieces so far of lines that a collector split: of stdout, and of stderr.
    pieces: [Vec<u8>; 2],
    /// The message that was put together last.
    message: Vec<u8>,
    /// The entry of a journal export that is being read.
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
    /// The piece that `line` holds or completes, and the number of the line where that piece began.
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

    /// The rest at the end of the log.
    pub(super) fn end(&mut self) -> Option<(u64, Piece<'_>)> {
        if self.entry.is_some() {
            return self.export_line(0, b"");
        }
        let is_broken = self.pieces.iter().any(|pieces| !pieces.is_empty());
        is_broken.then_some((0, Piece::Unreadable))
    }

    /// Adds a piece of a line that a collector split.
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
        // `journalctl -o json` writes null for long messages, unless it runs with `--all`.
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

    /// Whether `line` names a field of an export whose bytes follow. If so, whether that field is the message.
    pub(super) fn binary_field(&self, line: &[u8]) -> Option<bool> {
        let is_name = |byte: &u8| matches!(byte, b'A'..=b'Z' | b'0'..=b'9' | b'_');
        (self.entry.is_some() && !line.is_empty() && line.iter().all(is_name)).then_some(line == b"MESSAGE")
    }

    /// Skips the bytes of such a field: its length, its content, and a line end. None of our lines is one.
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

/// Whether the program wrote this journal entry to its stdout or stderr. Others are, for example, systemd's own
/// messages.
fn is_of_the_program(transport: &[u8]) -> bool {
    matches!(transport, b"" | b"stdout")
}
