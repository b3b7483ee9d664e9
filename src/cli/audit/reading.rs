//! What all commands of `callveil audit` share: they read logs, recognise our lines, and follow their chains.

use std::{
    collections::HashMap,
    fmt::Display,
    io::{self, IsTerminal as _},
    path::PathBuf,
};

use indicatif::ProgressBar;
use memchr::memmem::FinderRev;

use super::{
    bar::Bar,
    heads::{heads_of, is_own_log},
    outcome::{Outcome, Trouble, told},
    source::Source,
    unwrap::{BEGIN, Piece},
};
use crate::{
    audit::{
        chain::ChainedLine,
        verify::{Chains, Facts, Found, fault::Location},
    },
    cli::{failure::Failure, say::print},
};

/// The bytes between a line's time and the name of its event.
const EVENT: &[u8] = b"\",\"event\":\"";

/// Bytes of a time with microseconds.
const TIME_BYTES: usize = "2026-11-26T08:00:00.000000Z".len();

/// Maximum torn lines that are examined one by one.
const TORN_MAX: usize = 10_000;

/// A line of an audit log.
#[derive(Clone, Copy)]
pub(super) struct Line<'l> {
    pub(super) text: &'l [u8],
    pub(super) time: &'l str,
    pub(super) event: &'l str,
    bar: &'l ProgressBar,
}

impl Line<'_> {
    /// Prints a row about it: above the bar, if both go to a terminal.
    pub(super) fn print(&self, row: impl Display) -> Result<(), Failure> {
        if self.bar.is_hidden() || !io::stdout().is_terminal() { print(row) } else { self.bar.suspend(|| print(row)) }
    }
}

/// Whether a line could be understood.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Sense {
    Made,
    None,
}

/// The state of reading logs.
pub(super) struct Reading {
    names: Vec<String>,
    chains: Chains,
    /// Pieces that are not our lines, and the first of their locations.
    unreadable: Trouble,
    /// Our lines that belong to no chain, although they should.
    unchained: Trouble,
    /// Torn beginnings of lines, and whether each is at the end of its file.
    torn: Vec<(Location, bool)>,
    /// Files that could not be read to the end.
    broken: Vec<String>,
    lines: u64,
    in_no_chain: u64,
    finder: FinderRev<'static>,
}

impl Reading {
    /// Reads `logs`, gives each audit line to `each`, and follows the chains. If `heads` names logs of stderr, each
    /// chain must have a head there.
    pub(super) fn of(
        logs: &[PathBuf],
        heads: &[PathBuf],
        mut each: impl FnMut(Line<'_>) -> Result<Sense, Failure>,
    ) -> Result<Outcome, Failure> {
        let sources = Source::all(logs).map_err(Failure::failed)?;
        let mut reading = Self {
            names: sources.iter().map(|source| source.name().into_owned()).collect(),
            chains: Chains::new(if heads.is_empty() { HashMap::new() } else { heads_of(heads)? }),
            unreadable: Trouble::default(),
            unchained: Trouble::default(),
            torn: Vec::new(),
            broken: Vec::new(),
            lines: 0,
            in_no_chain: 0,
            finder: FinderRev::new(BEGIN),
        };
        let mut bar = Bar::new(&sources);
        for (file, source) in sources.iter().enumerate() {
            let read = source.read(file, &bar.read.clone(), |location, piece| {
                bar.look(location.line);
                reading.piece(location, piece, &bar.bar, &mut each).map_err(Stop::Told)
            });
            match read {
                Ok(()) => {}
                Err(Stop::Told(failure)) => return Err(failure),
                Err(Stop::Unreadable(error)) => {
                    reading.broken.push(format!("{}: cannot be read to its end: {error}", source.name()));
                }
            }
        }
        bar.bar.finish_and_clear();
        let mut outcome = reading.finish();
        if !heads.is_empty() {
            outcome.miss_heads();
        }
        Ok(outcome)
    }

    fn piece(
        &mut self,
        location: Location,
        piece: Piece<'_>,
        bar: &ProgressBar,
        each: &mut impl FnMut(Line<'_>) -> Result<Sense, Failure>,
    ) -> Result<(), Failure> {
        match piece {
            Piece::Aside(_) => Ok(()),
            Piece::Unreadable => {
                self.unreadable.note(location);
                Ok(())
            }
            Piece::Torn(text) => self.message(location, text, true, bar, each),
            Piece::Message(text) => self.message(location, text, false, bar, each),
        }
    }

    fn message(
        &mut self,
        location: Location,
        text: &[u8],
        is_last: bool,
        bar: &ProgressBar,
        each: &mut impl FnMut(Line<'_>) -> Result<Sense, Failure>,
    ) -> Result<(), Failure> {
        // All quotes inside a line's texts are escaped, so a second beginning means that the line before it was torn by
        // a crash.
        let begin = self.finder.rfind(text).unwrap_or(0);
        if begin > 0 {
            self.tear(location, false);
        }
        let text = &text[begin..];
        let link = ChainedLine::of(text);
        let Some((time, event)) = head_of(text).filter(|_| link.is_some() || is_json(text)) else {
            if BEGIN.starts_with(text) || text.starts_with(BEGIN) && link.is_none() {
                self.tear(location, is_last);
            } else if !is_own_log(text) {
                self.unreadable.note(location);
            }
            return Ok(());
        };
        self.lines += 1;
        match link {
            Some(link) => self.chains.add(link, Facts { location, time, is_end: event == "stop" }),
            None if event == "command" => self.in_no_chain += 1,
            None => self.unchained.note(location),
        }
        if each(Line { text, time, event, bar })? == Sense::None {
            self.unreadable.note(location);
        }
        Ok(())
    }

    fn tear(&mut self, location: Location, is_last: bool) {
        if self.torn.len() < TORN_MAX {
            self.torn.push((location, is_last));
        } else {
            self.unreadable.note(location);
        }
    }

    fn finish(mut self) -> Outcome {
        let report = self.chains.finish();
        let at = |location: Location| format!("{}:{}", self.names[location.file], location.line);
        let mut torn = Vec::new();
        for (location, is_last) in self.torn {
            // It follows the last line of a start without an end, or of a file that was moved away while its disk was
            // full.
            let follows = |found: &Found| {
                !found.is_ended && found.location.file == location.file && found.location.line + 1 == location.line
            };
            if is_last || report.chains.iter().any(follows) {
                torn.push(format!(
                    "{}: the beginning of a line, whose rest a crash or a full disk cut off",
                    at(location)
                ));
            } else {
                self.unreadable.note(location);
            }
        }
        let mut wrong = self.broken;
        let broken = wrong.len() as u64;
        let mut count = broken + report.count + self.unreadable.count + self.unchained.count;
        wrong.extend(report.faults.iter().map(|fault| told(fault, &at)));
        if report.count > report.faults.len() as u64 {
            wrong.push(format!("and {} more", report.count - report.faults.len() as u64));
        }
        for (trouble, what) in
            [(&self.unreadable, "no line of an audit log"), (&self.unchained, "a line in no chain: put in, or altered")]
        {
            wrong.extend(trouble.locations.iter().map(|location| format!("{}: {what}", at(*location))));
            let more = trouble.count - trouble.locations.len() as u64;
            if more > 0 {
                wrong.push(format!("and {more} more: {what}"));
            }
        }
        if self.lines == 0 && count == 0 && torn.is_empty() {
            wrong.push("there is no line of an audit log".to_owned());
            count += 1;
        }
        let (lines, in_no_chain, names) = (self.lines, self.in_no_chain, self.names.clone());
        Outcome { wrong, torn, count, chains: report.chains, lines, in_no_chain, names }
    }
}

/// The time of a line, and the name of its event.
fn head_of(text: &[u8]) -> Option<(&str, &str)> {
    let (time, rest) = text.strip_prefix(BEGIN)?.split_at_checked(TIME_BYTES)?;
    let rest = rest.strip_prefix(EVENT)?;
    let event = &rest[..memchr::memchr(b'"', rest)?];
    Some((str::from_utf8(time).ok()?, str::from_utf8(event).ok()?))
}

fn is_json(text: &[u8]) -> bool {
    serde_json::from_slice::<serde::de::IgnoredAny>(text).is_ok()
}

/// Why reading a log stopped.
enum Stop {
    Unreadable(io::Error),
    Told(Failure),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Unreadable(error)
    }
}

/// A count and its noun, such as `2 lines`.
pub(super) fn quantity(count: u64, what: impl Display) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}
