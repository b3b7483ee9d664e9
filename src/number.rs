//! What a UID stands for: an E.164 number, or any other text that must come back as it was.

use std::fmt;

/// One more than the greatest number of 15 digits.
const E164_END: u64 = 1_000_000_000_000_000;

/// Bytes that can hold any such number, and so the length of the plaintext in its UID.
pub const NUMBER_BYTES: usize = 7;

/// A number in E.164 form: country code and national number, at most 15 digits, written without the plus sign.
///
/// It does not say whether such a number is in use.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct E164(u64);

impl E164 {
    /// The number whose digits, read as an integer, are `digits`; `None` for 0 and for more than 15 digits.
    pub fn new(digits: u64) -> Option<Self> {
        (1..E164_END).contains(&digits).then_some(Self(digits))
    }

    /// The digits, read as an integer.
    pub fn digits(self) -> u64 {
        self.0
    }
}

/// Bytes of UTF-8 in the longest text.
pub const TEXT_BYTES_MAX: usize = 128;

/// A text with nothing to strip: 1 to [`TEXT_BYTES_MAX`] bytes, no control character, and neither white space nor
/// invisible marks at its ends (specification, section 2, step 1).
///
/// ```
/// use callveil::number::Text;
///
/// let copied_from_a_contact = "\u{202a}+86 139 8888 8888\u{202c}\n";
/// assert_eq!(Text::strip(copied_from_a_contact).unwrap().as_str(), "+86 139 8888 8888");
/// assert!(Text::strip(" \u{200e} ").is_none());
/// assert!(Text::strip("139\n8888").is_none());
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Text<'a>(&'a str);

/// `text` without the white space and marks that contact lists put around numbers. It may have any length.
pub fn trim(text: &str) -> &str {
    text.trim_matches(|c: char| c.is_whitespace() || is_mark(c))
}

impl<'a> Text<'a> {
    /// `text` without the white space and marks that contact lists put around numbers. It is `None` if nothing is left,
    /// if the rest is too long, or if it contains a control character.
    pub fn strip(text: &'a str) -> Option<Self> {
        let text = trim(text);
        let fits = !text.is_empty() && text.len() <= TEXT_BYTES_MAX && !text.contains(char::is_control);
        fits.then_some(Self(text))
    }

    /// `text`, if [`Text::strip`] would leave it unchanged.
    pub fn exact(text: &'a str) -> Option<Self> {
        Self::strip(text).filter(|stripped| stripped.0.len() == text.len())
    }

    /// The text.
    pub fn as_str(&self) -> &'a str {
        self.0
    }
}

/// The invisible marks that contact lists put around numbers: direction marks, embeddings, isolates, and the BOM.
fn is_mark(c: char) -> bool {
    matches!(c, '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}' | '\u{FEFF}')
}

/// Digits of the longest hotline.
pub const HOTLINE_DIGITS_MAX: usize = 15;

/// A short number of a region, such as 10086 in China: the ASCII digits that are dialled there.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Hotline {
    /// ASCII digits, followed by zero bytes.
    digits: [u8; HOTLINE_DIGITS_MAX],
    count: usize,
}

impl Hotline {
    /// The hotline with these digits; `None` if there are none, if there are more than [`HOTLINE_DIGITS_MAX`], or if
    /// any is not an ASCII digit.
    pub fn new(digits: &str) -> Option<Self> {
        let (bytes, count) = (digits.as_bytes(), digits.len());
        let mut digits = [0; HOTLINE_DIGITS_MAX];
        digits.get_mut(..count)?.copy_from_slice(bytes);
        (count > 0 && bytes.iter().all(u8::is_ascii_digit)).then_some(Self { digits, count })
    }

    /// The digits.
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.digits[..self.count]).expect("digits are ASCII")
    }
}

/// What a UID stands for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Number<'a> {
    /// A phone number.
    E164(E164),
    /// A short number of the region of the key that read it. It has the same UID as its digits have as a text.
    Hotline(Hotline),
    /// Any other text: an extension, a withheld caller, a SIP URI.
    Verbatim(Text<'a>),
}

impl Number<'_> {
    /// Appends the number to `text` in a form that does not depend on the configuration: `+` and the digits of its
    /// E.164 form, a hotline's digits, or the verbatim text.
    pub fn push_canonical(&self, text: &mut String) {
        match self {
            Self::E164(number) => {
                text.push('+');
                text.push_str(itoa::Buffer::new().format(number.digits()));
            }
            Self::Hotline(hotline) => text.push_str(hotline.as_str()),
            Self::Verbatim(verbatim) => text.push_str(verbatim.as_str()),
        }
    }
}

/// A text that cannot be a number and gets no UID: it is empty, too long, or contains a control character.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidNumber;

impl fmt::Display for InvalidNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "empty, longer than {TEXT_BYTES_MAX} bytes, or with a control character inside")
    }
}

impl std::error::Error for InvalidNumber {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn e164_holds_one_to_fifteen_digits() {
        assert!(E164::new(0).is_none());
        assert!(E164::new(1).is_some());
        assert!(E164::new(999_999_999_999_999).is_some());
        assert!(E164::new(1_000_000_000_000_000).is_none());
    }

    #[track_caller]
    fn check(text: &str, stripped: Option<&str>) {
        assert_eq!(Text::strip(text).as_ref().map(Text::as_str), stripped, "{text:?}");
        assert_eq!(Text::exact(text).is_some(), stripped == Some(text), "{text:?}");
    }

    #[test]
    fn stripping_takes_marks_and_white_space_in_any_order() {
        check("8001", Some("8001"));
        check("\u{FEFF} \u{2066}8001\u{2069}\u{A0}\u{200F}\r\n\u{3000}", Some("8001"));
        check("a\u{200E}b", Some("a\u{200E}b"));
        check("a b", Some("a b"));
        for nothing in ["", " ", "\u{202A}\u{202C}", "\t\n"] {
            check(nothing, None);
        }
        for control in ["1\t2", "1\n2", "1\0", "\u{85}1\u{85}2", "1\u{7F}"] {
            check(control, None);
        }
    }

    #[test]
    fn what_is_no_number_in_words() {
        let words = "empty, longer than 128 bytes, or with a control character inside";
        assert_eq!(InvalidNumber.to_string(), words);
    }

    #[test]
    fn length_counts_after_stripping() {
        let longest = "é".repeat(TEXT_BYTES_MAX / 2);
        check(&longest, Some(&longest));
        check(&format!("  {longest}  "), Some(&longest));
        check(&format!("{longest}x"), None);
    }
}
