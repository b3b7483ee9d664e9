//! How many rows a run had, and what their results were.

use std::fmt;

use super::{
    kind::{Damage, Kind},
    row_error::RowError,
    scan::Left,
};

/// How many rows a run had, and what their results were.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) rows: u64,
    /// Rows that were mapped.
    pub(super) mapped: u64,
    /// Of these, UIDs that were under the primary key already.
    pub(super) unchanged: u64,
    /// Of these, UIDs found where a number was expected.
    pub(super) already: u64,
    /// Of these, E.164 numbers, hotlines and other texts.
    pub(super) e164: u64,
    pub(super) hotlines: u64,
    pub(super) verbatim: u64,
    /// Of the other texts, those that show a known damage.
    damaged: [u64; Damage::ALL.len()],
    /// Of the numbers, those that were repaired before they were mapped.
    pub(super) repaired: u64,
    /// Cells outside the mapped columns that look like phone numbers.
    pub(super) left: Left,
    /// Of the other texts, those that a spreadsheet would run as formulas.
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

    /// Counts a value that was mapped.
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

    /// Whether a text was mapped verbatim, or a number may have stayed in another column.
    pub(super) fn has_doubts(&self) -> bool {
        self.verbatim > 0 || self.left.total() > 0
    }

    pub(super) fn failed(&self) -> u64 {
        self.failed.iter().sum()
    }

    /// Whether some rows lacked the column and no row had a value there.
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
