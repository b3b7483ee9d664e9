//! How rows lie in a file: where one ends, and which bytes of it are the cell. Each format is one of these.

use std::{iter, ops::Range};

use zeroize::Zeroizing;

use super::{report::RowError, scan::Label};

/// A format. Bytes that it is given begin where a row begins.
pub(super) trait Layout: Clone + Send + Sync + 'static {
    /// Written after each row in the place of its own line end; `None` where that is kept as it was.
    const ROW_END: Option<&'static [u8]>;

    /// Written in the place of a row that is left out, where those after it should keep their places.
    const LEFT_OUT: &'static [u8];

    /// What a NUL is in a row; `None` where cells are looked at anyway.
    const NUL: Option<RowError>;

    /// Whether a row has something beside the value.
    const HAS_MORE: bool = true;

    /// What it is that a row is not UTF-8.
    const NOT_UTF8: RowError;

    /// Where the last row ends that `bytes` hold whole.
    fn last_end(&self, bytes: &[u8]) -> Option<usize>;

    /// Behind the first line end in `bytes`, whatever stands before it.
    fn line_end(&self, bytes: &[u8]) -> Option<usize>;

    /// The row that begins at `start`, before the end of `bytes`. A cell that is not written as it is meant is added to
    /// `unescaped`, and what else there is to map in the row to `more`, in the order of its bytes.
    fn row(&self, bytes: &[u8], start: usize, unescaped: &mut String, more: &mut Vec<Found>) -> Row;

    /// The cell, or whatever has a name, in which the byte at `at` of `row` is.
    fn label(&self, row: &[u8], at: usize) -> Label;

    /// What stands between the cells of a row.
    fn delimiter(&self) -> Option<u8> {
        None
    }

    /// Writes `text` in the place of a cell of this form.
    fn put(&self, out: &mut Vec<u8>, form: Form, text: &str);
}

/// A row, by its place in a block.
pub(super) struct Row {
    pub(super) start: usize,
    /// Behind its line end.
    pub(super) end: usize,
    pub(super) found: Found,
    /// What else there is, by its place in what was added to `more`.
    pub(super) more: Range<usize>,
}

impl Row {
    /// A row with nothing else in it.
    pub(super) fn with(start: usize, end: usize, found: Found) -> Self {
        Self { start, end, found, more: 0..0 }
    }

    /// All that there is to map.
    pub(super) fn founds<'a>(&'a self, more: &'a [Found]) -> impl Iterator<Item = &'a Found> {
        iter::once(&self.found).chain(&more[self.more.clone()])
    }
}

/// What there is to map in a row.
pub(super) enum Found {
    /// A text, which begins after this many bytes of what was unescaped where it had to be.
    Text(Cell, Source),
    /// Nothing, and that is fine: an empty cell, an empty row.
    Nothing,
    /// Something else; what must not be seen of it, if anything.
    Fault(RowError, Option<Cell>),
    /// A row in which nobody can say where its cell is: it is never written.
    Unfit(RowError),
}

impl Found {
    /// The bytes that a result takes the place of.
    pub(super) fn place(&self) -> Option<Range<usize>> {
        match self {
            Self::Text(cell, _) | Self::Fault(_, Some(cell)) => Some(cell.bytes.clone()),
            Self::Nothing | Self::Unfit(_) | Self::Fault(_, None) => None,
        }
    }
}

/// Where the text of a cell is.
pub(super) enum Source {
    /// Between these bytes of the block.
    Block(Range<usize>),
    /// Between these bytes of what was unescaped.
    Unescaped(Range<usize>),
}

impl Source {
    /// The text, in `text` of the block or in what was unescaped.
    pub(super) fn of<'a>(&self, text: &'a str, unescaped: &'a str) -> &'a str {
        match self {
            Self::Block(place) => &text[place.clone()],
            Self::Unescaped(place) => &unescaped[place.clone()],
        }
    }
}

/// The bytes that a result takes the place of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cell {
    pub(super) bytes: Range<usize>,
    pub(super) form: Form,
}

/// How a result is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// As it is, in quotes only where it needs them.
    Bare,
    /// Between quotes that are there.
    Quoted,
    /// With quotes of its own.
    Anew,
}

/// Adds `bytes`, or what no number and no UID has where they are no UTF-8.
pub(super) fn push_lossy(text: &mut String, bytes: &[u8]) {
    match str::from_utf8(bytes) {
        Ok(valid) => text.push_str(valid),
        Err(_) => {
            text.push_str(&Zeroizing::new(String::from_utf8_lossy(bytes).into_owned()));
            text.push('\0');
        }
    }
}
