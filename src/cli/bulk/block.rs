//! What goes round through the threads: rows that were read, what became of them, and then the room for the next ones.

use std::ops::Range;

use zeroize::Zeroizing;

use super::{counts::Counts, row_error::RowError, scan::Label};

/// Bytes of the longest row.
pub(super) const ROW_BYTES_MAX: usize = 1024 * 1024;

/// Whole rows, and what became of them.
#[derive(Default)]
pub(super) struct Block {
    /// Room that is read into; it stays initialised beyond what is filled.
    room: Zeroizing<Vec<u8>>,
    filled: usize,
    pub(super) holds: Holds,
    pub(super) done: Done,
}

/// What the bytes of a block are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Holds {
    /// Whole rows.
    #[default]
    Rows,
    /// The beginning of a row that is too long.
    LongRow,
    /// More of that row.
    MoreOfIt,
}

/// What became of the rows of a block.
#[derive(Default)]
pub(super) struct Done {
    pub(super) output: Zeroizing<Vec<u8>>,
    pub(super) counts: Counts,
    pub(super) faults: Vec<Fault>,
    /// Whether a row failed after which nothing more is wanted.
    pub(super) stopped: bool,
}

/// A row that failed, or of which the report tells something else.
pub(super) struct Fault {
    /// Its place among the rows of its block, counted from 0.
    pub(super) row: u64,
    pub(super) error: RowError,
    /// The bytes of the block over which it failed.
    pub(super) value: Option<Range<usize>>,
    /// The column over which it did, where there are several.
    pub(super) column: Option<Label>,
    /// Whether the row was mapped nevertheless: it stands in the report alone.
    pub(super) is_note: bool,
    /// Its bytes in the block, where it is left out.
    pub(super) left_out: Option<Range<usize>>,
}

impl Fault {
    /// A row that failed over `value`.
    pub(super) fn failed(
        row: u64,
        error: RowError,
        value: Option<Range<usize>>,
        left_out: Option<Range<usize>>,
    ) -> Self {
        Self { row, error, value, column: None, is_note: false, left_out }
    }

    /// A row that was mapped, of which the report tells this.
    pub(super) fn note(row: u64, error: RowError, value: Option<Range<usize>>) -> Self {
        Self { row, error, value, column: None, is_note: true, left_out: None }
    }
}

impl Block {
    /// The rows that were read.
    pub(super) fn input(&self) -> &[u8] {
        &self.room[..self.filled]
    }

    /// The rows that were read, and what becomes of them.
    pub(super) fn split(&mut self) -> (&[u8], &mut Done) {
        (&self.room[..self.filled], &mut self.done)
    }

    /// Room behind what is filled, up to `goal` bytes in all.
    pub(super) fn room(&mut self, goal: usize) -> &mut [u8] {
        if self.room.len() < goal {
            self.room.resize(goal, 0);
        }
        &mut self.room[self.filled..goal.max(self.filled)]
    }

    /// Notes that `bytes` more of the room are filled.
    pub(super) fn fill(&mut self, bytes: usize) {
        self.filled += bytes;
    }

    /// Begins anew, with these bytes. Room that one long row needed is not kept.
    pub(super) fn begin(&mut self, bytes: &[u8], usual: usize) {
        if self.room.len() > 2 * usual {
            *self = Self::default();
        }
        self.filled = 0;
        self.room(bytes.len()).copy_from_slice(bytes);
        self.filled = bytes.len();
        self.holds = Holds::Rows;
        self.done.output.clear();
        self.done.counts = Counts::default();
        self.done.faults.clear();
        self.done.stopped = false;
    }

    /// Takes off, and gives, what is behind the first `end` bytes.
    pub(super) fn cut(&mut self, end: usize) -> &[u8] {
        let rest = end..self.filled;
        self.filled = end;
        &self.room[rest]
    }
}
