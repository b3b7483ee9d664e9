//! Why one row failed.

use super::kind::Damage;
use crate::item::ItemError;

/// Why one row failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub(super) enum RowError {
    /// Its value could not be mapped.
    Item(ItemError),
    /// It has more or fewer cells than the first row.
    WrongShape,
    /// A quote stands where RFC 4180 allows none, or is never closed, or there is a NUL.
    WrongQuoting,
    /// It is longer than rows may be.
    TooLong,
    /// It is not UTF-8.
    NotUtf8,
    /// It has nothing where the JSON pointer points.
    MissingColumn,
    /// It is not JSON, or it is several JSON values.
    NotJson,
    /// A key on the path of the JSON pointer occurs twice.
    RepeatedKey,
    /// Its value is neither a string nor a number of digits only.
    NotAString,
    /// Its value is not a number, and only numbers are wanted.
    NotANumber,
    /// Its value is not a number, and this damage is the reason. It is an error only if only numbers are wanted.
    Damaged(Damage),
    /// It has something like a number outside the mapped columns. On its own this is never an error.
    NumberLeft,
}

impl RowError {
    const OWN: [Self; 15] = [
        Self::WrongShape,
        Self::WrongQuoting,
        Self::TooLong,
        Self::NotUtf8,
        Self::MissingColumn,
        Self::NotJson,
        Self::RepeatedKey,
        Self::NotAString,
        Self::NotANumber,
        Self::Damaged(Damage::ScientificNotation),
        Self::Damaged(Damage::Float),
        Self::Damaged(Damage::ExcelGuard),
        Self::Damaged(Damage::TwoNumbers),
        Self::Damaged(Damage::Label),
        Self::NumberLeft,
    ];

    pub(super) const COUNT: usize = ItemError::ALL.len() + Self::OWN.len();

    pub(super) fn all() -> impl Iterator<Item = Self> {
        ItemError::ALL.into_iter().map(Self::Item).chain(Self::OWN)
    }

    /// The name of the error in reports.
    pub(super) fn code(self) -> &'static str {
        match self {
            Self::Item(error) => error.code(),
            Self::WrongShape => "wrong_shape",
            Self::WrongQuoting => "wrong_quoting",
            Self::TooLong => "too_long",
            Self::NotUtf8 => "not_utf8",
            Self::MissingColumn => "missing_column",
            Self::NotJson => "not_json",
            Self::RepeatedKey => "repeated_key",
            Self::NotAString => "not_a_string",
            Self::NotANumber => "not_a_number",
            Self::Damaged(damage) => damage.code(),
            Self::NumberLeft => "number_left",
        }
    }

    /// Its index among all errors.
    pub(super) fn index(self) -> usize {
        match self {
            Self::Item(error) => error as usize,
            own => ItemError::ALL.len() + Self::OWN.iter().position(|other| *other == own).unwrap_or_default(),
        }
    }
}
