//! Maps the rows of a block: what one thread does with it.

use std::{borrow::Cow, iter, mem, ops::Range};

use memchr::memchr;
use smallvec::SmallVec;
use zeroize::{Zeroize as _, Zeroizing};

use super::{
    block::{Block, Done, Fault, Holds},
    form,
    kind::{self, Kind},
    layout::{self, Cell, Found, Layout, Row, Source},
    patch::Patch,
    report::{Counts, RowError},
    scan::Scan,
    task::{OnError, Style, Task},
};
use crate::{
    ids::KeyId,
    tokenizer::{Batch, ItemError, Mapped, Mode},
    uid::Uid,
    wire,
};

/// Rows that are mapped at once: enough to make little of what each batch costs, and few enough for near caches.
const ROWS_AT_ONCE: usize = 1024;

/// Maps blocks, on one thread.
pub(super) struct Mapper<'t, L> {
    task: &'t Task<'t>,
    layout: &'t L,
    batch: Batch<'t>,
    primary: KeyId,
    mapped: Mapped,
    rows: Vec<Row>,
    /// What else is in the rows.
    more: Vec<Found>,
    unescaped: Zeroizing<String>,
    /// Rows found last that were mended.
    repaired: u64,
    /// What is looked for beside the column.
    scan: Option<Scan<'t>>,
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
            more: Vec::new(),
            unescaped: Zeroizing::new(String::new()),
            repaired: 0,
            scan: (L::HAS_MORE && task.mode == Mode::PhoneToUid).then(|| Scan::new(task.numbering, layout.delimiter())),
        }
    }

    /// Maps all rows of `block`, or those before the first that fails where nothing more is wanted then.
    pub(super) fn map(&mut self, block: &mut Block) {
        match block.holds {
            Holds::Rows => {}
            Holds::LongRow => return self.leave_out_long_row(block),
            Holds::MoreOfIt => return block.done.counts.bytes_in = block.input().len() as u64,
        }
        let (input, done) = block.split();
        // Cells begin and end beside ASCII, so that each is as good as the whole.
        let text = str::from_utf8(input).ok();
        let mut at = 0;
        while at < input.len() && !done.stopped {
            at = self.find(input, text, at);
            // One allocation for many rows.
            let items: Vec<&str> = texts(&self.rows, &self.more, text.unwrap_or_default(), &self.unescaped).collect();
            self.batch.map(self.task.mode, &items, &mut self.mapped);
            match self.task.style {
                Style::Row => self.write(input, &items, done),
                Style::Object => self.write_objects(input, &items, done),
            }
            drop(items);
            self.mapped.clear();
        }
        done.counts.bytes_in = input.len() as u64;
        done.counts.bytes_out = done.output.len() as u64;
    }

    /// Leaves out a row that begins in `block` and is too long.
    fn leave_out_long_row(&self, block: &mut Block) {
        let (input, done) = block.split();
        done.counts.rows = 1;
        done.counts.bytes_in = input.len() as u64;
        done.counts.fail(RowError::TooLong);
        done.faults.push(Fault {
            row: 0,
            error: RowError::TooLong,
            value: None,
            is_note: false,
            left_out: Some(0..input.len()),
        });
        match (self.task.on_error, self.task.style) {
            (OnError::Fail, _) => done.stopped = true,
            (OnError::Blank | OnError::Keep, Style::Row) => done.output.extend_from_slice(L::LEFT_OUT),
            (OnError::Drop, _) | (_, Style::Object) => {}
        }
        done.counts.bytes_out = done.output.len() as u64;
    }

    /// Finds the next rows, and gives where they end.
    fn find(&mut self, input: &[u8], text: Option<&str>, mut at: usize) -> usize {
        self.rows.clear();
        self.more.clear();
        self.repaired = 0;
        self.unescaped.zeroize();
        let has_nul = L::NUL.is_some() && memchr(0, &input[at..]).is_some();
        while at < input.len() && self.rows.len() < ROWS_AT_ONCE {
            let mut row = self.layout.row(input, at, &mut self.unescaped, &mut self.more);
            at = row.end;
            if text.is_none() {
                self.check_encoding(input, &mut row);
            }
            if let (Some(error), true) = (L::NUL, has_nul)
                && memchr(0, &input[row.start..row.end]).is_some()
            {
                row.found = Found::Unfit(error);
            }
            if matches!(row.found, Found::Unfit(_)) {
                row.more = 0..0;
            }
            self.look_at(&mut row.found, text.unwrap_or_default());
            for at in row.more.clone() {
                let mut found = mem::replace(&mut self.more[at], Found::Nothing);
                self.look_at(&mut found, text.unwrap_or_default());
                self.more[at] = found;
            }
            self.rows.push(row);
        }
        at
    }

    /// Passes over a text that stands for there being none, and mends others where that is wanted.
    fn look_at(&mut self, found: &mut Found, text: &str) {
        let Found::Text(_, source) = found else { return };
        if self.is_null(source, text) {
            *found = Found::Nothing;
        } else if self.task.repairs {
            self.repair(source, text);
        }
    }

    /// Whether a text stands for there being none.
    fn is_null(&self, source: &Source, text: &str) -> bool {
        let found = source.of(text, &self.unescaped);
        self.task.nulls.iter().any(|null| null == found)
    }

    /// Leaves of a text the number that is in it, where that needs no guess.
    fn repair(&mut self, source: &mut Source, text: &str) {
        let found = source.of(text, &self.unescaped);
        let Some((_, number)) = kind::repair(found, self.task.numbering) else { return };
        let begin = number.as_ptr().addr() - found.as_ptr().addr();
        let (Source::Block(place) | Source::Unescaped(place)) = source;
        *place = place.start + begin..place.start + begin + number.len();
        self.repaired += 1;
    }

    /// Takes no text from a row that is not UTF-8. The others are in a block that is not, and their texts are copied.
    fn check_encoding(&mut self, input: &[u8], row: &mut Row) {
        if str::from_utf8(&input[row.start..row.end]).is_err() {
            row.found = Found::Unfit(L::NOT_UTF8);
            return;
        }
        for found in iter::once(&mut row.found).chain(&mut self.more[row.more.clone()]) {
            if let Found::Text(_, source) = found
                && let Source::Block(place) = source
            {
                let begin = self.unescaped.len();
                layout::push_lossy(&mut self.unescaped, &input[place.clone()]);
                *source = Source::Unescaped(begin..self.unescaped.len());
            }
        }
    }

    /// Writes the rows, with results in the place of cells.
    fn write(&self, input: &[u8], items: &[&str], done: &mut Done) {
        let Done { output, counts, faults, stopped } = done;
        counts.repaired += self.repaired;
        let mut outcomes = items.iter().zip(self.mapped.iter());
        let mut patch = Patch::new(input, output, self.rows.first().map_or(0, |row| row.start));
        for row in &self.rows {
            counts.rows += 1;
            let founds = row.founds(&self.more);
            let fates: SmallVec<[_; 1]> = founds.map(|found| self.fate(found, &mut outcomes, counts, faults)).collect();
            let errors = fates.iter().filter_map(|fate| fate.as_ref().err());
            let has_failed = errors.clone().next().is_some();
            let is_unfit = errors.clone().any(|(_, extent)| *extent == Extent::Row);
            let mut left_out = (is_unfit || self.task.on_error == OnError::Drop).then_some(row.start..row.end);
            for (error, extent) in errors {
                let (error, value, left_out) = (*error, extent.bytes(), left_out.take());
                counts.fail(error);
                faults.push(Fault { row: counts.rows - 1, error, value, is_note: false, left_out });
            }
            match self.task.on_error {
                OnError::Fail if has_failed => {
                    patch.copy_to(row.start);
                    *stopped = true;
                    return;
                }
                OnError::Drop if has_failed => {
                    patch.leave_out(row, b"");
                    continue;
                }
                _ if is_unfit => {
                    patch.leave_out(row, L::LEFT_OUT);
                    continue;
                }
                _ => {}
            }
            for fate in fates {
                match (fate, self.task.on_error) {
                    (Ok(Fate::Result(cell, text)), _) => {
                        patch.replace(cell, |out| self.layout.put(out, cell.form, &text));
                    }
                    (Err((_, Extent::Cell(cell))), OnError::Blank) => {
                        patch.replace(cell, |out| self.layout.put(out, cell.form, ""));
                    }
                    _ => {}
                }
            }
            if let Some(line_end) = L::ROW_END {
                patch.end_row(row, line_end);
            }
            if let Some(scan) = &self.scan {
                self.look(scan, input, row, counts, faults);
            }
        }
        patch.copy_to(self.rows.last().map_or(0, |row| row.end));
    }

    /// Counts the cells beside the column that have what reads as a number.
    fn look(&self, scan: &Scan<'_>, input: &[u8], row: &Row, counts: &mut Counts, notes: &mut Vec<Fault>) {
        let bytes = &input[row.start..row.end];
        let (mut last, mut from) = (None, row.start);
        let cells = row.founds(&self.more).filter_map(Found::place).chain(iter::once(row.end..row.end));
        for cell in cells {
            let part = mem::replace(&mut from, cell.end)..cell.start;
            scan.look(bytes, part.start - row.start..part.end - row.start, |at| {
                let label = self.layout.label(bytes, at);
                if last.as_ref() != Some(&label) {
                    counts.left.count(label.clone(), 1);
                    last = Some(label);
                }
            });
        }
        if last.is_some() {
            let row = counts.rows - 1;
            notes.push(Fault { row, error: RowError::NumberLeft, value: None, is_note: true, left_out: None });
        }
    }

    /// What becomes of a row; of one that fails, why, and what must not be seen of it.
    fn fate<'a>(
        &self,
        found: &'a Found,
        outcomes: &mut impl Iterator<Item = (&'a &'a str, Result<&'a str, ItemError>)>,
        counts: &mut Counts,
        notes: &mut Vec<Fault>,
    ) -> Result<Fate<'a>, (RowError, Extent<'a>)> {
        match found {
            Found::Text(cell, _) => {
                let (item, outcome) = outcomes.next().expect("each text has an outcome");
                let text = outcome.map_err(|error| (RowError::Item(error), Extent::Cell(cell)))?;
                let kind = Kind::of(self.task.mode, item, text, self.task.numbering);
                if let Kind::Verbatim(damage) = kind {
                    let error = damage.map_or(RowError::NotANumber, RowError::Damaged);
                    if self.task.only_numbers {
                        return Err((error, Extent::Cell(cell)));
                    }
                    if damage.is_some() {
                        let (row, value) = (counts.rows - 1, Some(cell.bytes.clone()));
                        notes.push(Fault { row, error, value, is_note: true, left_out: None });
                    }
                }
                counts.map(kind);
                if self.task.mode == Mode::UidToPhone && matches!(kind, Kind::Verbatim(_)) && form::is_formula(text) {
                    counts.formulas += 1;
                    if self.task.guards_formulas {
                        return Ok(Fate::Result(cell, form::guard(text).into()));
                    }
                }
                if !self.is_of_the_primary(item) {
                    return Ok(Fate::Result(cell, self.task.form.write(kind, text, self.task.numbering)));
                }
                counts.unchanged += 1;
                Ok(Fate::AsItWas)
            }
            Found::Nothing => {
                counts.empty += 1;
                Ok(Fate::AsItWas)
            }
            Found::Fault(error, cell) => Err((*error, cell.as_ref().map_or(Extent::Nothing, Extent::Cell))),
            Found::Unfit(error) => Err((*error, Extent::Row)),
        }
    }

    /// Writes an object for each row. Rows are lines here.
    fn write_objects(&self, input: &[u8], items: &[&str], done: &mut Done) {
        done.counts.repaired += self.repaired;
        let mut outcomes = items.iter().zip(self.mapped.iter()).peekable();
        for row in &self.rows {
            done.counts.rows += 1;
            let next = outcomes.peek().copied();
            let fate = self.fate(&row.found, &mut outcomes, &mut done.counts, &mut done.faults);
            if let Err((error, extent)) = &fate {
                done.counts.fail(*error);
                let is_left_out = *extent == Extent::Row || self.task.on_error == OnError::Drop;
                done.faults.push(Fault {
                    row: done.counts.rows - 1,
                    error: *error,
                    value: extent.bytes(),
                    is_note: false,
                    left_out: is_left_out.then_some(row.start..row.end),
                });
                match self.task.on_error {
                    OnError::Fail => {
                        done.stopped = true;
                        return;
                    }
                    OnError::Drop => continue,
                    OnError::Blank | OnError::Keep => {}
                }
            }
            let line = input[row.start..row.end].trim_ascii_end();
            let (item, outcome) = match (&row.found, next) {
                (Found::Text(..), Some((item, outcome))) => (*item, outcome),
                (Found::Nothing, _) => str::from_utf8(line).map_or(("", Ok("")), |line| (line, Ok(line))),
                _ => ("", Err(ItemError::InvalidNumber)),
            };
            let outcome = match &fate {
                Ok(Fate::AsItWas) => Ok(item),
                Ok(Fate::Result(_, text)) => Ok(&**text),
                Err(_) => outcome,
            };
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
fn texts<'a>(rows: &'a [Row], more: &'a [Found], text: &'a str, unescaped: &'a str) -> impl Iterator<Item = &'a str> {
    rows.iter().flat_map(|row| row.founds(more)).filter_map(move |found| match found {
        Found::Text(_, source) => Some(source.of(text, unescaped)),
        Found::Nothing | Found::Fault(..) | Found::Unfit(_) => None,
    })
}

/// What becomes of a row that does not fail.
enum Fate<'a> {
    AsItWas,
    Result(&'a Cell, Cow<'a, str>),
}

/// What must not be seen of a row that failed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Extent<'a> {
    Nothing,
    Cell(&'a Cell),
    Row,
}

impl Extent<'_> {
    fn bytes(self) -> Option<Range<usize>> {
        match self {
            Self::Cell(cell) => Some(cell.bytes.clone()),
            Self::Nothing | Self::Row => None,
        }
    }
}
