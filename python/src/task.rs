//! What is done with a column.

use callveil::{ids::Context, item::Mode, tokenizer::Tokenizer};
use jiff::Timestamp;

use crate::failure::Failure;

/// What a column becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    /// What a mode of the tokenizer makes of it.
    Map(Mode),
    /// The numbers that the texts mean, in the form that no configuration changes.
    Normalize,
    /// The key of each UID, and that key's state.
    Inspect,
}

impl Operation {
    /// The operation of this name.
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

    /// The command that does the same, where that is recorded: it opens UIDs.
    pub(crate) fn recorded_as(self) -> Option<&'static str> {
        match self {
            Self::Map(Mode::UidToPhone) => Some("detokenize"),
            Self::Map(Mode::RewrapUid) => Some("rewrap"),
            Self::Map(Mode::PhoneToUid | Mode::PhoneToAliases) | Self::Normalize | Self::Inspect => None,
        }
    }

    /// Whether each row becomes one text, and can so be kept as it is.
    pub(crate) fn gives_texts(self) -> bool {
        !matches!(self, Self::Map(Mode::PhoneToAliases) | Self::Inspect)
    }
}

/// What becomes of a row that cannot be mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnError {
    /// It becomes NULL.
    Null,
    /// Nothing is given back, but an exception.
    Raise,
    /// It stays as it is.
    Keep,
}

impl OnError {
    /// The choice of this name, for `operation`.
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

/// What is done with every row: over one ring and one `now`.
pub(crate) struct Task<'t> {
    pub(crate) tokenizer: &'t Tokenizer,
    pub(crate) context: &'t Context,
    pub(crate) now: Timestamp,
    pub(crate) operation: Operation,
    pub(crate) on_error: OnError,
    /// Whether it is wanted why rows failed.
    pub(crate) wants_errors: bool,
}

/// What became of rows.
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
