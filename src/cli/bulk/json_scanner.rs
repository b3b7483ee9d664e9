//! A scanner that finds values in JSON and decodes nothing else.

use std::{cmp::Ordering, ops::Range};

use memchr::memchr;
use smallvec::SmallVec;

use super::row_error::RowError;

/// Scans one JSON value, and refuses text that is not JSON by RFC 8259. Invalid UTF-8 is refused elsewhere.
pub(super) struct Scanner<'a> {
    line: &'a [u8],
    at: usize,
}

/// The byte ranges of values.
pub(super) type Places = SmallVec<[Range<usize>; 1]>;

/// The token of a pointer that names all elements of an array.
const ALL: &str = "*";

/// What may come next within an object or an array.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    /// The first key or value, or the end of an empty one.
    FirstOrEnd,
    /// A key or value, after a comma.
    Another,
    /// A comma or the end.
    CommaOrEnd,
}

impl<'a> Scanner<'a> {
    pub(super) fn new(line: &'a [u8], at: usize) -> Self {
        Self { line, at }
    }

    pub(super) fn peek(&self) -> Option<u8> {
        self.line.get(self.at).copied()
    }

    pub(super) fn skip_space(&mut self) {
        while self.peek().is_some_and(|byte| b" \t\r".contains(&byte)) {
            self.at += 1;
        }
    }

    /// Skips white space, then `wanted` if it comes next. Returns whether it did.
    fn accept(&mut self, wanted: u8) -> bool {
        self.skip_space();
        let is_next = self.peek() == Some(wanted);
        self.at += usize::from(is_next);
        is_next
    }

    /// Scans the next value, and adds the places that `path` names in it. Returns whether the path exists there.
    pub(super) fn find(&mut self, path: &[String], places: &mut Places) -> Result<bool, RowError> {
        self.skip_space();
        let Some((token, rest)) = path.split_first() else {
            places.push(self.skip_value()?);
            return Ok(true);
        };
        match self.peek() {
            Some(b'{') => self.find_member(token, rest, places),
            Some(b'[') => self.find_element(token, rest, places),
            _ => self.skip_value().map(|_| false),
        }
    }

    fn find_member(&mut self, name: &str, rest: &[String], places: &mut Places) -> Result<bool, RowError> {
        self.at += 1;
        let (mut is_there, mut seen) = (false, 0);
        if self.accept(b'}') {
            return Ok(false);
        }
        loop {
            self.skip_space();
            let key = self.skip_string()?;
            if !self.accept(b':') {
                return Err(RowError::NotJson);
            }
            if is_key(&self.line[key], name) {
                seen += 1;
                is_there = self.find(rest, places)?;
            } else {
                self.skip_space();
                self.skip_value()?;
            }
            if !self.accept(b',') {
                break;
            }
        }
        match (self.accept(b'}'), seen) {
            (false, _) => Err(RowError::NotJson),
            // A reader of the line may take either value.
            (true, 2..) => Err(RowError::RepeatedKey),
            (true, _) => Ok(is_there),
        }
    }

    /// Finds elements of an array. `*` names all of them: it exists in an empty array, and if any element has what
    /// `rest` names.
    fn find_element(&mut self, index: &str, rest: &[String], places: &mut Places) -> Result<bool, RowError> {
        let all = index == ALL;
        let is_index = index == "0" || !index.starts_with('0') && index.bytes().all(|byte| byte.is_ascii_digit());
        let index = index.parse::<usize>().ok().filter(|_| is_index);
        self.at += 1;
        let (mut is_there, mut at) = (false, 0);
        if self.accept(b']') {
            return Ok(all);
        }
        loop {
            if all || index == Some(at) {
                is_there |= self.find(rest, places)?;
            } else {
                self.skip_space();
                self.skip_value()?;
            }
            at += 1;
            if !self.accept(b',') {
                break;
            }
        }
        if self.accept(b']') { Ok(is_there) } else { Err(RowError::NotJson) }
    }

    /// Scans the next string, and returns its place with its quotes.
    fn skip_string(&mut self) -> Result<Range<usize>, RowError> {
        let start = self.at;
        if self.peek() != Some(b'"') {
            return Err(RowError::NotJson);
        }
        self.at += 1;
        loop {
            let rest = self.line.get(self.at..).unwrap_or_default();
            let plain = plain_length(rest);
            self.at += plain;
            match rest.get(plain) {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(start..self.at);
                }
                Some(b'\\') => self.at += escape_length(&rest[plain..]).ok_or(RowError::NotJson)?,
                // There is a control character, or nothing closes the string.
                _ => return Err(RowError::NotJson),
            }
        }
    }

    /// Scans the next value, and returns its place.
    fn skip_value(&mut self) -> Result<Range<usize>, RowError> {
        let start = self.at;
        match self.peek() {
            Some(b'"') => return self.skip_string(),
            Some(b'{' | b'[') => self.skip_nested()?,
            _ => self.skip_scalar()?,
        }
        Ok(start..self.at)
    }

    /// Scans a number, `true`, `false` or `null`.
    fn skip_scalar(&mut self) -> Result<(), RowError> {
        let rest = &self.line[self.at..];
        let length = rest.iter().position(|byte| !is_scalar(*byte)).unwrap_or(rest.len());
        let scalar = &rest[..length];
        self.at += length;
        let is_json = matches!(scalar, b"true" | b"false" | b"null") || is_number(scalar);
        if is_json { Ok(()) } else { Err(RowError::NotJson) }
    }

    /// Scans an object or an array. A stack holds one bit for each level that is open: 1 if `}` closes it.
    fn skip_nested(&mut self) -> Result<(), RowError> {
        let mut open = BitStack::default();
        let mut next = Next::Another;
        loop {
            self.skip_space();
            let byte = self.peek().ok_or(RowError::NotJson)?;
            match (byte, next) {
                (b'}' | b']', Next::FirstOrEnd | Next::CommaOrEnd) => {
                    if open.pop() != Some(byte == b'}') {
                        return Err(RowError::NotJson);
                    }
                    self.at += 1;
                    next = Next::CommaOrEnd;
                    if open.depth == 0 {
                        return Ok(());
                    }
                    continue;
                }
                (b',', Next::CommaOrEnd) => {
                    self.at += 1;
                    next = Next::Another;
                    continue;
                }
                (_, Next::CommaOrEnd) => return Err(RowError::NotJson),
                _ => {}
            }
            if open.top() == Some(true) {
                self.skip_string()?;
                if !self.accept(b':') {
                    return Err(RowError::NotJson);
                }
                self.skip_space();
            }
            next = match self.peek() {
                Some(byte @ (b'{' | b'[')) => {
                    open.push(byte == b'{');
                    self.at += 1;
                    Next::FirstOrEnd
                }
                Some(b'"') => self.skip_string().map(|_| Next::CommaOrEnd)?,
                _ => self.skip_scalar().map(|()| Next::CommaOrEnd)?,
            };
        }
    }
}

/// A stack of bits, the newest first. Usual depths need no allocation.
#[derive(Default)]
struct BitStack {
    words: SmallVec<[u64; 2]>,
    depth: usize,
}

impl BitStack {
    fn push(&mut self, bit: bool) {
        if self.depth.is_multiple_of(64) {
            self.words.push(0);
        }
        if let Some(word) = self.words.last_mut() {
            *word = *word << 1 | u64::from(bit);
        }
        self.depth += 1;
    }

    fn top(&self) -> Option<bool> {
        self.words.last().map(|word| word & 1 == 1)
    }

    fn pop(&mut self) -> Option<bool> {
        let bit = self.top()?;
        self.depth -= 1;
        if self.depth.is_multiple_of(64) {
            self.words.pop();
        } else if let Some(word) = self.words.last_mut() {
            *word >>= 1;
        }
        Some(bit)
    }
}

/// Bytes before the first quote, backslash or control character. It looks at eight bytes at a time: most strings end
/// before wider steps would pay off.
fn plain_length(bytes: &[u8]) -> usize {
    const fn eight_times(byte: u8) -> u64 {
        u64::from_ne_bytes([byte; 8])
    }
    let (eights, rest) = bytes.as_chunks::<8>();
    for (at, eight) in eights.iter().enumerate() {
        let eight = u64::from_le_bytes(*eight);
        // Subtracting more than a byte's value sets its top bit. The lowest top bit that is set is right, since a
        // borrow only affects the bytes above. With one bit flipped a quote becomes 32, and control characters stay
        // below that.
        let control_or_quote = (eight ^ eight_times(0b10)).wrapping_sub(eight_times(b' ' + 1));
        let backslash = (eight ^ eight_times(b'\\')).wrapping_sub(eight_times(1));
        let found = (control_or_quote | backslash) & !eight & eight_times(0x80);
        if found != 0 {
            return 8 * at + (found.trailing_zeros() / 8) as usize;
        }
    }
    let is_plain = |byte: &&u8| **byte >= b' ' && !b"\"\\".contains(byte);
    bytes.len() - rest.len() + rest.iter().take_while(is_plain).count()
}

/// Bytes of the escape that begins here, if it is a valid one.
fn escape_length(bytes: &[u8]) -> Option<usize> {
    match bytes.get(1)? {
        b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Some(2),
        b'u' => bytes.get(2..6)?.iter().all(u8::is_ascii_hexdigit).then_some(6),
        _ => None,
    }
}

/// Whether numbers, `true`, `false` and `null` may contain this byte.
fn is_scalar(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"+-.".contains(&byte)
}

/// Whether these bytes are a number: an optional `-`, digits without a leading zero, an optional fraction and exponent.
fn is_number(bytes: &[u8]) -> bool {
    let digits = |bytes: &[u8]| bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let rest = bytes.strip_prefix(b"-").unwrap_or(bytes);
    let whole = digits(rest);
    if whole == 0 || whole > 1 && rest[0] == b'0' {
        return false;
    }
    let mut rest = &rest[whole..];
    if let Some(fraction) = rest.strip_prefix(b".") {
        let count = digits(fraction);
        if count == 0 {
            return false;
        }
        rest = &fraction[count..];
    }
    if let [b'e' | b'E', exponent @ ..] = rest {
        let exponent = exponent.strip_prefix(b"+").or(exponent.strip_prefix(b"-")).unwrap_or(exponent);
        let count = digits(exponent);
        return count > 0 && count == exponent.len();
    }
    rest.is_empty()
}

/// Whether the string `key`, with its quotes, is `name`.
fn is_key(key: &[u8], name: &str) -> bool {
    let inside = &key[1..key.len() - 1];
    // An escape is longer than the character that it stands for.
    match inside.len().cmp(&name.len()) {
        Ordering::Less => false,
        Ordering::Equal => inside == name.as_bytes() && !name.contains('\\'),
        Ordering::Greater => {
            memchr(b'\\', inside).is_some() && serde_json::from_slice::<String>(key).is_ok_and(|key| key == name)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_that_ends_what_is_plain_is_seen_wherever_it_stands() {
        for (length, at) in (1..20).flat_map(|length| (0..length).map(move |at| (length, at))) {
            for byte in 0..=255_u8 {
                for around in [b'a', 0xFF, 0x80, b'!', b'#', b' ', b'[', b']'] {
                    let mut bytes = vec![around; length];
                    bytes[at] = byte;
                    let ends = byte < b' ' || b"\"\\".contains(&byte);
                    assert_eq!(plain_length(&bytes), if ends { at } else { length }, "{byte:#x} at {at} of {length}");
                }
            }
        }
    }

    #[test]
    fn keys_are_what_they_stand_for() {
        for (key, name, is_it) in [
            (r#""phone""#, "phone", true),
            (r#""phone2""#, "phone", false),
            (r#""ph\u006fne""#, "phone", true),
            (r#""a\nb""#, r"a\nb", false),
            (r#""a\\nb""#, r"a\nb", true),
            (r#""a\nb""#, "a\nb", true),
            (r#""""#, "", true),
        ] {
            assert_eq!(is_key(key.as_bytes(), name), is_it, "{key} {name:?}");
        }
    }
}
