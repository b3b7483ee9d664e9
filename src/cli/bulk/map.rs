//! Maps the rows of a block: what one thread does with it.

use std::ops::Range;

use jiff::Timestamp;
use zeroize::{Zeroize as _, Zeroizing};

use super::{
    block::{Block, Done, Fault},
    layout::{self, Cell, Found, Layout, Row, Source},
    report::{Counts, RowError},
};
use crate::{
    ids::{Context, KeyId},
    tokenizer::{Batch, ItemError, Mapped, Mode, Tokenizer},
    uid::{self, Uid},
    wire,
};

/// Rows that are mapped at once: enough to make little of what each batch costs, and few enough for near caches.
const ROWS_AT_ONCE: usize = 1024;

/// Characters of the shortest E.164 number as it is dialled. A verbatim text of as many has a longer UID.
const DIALLED_CHARS_MIN: usize = 7;

/// What becomes of a row that cannot be mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum OnError {
    /// Stop before the first such row
    Fail,
    /// Leave its value empty
    Blank,
    /// Leave its value as it is
    Keep,
    /// Leave the row out
    Drop,
}

/// What is written of each row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// The row, with another value.
    Row,
    /// A JSON object with the value, and what became of it.
    Object,
}

/// Whether E.164 numbers and other texts are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Census {
    Taken,
    NotTaken,
}

/// What is done with every row, the same on all threads.
pub(super) struct Task<'t> {
    pub(super) tokenizer: &'t Tokenizer,
    pub(super) context: &'t Context,
    pub(super) now: Timestamp,
    pub(super) mode: Mode,
    pub(super) on_error: OnError,
    pub(super) style: Style,
    pub(super) census: Census,
}

/// Maps blocks, on one thread.
pub(super) struct Mapper<'t, L> {
    task: &'t Task<'t>,
    layout: &'t L,
    batch: Batch<'t>,
    primary: KeyId,
    mapped: Mapped,
    rows: Vec<Row>,
    unescaped: Zeroizing<String>,
}

impl<'t, L: Layout> Mapper<'t, L> {
    pub(super) fn new(task: &'t Task<'t>, layout: &'t L) -> Self {
        Self {
            task,
            layout,
            batch: task.tokenizer.batch(task.context, task.now),
            primary: task.tokenizer.ring().primary(task.now).id,
            mapped: Mapped::with_capacity(ROWS_AT_ONCE),
            rows: Vec::with_capacity(ROWS_AT_ONCE),
            unescaped: Zeroizing::new(String::new()),
        }
    }

    /// Maps all rows of `block`, or those before the first that fails where nothing more is wanted then.
    pub(super) fn map(&mut self, block: &mut Block) {
        let (input, done) = block.split();
        // Cells begin and end beside ASCII, so that each is as good as the whole.
        let text = str::from_utf8(input).ok();
        let mut at = 0;
        while at < input.len() && !done.stopped {
            at = self.find(input, text, at);
            // One allocation for many rows.
            let items: Vec<&str> = texts(&self.rows, text.unwrap_or_default(), &self.unescaped).collect();
            self.batch.map(self.task.mode, &items, &mut self.mapped);
            if self.task.census == Census::Taken {
                take_census(&mut self.batch, self.task.mode, &items, &self.mapped, &mut done.counts);
            }
            match self.task.style {
                Style::Row => self.write(input, &items, done),
                Style::Object => self.write_objects(&items, done),
            }
            drop(items);
            self.mapped.clear();
        }
        done.counts.bytes_in = input.len() as u64;
        done.counts.bytes_out = done.output.len() as u64;
    }

    /// Finds the next rows, and gives where they end.
    fn find(&mut self, input: &[u8], text: Option<&str>, mut at: usize) -> usize {
        self.rows.clear();
        self.unescaped.zeroize();
        while at < input.len() && self.rows.len() < ROWS_AT_ONCE {
            let mut row = self.layout.row(input, at, &mut self.unescaped);
            at = row.end;
            if text.is_none()
                && let Found::Text(_, source @ Source::Block(_)) = &mut row.found
            {
                let begin = self.unescaped.len();
                if let Source::Block(place) = source {
                    layout::push_lossy(&mut self.unescaped, &input[place.clone()]);
                }
                *source = Source::Unescaped(begin..self.unescaped.len());
            }
            self.rows.push(row);
        }
        at
    }

    /// Writes the rows, with results in the place of cells.
    fn write(&self, input: &[u8], items: &[&str], done: &mut Done) {
        let Done { output, counts, faults, stopped } = done;
        let mut outcomes = items.iter().zip(self.mapped.iter());
        let mut patch = Patch { input, output, copied: self.rows.first().map_or(0, |row| row.start) };
        for row in &self.rows {
            counts.rows += 1;
            match self.fate(row, &mut outcomes, counts) {
                Ok(Fate::Result(cell, text)) => patch.replace(cell, |out| self.layout.put(out, cell.form, text)),
                Ok(Fate::AsItWas) => {}
                Err((error, cell)) => {
                    counts.fail(error);
                    faults.push(Fault { row: counts.rows - 1, error, value: cell.map(|cell| cell.bytes.clone()) });
                    match (self.task.on_error, cell) {
                        (OnError::Fail, _) => {
                            patch.copy_to(row.start);
                            *stopped = true;
                            return;
                        }
                        (OnError::Drop, _) => {
                            patch.copy_to(row.start);
                            patch.copied = row.end;
                            continue;
                        }
                        (OnError::Blank, Some(cell)) => {
                            patch.replace(cell, |out| self.layout.put(out, cell.form, ""));
                        }
                        (OnError::Blank, None) | (OnError::Keep, _) => {}
                    }
                }
            }
            if let Some(line_end) = L::ROW_END {
                patch.end_row(row, line_end);
            }
        }
        patch.copy_to(self.rows.last().map_or(0, |row| row.end));
    }

    /// What becomes of a row; of one that fails, why, and what must not be seen of it.
    fn fate<'a>(
        &self,
        row: &'a Row,
        outcomes: &mut impl Iterator<Item = (&'a &'a str, Result<&'a str, ItemError>)>,
        counts: &mut Counts,
    ) -> Result<Fate<'a>, (RowError, Option<&'a Cell>)> {
        match &row.found {
            Found::Text(cell, _) => {
                let (item, outcome) = outcomes.next().expect("each text has an outcome");
                let text = outcome.map_err(|error| (RowError::Item(error), Some(cell)))?;
                counts.mapped += 1;
                // No UID has its own text inside, so that one that came back was one before.
                let is_already = item.len() >= text.len() && item.trim().eq_ignore_ascii_case(text);
                counts.already += u64::from(self.task.mode == Mode::PhoneToUid && is_already);
                if !self.is_of_the_primary(item) {
                    return Ok(Fate::Result(cell, text));
                }
                counts.unchanged += 1;
                Ok(Fate::AsItWas)
            }
            Found::Nothing => {
                counts.empty += 1;
                Ok(Fate::AsItWas)
            }
            Found::Fault(error, cell) => Err((*error, cell.as_ref())),
        }
    }

    /// Writes an object for each of the items, which are all that the rows hold.
    fn write_objects(&self, items: &[&str], done: &mut Done) {
        for ((row, item), outcome) in self.rows.iter().zip(items).zip(self.mapped.iter()) {
            done.counts.rows += 1;
            let outcome = match self.fate(row, &mut std::iter::once((item, outcome)), &mut done.counts) {
                Ok(Fate::AsItWas) => Ok(*item),
                Ok(Fate::Result(..)) | Err(_) => outcome,
            };
            if let Err(error) = outcome {
                let (error, value) = (RowError::Item(error), value_of(row));
                done.counts.fail(error);
                done.faults.push(Fault { row: done.counts.rows - 1, error, value });
                match self.task.on_error {
                    OnError::Fail => {
                        done.stopped = true;
                        return;
                    }
                    OnError::Drop => continue,
                    OnError::Blank | OnError::Keep => {}
                }
            }
            wire::item(&mut done.output, self.task.mode, item, outcome);
            done.output.push(b'\n');
        }
    }

    /// Whether `item`, a UID that opened, is to be left alone since it names the primary key.
    fn is_of_the_primary(&self, item: &str) -> bool {
        self.task.mode == Mode::RewrapUid && Uid::parse(item).is_ok_and(|uid| uid.key_id == self.primary)
    }
}

/// The texts of the rows that have one: in `text`, or unescaped.
fn texts<'a>(rows: &'a [Row], text: &'a str, unescaped: &'a str) -> impl Iterator<Item = &'a str> {
    rows.iter().filter_map(move |row| match &row.found {
        Found::Text(_, Source::Block(place)) => Some(&text[place.clone()]),
        Found::Text(_, Source::Unescaped(place)) => Some(&unescaped[place.clone()]),
        Found::Nothing | Found::Fault(..) => None,
    })
}

/// What becomes of a row that does not fail.
enum Fate<'a> {
    AsItWas,
    Result(&'a Cell, &'a str),
}

/// Copies rows, but for what is replaced.
struct Patch<'a> {
    input: &'a [u8],
    output: &'a mut Vec<u8>,
    /// Up to here the input is in the output, or left out.
    copied: usize,
}

impl Patch<'_> {
    fn copy_to(&mut self, end: usize) {
        self.output.extend_from_slice(&self.input[self.copied..end]);
        self.copied = end;
    }

    fn replace(&mut self, cell: &Cell, put: impl FnOnce(&mut Vec<u8>)) {
        self.copy_to(cell.bytes.start);
        put(self.output);
        self.copied = cell.bytes.end;
    }

    /// Ends a row with `line_end` instead of what is behind its text.
    fn end_row(&mut self, row: &Row, line_end: &[u8]) {
        let text_end = value_of(row).map_or(row.end, |value| value.end);
        self.copy_to(text_end.max(self.copied));
        self.output.extend_from_slice(line_end);
        self.copied = row.end;
    }
}

fn value_of(row: &Row) -> Option<Range<usize>> {
    match &row.found {
        Found::Text(cell, _) | Found::Fault(_, Some(cell)) => Some(cell.bytes.clone()),
        Found::Nothing | Found::Fault(_, None) => None,
    }
}

/// Counts, of what was mapped, E.164 numbers and other texts.
fn take_census(batch: &mut Batch<'_>, mode: Mode, items: &[&str], mapped: &Mapped, counts: &mut Counts) {
    // A longer UID than the shortest is a text's; that of a number that is short enough to be a text has to be opened.
    let is_short = |uid: &str| uid.trim().len() == uid::CHARS_MIN;
    let outcomes = items.iter().zip(mapped.iter()).filter_map(|(item, outcome)| Some((*item, outcome.ok()?)));
    let mut e164 = 0;
    let mut short: Vec<&str> = Vec::new();
    for (item, text) in outcomes {
        counts.verbatim += 1;
        match mode {
            Mode::UidToPhone => e164 += u64::from(is_short(item) && text.len() >= DIALLED_CHARS_MIN),
            _ if is_short(text) => short.push(text),
            _ => {}
        }
    }
    let mut opened = Mapped::default();
    batch.map(Mode::UidToPhone, &short, &mut opened);
    e164 += opened.iter().filter(|number| number.is_ok_and(|number| number.len() >= DIALLED_CHARS_MIN)).count() as u64;
    counts.e164 += e164;
    counts.verbatim -= e164;
}
