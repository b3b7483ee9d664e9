//! What is done with rows.

use jiff::Timestamp;

use super::form::NumberForm;
use crate::{ids::Context, item::Mode, phone::Numbering, tokenizer::Tokenizer};

/// What becomes of a row that cannot be mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum OnError {
    /// Stop before the first such row
    Fail,
    /// Leave its value empty
    Blank,
    /// Leave its value as it is
    Keep,
    /// Leave the row out
    Drop,
}

/// What is written of each row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// The row, with another value.
    Row,
    /// A JSON object with the value, and what became of it.
    Object,
}

/// What is done with every row, the same on all threads.
pub(super) struct Task<'t> {
    pub(super) tokenizer: &'t Tokenizer,
    pub(super) context: &'t Context,
    pub(super) now: Timestamp,
    pub(super) mode: Mode,
    pub(super) on_error: OnError,
    pub(super) style: Style,
    /// How texts are read: by the primary key's rules.
    pub(super) numbering: &'t Numbering,
    /// Whether all keys have the same rules.
    pub(super) has_one_numbering: bool,
    /// Whether numbers are mended that somebody put something around.
    pub(super) repairs: bool,
    /// Whether texts that are no numbers fail.
    pub(super) only_numbers: bool,
    /// How numbers are written that were UIDs.
    pub(super) form: NumberForm,
    /// Whether texts that a spreadsheet would run are kept from that.
    pub(super) guards_formulas: bool,
    /// Texts that stand for there being none.
    pub(super) nulls: &'t [String],
}
