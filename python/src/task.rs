//! What to do with a column.

use callveil::{ids::Context, item::Mode, tokenizer::Tokenizer};
use jiff::Timestamp;

use crate::failure::Failure;

/// What a column is mapped to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    /// The results of a mode of the tokenizer.
    Map(Mode),
    /// The numbers that the texts mean, in a form that does not depend on the configuration.
    Normalize,
    /// The key of each UID, and that key's state.
    Inspect,
}

impl Operation {
    /// The operation with this name.
    pub(crate) fn from_name(name: &str) -> Result<Self, Failure> {
        Ok(match name {
            "tokenize" => Self::Map(Mode::PhoneToUid),
            "detokenize" => Self::Map(Mode::UidToPhone),
            "rewrap" => Self::Map(Mode::RewrapUid),
            "aliases" => Self::Map(Mode::PhoneToAliases),
            "normalize" => Self::Normalize,
            "inspect" => Self::Inspect,
            _ => return Err(Failure::value("there is no such operation")),
        })
    }

    /// The equivalent command for the record. Only operations that open UIDs are recorded.
    pub(crate) fn recorded_as(self) -> Option<&'static str> {
        match self {
            Self::Map(Mode::UidToPhone) => Some("detokenize"),
            Self::Map(Mode::RewrapUid) => Some("rewrap"),
            Self::Map(Mode::PhoneToUid | Mode::PhoneToAliases) | Self::Normalize | Self::Inspect => None,
        }
    }

    /// Whether each row becomes one text, so that a failed row can be kept as it is.
    pub(crate) fn gives_texts(self) -> bool {
        !matches!(self, Self::Map(Mode::PhoneToAliases) | Self::Inspect)
    }
}

/// What happens to a row that cannot be mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnError {
    /// It becomes NULL.
    Null,
    /// The call returns nothing and raises an exception.
    Raise,
    /// It stays as it is.
    Keep,
}

impl OnError {
    /// The choice with this name, for `operation`.
    pub(crate) fn from_name(name: &str, operation: Operation) -> Result<Self, Failure> {
        match name {
            "null" => Ok(Self::Null),
            "raise" => Ok(Self::Raise),
            "keep" if operation.gives_texts() => Ok(Self::Keep),
            "keep" => Err(Failure::value("on_error=\"keep\" is for results that are texts")),
            _ => Err(Failure::value("on_error is \"null\", \"raise\" or \"keep\"")),
        }
    }
}

/// What to do with every row, with one ring and one `now`.
pub(crate) struct Task<'t> {
    pub(crate) tokenizer: &'t Tokenizer,
    pub(crate) context: &'t Context,
    pub(crate) now: Timestamp,
    pub(crate) operation: Operation,
    pub(crate) on_error: OnError,
    /// Whether the caller wants to know why rows failed.
    pub(crate) wants_errors: bool,
}

/// The counts of rows and their results.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) rows: u64,
    pub(crate) mapped: u64,
    pub(crate) failed: u64,
}

impl Counts {
    pub(crate) fn add(&mut self, other: Self) {
        self.rows += other.rows;
        self.mapped += other.mapped;
        self.failed += other.failed;
    }
}
