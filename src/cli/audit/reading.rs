//! What all of `callveil audit` do: read logs, tell lines of ours from all else, and follow their chains.

use std::{
    collections::HashMap,
    fmt::Display,
    io::{self, IsTerminal as _},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use memchr::memmem::FinderRev;
use serde::Deserialize;

use super::{
    Name,
    input::{BEGIN, Piece, Source},
};
use crate::{
    audit::{
        chain::{Head, Instance, LineHash, Link},
        verify::{Chains, Facts, Fault, Found, Place, Wrong},
    },
    cli::{
        failure::Failure,
        say::{print, tell},
    },
};

/// What stands between a line's time and the name of its event.
const EVENT: &[u8] = b"\",\"event\":\"";

/// Bytes of a time with microseconds.
const TIME_BYTES: usize = "2026-11-26T08:00:00.000000Z".len();

/// Places that are shown of each kind of trouble.
const SHOWN: usize = 10;

/// Torn lines that are looked at one by one.
const TORN_MAX: usize = 10_000;

/// What takes no longer has no bar.
const BAR_AFTER: Duration = Duration::from_millis(500);

/// Lines between two looks at the bar.
const LINES_A_LOOK: u64 = 4096;

/// A line of an audit log.
#[derive(Clone, Copy)]
pub(super) struct Line<'l> {
    pub(super) text: &'l [u8],
    pub(super) time: &'l str,
    pub(super) event: &'l str,
    bar: &'l ProgressBar,
}

impl Line<'_> {
    /// Prints a row about it: above the bar, where both go to a terminal.
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

/// Logs that were read.
pub(super) struct Reading {
    names: Vec<String>,
    chains: Chains,
    /// Pieces that are no lines of ours, and the first of their places.
    unreadable: Trouble,
    /// Lines of ours that are in no chain, though they ought to be.
    unchained: Trouble,
    /// Beginnings of lines, and whether each is the end of its file.
    torn: Vec<(Place, bool)>,
    /// Files that could not be read to their end.
    broken: Vec<String>,
    lines: u64,
    in_no_chain: u64,
    finder: FinderRev<'static>,
}

#[derive(Default)]
struct Trouble {
    count: u64,
    places: Vec<Place>,
}

impl Trouble {
    fn note(&mut self, place: Place) {
        self.count += 1;
        if self.places.len() < SHOWN {
            self.places.push(place);
        }
    }
}

/// What came of it.
pub(super) struct Outcome {
    /// What is wrong, for people.
    pub(super) wrong: Vec<String>,
    /// What was torn by a crash.
    pub(super) torn: Vec<String>,
    /// How many things are wrong.
    pub(super) count: u64,
    pub(super) chains: Vec<Found>,
    pub(super) lines: u64,
    pub(super) in_no_chain: u64,
    names: Vec<String>,
}

impl Reading {
    /// Reads `logs`, gives each line of an audit log to `each`, and follows the chains. Where there are logs of stderr, in
    /// `heads`, each chain must have a head there.
    pub(super) fn of(
        logs: &[PathBuf],
        heads: &[PathBuf],
        mut each: impl FnMut(Line<'_>) -> Result<Sense, Failure>,
    ) -> Result<Outcome, Failure> {
        let sources = Source::all(logs).map_err(Failure::failed)?;
        let mut reading = Self {
            names: sources.iter().map(|source| source.name().into_owned()).collect(),
            chains: Chains::new(if heads.is_empty() { HashMap::new() } else { known(heads)? }),
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
            let read = source.read(file, &bar.read.clone(), |place, piece| {
                bar.look(place.line);
                reading.piece(place, piece, &bar.bar, &mut each).map_err(Stop::Told)
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
        place: Place,
        piece: Piece<'_>,
        bar: &ProgressBar,
        each: &mut impl FnMut(Line<'_>) -> Result<Sense, Failure>,
    ) -> Result<(), Failure> {
        match piece {
            Piece::Aside(_) => Ok(()),
            Piece::Unreadable => {
                self.unreadable.note(place);
                Ok(())
            }
            Piece::Torn(text) => self.message(place, text, true, bar, each),
            Piece::Message(text) => self.message(place, text, false, bar, each),
        }
    }

    fn message(
        &mut self,
        place: Place,
        text: &[u8],
        is_last: bool,
        bar: &ProgressBar,
        each: &mut impl FnMut(Line<'_>) -> Result<Sense, Failure>,
    ) -> Result<(), Failure> {
        // No text in a line has a quote that is not escaped: a second beginning follows a line that a crash tore.
        let begin = self.finder.rfind(text).unwrap_or(0);
        if begin > 0 {
            self.tear(place, false);
        }
        let text = &text[begin..];
        let link = Link::of(text);
        let Some((time, event)) = head_of(text).filter(|_| link.is_some() || is_json(text)) else {
            if BEGIN.starts_with(text) || text.starts_with(BEGIN) && link.is_none() {
                self.tear(place, is_last);
            } else if !is_own_log(text) {
                self.unreadable.note(place);
            }
            return Ok(());
        };
        self.lines += 1;
        match link {
            Some(link) => self.chains.add(link, Facts { place, time, is_end: event == "stop" }),
            None if event == "command" => self.in_no_chain += 1,
            None => self.unchained.note(place),
        }
        if each(Line { text, time, event, bar })? == Sense::None {
            self.unreadable.note(place);
        }
        Ok(())
    }

    fn tear(&mut self, place: Place, is_last: bool) {
        if self.torn.len() < TORN_MAX {
            self.torn.push((place, is_last));
        } else {
            self.unreadable.note(place);
        }
    }

    fn finish(mut self) -> Outcome {
        let report = self.chains.finish();
        let at = |place: Place| format!("{}:{}", self.names[place.file], place.line);
        let mut torn = Vec::new();
        for (place, is_last) in self.torn {
            // After the last line of a start that has no end, or of a file that was moved away while its disk was full.
            let follows =
                |found: &Found| !found.is_ended && found.place.file == place.file && found.place.line + 1 == place.line;
            if is_last || report.chains.iter().any(follows) {
                torn.push(format!("{}: the beginning of a line, whose rest a crash or a full disk cut off", at(place)));
            } else {
                self.unreadable.note(place);
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
            wrong.extend(trouble.places.iter().map(|place| format!("{}: {what}", at(*place))));
            let more = trouble.count - trouble.places.len() as u64;
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

impl Outcome {
    /// Where something stands, for people.
    pub(super) fn at(&self, place: Place) -> String {
        format!("{}:{}", self.names[place.file], place.line)
    }

    /// Notes the starts of which the logs of stderr tell nothing.
    fn miss_heads(&mut self) {
        let unknown = self.chains.iter().filter(|found| !found.has_head);
        let told: Vec<_> = unknown
            .map(|found| {
                let (place, name) = (self.at(found.place), Name(&found.instance));
                format!("{place}: {name} is a start of which the logs of stderr tell nothing")
            })
            .collect();
        self.count += told.len() as u64;
        self.wrong.extend(told);
    }

    /// Starts of which no end was found: each may go on, or a crash may have cut it off.
    pub(super) fn open(&self) -> impl Iterator<Item = &Found> {
        self.chains.iter().filter(|found| !found.is_ended)
    }

    /// Tells what is wrong, on stderr, and fails where anything is.
    pub(super) fn judge(&self) -> Result<(), Failure> {
        for what in self.torn.iter().chain(&self.wrong) {
            tell(what);
        }
        match self.count + self.torn.len() as u64 {
            0 => Ok(()),
            1 => Err(Failure::failed("these logs do not tell all: see above (`callveil audit verify` tells more)")),
            count => Err(Failure::failed(format_args!(
                "these logs do not tell all, for {count} reasons: see above (`callveil audit verify` tells more)"
            ))),
        }
    }
}

/// A fault, for people.
fn told(fault: &Fault, at: &impl Fn(Place) -> String) -> String {
    let place = fault.place.map(|place| format!("{}: ", at(place))).unwrap_or_default();
    let lines = if fault.first == fault.last {
        format!("line {} of {}", fault.first, Name(&fault.instance))
    } else {
        format!("lines {} to {} of {}", fault.first, fault.last, Name(&fault.instance))
    };
    let what = match fault.wrong {
        Wrong::Altered => "does not fit the one before: one of them was altered",
        Wrong::Repeated => "is there twice",
        Wrong::Reordered => "stands behind one that follows it",
        Wrong::Moved => "not here, but in another file",
        Wrong::Missing => "missing before this",
        Wrong::Cut => "missing, though the log on stderr tells of the last of them",
        Wrong::Remade => "is not the line that the log on stderr tells of: the chain was made anew",
        Wrong::TooMuch => "and more: too much is out of order to be told",
    };
    format!("{place}{lines}: {what}")
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

/// A line of callveil's own log on stderr.
#[derive(Deserialize)]
struct OwnLog<'l> {
    #[expect(dead_code, reason = "it only has to be there")]
    timestamp: &'l str,
    #[expect(dead_code, reason = "it only has to be there")]
    level: &'l str,
    target: &'l str,
    #[serde(default)]
    message: String,
    #[serde(default)]
    instance: String,
    #[serde(default)]
    lines: u64,
    #[serde(default)]
    hash: String,
}

/// Whether it is a line of the log on stderr, which some collect together with the audit log.
fn is_own_log(text: &[u8]) -> bool {
    serde_json::from_slice::<OwnLog<'_>>(text).is_ok_and(|log| log.target.starts_with("callveil"))
}

/// The last head of each chain that logs of stderr tell of.
fn known(logs: &[PathBuf]) -> Result<HashMap<Instance, Head>, Failure> {
    let mut heads: HashMap<Instance, Head> = HashMap::new();
    let read = Arc::new(AtomicU64::new(0));
    for source in Source::all(logs).map_err(Failure::failed)? {
        let read = source.read(0, &read, |_, piece| {
            let (Piece::Message(text) | Piece::Aside(text)) = piece else { return Ok(()) };
            let Ok(log) = serde_json::from_slice::<OwnLog<'_>>(text) else { return Ok(()) };
            if let (Ok(instance), Some(hash), "audit head") =
                (log.instance.as_bytes().try_into(), LineHash::from_hex(log.hash.as_bytes()), &*log.message)
            {
                let head = heads.entry(instance).or_default();
                if head.lines < log.lines {
                    *head = Head { lines: log.lines, hash };
                }
            }
            Ok::<(), io::Error>(())
        });
        read.map_err(|error| Failure::failed(format_args!("cannot read {}: {error}", source.name())))?;
    }
    if heads.is_empty() {
        return Err(Failure::failed("no log of stderr tells of an \"audit head\""));
    }
    Ok(heads)
}

/// Why a log is read no further.
enum Stop {
    Unreadable(io::Error),
    Told(Failure),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Unreadable(error)
    }
}

/// The bar on a terminal.
struct Bar {
    bar: ProgressBar,
    began: Instant,
    read: Arc<AtomicU64>,
}

impl Bar {
    fn new(sources: &[Source]) -> Self {
        let bytes: Option<u64> = sources.iter().map(Source::bytes).sum();
        let bar = bytes.map_or_else(ProgressBar::no_length, ProgressBar::new);
        bar.set_draw_target(ProgressDrawTarget::hidden());
        let template = match bytes {
            Some(_) => "{bar:32} {percent:>3} %  {bytes_per_sec}, {eta} left",
            None => "{spinner} {bytes} read  {bytes_per_sec}, {elapsed} so far",
        };
        bar.set_style(ProgressStyle::with_template(template).expect("the template is right"));
        Self { bar, began: Instant::now(), read: Arc::default() }
    }

    fn look(&mut self, line: u64) {
        if !line.is_multiple_of(LINES_A_LOOK) {
            return;
        }
        self.bar.set_position(self.read.load(Ordering::Relaxed));
        if self.bar.is_hidden() && self.began.elapsed() > BAR_AFTER {
            // Where stderr is no terminal, it stays hidden.
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
            self.began = Instant::now();
        }
    }
}

/// So many of `what`.
pub(super) fn quantity(count: u64, what: impl Display) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}
