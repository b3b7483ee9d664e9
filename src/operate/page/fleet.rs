//! The page of all replicas, side by side.

use std::fmt::{self, Write as _};

use jiff::Timestamp;

use super::{
    look::{At, Column, Count, Name, Text, Tone, Words, begin, end, facts, heading, many, rest, says, table},
    timeline::{self, KEYS_MAX, Span, last_opened, next_activation},
};

/// The most replicas that are shown.
const REPLICAS_MAX: usize = 200;

/// The most sentences of each kind that are shown.
const SENTENCES_MAX: usize = 100;

/// The most replicas that are named for a missing key.
const NAMED_MAX: usize = 5;

/// Everything that the page shows.
#[derive(Clone, Debug)]
pub struct Fleet {
    /// When the replicas were asked.
    pub now: Timestamp,
    /// The version of the program that asked them.
    pub version: &'static str,
    /// What they said, in the order of their URLs.
    pub answers: Vec<(String, Result<Answer, String>)>,
    /// What is wrong.
    pub problems: Vec<String>,
    /// What may be done next, and what else is worth knowing.
    pub notes: Vec<String>,
    /// Name, generation and hash of the newest ring that any of them uses.
    pub ring: Option<(String, u64, String)>,
    /// The keys of that ring.
    pub keys: Vec<FleetKey>,
}

/// What one replica said.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The random name of this start of its process.
    pub instance: String,
    /// When it started.
    pub started: Timestamp,
    /// The generation of its ring.
    pub generation: u64,
    /// The hash of its ring.
    pub hash: String,
    /// The key with which it makes UIDs.
    pub primary: String,
    /// How its ring compares to the newest.
    pub lag: Lag,
    /// Why the ring on its disk is not in use, if it is refused.
    pub refused: Option<String>,
    /// Whose signatures the ring on its disk waits for.
    pub awaits: Option<String>,
    /// How many seconds its clock is ahead of ours, if that is worth telling.
    pub clock_ahead: Option<i64>,
}

/// How a replica's ring compares to the newest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lag {
    /// It is the newest.
    None,
    /// It is this many generations older.
    Behind(u64),
    /// It has the same generation but other content.
    Apart,
    /// It is another ring.
    OtherRing,
}

/// A key of the newest ring, and what the replicas did with it.
#[derive(Clone, Debug)]
pub struct FleetKey {
    /// The key over time.
    pub span: Span,
    /// The replicas that do not have it.
    pub missing_on: Vec<String>,
    /// UIDs of the key that the replicas opened since they started.
    pub opened: u64,
    /// When the last of them was opened.
    pub last_opened: Option<Timestamp>,
}

/// The page, as HTML.
pub fn fleet(fleet: &Fleet) -> String {
    let mut out = String::with_capacity(32 * 1024);
    fleet.write(&mut out).expect("a string takes everything");
    out
}

impl Fleet {
    fn write(&self, out: &mut String) -> fmt::Result {
        let problems = self.problems.len();
        match problems {
            0 => begin(out, "callveil replicas", "all is well", Tone::Good)?,
            some => begin(out, "callveil replicas", many(some, "problem"), Tone::Bad)?,
        }
        let (asked, answered) = (self.answers.len(), self.answers.iter().filter(|(_, answer)| answer.is_ok()).count());
        let now = At(self.now);
        writeln!(out, "<p class=\"dim\">As of {now}. {} asked, {answered} answered.</p>", many(asked, "replica"))?;
        if problems > 0 {
            heading(out, "What is wrong")?;
            sentences(out, &self.problems, Tone::Bad)?;
        }
        heading(out, "What may be done next")?;
        match self.notes.as_slice() {
            [] => writeln!(out, "<p>Nothing.</p>")?,
            notes => sentences(out, notes, Tone::Plain)?,
        }
        self.write_replicas(out)?;
        self.write_ring(out)?;
        let version = self.version;
        end(
            out,
            format_args!(
                "<p>Made by <code>callveil keys check</code>, version {version}. This page does not refresh itself.</p>"
            ),
        )
    }

    fn write_replicas(&self, out: &mut String) -> fmt::Result {
        heading(out, "Replicas")?;
        let rows: Vec<_> = self.answers.iter().take(REPLICAS_MAX).map(|(url, answer)| self.row(url, answer)).collect();
        let columns = [("Replica", Column::Name), ("State", Column::Text), ("Key ring", Column::Text)];
        table(out, "The replicas side by side", columns, &rows)?;
        rest(out, self.answers.len().saturating_sub(REPLICAS_MAX), "replica")
    }

    fn row(&self, url: &str, answer: &Result<Answer, String>) -> [String; 3] {
        match answer {
            Err(reason) => {
                let state = format!("<strong class=\"bad\">did not answer</strong><small>{}</small>", Text(reason));
                [Name(url).to_string(), state, "unknown".to_owned()]
            }
            Ok(answer) => {
                let (instance, up): (String, _) =
                    (answer.instance.chars().take(8).collect(), Words(answer.started, self.now));
                let (generation, hash, primary) = (Count(answer.generation), Text(&answer.hash), Text(&answer.primary));
                [
                    format!("{}<small>instance {}, up for {up}</small>", Name(url), Text(&instance)),
                    answer.state(),
                    format!("generation {generation}<small>{hash}</small><small>primary {primary}</small>"),
                ]
            }
        }
    }

    fn write_ring(&self, out: &mut String) -> fmt::Result {
        let Some((ring, generation, hash)) = &self.ring else { return Ok(()) };
        heading(out, "The newest key ring")?;
        facts(
            out,
            &[
                ("Generation", Count(*generation).to_string()),
                ("Hash", format!("<code>{}</code>", Text(hash))),
                ("Ring", format!("<code>{}</code>", Text(ring))),
            ],
        )?;
        let mut keys: Vec<&FleetKey> = self.keys.iter().collect();
        keys.sort_by_key(|key| key.span.rank());
        let left_out = keys.len().saturating_sub(KEYS_MAX);
        keys.truncate(KEYS_MAX);
        let spans: Vec<Span> = keys.iter().map(|key| key.span.clone()).collect();
        next_activation(out, &spans, self.now)?;
        timeline::draw(out, &spans, self.now)?;
        let rows: Vec<_> = keys.iter().map(|key| self.key_row(key)).collect();
        let columns =
            [("Key", Column::Name), ("State", Column::Text), ("Replicas", Column::Text), ("Opened", Column::Figure)];
        let caption = "The keys, and how many UIDs the replicas that answered have opened since they started";
        table(out, caption, columns, &rows)?;
        rest(out, left_out, "key")
    }

    fn key_row(&self, key: &FleetKey) -> [String; 4] {
        let mut on = "all have it".to_owned();
        if !key.missing_on.is_empty() {
            on = "<strong class=\"bad\">missing</strong> on ".to_owned();
            for (at, url) in key.missing_on.iter().take(NAMED_MAX).enumerate() {
                let _ = write!(on, "{}{}", if at > 0 { ", " } else { "" }, Name(url));
            }
            let left_out = key.missing_on.len().saturating_sub(NAMED_MAX);
            if left_out > 0 {
                let _ = write!(on, ", and {left_out} more");
            }
        }
        let state = format!("{}{}", key.span.says(self.now), last_opened(key.last_opened));
        [Text(&key.span.id).to_string(), state, on, Count(key.opened).to_string()]
    }
}

impl Answer {
    /// The state of the replica in words, as HTML.
    fn state(&self) -> String {
        let mut state = match self.lag {
            Lag::None => "<span class=\"good\">up to date</span>".to_owned(),
            Lag::Behind(by) => format!("<strong class=\"bad\">behind by {}</strong>", many_generations(by)),
            Lag::Apart => "<strong class=\"bad\">same generation, different content</strong>".to_owned(),
            Lag::OtherRing => "<strong class=\"bad\">another ring</strong>".to_owned(),
        };
        if let Some(reason) = &self.refused {
            let _ = write!(state, "<small>refuses its file: {}</small>", Text(reason));
        }
        if let Some(awaits) = &self.awaits {
            let _ = write!(state, "<small>its file is not in use yet: {}</small>", Text(awaits));
        }
        if let Some(ahead) = self.clock_ahead {
            let (by, which) = (Count(ahead.unsigned_abs()), if ahead > 0 { "ahead" } else { "behind" });
            let _ = write!(state, "<small>its clock is {by} s {which}</small>");
        }
        state
    }
}

fn many_generations(count: u64) -> String {
    many(usize::try_from(count).unwrap_or(usize::MAX), "generation")
}

fn sentences(out: &mut String, sentences: &[String], tone: Tone) -> fmt::Result {
    let shown: Vec<_> =
        sentences.iter().take(SENTENCES_MAX).map(|sentence| (tone, Text(sentence).to_string())).collect();
    says(out, &shown)?;
    rest(out, sentences.len().saturating_sub(SENTENCES_MAX), "sentence")
}
