//! The text of a number, as far as it can be judged without phone metadata: which characters it has, and whether it
//! names its country.

use super::digits;

/// A text of digits, plus signs and punctuation.
pub(super) struct Spelling {
    /// The text with ASCII digits and plus signs.
    pub(super) text: String,
    /// Its prefix, after opening brackets and spaces.
    pub(super) prefix: Prefix,
    /// Whether there is a plus sign anywhere else, except for those that follow the first one before all digits.
    pub(super) has_plus_inside: bool,
}

/// The prefix that introduces a country code.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Prefix {
    Plus,
    DoubleZero,
    None,
}

impl Spelling {
    /// The spelling of `text`, without a leading `tel:`. `None` if it holds anything but digits, plus signs and the
    /// punctuation of numbers, or ends in `.0` as numbers from spreadsheets do.
    pub(super) fn of(text: &str) -> Option<Self> {
        let text = match text.split_at_checked(4) {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("tel:") => rest,
            _ => text,
        };
        let ascii = |c| match c {
            '+' | '\u{FF0B}' => Some('+'),
            _ if is_punctuation(c) => Some(c),
            _ => digits::digit_value(c).map(|value| char::from(b'0' + value)),
        };
        let text: String = text.chars().map(ascii).collect::<Option<_>>()?;
        if text.ends_with(".0") || text.ends_with("\u{FF0E}0") {
            return None;
        }
        Some(Self::with_text(text))
    }

    fn with_text(text: String) -> Self {
        let text = joined(&text).unwrap_or(text);
        let begun = text.trim_start_matches(is_opening);
        let (prefix, rest) = match begun.as_bytes() {
            [b'+', ..] => (Prefix::Plus, begun.trim_start_matches(|c: char| !c.is_ascii_digit())),
            [b'0', b'0', ..] => (Prefix::DoubleZero, begun),
            _ => (Prefix::None, begun),
        };
        let has_plus_inside = rest.contains('+');
        Self { text, prefix, has_plus_inside }
    }

    /// The same spelling with `+` instead of a leading `00`, if it has one.
    pub(super) fn with_plus(&self) -> Option<Self> {
        let rest = self.text.trim_start_matches(is_opening).strip_prefix("00")?;
        Some(Self::with_text(format!("+{rest}")))
    }

    /// Its digits.
    pub(super) fn digits(&self) -> String {
        self.text.chars().filter(char::is_ascii_digit).collect()
    }
}

/// The plus sign and the digits, if `text` has only spaces and dashes between them: libphonenumber reads both alike.
fn joined(text: &str) -> Option<String> {
    let rest = text.strip_prefix('+')?;
    let is_usual = rest.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b' ' | b'-'));
    is_usual.then(|| text.chars().filter(|c| *c == '+' || c.is_ascii_digit()).collect())
}

/// libphonenumber's punctuation, without the tildes and the letter x: those may begin an extension.
fn is_punctuation(c: char) -> bool {
    matches!(c, ' ' | '-' | '.' | '/' | '(' | ')' | '[' | ']')
        || matches!(c, '\u{A0}' | '\u{AD}' | '\u{200B}' | '\u{2010}'..='\u{2015}' | '\u{2060}' | '\u{2212}')
        || matches!(
            c,
            '\u{3000}' | '\u{30FC}' | '\u{FF08}' | '\u{FF09}' | '\u{FF0D}'..='\u{FF0F}' | '\u{FF3B}' | '\u{FF3D}'
        )
}

/// Opening brackets and spaces, which may precede `+` and `00`.
fn is_opening(c: char) -> bool {
    matches!(c, ' ' | '\u{A0}' | '\u{3000}' | '(' | '[' | '\u{FF08}' | '\u{FF3B}')
}
