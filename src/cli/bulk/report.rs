//! What is told of a run: the rows that failed, and counts. Never a value, unless somebody asked for them.

use std::{fmt, fmt::Write as _};

use zeroize::Zeroizing;

use super::{
    block::{Block, Fault, Holds},
    kind::{Damage, Kind},
    names::Names,
    output::Partial,
    progress::Progress,
    scan::Left,
};
use crate::{cli::failure::Failure, item::ItemError};

/// Rows that are told on stderr, one by one.
const TOLD_MAX: usize = 20;

/// Characters that are shown of a value.
const VALUE_CHARS_MAX: usize = 128;

/// Why one row failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub(super) enum RowError {
    /// Its value could not be mapped.
    Item(ItemError),
    /// It has more or fewer cells than the first row.
    WrongShape,
    /// A quote stands where RFC 4180 has none, or nothing closes one, or there is a NUL.
    WrongQuoting,
    /// It is longer than rows may be.
    TooLong,
    /// It is not UTF-8.
    NotUtf8,
    /// It has nothing where the JSON pointer points.
    MissingColumn,
    /// It is no JSON, or several JSON values.
    NotJson,
    /// A name that the JSON pointer names is in it twice.
    RepeatedKey,
    /// There is something else than a string of digits or a string.
    NotAString,
    /// It is no number, where only numbers are wanted.
    NotANumber,
    /// It is no number, and this is what happened to it. Where only numbers are wanted it is an error.
    Damaged(Damage),
    /// Beside its value is what reads as a number. Never an error of its own.
    NumberLeft,
}

impl RowError {
    const OWN: [Self; 15] = [
        Self::WrongShape,
        Self::WrongQuoting,
        Self::TooLong,
        Self::NotUtf8,
        Self::MissingColumn,
        Self::NotJson,
        Self::RepeatedKey,
        Self::NotAString,
        Self::NotANumber,
        Self::Damaged(Damage::ScientificNotation),
        Self::Damaged(Damage::Float),
        Self::Damaged(Damage::ExcelGuard),
        Self::Damaged(Damage::TwoNumbers),
        Self::Damaged(Damage::Label),
        Self::NumberLeft,
    ];

    const COUNT: usize = ItemError::ALL.len() + Self::OWN.len();

    fn all() -> impl Iterator<Item = Self> {
        ItemError::ALL.into_iter().map(Self::Item).chain(Self::OWN)
    }

    /// The error as it is written in reports.
    pub(super) fn code(self) -> &'static str {
        match self {
            Self::Item(error) => error.code(),
            Self::WrongShape => "wrong_shape",
            Self::WrongQuoting => "wrong_quoting",
            Self::TooLong => "too_long",
            Self::NotUtf8 => "not_utf8",
            Self::MissingColumn => "missing_column",
            Self::NotJson => "not_json",
            Self::RepeatedKey => "repeated_key",
            Self::NotAString => "not_a_string",
            Self::NotANumber => "not_a_number",
            Self::Damaged(damage) => damage.code(),
            Self::NumberLeft => "number_left",
        }
    }

    fn index(self) -> usize {
        match self {
            Self::Item(error) => error as usize,
            own => ItemError::ALL.len() + Self::OWN.iter().position(|other| *other == own).unwrap_or_default(),
        }
    }
}

/// How many rows there were, and what became of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) rows: u64,
    /// Rows that were mapped.
    pub(super) mapped: u64,
    /// Of these, UIDs that were under the primary key already.
    pub(super) unchanged: u64,
    /// Of these, UIDs that stood where a number is wanted.
    pub(super) already: u64,
    /// Of these, E.164 numbers, hotlines and other texts.
    pub(super) e164: u64,
    pub(super) hotlines: u64,
    pub(super) verbatim: u64,
    /// Of the other texts, those that something happened to.
    damaged: [u64; Damage::ALL.len()],
    /// Of the numbers, those that were mended before.
    pub(super) repaired: u64,
    /// Cells beside the column that have what reads as a number.
    pub(super) left: Left,
    /// Of the other texts, those that a spreadsheet would run.
    pub(super) formulas: u64,
    /// Rows without a value.
    pub(super) empty: u64,
    failed: [u64; RowError::COUNT],
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
}

impl Counts {
    pub(super) fn fail(&mut self, error: RowError) {
        self.failed[error.index()] += 1;
    }

    /// Counts what was mapped.
    pub(super) fn map(&mut self, kind: Kind) {
        self.mapped += 1;
        match kind {
            Kind::E164 => self.e164 += 1,
            Kind::Hotline => self.hotlines += 1,
            Kind::Verbatim(damage) => {
                self.verbatim += 1;
                damage.into_iter().for_each(|damage| self.damaged[damage as usize] += 1);
            }
            Kind::AlreadyUid => self.already += 1,
            Kind::Rewrapped => {}
        }
    }

    /// Whether a text was mapped as it stands, or a number may have stayed.
    pub(super) fn has_doubts(&self) -> bool {
        self.verbatim > 0 || self.left.total() > 0
    }

    pub(super) fn failed(&self) -> u64 {
        self.failed.iter().sum()
    }

    /// Whether not one row had a value where it was looked for.
    pub(super) fn found_no_column(&self) -> bool {
        let missing = self.failed[RowError::MissingColumn.index()];
        missing > 0 && self.mapped == 0 && self.failed() == missing
    }

    pub(super) fn add(&mut self, other: &Self) {
        let Self {
            rows,
            mapped,
            unchanged,
            already,
            e164,
            hotlines,
            verbatim,
            damaged,
            repaired,
            left,
            formulas,
            empty,
            failed,
            bytes_in,
            bytes_out,
        } = other;
        self.rows += rows;
        self.mapped += mapped;
        self.unchanged += unchanged;
        self.already += already;
        self.e164 += e164;
        self.hotlines += hotlines;
        self.verbatim += verbatim;
        self.damaged.iter_mut().zip(damaged).for_each(|(sum, count)| *sum += count);
        self.repaired += repaired;
        self.left.add(left);
        self.formulas += formulas;
        self.empty += empty;
        self.failed.iter_mut().zip(failed).for_each(|(sum, count)| *sum += count);
        self.bytes_in += bytes_in;
        self.bytes_out += bytes_out;
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {} mapped", self.rows, if self.rows == 1 { "row" } else { "rows" }, self.mapped)?;
        let parts = [
            (self.e164, "E.164"),
            (self.hotlines, "hotline"),
            (self.verbatim, "verbatim"),
            (self.unchanged, "under the primary key already"),
            (self.already, "already a UID"),
            (self.repaired, "repaired"),
            (self.formulas, "that a spreadsheet would run"),
        ];
        let damaged = Damage::ALL.iter().map(|damage| (self.damaged[*damage as usize], damage.code()));
        let mut separator = " (";
        for (count, name) in parts.into_iter().chain(damaged).filter(|(count, _)| *count > 0) {
            write!(f, "{separator}{count} {name}")?;
            separator = ", ";
        }
        f.write_str(if separator == ", " { ")" } else { "" })?;
        if self.empty > 0 {
            write!(f, ", {} empty", self.empty)?;
        }
        if self.failed() > 0 {
            write!(f, ", {} failed", self.failed())?;
        }
        let mut separator = " (";
        for (error, count) in RowError::all().zip(self.failed).filter(|(_, count)| *count > 0) {
            write!(f, "{separator}{count} {}", error.code())?;
            separator = ", ";
        }
        f.write_str(if separator == ", " { ")" } else { "" })
    }
}

impl Counts {
    /// The counts for programs.
    pub(super) fn to_json(&self) -> serde_json::Value {
        let failed = RowError::all().zip(self.failed).filter(|(_, count)| *count > 0);
        let failed: serde_json::Map<_, _> =
            failed.map(|(error, count)| (error.code().to_owned(), count.into())).collect();
        let damaged = Damage::ALL.iter().map(|damage| (*damage, self.damaged[*damage as usize]));
        let damaged: serde_json::Map<_, _> = damaged
            .filter(|(_, count)| *count > 0)
            .map(|(damage, count)| (damage.code().to_owned(), count.into()))
            .collect();
        serde_json::json!({
            "rows": self.rows, "mapped": self.mapped, "e164": self.e164, "hotlines": self.hotlines, "verbatim": self.verbatim,
            "damaged": damaged, "repaired": self.repaired, "formulas": self.formulas, "numbers_left": self.left.total(),
            "unchanged": self.unchanged, "already": self.already, "empty": self.empty, "failed": self.failed(), "errors": failed,
            "bytes_in": self.bytes_in, "bytes_out": self.bytes_out,
        })
    }
}

/// Whether values are told with the rows that failed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Values {
    Hidden,
    Shown,
}

/// Tells which rows failed: all of them to a file, or the first ones on stderr; and keeps those that
/// are left out.
pub(super) struct Report {
    file: Option<Partial>,
    rejects: Option<Partial>,
    values: Values,
    told: usize,
    /// Rows before the next block, a header included.
    rows: u64,
    pub(super) counts: Counts,
}

impl Report {
    pub(super) fn new(file: Option<Partial>, rejects: Option<Partial>, values: Values) -> Self {
        Self { file, rejects, values, told: 0, rows: 0, counts: Counts::default() }
    }

    /// There are rows of so many bytes that are not mapped: a header.
    pub(super) fn skip(&mut self, rows: u64, bytes: u64) {
        self.rows += rows;
        self.counts.bytes_in += bytes;
        self.counts.bytes_out += bytes;
    }

    /// Takes in what became of a block.
    pub(super) fn add(&mut self, block: &Block, names: &Names, progress: &Progress) -> Result<(), Failure> {
        if let Some(file) = &mut self.file {
            let mut text = Zeroizing::new(String::new());
            for fault in &block.done.faults {
                // Writing to a string cannot fail.
                let _ = writeln!(text, "{}", Line { fault, block, names, rows: self.rows, values: self.values });
            }
            file.write(text.as_bytes())?;
        } else {
            let left = TOLD_MAX.saturating_sub(self.told);
            for fault in block.done.faults.iter().filter(|fault| !fault.is_note).take(left) {
                progress.tell(Line { fault, block, names, rows: self.rows, values: self.values });
                self.told += 1;
            }
        }
        if let Some(rejects) = &mut self.rejects {
            let whole = (block.holds == Holds::MoreOfIt).then(|| 0..block.input().len());
            let places = block.done.faults.iter().filter_map(|fault| fault.left_out.clone()).chain(whole);
            places.into_iter().try_for_each(|place| rejects.write(&block.input()[place]))?;
        }
        self.rows += block.done.counts.rows;
        self.counts.add(&block.done.counts);
        Ok(())
    }

    /// The row after those that were taken in.
    pub(super) fn next_row(&self) -> u64 {
        self.rows + 1
    }

    /// Completes the files, and tells how many rows were not told one by one.
    pub(super) fn finish(&mut self, progress: &Progress) -> Result<(), Failure> {
        if let Some(rejects) = self.rejects.take() {
            rejects.finish()?;
        }
        match self.file.take() {
            Some(file) => file.finish(),
            None => {
                let untold = self.counts.failed() - self.told as u64;
                if untold > 0 {
                    progress.tell(format_args!("and {untold} more: --report FILE lists them all"));
                }
                Ok(())
            }
        }
    }
}

/// One line of a report.
struct Line<'a> {
    fault: &'a Fault,
    block: &'a Block,
    names: &'a Names,
    rows: u64,
    values: Values,
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "row {}", self.rows + self.fault.row + 1)?;
        if let Some(column) = &self.fault.column {
            write!(f, ", {}", self.names.of(column))?;
        }
        write!(f, ": {}", self.fault.error.code())?;
        let Some(value) = self.fault.value.clone().filter(|_| self.values == Values::Shown) else { return Ok(()) };
        let bytes = &self.block.input()[value];
        let text = Zeroizing::new(String::from_utf8_lossy(&bytes[..bytes.len().min(4 * VALUE_CHARS_MAX)]).into_owned());
        let shown = Zeroizing::new(text.chars().take(VALUE_CHARS_MAX).collect::<String>());
        write!(f, ": {:?}{}", *shown, if shown.len() < bytes.len() { "…" } else { "" })
    }
}
