//! How rows lie in a file: where one ends, and which bytes of it are the cell. Each format is one of these.

use std::ops::Range;

use zeroize::{Zeroize as _, Zeroizing};

use super::{
    row_error::RowError,
    scan::{Label, Labelled},
};

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

    /// Where the row ends that begins at `start`, before the end of `bytes`. What there is to map in it is added to
    /// `finds`, in the order of its bytes: at least one thing, if only that there is nothing.
    fn row(&self, bytes: &[u8], start: usize, finds: &mut Finds) -> usize;

    /// The cell, or whatever has a name, in which the byte at `at` of `row` is: no earlier one than was `labelled` before.
    fn label(&self, row: &[u8], at: usize, labelled: &mut Labelled) -> Label;

    /// The column that the `nth` thing found in `row` is of, whose bytes begin at `place` if it has some; `None` where there
    /// is but one.
    fn column(&self, _row: &[u8], _nth: usize, _place: Option<usize>) -> Option<Label> {
        None
    }

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
    /// What there is to map in it, by its place in [`Finds`].
    pub(super) founds: Range<usize>,
}

/// What there is to map in some rows.
#[derive(Default)]
pub(super) struct Finds {
    pub(super) founds: Vec<Found>,
    /// Cells that are not written as they are meant, one behind the other.
    pub(super) unescaped: Zeroizing<String>,
}

impl Finds {
    pub(super) fn clear(&mut self) {
        self.founds.clear();
        self.unescaped.zeroize();
    }

    /// What a row has, in the place of all that was found from `first` on.
    pub(super) fn replace(&mut self, first: usize, found: Found) {
        self.founds.truncate(first);
        self.founds.push(found);
    }

    /// The texts, in `text` of the block or unescaped.
    pub(super) fn texts<'a>(&'a self, text: &'a str) -> impl Iterator<Item = &'a str> {
        self.founds.iter().filter_map(move |found| match found {
            Found::Text(_, source) => Some(source.of(text, &self.unescaped)),
            Found::Nothing | Found::Fault(..) | Found::Unfit(_) => None,
        })
    }
}

/// Something that there is to map in a row.
pub(super) enum Found {
    /// A text.
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

    /// Leaves this part of the text.
    pub(super) fn narrow(&mut self, part: Range<usize>) {
        let (Self::Block(place) | Self::Unescaped(place)) = self;
        *place = place.start + part.start..place.start + part.end;
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
