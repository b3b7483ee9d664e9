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
    /// A quote stands where RFC 4180 has none, or nothing closes one, or there is a NUL.
    WrongQuoting,
    /// It is longer than rows may be.
    TooLong,
    /// It is not UTF-8.
    NotUtf8,
    /// It has nothing where the JSON pointer points.
    MissingColumn,
    /// It is no JSON, or several JSON values.
    NotJson,
    /// A name that the JSON pointer names is in it twice.
    RepeatedKey,
    /// There is something else than a string of digits or a string.
    NotAString,
    /// It is no number, where only numbers are wanted.
    NotANumber,
    /// It is no number, and this is what happened to it. Where only numbers are wanted it is an error.
    Damaged(Damage),
    /// Beside its value is what reads as a number. Never an error of its own.
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

    /// The error as it is written in reports.
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

    /// Its place among all of them.
    pub(super) fn index(self) -> usize {
        match self {
            Self::Item(error) => error as usize,
            own => ItemError::ALL.len() + Self::OWN.iter().position(|other| *other == own).unwrap_or_default(),
        }
    }
}
