//! How rows are laid out in a file: where a row ends, and which of its bytes are the cell. Each format implements this.

use std::ops::Range;

use zeroize::{Zeroize as _, Zeroizing};

use super::{
    row_error::RowError,
    scan::{Label, Labelled},
};

/// A format. Every slice that its methods get begins where a row begins.
pub(super) trait Layout: Clone + Send + Sync + 'static {
    /// Written after each row instead of its own line end; `None` keeps the line end.
    const ROW_END: Option<&'static [u8]>;

    /// Written instead of a row that is left out, where the rows after it should keep their line numbers.
    const LEFT_OUT: &'static [u8];

    /// The error for a row with a NUL; `None` if cells are checked anyway.
    const NUL: Option<RowError>;

    /// Whether a row has anything besides the value.
    const HAS_MORE: bool = true;

    /// The error for a row that is not UTF-8.
    const NOT_UTF8: RowError;

    /// The end of the last whole row in `bytes`.
    fn last_end(&self, bytes: &[u8]) -> Option<usize>;

    /// The index after the first line end in `bytes`, whatever comes before it.
    fn line_end(&self, bytes: &[u8]) -> Option<usize>;

    /// The end of the row that begins at `start`, before the end of `bytes`. What is found in it is added to `finds` in
    /// byte order: at least one entry, if only [`Found::Nothing`].
    fn row(&self, bytes: &[u8], start: usize, finds: &mut Finds) -> usize;

    /// The cell or other named part of `row` that the byte at `at` is in. It is not before the part in `labelled`.
    fn label(&self, row: &[u8], at: usize, labelled: &mut Labelled) -> Label;

    /// The column of the `nth` thing found in `row`, whose bytes begin at `place` if it has any; `None` if there is
    /// only one column.
    fn column(&self, _row: &[u8], _nth: usize, _place: Option<usize>) -> Option<Label> {
        None
    }

    /// The byte between the cells of a row.
    fn delimiter(&self) -> Option<u8> {
        None
    }

    /// Writes `text` in place of a cell, in this form.
    fn put(&self, out: &mut Vec<u8>, form: Form, text: &str);
}

/// A row, by its place in the block.
pub(super) struct Row {
    pub(super) start: usize,
    /// The index after its line end.
    pub(super) end: usize,
    /// The indices in [`Finds`] of what is to be mapped in it.
    pub(super) founds: Range<usize>,
}

/// What is to be mapped in some rows.
#[derive(Default)]
pub(super) struct Finds {
    pub(super) founds: Vec<Found>,
    /// The unescaped texts of cells that are written with escapes, one after the other.
    pub(super) unescaped: Zeroizing<String>,
}

impl Finds {
    pub(super) fn clear(&mut self) {
        self.founds.clear();
        self.unescaped.zeroize();
    }

    /// Replaces everything found from index `first` on by `found`.
    pub(super) fn replace(&mut self, first: usize, found: Found) {
        self.founds.truncate(first);
        self.founds.push(found);
    }

    /// The texts, each from `text` of the block or from the unescaped ones.
    pub(super) fn texts<'a>(&'a self, text: &'a str) -> impl Iterator<Item = &'a str> {
        self.founds.iter().filter_map(move |found| match found {
            Found::Text(_, source) => Some(source.of(text, &self.unescaped)),
            Found::Nothing | Found::Fault(..) | Found::Unfit(_) => None,
        })
    }
}

/// Something found in a row.
pub(super) enum Found {
    /// A text to map.
    Text(Cell, Source),
    /// Nothing to map, which is fine: an empty cell or row.
    Nothing,
    /// An error, and the bytes that must not be shown, if any.
    Fault(RowError, Option<Cell>),
    /// A row in which the cell cannot be located: it is never written.
    Unfit(RowError),
}

impl Found {
    /// The bytes that the result replaces.
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
    /// Between these bytes of the unescaped texts.
    Unescaped(Range<usize>),
}

impl Source {
    /// The text, from `text` of the block or from the unescaped ones.
    pub(super) fn of<'a>(&self, text: &'a str, unescaped: &'a str) -> &'a str {
        match self {
            Self::Block(place) => &text[place.clone()],
            Self::Unescaped(place) => &unescaped[place.clone()],
        }
    }

    /// Keeps only this part of the text.
    pub(super) fn narrow(&mut self, part: Range<usize>) {
        let (Self::Block(place) | Self::Unescaped(place)) = self;
        *place = place.start + part.start..place.start + part.end;
    }
}

/// The bytes that a result replaces, and its form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cell {
    pub(super) bytes: Range<usize>,
    pub(super) form: Form,
}

/// How a result is quoted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Without quotes unless it needs them.
    Bare,
    /// Between the quotes that are already there.
    Quoted,
    /// With new quotes.
    Anew,
}

/// Adds `bytes`, or a character that no number and no UID contains if they are not UTF-8.
pub(super) fn push_lossy(text: &mut String, bytes: &[u8]) {
    match str::from_utf8(bytes) {
        Ok(valid) => text.push_str(valid),
        Err(_) => {
            text.push_str(&Zeroizing::new(String::from_utf8_lossy(bytes).into_owned()));
            text.push('\0');
        }
    }
}
