//! The blocks that circulate through the threads: rows that were read, then their results, then free space for new
//! rows.

use std::ops::Range;

use zeroize::Zeroizing;

use super::{counts::Counts, row_error::RowError, scan::Label};

/// Bytes of the longest row.
pub(super) const ROW_BYTES_MAX: usize = 1024 * 1024;

/// Whole rows and their results.
#[derive(Default)]
pub(super) struct Block {
    /// The read buffer. It stays initialised beyond the part that is filled.
    room: Zeroizing<Vec<u8>>,
    filled: usize,
    pub(super) holds: Holds,
    pub(super) done: Done,
}

/// What the bytes of a block hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Holds {
    /// Whole rows.
    #[default]
    Rows,
    /// The beginning of a row that is too long.
    LongRow,
    /// The continuation of such a row.
    MoreOfIt,
}

/// The results of a block's rows.
#[derive(Default)]
pub(super) struct Done {
    pub(super) output: Zeroizing<Vec<u8>>,
    pub(super) counts: Counts,
    pub(super) faults: Vec<Fault>,
    /// Whether a row failed and the run is to stop there.
    pub(super) stopped: bool,
}

/// A row that failed, or that the report has a note about.
pub(super) struct Fault {
    /// The index of the row in its block, from 0.
    pub(super) row: u64,
    pub(super) error: RowError,
    /// The bytes of the block that caused it.
    pub(super) value: Option<Range<usize>>,
    /// The column that caused it, if several columns are mapped.
    pub(super) column: Option<Label>,
    /// Whether the row was mapped nevertheless, so that it only appears in the report.
    pub(super) is_note: bool,
    /// The row's bytes in the block, if it is left out.
    pub(super) left_out: Option<Range<usize>>,
}

impl Fault {
    /// A row that failed because of `value`.
    pub(super) fn failed(
        row: u64,
        error: RowError,
        value: Option<Range<usize>>,
        left_out: Option<Range<usize>>,
    ) -> Self {
        Self { row, error, value, column: None, is_note: false, left_out }
    }

    /// A note about a row that was mapped.
    pub(super) fn note(row: u64, error: RowError, value: Option<Range<usize>>) -> Self {
        Self { row, error, value, column: None, is_note: true, left_out: None }
    }
}

impl Block {
    /// The rows that were read.
    pub(super) fn input(&self) -> &[u8] {
        &self.room[..self.filled]
    }

    /// The rows that were read, and the place for their results.
    pub(super) fn split(&mut self) -> (&[u8], &mut Done) {
        (&self.room[..self.filled], &mut self.done)
    }

    /// The free part of the buffer, which is enlarged to `goal` bytes in all if it is smaller.
    pub(super) fn room(&mut self, goal: usize) -> &mut [u8] {
        if self.room.len() < goal {
            self.room.resize(goal, 0);
        }
        &mut self.room[self.filled..goal.max(self.filled)]
    }

    /// Marks `bytes` more of the buffer as filled.
    pub(super) fn fill(&mut self, bytes: usize) {
        self.filled += bytes;
    }

    /// Starts again with these bytes. A buffer that one long row enlarged is not kept.
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

    /// Removes and returns everything after the first `end` bytes.
    pub(super) fn cut(&mut self, end: usize) -> &[u8] {
        let rest = end..self.filled;
        self.filled = end;
        &self.room[rest]
    }
}
