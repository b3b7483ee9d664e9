//! Rows as they were, but for what is replaced or left out.

use super::layout::{Cell, Row};

/// Copies rows, but for what is replaced.
pub(super) struct Patch<'a> {
    input: &'a [u8],
    output: &'a mut Vec<u8>,
    /// Up to here the input is in the output, or left out.
    copied: usize,
}

impl<'a> Patch<'a> {
    /// Copies `input` from `start` on.
    pub(super) fn new(input: &'a [u8], output: &'a mut Vec<u8>, start: usize) -> Self {
        Self { input, output, copied: start }
    }

    /// Copies what is there up to `end`.
    pub(super) fn copy_to(&mut self, end: usize) {
        self.output.extend_from_slice(&self.input[self.copied..end]);
        self.copied = end;
    }

    /// Has `put` write in the place of a cell.
    pub(super) fn replace(&mut self, cell: &Cell, put: impl FnOnce(&mut Vec<u8>)) {
        self.copy_to(cell.bytes.start);
        put(self.output);
        self.copied = cell.bytes.end;
    }

    /// Leaves out a whole row, and writes this in its place.
    pub(super) fn leave_out(&mut self, row: &Row, instead: &[u8]) {
        self.copy_to(row.start);
        self.output.extend_from_slice(instead);
        self.copied = row.end;
    }

    /// Ends a row with `line_end` instead of what is behind its text.
    pub(super) fn end_row(&mut self, row: &Row, line_end: &[u8]) {
        let text_end =
            row.found.place().map_or_else(|| row.start + text_length(&self.input[row.start..row.end]), |v| v.end);
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
