//! The delimiter between the cells of CSV.

use std::{fmt, str::FromStr};

/// The byte between fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Delimiter(pub(super) u8);

impl Default for Delimiter {
    fn default() -> Self {
        Self(b',')
    }
}

impl FromStr for Delimiter {
    type Err = NotADelimiter;

    fn from_str(text: &str) -> Result<Self, NotADelimiter> {
        match text.as_bytes() {
            b"tab" | b"\\t" => Ok(Self(b'\t')),
            [byte] if byte.is_ascii() && !b"\"\r\n\0".contains(byte) => Ok(Self(*byte)),
            _ => Err(NotADelimiter),
        }
    }
}

/// A text that cannot be a delimiter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotADelimiter;

impl fmt::Display for NotADelimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a delimiter is one ASCII character, such as , or ; or |, or the word tab")
    }
}

impl std::error::Error for NotADelimiter {}
