//! Copies rows and changes only what is replaced or left out.

use std::ops::Range;

use super::layout::{Cell, Row};

/// Copies rows, except for what is replaced.
pub(super) struct Patch<'a> {
    input: &'a [u8],
    output: &'a mut Vec<u8>,
    /// Input before this index is either in the output or left out.
    copied: usize,
}

/// The progress of a [`Patch`].
#[derive(Clone, Copy)]
pub(super) struct Mark {
    written: usize,
    copied: usize,
}

impl<'a> Patch<'a> {
    /// Copies `input` from `start` on.
    pub(super) fn new(input: &'a [u8], output: &'a mut Vec<u8>, start: usize) -> Self {
        Self { input, output, copied: start }
    }

    /// Copies the input up to `end`.
    pub(super) fn copy_to(&mut self, end: usize) {
        self.output.extend_from_slice(&self.input[self.copied..end]);
        self.copied = end;
    }

    /// Lets `put` write in place of a cell.
    pub(super) fn replace(&mut self, cell: &Cell, put: impl FnOnce(&mut Vec<u8>)) {
        self.copy_to(cell.bytes.start);
        put(self.output);
        self.copied = cell.bytes.end;
    }

    /// The current progress, for [`Patch::back_to`].
    pub(super) fn mark(&self) -> Mark {
        Mark { written: self.output.len(), copied: self.copied }
    }

    /// Undoes everything done since `mark`.
    pub(super) fn back_to(&mut self, mark: Mark) {
        self.output.truncate(mark.written);
        self.copied = mark.copied;
    }

    /// Leaves out a whole row that has not been written yet, and writes `instead`.
    pub(super) fn leave_out(&mut self, row: &Row, instead: &[u8]) {
        self.copy_to(row.start);
        self.output.extend_from_slice(instead);
        self.copied = row.end;
    }

    /// Ends a row with `line_end` instead of what follows its text. The text is at `place`, if that is given.
    pub(super) fn end_row(&mut self, row: &Row, place: Option<Range<usize>>, line_end: &[u8]) {
        let text_end =
            place.map_or_else(|| row.start + text_length(&self.input[row.start..row.end]), |place| place.end);
        self.copy_to(text_end.max(self.copied));
        self.output.extend_from_slice(line_end);
        self.copied = row.end;
    }
}

/// Bytes of a line before its line end.
fn text_length(line: &[u8]) -> usize {
    let text = line.strip_suffix(b"\n").unwrap_or(line);
    text.strip_suffix(b"\r").unwrap_or(text).len()
}
