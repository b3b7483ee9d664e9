//! The report of a run: the rows that failed, and the counts. It shows values only if somebody asked for them.

use std::{fmt, fmt::Write as _};

use zeroize::Zeroizing;

use super::{
    block::{Block, Fault, Holds},
    counts::Counts,
    names::Names,
    output::UnfinishedFile,
    progress::Progress,
};
use crate::cli::failure::Failure;

/// Maximum rows that are reported one by one on stderr.
const TOLD_MAX: usize = 20;

/// Maximum characters that are shown of a value.
const VALUE_CHARS_MAX: usize = 128;

/// Whether the report shows the values that failed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Values {
    Hidden,
    Shown,
}

/// Reports which rows failed: all of them to a file, or the first ones on stderr. Also keeps the rows that are left
/// out.
pub(super) struct RowReport {
    file: Option<UnfinishedFile>,
    rejects: Option<UnfinishedFile>,
    values: Values,
    told: usize,
    /// Rows before the next block, including a header.
    rows: u64,
    pub(super) counts: Counts,
}

impl RowReport {
    pub(super) fn new(file: Option<UnfinishedFile>, rejects: Option<UnfinishedFile>, values: Values) -> Self {
        Self { file, rejects, values, told: 0, rows: 0, counts: Counts::default() }
    }

    /// Counts rows that are not mapped, such as a header, and their bytes.
    pub(super) fn skip(&mut self, rows: u64, bytes: u64) {
        self.rows += rows;
        self.counts.bytes_in += bytes;
        self.counts.bytes_out += bytes;
    }

    /// Adds the results of a block.
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

    /// The number of the row after those that were added.
    pub(super) fn next_row(&self) -> u64 {
        self.rows + 1
    }

    /// Completes the files, and says how many failed rows were not shown one by one.
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
