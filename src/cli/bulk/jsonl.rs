//! JSON lines: one JSON value a line. JSON pointers (RFC 6901) name the strings that are mapped; `*` names all elements
//! of an array. A line is never re-serialised: only the bytes of those strings change.

use std::{cmp::Reverse, fmt, mem, ops::Range, str::FromStr};

use memchr::{memchr, memchr2, memrchr};
use zeroize::Zeroizing;

use super::{
    json_scanner::{Places, Scanner},
    layout::{Cell, Finds, Form, Found, Layout, Source},
    row_error::RowError,
    scan::{Label, Labelled},
};
use crate::item::ItemError;

/// Maximum tokens of a pointer.
const POINTER_TOKENS_MAX: usize = 128;

/// Characters of a key that are shown.
const LABEL_CHARS_MAX: usize = 64;

/// A JSON pointer as its tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pointer(Vec<String>);

impl FromStr for Pointer {
    type Err = NotAPointer;

    fn from_str(text: &str) -> Result<Self, NotAPointer> {
        let mut tokens = text.split('/');
        if tokens.next() != Some("") || text.split('/').count() > POINTER_TOKENS_MAX {
            return Err(NotAPointer);
        }
        tokens.map(unescape_token).collect::<Option<_>>().map(Self).ok_or(NotAPointer)
    }
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|token| write!(f, "/{}", token.replace('~', "~0").replace('/', "~1")))
    }
}

/// Unescapes a token: `~1` is a slash, and `~0` a tilde.
fn unescape_token(token: &str) -> Option<String> {
    let mut parts = token.split('~');
    let mut unescaped = parts.next()?.to_owned();
    for part in parts {
        unescaped.push(match part.as_bytes().first()? {
            b'0' => '~',
            b'1' => '/',
            _ => return None,
        });
        unescaped.push_str(&part[1..]);
    }
    Some(unescaped)
}

/// A text that is not a JSON pointer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotAPointer;

impl fmt::Display for NotAPointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("with --format jsonl, --column is a JSON pointer such as /phone, /customer/phones/0 or /phones/*")
    }
}

impl std::error::Error for NotAPointer {}

/// JSON lines in which these pointers name the strings to map.
#[derive(Clone)]
pub(super) struct Jsonl {
    pub(super) pointers: Vec<Pointer>,
}

impl Layout for Jsonl {
    const ROW_END: Option<&'static [u8]> = None;
    const LEFT_OUT: &'static [u8] = b"\n";
    const NUL: Option<RowError> = None;
    const NOT_UTF8: RowError = RowError::NotJson;

    fn last_end(&self, bytes: &[u8]) -> Option<usize> {
        Some(memrchr(b'\n', bytes)? + 1)
    }

    fn line_end(&self, bytes: &[u8]) -> Option<usize> {
        Some(memchr(b'\n', bytes)? + 1)
    }

    fn row(&self, bytes: &[u8], start: usize, finds: &mut Finds) -> usize {
        let line_end = memchr(b'\n', &bytes[start..]).map_or(bytes.len(), |end| start + end);
        let line = &bytes[..line_end];
        let first = finds.founds.len();
        if let Err(error) = self.find(line, start, finds) {
            let text = line[start..].strip_suffix(b"\r").unwrap_or(&line[start..]);
            let cell = Cell { bytes: start..start + text.len(), form: Form::Bare };
            finds.replace(first, Found::Fault(error, Some(cell)));
        }
        (line_end + 1).min(bytes.len())
    }

    fn label(&self, row: &[u8], at: usize, labelled: &mut Labelled) -> Label {
        let from = mem::replace(&mut labelled.from, at);
        // The label is the last key before the place, shown to people as it is written in the line.
        let Some(end) = row[from..at].windows(2).rposition(|pair| pair == b"\":") else {
            return labelled.label.clone().unwrap_or(Label::Elsewhere);
        };
        let key = memrchr(b'"', &row[..from + end]).and_then(|quote| str::from_utf8(&row[quote + 1..from + end]).ok());
        key.map_or(Label::Elsewhere, |key| Label::Key(key.chars().take(LABEL_CHARS_MAX).collect()))
    }

    fn column(&self, row: &[u8], _: usize, place: Option<usize>) -> Option<Label> {
        if self.pointers.len() < 2 {
            return None;
        }
        let line = row.strip_suffix(b"\n").unwrap_or(row);
        let is_it = |pointer: &&Pointer| {
            let mut places = Places::new();
            let is_there = Scanner::new(line, 0).find(&pointer.0, &mut places);
            let has_place = |place| places.iter().any(|found| (found.start..=found.start + 1).contains(&place));
            is_there.is_ok_and(|is_there| place.map_or(!is_there, has_place))
        };
        Some(Label::Key(self.pointers.iter().find(is_it)?.to_string()))
    }

    fn put(&self, out: &mut Vec<u8>, form: Form, text: &str) {
        let own_quotes: &[u8] = if form == Form::Anew { b"\"" } else { b"" };
        out.extend_from_slice(own_quotes);
        let mut rest = text.as_bytes();
        // The text of a UID has no control character, so nothing else needs an escape.
        while let Some(at) = memchr2(b'"', b'\\', rest) {
            out.extend_from_slice(&rest[..at]);
            out.extend_from_slice(&[b'\\', rest[at]]);
            rest = &rest[at + 1..];
        }
        out.extend_from_slice(rest);
        out.extend_from_slice(own_quotes);
    }
}

impl Jsonl {
    /// Adds the strings to map in `line` from `start` on.
    fn find(&self, line: &[u8], start: usize, finds: &mut Finds) -> Result<(), RowError> {
        let Finds { founds, unescaped } = finds;
        let (mut places, mut is_missing) = (Places::new(), false);
        for pointer in &self.pointers {
            let mut scanner = Scanner::new(line, start);
            scanner.skip_space();
            if scanner.peek().is_none() {
                founds.push(Found::Nothing);
                return Ok(());
            }
            is_missing |= !scanner.find(&pointer.0, &mut places)?;
            scanner.skip_space();
            if scanner.peek().is_some() {
                return Err(RowError::NotJson);
            }
        }
        if places.len() > 1 {
            sort_out(&mut places);
        }
        if places.is_empty() && !is_missing {
            founds.push(Found::Nothing);
        }
        for place in places {
            founds.push(found(line, place, unescaped)?);
        }
        founds.extend(is_missing.then_some(Found::Fault(RowError::MissingColumn, None)));
        Ok(())
    }
}

/// Sorts places, and drops repeated ones and those within another. The outer one of two is not a string.
fn sort_out(places: &mut Places) {
    places.sort_unstable_by_key(|place| (place.start, Reverse(place.end)));
    let mut end = 0;
    places.retain(|place| {
        let is_apart = place.start >= end;
        end = end.max(place.end);
        is_apart
    });
}

fn found(line: &[u8], value: Range<usize>, unescaped: &mut String) -> Result<Found, RowError> {
    let text = &line[value.clone()];
    if text == b"null" || text == b"\"\"" {
        return Ok(Found::Nothing);
    }
    if text[0] == b'"' {
        let inside = value.start + 1..value.end - 1;
        let cell = Cell { bytes: inside.clone(), form: Form::Quoted };
        if memchr(b'\\', text).is_none() {
            return Ok(Found::Text(cell, Source::Block(inside)));
        }
        // An unpaired surrogate is valid JSON, but not text.
        let Ok(text) = serde_json::from_slice::<String>(text).map(Zeroizing::new) else {
            return Ok(Found::Fault(RowError::Item(ItemError::InvalidNumber), Some(cell)));
        };
        let begin = unescaped.len();
        unescaped.push_str(&text);
        return Ok(Found::Text(cell, Source::Unescaped(begin..unescaped.len())));
    }
    let cell = Cell { bytes: value.clone(), form: Form::Anew };
    // Some exports write phone numbers as JSON numbers. The digits are the text.
    if text.iter().all(u8::is_ascii_digit) {
        return Ok(Found::Text(cell, Source::Block(value)));
    }
    Ok(Found::Fault(RowError::NotAString, Some(cell)))
}
