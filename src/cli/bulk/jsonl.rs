//! JSON lines: one JSON value a line, in which a JSON pointer (RFC 6901) names the string that is mapped. Lines are
//! never written anew: only the bytes of that string change.

use std::{fmt, ops::Range, str::FromStr};

use memchr::{memchr, memchr2, memrchr};
use zeroize::Zeroizing;

use super::{
    layout::{Cell, Form, Found, Layout, Row, Source},
    report::RowError,
};

/// How deep values may be nested, and pointers reach: as deep as most parsers go.
const DEPTH_MAX: usize = 128;

/// A JSON pointer, by its tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pointer(Vec<String>);

impl FromStr for Pointer {
    type Err = NotAPointer;

    fn from_str(text: &str) -> Result<Self, NotAPointer> {
        let mut tokens = text.split('/');
        if tokens.next() != Some("") || text.split('/').count() > DEPTH_MAX {
            return Err(NotAPointer);
        }
        tokens.map(unescape_token).collect::<Option<_>>().map(Self).ok_or(NotAPointer)
    }
}

/// `~1` is a slash, and `~0` a tilde.
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

/// A text that is no JSON pointer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotAPointer;

impl fmt::Display for NotAPointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("with --format jsonl, --column is a JSON pointer such as /phone or /customer/phones/0")
    }
}

impl std::error::Error for NotAPointer {}

/// JSON lines in which one string is mapped.
#[derive(Clone)]
pub(super) struct Jsonl {
    pub(super) pointer: Pointer,
}

impl Layout for Jsonl {
    const ROW_END: Option<&'static [u8]> = None;

    fn last_end(&self, bytes: &[u8]) -> Option<usize> {
        Some(memrchr(b'\n', bytes)? + 1)
    }

    fn may_end(&self, _: &[u8]) -> bool {
        true
    }

    fn row(&self, bytes: &[u8], start: usize, unescaped: &mut String) -> Row {
        let line_end = memchr(b'\n', &bytes[start..]).map_or(bytes.len(), |end| start + end);
        let line = &bytes[..line_end];
        let found = self.find(line, start, unescaped).unwrap_or_else(|error| {
            let text = line[start..].strip_suffix(b"\r").unwrap_or(&line[start..]);
            Found::Fault(error, Some(Cell { bytes: start..start + text.len(), form: Form::Bare }))
        });
        Row { start, end: (line_end + 1).min(bytes.len()), found }
    }

    fn put(&self, out: &mut Vec<u8>, form: Form, text: &str) {
        let own_quotes: &[u8] = if form == Form::Anew { b"\"" } else { b"" };
        out.extend_from_slice(own_quotes);
        let mut rest = text.as_bytes();
        // What a UID stands for has no control character, so that nothing else needs an escape.
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
    fn find(&self, line: &[u8], start: usize, unescaped: &mut String) -> Result<Found, RowError> {
        let mut scanner = Scanner { line, at: start };
        scanner.skip_space();
        if scanner.peek().is_none() {
            return Ok(Found::Nothing);
        }
        let value = scanner.find(&self.pointer.0)?;
        scanner.skip_space();
        if scanner.peek().is_some() {
            return Err(RowError::NotJson);
        }
        let Some(value) = value else { return Ok(Found::Fault(RowError::MissingColumn, None)) };
        found(line, value, unescaped)
    }
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
        let text = Zeroizing::new(serde_json::from_slice::<String>(text).map_err(|_| RowError::NotJson)?);
        let begin = unescaped.len();
        unescaped.push_str(&text);
        return Ok(Found::Text(cell, Source::Unescaped(begin..unescaped.len())));
    }
    let cell = Cell { bytes: value.clone(), form: Form::Anew };
    // A number as exports write phone numbers: its digits are the text.
    if text.iter().all(u8::is_ascii_digit) {
        return Ok(Found::Text(cell, Source::Block(value)));
    }
    Ok(Found::Fault(RowError::NotAString, Some(cell)))
}

/// Walks over one JSON value, and refuses what no parser would read as it does. What it skips is not read closely:
/// strings, scalars and nesting are, but not which commas and colons stand between.
struct Scanner<'a> {
    line: &'a [u8],
    at: usize,
}

impl Scanner<'_> {
    fn peek(&self) -> Option<u8> {
        self.line.get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while self.peek().is_some_and(|byte| b" \t\r".contains(&byte)) {
            self.at += 1;
        }
    }

    /// Skips white space and then `wanted`, if it is next.
    fn accept(&mut self, wanted: u8) -> bool {
        self.skip_space();
        let is_next = self.peek() == Some(wanted);
        self.at += usize::from(is_next);
        is_next
    }

    /// Walks over the value that is next, and gives the place of what `path` names in it.
    fn find(&mut self, path: &[String]) -> Result<Option<Range<usize>>, RowError> {
        self.skip_space();
        let Some((token, rest)) = path.split_first() else { return self.skip_value().map(Some) };
        match self.peek() {
            Some(b'{') => self.find_member(token, rest),
            Some(b'[') => self.find_element(token, rest),
            _ => self.skip_value().map(|_| None),
        }
    }

    fn find_member(&mut self, name: &str, rest: &[String]) -> Result<Option<Range<usize>>, RowError> {
        self.at += 1;
        let (mut value, mut seen) = (None, 0);
        if self.accept(b'}') {
            return Ok(None);
        }
        loop {
            self.skip_space();
            let key = self.skip_string()?;
            if !self.accept(b':') {
                return Err(RowError::NotJson);
            }
            if is_key(&self.line[key], name) {
                seen += 1;
                value = self.find(rest)?;
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
            // Whoever reads the line may take either value.
            (true, 2..) => Err(RowError::RepeatedKey),
            (true, _) => Ok(value),
        }
    }

    fn find_element(&mut self, index: &str, rest: &[String]) -> Result<Option<Range<usize>>, RowError> {
        let is_index = index == "0" || !index.starts_with('0') && index.bytes().all(|byte| byte.is_ascii_digit());
        let index = index.parse::<usize>().ok().filter(|_| is_index);
        self.at += 1;
        let (mut value, mut at) = (None, 0);
        if self.accept(b']') {
            return Ok(None);
        }
        loop {
            if index == Some(at) {
                value = self.find(rest)?;
            } else {
                self.skip_space();
                self.skip_value()?;
            }
            at += 1;
            if !self.accept(b',') {
                break;
            }
        }
        if self.accept(b']') { Ok(value) } else { Err(RowError::NotJson) }
    }

    /// Walks over the string that is next, and gives its place, with its quotes.
    fn skip_string(&mut self) -> Result<Range<usize>, RowError> {
        let start = self.at;
        if self.peek() != Some(b'"') {
            return Err(RowError::NotJson);
        }
        self.at += 1;
        loop {
            let rest = self.line.get(self.at..).unwrap_or_default();
            let found = memchr2(b'"', b'\\', rest).ok_or(RowError::NotJson)?;
            if rest[found] == b'"' {
                self.at += found + 1;
                return Ok(start..self.at);
            }
            self.at += found + 2;
        }
    }

    /// Walks over the value that is next, and gives its place.
    fn skip_value(&mut self) -> Result<Range<usize>, RowError> {
        let start = self.at;
        match self.peek() {
            Some(b'"') => return self.skip_string(),
            Some(b'{' | b'[') => self.skip_nested()?,
            _ => self.skip_scalar()?,
        }
        Ok(start..self.at)
    }

    /// Walks over a number, `true`, `false` or `null`.
    fn skip_scalar(&mut self) -> Result<(), RowError> {
        let rest = &self.line[self.at..];
        let length = rest.iter().position(|byte| !is_scalar(*byte)).unwrap_or(rest.len());
        let is_json = match &rest[..length] {
            [first, others @ ..] if first.is_ascii_digit() || *first == b'-' => {
                others.iter().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(byte))
            }
            b"true" | b"false" | b"null" => true,
            _ => false,
        };
        self.at += length;
        if is_json { Ok(()) } else { Err(RowError::NotJson) }
    }

    /// Walks over an object or an array, with as many bits as brackets are open: 1 for one that `}` closes.
    fn skip_nested(&mut self) -> Result<(), RowError> {
        let (mut open, mut depth) = (0_u128, 0);
        loop {
            match self.peek().ok_or(RowError::NotJson)? {
                b'"' => {
                    self.skip_string()?;
                    continue;
                }
                byte @ (b'{' | b'[') => {
                    (open, depth) = (open << 1 | u128::from(byte == b'{'), depth + 1);
                    if depth > DEPTH_MAX {
                        return Err(RowError::NotJson);
                    }
                }
                byte @ (b'}' | b']') => {
                    if open & 1 != u128::from(byte == b'}') {
                        return Err(RowError::NotJson);
                    }
                    (open, depth) = (open >> 1, depth - 1);
                }
                b' ' | b'\t' | b'\r' | b',' | b':' => {}
                _ => {
                    self.skip_scalar()?;
                    continue;
                }
            }
            self.at += 1;
            if depth == 0 {
                return Ok(());
            }
        }
    }
}

/// Whether numbers, `true`, `false` and `null` are made of such bytes.
fn is_scalar(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"+-.".contains(&byte)
}

/// Whether the string `key`, with its quotes, is `name`.
fn is_key(key: &[u8], name: &str) -> bool {
    let inside = &key[1..key.len() - 1];
    if memchr(b'\\', inside).is_none() {
        return inside == name.as_bytes();
    }
    serde_json::from_slice::<String>(key).is_ok_and(|key| key == name)
}
