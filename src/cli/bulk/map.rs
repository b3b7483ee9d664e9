//! Maps the rows of a block, on one thread.

use std::{borrow::Cow, iter, mem, ops::Range};

use memchr::memchr;

use super::{
    block::{Block, Done, Fault, Holds},
    counts::Counts,
    form,
    kind::{self, Kind},
    layout::{self, Cell, Finds, Found, Layout, Row, Source},
    patch::Patch,
    row_error::RowError,
    scan::{Label, Labelled, Scan},
    task::{OnError, Style, Task},
};
use crate::{
    ids::KeyId,
    item::{ItemError, Mode},
    mapped::Mapped,
    phone::Numbering,
    tokenizer::batch::Batch,
    uid::Uid,
    wire,
};

/// Rows in one batch: enough to make the cost of a batch small, and few enough for the near caches.
const ROWS_AT_ONCE: usize = 1024;

/// Columns that the report names for one row in which numbers stayed.
const LEFT_NOTES_MAX: usize = 16;

/// Maps blocks, on one thread.
pub(super) struct Mapper<'t, L> {
    task: &'t Task<'t>,
    layout: &'t L,
    batch: Batch<'t>,
    primary: KeyId,
    mapped: Mapped,
    rows: Vec<Row>,
    finds: Finds,
    /// How many of the rows found last were repaired.
    repaired: u64,
    /// The scan outside the mapped columns.
    scan: Option<Scan<'t>>,
    /// Whether the rows found last may have digits outside ASCII.
    has_wide_digits: bool,
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
            finds: Finds::default(),
            repaired: 0,
            scan: (L::HAS_MORE && task.mode == Mode::PhoneToUid).then(|| Scan::new(task.numbering, layout.delimiter())),
            has_wide_digits: false,
        }
    }

    /// Maps all rows of `block`. If the run is to stop at an error, maps only the rows before the first that fails.
    pub(super) fn map(&mut self, block: &mut Block) {
        match block.holds {
            Holds::Rows => {}
            Holds::LongRow => return self.leave_out_long_row(block),
            Holds::MoreOfIt => return block.done.counts.bytes_in = block.input().len() as u64,
        }
        let (input, done) = block.split();
        // Cells begin and end beside ASCII, so each is valid UTF-8 if the whole is.
        let text = str::from_utf8(input).ok();
        let mut at = 0;
        while at < input.len() && !done.stopped {
            at = self.find(input, text, at);
            // This is one allocation for many rows.
            let items: Vec<&str> = self.finds.texts(text.unwrap_or_default()).collect();
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
        done.faults.push(Fault::failed(0, RowError::TooLong, None, Some(0..input.len())));
        match (self.task.on_error, self.task.style) {
            (OnError::Fail, _) => done.stopped = true,
            (OnError::Blank | OnError::Keep, Style::Row) => done.output.extend_from_slice(L::LEFT_OUT),
            (OnError::Drop, _) | (_, Style::Object) => {}
        }
        done.counts.bytes_out = done.output.len() as u64;
    }

    /// Finds the next rows, and returns where they end.
    fn find(&mut self, input: &[u8], text: Option<&str>, mut at: usize) -> usize {
        self.rows.clear();
        self.finds.clear();
        self.repaired = 0;
        let begin = at;
        let has_nul = L::NUL.is_some() && memchr(0, &input[at..]).is_some();
        while at < input.len() && self.rows.len() < ROWS_AT_ONCE {
            let (start, first) = (at, self.finds.founds.len());
            at = self.layout.row(input, start, &mut self.finds);
            let row = &input[start..at];
            if text.is_none() && str::from_utf8(row).is_err() {
                self.finds.replace(first, Found::Unfit(L::NOT_UTF8));
            }
            if let (Some(error), true) = (L::NUL, has_nul)
                && memchr(0, row).is_some()
            {
                self.finds.replace(first, Found::Unfit(error));
            }
            let Finds { founds, unescaped } = &mut self.finds;
            for found in &mut founds[first..] {
                let Found::Text(_, source) = found else { continue };
                if text.is_none() {
                    copy_out(source, input, unescaped);
                }
                let item = source.of(text.unwrap_or_default(), unescaped);
                if self.task.nulls.iter().any(|null| null == item) {
                    *found = Found::Nothing;
                } else if self.task.repairs
                    && let Some((_, number)) = kind::repair(item, self.task.numbering)
                {
                    let begin = number.as_ptr().addr() - item.as_ptr().addr();
                    source.narrow(begin..begin + number.len());
                    self.repaired += 1;
                }
            }
            self.rows.push(Row { start, end: at, founds: first..self.finds.founds.len() });
        }
        self.has_wide_digits = self.scan.is_some() && Scan::may_have_wide_digits(&input[begin..at]);
        at
    }

    /// Writes the rows, with the results in place of the cells.
    fn write(&self, input: &[u8], items: &[&str], done: &mut Done) {
        let Done { output, counts, faults, stopped } = done;
        counts.repaired += self.repaired;
        let mut outcomes = items.iter().zip(self.mapped.iter());
        let mut patch = Patch::new(input, output, self.rows.first().map_or(0, |row| row.start));
        for row in &self.rows {
            counts.rows += 1;
            let founds = &self.finds.founds[row.founds.clone()];
            let (mark, mut has_failed, mut is_unfit) = (patch.mark(), false, false);
            for (nth, found) in founds.iter().enumerate() {
                let (notes, column) = (faults.len(), || self.column(input, row, nth));
                let fate = self.fate(found, &mut outcomes, counts, faults);
                faults[notes..].iter_mut().for_each(|note| note.column = column());
                let (error, extent) = match fate {
                    Ok(Fate::AsItWas) => continue,
                    Ok(Fate::Result(cell, text)) => {
                        patch.replace(cell, |out| self.layout.put(out, cell.form, &text));
                        continue;
                    }
                    Err(error) => error,
                };
                is_unfit |= extent == Extent::Row;
                let is_left_out = !has_failed && (is_unfit || self.task.on_error == OnError::Drop);
                has_failed = true;
                counts.fail(error);
                let left_out = is_left_out.then_some(row.start..row.end);
                let fault = Fault::failed(counts.rows - 1, error, extent.bytes(), left_out);
                faults.push(Fault { column: column(), ..fault });
                if let (Extent::Cell(cell), OnError::Blank) = (extent, self.task.on_error) {
                    patch.replace(cell, |out| self.layout.put(out, cell.form, ""));
                }
            }
            match self.task.on_error {
                OnError::Fail if has_failed => {
                    patch.back_to(mark);
                    patch.copy_to(row.start);
                    *stopped = true;
                    return;
                }
                OnError::Drop if has_failed => {
                    patch.back_to(mark);
                    patch.leave_out(row, b"");
                    continue;
                }
                _ if is_unfit => {
                    patch.leave_out(row, L::LEFT_OUT);
                    continue;
                }
                _ => {}
            }
            if let Some(line_end) = L::ROW_END {
                patch.end_row(row, founds.last().and_then(Found::place), line_end);
            }
            if let Some(scan) = &self.scan {
                self.look(scan, input, row, counts, faults);
            }
        }
        patch.copy_to(self.rows.last().map_or(0, |row| row.end));
    }

    /// The column of the `nth` thing found in a row, if several columns are mapped.
    fn column(&self, input: &[u8], row: &Row, nth: usize) -> Option<Label> {
        let founds = &self.finds.founds[row.founds.clone()];
        let place = founds[nth].place().map(|place| place.start - row.start);
        if matches!(founds[nth], Found::Unfit(_)) {
            None
        } else {
            self.layout.column(&input[row.start..row.end], nth, place)
        }
    }

    /// Counts the cells outside the mapped columns that look like phone numbers.
    fn look(&self, scan: &Scan<'_>, input: &[u8], row: &Row, counts: &mut Counts, notes: &mut Vec<Fault>) {
        let bytes = &input[row.start..row.end];
        let (mut labelled, mut from) = (Labelled::default(), row.start);
        let (row_at, noted) = (counts.rows - 1, notes.len());
        let founds = &self.finds.founds[row.founds.clone()];
        let cells = founds.iter().filter_map(Found::place).chain(iter::once(row.end..row.end));
        for cell in cells {
            let part = mem::replace(&mut from, cell.end)..cell.start;
            let hit = |at| {
                let label = self.layout.label(bytes, at, &mut labelled);
                if labelled.label.as_ref() != Some(&label) {
                    counts.left.count(label.clone(), 1);
                    if notes.len() - noted < LEFT_NOTES_MAX {
                        let note = Fault::note(row_at, RowError::NumberLeft, None);
                        notes.push(Fault { column: Some(label.clone()), ..note });
                    }
                    labelled.label = Some(label);
                }
            };
            let part = part.start - row.start..part.end - row.start;
            if self.has_wide_digits { scan.look_wide(bytes, part, hit) } else { scan.look(bytes, part, hit) }
        }
    }

    /// What happens to a row. For one that fails: the error, and what must not be shown of it.
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
                let kind = Kind::of(self.task.mode, item, text, self.numbering(item));
                if let Kind::Verbatim(damage) = kind {
                    let error = damage.map_or(RowError::NotANumber, RowError::Damaged);
                    if self.task.only_numbers {
                        return Err((error, Extent::Cell(cell)));
                    }
                    if damage.is_some() {
                        notes.push(Fault::note(counts.rows - 1, error, Some(cell.bytes.clone())));
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

    /// Writes an object for each row. Here each row is a line.
    fn write_objects(&self, input: &[u8], items: &[&str], done: &mut Done) {
        done.counts.repaired += self.repaired;
        let mut outcomes = items.iter().zip(self.mapped.iter()).peekable();
        for row in &self.rows {
            done.counts.rows += 1;
            let next = outcomes.peek().copied();
            let found = &self.finds.founds[row.founds.start];
            let fate = self.fate(found, &mut outcomes, &mut done.counts, &mut done.faults);
            if let Err((error, extent)) = &fate {
                done.counts.fail(*error);
                let is_left_out = *extent == Extent::Row || self.task.on_error == OnError::Drop;
                let left_out = is_left_out.then_some(row.start..row.end);
                done.faults.push(Fault::failed(done.counts.rows - 1, *error, extent.bytes(), left_out));
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
            let (item, outcome) = match (found, next) {
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

    /// The numbering rules for `item`. A UID has the rules of its key.
    fn numbering(&self, item: &str) -> &Numbering {
        let Task { tokenizer, numbering, mode, has_one_numbering, .. } = self.task;
        let own = (*mode == Mode::UidToPhone && !has_one_numbering).then(|| tokenizer.numbering_of(item)).flatten();
        own.unwrap_or(numbering)
    }

    /// Whether `item`, a UID that opened, names the primary key and so stays as it is.
    fn is_of_the_primary(&self, item: &str) -> bool {
        self.task.mode == Mode::RewrapUid && Uid::parse(item).is_ok_and(|uid| uid.key_id == self.primary)
    }
}

/// Copies a text out of a block that is not UTF-8 as a whole.
fn copy_out(source: &mut Source, input: &[u8], unescaped: &mut String) {
    if let Source::Block(place) = source {
        let begin = unescaped.len();
        layout::push_lossy(unescaped, &input[place.clone()]);
        *source = Source::Unescaped(begin..unescaped.len());
    }
}

/// What happens to a row that does not fail.
enum Fate<'a> {
    AsItWas,
    Result(&'a Cell, Cow<'a, str>),
}

/// What must not be shown of a row that failed.
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
