//! What to do with rows.

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

/// What is written for each row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// The row, with its value replaced.
    Row,
    /// A JSON object with the value and its result.
    Object,
}

/// What to do with every row. It is the same on all threads.
pub(super) struct Task<'t> {
    pub(super) tokenizer: &'t Tokenizer,
    pub(super) context: &'t Context,
    pub(super) now: Timestamp,
    pub(super) mode: Mode,
    pub(super) on_error: OnError,
    pub(super) style: Style,
    /// How texts are read: by the rules of the primary key.
    pub(super) numbering: &'t Numbering,
    /// Whether all keys have the same rules.
    pub(super) has_one_numbering: bool,
    /// Whether numbers with something around them are repaired.
    pub(super) repairs: bool,
    /// Whether texts that are not numbers fail.
    pub(super) only_numbers: bool,
    /// The form of decoded numbers.
    pub(super) form: NumberForm,
    /// Whether texts are guarded that a spreadsheet would run.
    pub(super) guards_formulas: bool,
    /// Texts that stand for no value.
    pub(super) nulls: &'t [String],
}
