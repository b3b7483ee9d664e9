//! Logs as they lie about: files, folders and stdin, plain or compressed, with what collectors put around each line.
//!
//! ```text
//! bytes -> gzip / zstd -> lines -> CRI, Docker, journald, syslog taken off -> messages
//! ```
//!
//! Nothing is kept of a log but the line that is being read.

use std::{
    borrow::Cow,
    fs::{self, File},
    io::{self, BufRead, BufReader, Read},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use serde::Deserialize;

use super::prefix;
use crate::{
    audit::{chain::LINE_BYTES_MAX, verify::Place},
    cli::container::Container,
};

/// Bytes of the longest line with what collectors put around it: as text in JSON, it is up to four times as long.
const RAW_BYTES_MAX: usize = 4 * LINE_BYTES_MAX;

/// Bytes that are read at a time.
const READ_BYTES: usize = 256 * 1024;

/// How deep folders may lie in folders.
const DEPTH_MAX: usize = 16;

/// How each line of ours begins.
pub(super) const BEGIN: &[u8] = b"{\"time\":\"";

/// A file, or stdin.
pub(super) struct Source {
    path: Option<PathBuf>,
}

impl Source {
    /// The files that `paths` name, and those of the folders among them; stdin where there is no path. A file is read once,
    /// however often it is named.
    pub(super) fn all(paths: &[PathBuf]) -> io::Result<Vec<Self>> {
        if paths.is_empty() {
            return Ok(vec![Self { path: None }]);
        }
        let mut files = Vec::new();
        for path in paths {
            add_files(path, 0, &mut files)
                .map_err(|error| io::Error::new(error.kind(), format!("cannot read {}: {error}", path.display())))?;
        }
        let mut seen = std::collections::HashSet::new();
        files.retain(|path| seen.insert(path.canonicalize().unwrap_or_else(|_| path.clone())));
        Ok(files.into_iter().map(|path| Self { path: Some(path) }).collect())
    }

    /// Its name, for people.
    pub(super) fn name(&self) -> Cow<'_, str> {
        self.path.as_deref().map_or("stdin".into(), Path::to_string_lossy)
    }

    /// How many bytes it has, where that is known.
    pub(super) fn bytes(&self) -> Option<u64> {
        fs::metadata(self.path.as_ref()?).ok().filter(fs::Metadata::is_file).map(|metadata| metadata.len())
    }

    /// Gives each message to `each`, and what is no message. The bytes that were read are added to `read`.
    pub(super) fn read<E: From<io::Error>>(
        &self,
        file: usize,
        read: &Arc<AtomicU64>,
        each: impl FnMut(Place, Piece<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let log: Box<dyn Read + Send> = match &self.path {
            Some(path) => Box::new(File::open(path)?),
            None => Box::new(io::stdin()),
        };
        let mut log = BufReader::with_capacity(READ_BYTES, Counted { log, read: read.clone() });
        let container = Container::of_content(log.fill_buf()?);
        read_lines(BufReader::with_capacity(READ_BYTES, container.unpack(log)?), file, each)
    }
}

fn add_files(path: &Path, depth: usize, files: &mut Vec<PathBuf>) -> io::Result<()> {
    if !fs::metadata(path)?.is_dir() {
        files.push(path.to_owned());
        return Ok(());
    }
    if depth >= DEPTH_MAX {
        return Err(io::Error::other("its folders are too deep"));
    }
    let mut entries = fs::read_dir(path)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    entries.sort();
    entries.iter().try_for_each(|entry| add_files(entry, depth + 1, files))
}

/// Counts the bytes of a log.
struct Counted<R> {
    log: R,
    read: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.log.read(buffer)?;
        self.read.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

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

fn read_lines<E: From<io::Error>>(
    mut log: impl BufRead,
    file: usize,
    mut each: impl FnMut(Place, Piece<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let (mut line, mut number, mut unwrap) = (Vec::new(), 0, Unwrap::default());
    loop {
        line.clear();
        let end = next_line(&mut log, &mut line)?;
        number += 1;
        let place = Place { file, line: number };
        match end {
            End::OfLog if line.is_empty() => {
                if let Some((line, piece)) = unwrap.end() {
                    each(Place { file, line }, piece)?;
                }
                return Ok(());
            }
            End::TooFar => each(place, Piece::Unreadable)?,
            // Collectors end what they write; only what was written to a file itself breaks off.
            End::OfLog if is_ours(&line) => each(place, Piece::Torn(&line))?,
            End::OfLine | End::OfLog => {
                if let Some(binary) = unwrap.binary_field(&line) {
                    unwrap.skip(&mut log, binary)?;
                } else if let Some((line, piece)) = unwrap.line(number, &line) {
                    each(Place { file, line }, piece)?;
                }
            }
        }
    }
}

/// Whether it begins as a line of ours does, as far as it goes.
fn is_ours(line: &[u8]) -> bool {
    line.starts_with(BEGIN) || BEGIN.starts_with(line)
}

/// How a line ends.
enum End {
    OfLine,
    OfLog,
    TooFar,
}

/// Reads the next line without its end; of one that is too long, nothing.
fn next_line(log: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<End> {
    let mut is_too_long = false;
    loop {
        let some = match log.fill_buf() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            some => some?,
        };
        let (end, is_over) = memchr::memchr(b'\n', some).map_or((some.len(), some.is_empty()), |end| (end, true));
        if line.len() + end > RAW_BYTES_MAX {
            is_too_long = true;
            line.clear();
        } else if !is_too_long {
            line.extend_from_slice(&some[..end]);
        }
        let is_end_of_log = some.is_empty();
        let used = end + usize::from(is_over && !is_end_of_log);
        log.consume(used);
        if is_over {
            return Ok(match (is_too_long, is_end_of_log) {
                (true, _) => End::TooFar,
                (false, true) => End::OfLog,
                (false, false) => End::OfLine,
            });
        }
    }
}

/// Takes off what collectors put around lines.
#[derive(Default)]
struct Unwrap {
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
    fn line<'l>(&'l mut self, number: u64, line: &'l [u8]) -> Option<(u64, Piece<'l>)> {
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
    fn end(&mut self) -> Option<(u64, Piece<'_>)> {
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
    fn binary_field(&self, line: &[u8]) -> Option<bool> {
        let is_name = |byte: &u8| matches!(byte, b'A'..=b'Z' | b'0'..=b'9' | b'_');
        (self.entry.is_some() && !line.is_empty() && line.iter().all(is_name)).then_some(line == b"MESSAGE")
    }

    /// Passes over the bytes of such a field: its length, itself, and a line end. No line of ours is one.
    fn skip(&mut self, log: &mut impl BufRead, is_message: bool) -> io::Result<()> {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(log: &[u8]) -> Vec<(u64, String)> {
        let mut pieces = Vec::new();
        read_lines(log, 0, |place, piece| {
            let (kind, text) = match piece {
                Piece::Message(text) => ("", text),
                Piece::Aside(text) => ("aside ", text),
                Piece::Unreadable => ("unreadable", &[][..]),
                Piece::Torn(text) => ("torn ", text),
            };
            pieces.push((place.line, format!("{kind}{}", String::from_utf8_lossy(text))));
            Ok::<(), io::Error>(())
        })
        .expect("it can be read");
        pieces
    }

    #[track_caller]
    fn check(log: &str, expected: &[(u64, &str)]) {
        let pieces = pieces(log.as_bytes());
        let pieces: Vec<_> = pieces.iter().map(|(line, text)| (*line, &**text)).collect();
        assert_eq!(pieces, expected, "{log}");
    }

    #[test]
    fn what_collectors_put_around_lines_is_taken_off() {
        let line = r#"{"time":"t","a":"é"}"#;
        check(&format!("{line}\n\n{line}\n"), &[(1, line), (3, line)]);
        let cri = "2026-11-26T08:00:00.123456789Z";
        check(
            &format!(
                "{cri} stdout F {line}\n{cri} stderr F x\n{cri} stdout P {{\"time\":\n{cri} stderr P y\n{cri} stdout F 1}}\n{cri} stderr F z\n"
            ),
            &[(1, line), (2, "aside x"), (5, "{\"time\":1}"), (6, "aside yz")],
        );
        let docker = |text: &str, stream: &str| {
            format!("{}\n", serde_json::json!({"log": text, "stream": stream, "time": "2026-11-26T08:00:00Z"}))
        };
        check(
            &[
                docker(&format!("{line}\n"), "stdout"),
                docker("{\"time", "stdout"),
                docker("x\n", "stderr"),
                docker("\":1}\n", "stdout"),
            ]
            .concat(),
            &[(1, line), (3, "aside x"), (4, "{\"time\":1}")],
        );
        check(&docker("never ended", "stdout"), &[(0, "unreadable")]);
        let journal = serde_json::json!({"MESSAGE": line, "_TRANSPORT": "stdout", "__CURSOR": "s=1"}).to_string();
        let of_systemd = serde_json::json!({"MESSAGE": "Started", "_TRANSPORT": "journal"}).to_string();
        check(&format!("{journal}\n{of_systemd}\n"), &[(1, line)]);
        check(
            &format!(
                "__CURSOR=s\nMESSAGE={line}\n_TRANSPORT=stdout\n\n__CURSOR=t\n_TRANSPORT=journal\nMESSAGE=Started\n\n__CURSOR=u\n_CMDLINE\n\u{4}\0\0\0\0\0\0\0a\n\nb\nMESSAGE={line}\n"
            ),
            &[(2, line), (11, line)],
        );
        check(
            &format!(
                "Nov 26 08:00:00 host callveil[7]: {line}\n<30>Nov  6 08:00:00 host callveil: {line}\n2026-11-26T08:00:00.5+00:00 host callveil[7]: {line}\n"
            ),
            &[(1, line), (2, line), (3, line)],
        );
        check(
            &format!(
                "<165>1 2026-11-26T08:00:00Z host callveil 7 - [a@1 b=\"]\\\"x\"][c] \u{feff}{line}\n<30>1 - - - - - - {line}\n"
            ),
            &[(1, line), (2, line)],
        );
    }

    #[test]
    fn what_is_no_line_is_told_of() {
        check("{\"time\":\"2026", &[(1, "torn {\"time\":\"2026")]);
        let long = "x".repeat(RAW_BYTES_MAX + 1);
        check(
            &format!("{long}\n{{\"time\":\"t\"}}\n{long}"),
            &[(1, "unreadable"), (2, "{\"time\":\"t\"}"), (3, "unreadable")],
        );
        check("{\"log\":\"\n", &[(1, "unreadable")]);
        check("hello\n", &[(1, "hello")]);
    }
}
