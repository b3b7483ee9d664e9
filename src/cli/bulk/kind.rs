//! The kind of a mapped value: an E.164 number, a hotline or another text; and the names of damages to texts.

use memchr::memchr2;

use crate::{
    item::Mode,
    number::{Number, trim},
    phone::Numbering,
    uid,
};

/// Digits of the longest number that may be a hotline with a short UID, written with `00` or with `+`.
const SHORT_HOTLINE_DIGITS: [usize; 2] = [11, 9];

/// Digits of the longest hotline with a short UID, without country code.
const SHORT_TEXT_DIGITS: usize = 6;

/// With at least this many digits before `.0`, the text is not a decimal fraction.
const FLOAT_DIGITS_MIN: usize = 7;

/// The kind of a mapped value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    E164,
    Hotline,
    /// Any other text, with its damage if one is recognised.
    Verbatim(Option<Damage>),
    /// A UID where a number is expected.
    AlreadyUid,
    /// A UID that was rewrapped to another one.
    Rewrapped,
}

impl Kind {
    /// The kind of `item`, which was mapped to `text`.
    pub(super) fn of(mode: Mode, item: &str, text: &str, numbering: &Numbering) -> Self {
        match mode {
            Mode::RewrapUid => Self::Rewrapped,
            // A short UID decodes to a text of at most 6 bytes, a hotline of at most 6 digits, or an E.164 number.
            Mode::UidToPhone if item.len() == uid::CHARS_MIN && text.len() > SHORT_HOTLINE_DIGITS[0] => Self::E164,
            Mode::UidToPhone => Self::of_number(text, item.trim().len() == uid::CHARS_MIN, numbering),
            // No UID encrypts its own text, so an item that came back unchanged was a UID before.
            Mode::PhoneToUid | Mode::PhoneToAliases
                if item.len() >= text.len() && trim(item).eq_ignore_ascii_case(text) =>
            {
                Self::AlreadyUid
            }
            Mode::PhoneToUid | Mode::PhoneToAliases => Self::of_number(item, text.len() == uid::CHARS_MIN, numbering),
        }
    }

    /// The kind of `text`. `is_short` says whether its UID is a short one.
    fn of_number(text: &str, is_short: bool, numbering: &Numbering) -> Self {
        if is_short && is_longer_than_a_text(text) {
            return Self::E164;
        }
        match numbering.normalize(text) {
            Ok(Number::E164(_)) => Self::E164,
            Ok(Number::Hotline(_)) => Self::Hotline,
            Ok(Number::Verbatim(text)) => Self::Verbatim(Damage::of(text.as_str(), numbering)),
            Err(_) => Self::Verbatim(None),
        }
    }
}

/// Whether a number has more digits than a hotline or a text with a short UID can have. `false` if that is not obvious.
fn is_longer_than_a_text(text: &str) -> bool {
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    match text.as_bytes() {
        [b'+', ..] => digits > SHORT_HOTLINE_DIGITS[1],
        [b'0', b'0', ..] => digits > SHORT_HOTLINE_DIGITS[0],
        [b'0'..=b'9', ..] => digits > SHORT_TEXT_DIGITS,
        _ => digits > SHORT_HOTLINE_DIGITS[0],
    }
}

/// What happened to a text before it came here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Damage {
    /// A spreadsheet wrote it as `1.39889E+10`: digits are lost.
    ScientificNotation,
    /// `.0` after the digits.
    Float,
    /// An apostrophe in front, or `="…"` around it.
    ExcelGuard,
    /// Two numbers or more in one value.
    TwoNumbers,
    /// A word and a colon in front.
    Label,
}

impl Damage {
    pub(super) const ALL: [Self; 5] =
        [Self::ScientificNotation, Self::Float, Self::ExcelGuard, Self::TwoNumbers, Self::Label];

    /// The name of the damage in reports.
    pub(super) fn code(self) -> &'static str {
        match self {
            Self::ScientificNotation => "scientific_notation",
            Self::Float => "float",
            Self::ExcelGuard => "excel_guard",
            Self::TwoNumbers => "two_numbers",
            Self::Label => "label",
        }
    }

    /// The damage of `text`, which is no number, if one is recognised.
    fn of(text: &str, numbering: &Numbering) -> Option<Self> {
        if let Some((damage, _)) = repair(text, numbering) {
            return Some(damage);
        }
        if is_scientific(text) {
            return Some(Self::ScientificNotation);
        }
        let parts = text.split(|c: char| "/;,|、；，".contains(c) || c.is_whitespace());
        let numbers = parts.filter(|part| reads_as_a_number(part, numbering)).count();
        (numbers > 1).then_some(Self::TwoNumbers)
    }
}

/// The number in `text` without what was put around it, if that needs no guess, and the damage.
pub(super) fn repair<'a>(text: &'a str, numbering: &Numbering) -> Option<(Damage, &'a str)> {
    // Most texts are sound, and this shows it at once.
    let bytes = text.as_bytes();
    if !matches!(bytes, [b'\'' | b'=' | b'"' | b' ', ..] | [.., b'0' | b' ']) && memchr2(b':', 0xEF, bytes).is_none() {
        return None;
    }
    let text = text.trim();
    let found = if let Some(rest) = text.strip_prefix('\'') {
        (Damage::ExcelGuard, rest)
    } else if let Some(rest) = text.strip_prefix("=\"").and_then(|rest| rest.strip_suffix('"')) {
        (Damage::ExcelGuard, rest)
    } else if let Some(digits) = text.strip_suffix(".0").filter(|digits| is_digits(digits, FLOAT_DIGITS_MIN)) {
        (Damage::Float, digits)
    } else {
        let (label, rest) = text.split_once([':', '：'])?;
        // The label must be a word. It must not be a scheme, which says how the rest is meant, nor another number.
        let is_word = label.chars().all(|c| c.is_alphabetic() || c.is_whitespace() || c == '.');
        let is_scheme = ["tel", "sip", "sips", "callto"].iter().any(|scheme| label.eq_ignore_ascii_case(scheme));
        is_word.then_some(())?;
        if is_scheme && !rest.starts_with(char::is_whitespace) {
            return None;
        }
        (Damage::Label, rest.trim())
    };
    reads_as_a_number(found.1, numbering).then_some(found)
}

fn reads_as_a_number(text: &str, numbering: &Numbering) -> bool {
    matches!(numbering.normalize(text), Ok(Number::E164(_) | Number::Hotline(_)))
}

fn is_digits(text: &str, min: usize) -> bool {
    text.len() >= min && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether `text` is digits, an optional fraction and an exponent.
fn is_scientific(text: &str) -> bool {
    let Some((mantissa, exponent)) = text.split_once(['E', 'e']) else { return false };
    let (whole, fraction) = mantissa.split_once(['.', ',']).unwrap_or((mantissa, "0"));
    let exponent = exponent.strip_prefix('+').unwrap_or(exponent);
    is_digits(whole, 1) && is_digits(fraction, 1) && is_digits(exponent, 1) && exponent.len() <= 2
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::phone::NUMBERS_NEWEST;

    #[track_caller]
    fn check(text: &str, kind: Kind, repaired: Option<&str>) {
        let numbering = Numbering::new(NUMBERS_NEWEST, "CN").expect("known");
        assert_eq!(Kind::of_number(text, false, &numbering), kind, "{text:?}");
        assert_eq!(repair(text, &numbering).map(|(_, text)| text), repaired, "{text:?}");
    }

    #[test]
    fn damage_has_a_name_and_is_mended_without_a_guess() {
        let damaged = |damage| Kind::Verbatim(Some(damage));
        check("13988888888", Kind::E164, None);
        check("10086", Kind::Hotline, None);
        check("8001", Kind::Verbatim(None), None);
        check("13988888888.0", damaged(Damage::Float), Some("13988888888"));
        check("139888.0", Kind::Verbatim(None), None);
        check("1.3988888888E10", damaged(Damage::ScientificNotation), None);
        check("1.39889E+10", damaged(Damage::ScientificNotation), None);
        check("'13988888888", damaged(Damage::ExcelGuard), Some("13988888888"));
        check("=\"075586013388\"", damaged(Damage::ExcelGuard), Some("075586013388"));
        check("'anonymous", Kind::Verbatim(None), None);
        check("电话：13988888888", damaged(Damage::Label), Some("13988888888"));
        check("Tel. : +44 20 7946 0018", damaged(Damage::Label), Some("+44 20 7946 0018"));
        check("sip:13988888888", Kind::Verbatim(None), None);
        check("13988888888 / 13788888888", damaged(Damage::TwoNumbers), None);
        check("13988888888;13788888888", damaged(Damage::TwoNumbers), None);
        check("Room 5: 8001", Kind::Verbatim(None), None);
    }

    #[test]
    fn texts_that_can_only_be_numbers_are_told_by_their_digits() {
        for text in ["13988888888", "075586013388", "+8613988888888", "008613988888888"] {
            assert!(is_longer_than_a_text(text), "{text:?}");
        }
        for text in ["10086", "008610086", "+8610086", "(00)8610086", "１３９", "anon"] {
            assert!(!is_longer_than_a_text(text), "{text:?}");
        }
    }
}
