//! CSV: RFC 4180 with any delimiter, and quotes read as spreadsheets do: only one that begins a field opens it.

use std::{fmt, ops::Range, str::FromStr};

use memchr::{memchr, memchr2, memrchr};
use zeroize::Zeroizing;

use super::{
    layout::{self, Cell, Form, Found, Layout, Row, Source},
    report::RowError,
};

/// The byte between fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Delimiter(u8);

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

/// A text that cannot stand between fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotADelimiter;

impl fmt::Display for NotADelimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a delimiter is one ASCII character, such as , or ; or |, or the word tab")
    }
}

impl std::error::Error for NotADelimiter {}

/// CSV in which one column is mapped.
#[derive(Clone)]
pub(super) struct Csv {
    pub(super) delimiter: Delimiter,
    /// Counted from 0.
    pub(super) column: usize,
}

/// A field: its bytes, quotes included, and those between the quotes where there are some.
struct Field {
    bytes: Range<usize>,
    quoted: Option<Range<usize>>,
    /// The delimiter or the line end behind it, or the end of all.
    end: usize,
}

impl Csv {
    /// The fields of the row that `row` is, unquoted.
    pub(super) fn fields(&self, row: &[u8]) -> Vec<Vec<u8>> {
        let mut fields = Vec::new();
        let mut at = 0;
        loop {
            let field = self.field(row, at);
            fields.push(match &field.quoted {
                Some(content) => unquote(row, content.clone(), field.bytes.end),
                None => row[field.bytes.clone()].to_vec(),
            });
            if row.get(field.end) != Some(&self.delimiter.0) {
                return fields;
            }
            at = field.end + 1;
        }
    }

    /// Behind the first row of `bytes`.
    pub(super) fn first_end(&self, bytes: &[u8]) -> usize {
        self.row_end(bytes, 0)
    }

    fn field(&self, bytes: &[u8], start: usize) -> Field {
        let quoted = (bytes.get(start) == Some(&b'"')).then(|| {
            let close = close(bytes, start).unwrap_or(bytes.len() + 1);
            start + 1..close - 1
        });
        let from = quoted.as_ref().map_or(start, |quoted| (quoted.end + 1).min(bytes.len()));
        let end = memchr2(self.delimiter.0, b'\n', &bytes[from..]).map_or(bytes.len(), |end| from + end);
        let is_last = bytes.get(end) != Some(&self.delimiter.0);
        let content = &bytes[from..end];
        let content = if is_last { content.strip_suffix(b"\r").unwrap_or(content) } else { content };
        Field { bytes: start..from + content.len(), quoted, end }
    }

    /// Behind the row that goes on at `from`, outside quotes.
    fn row_end(&self, bytes: &[u8], mut from: usize) -> usize {
        while let Some(found) = memchr2(b'"', b'\n', &bytes[from..]) {
            let found = from + found;
            if bytes[found] == b'\n' {
                return found + 1;
            }
            from = if self.opens(bytes, found) { close(bytes, found).unwrap_or(bytes.len()) } else { found + 1 };
        }
        bytes.len()
    }

    /// Whether the quote at `quote`, which is not inside quotes, begins a field.
    fn opens(&self, bytes: &[u8], quote: usize) -> bool {
        quote == 0 || bytes[quote - 1] == self.delimiter.0 || bytes[quote - 1] == b'\n'
    }

    /// Walks over all quotes: the end of the last whole row, and whether the end of `bytes` is inside quotes.
    fn scan(&self, bytes: &[u8]) -> (Option<usize>, Ends) {
        let (mut last, mut from) = (None, 0);
        while let Some(quote) = memchr(b'"', &bytes[from..]) {
            let quote = from + quote;
            if let Some(line_feed) = memrchr(b'\n', &bytes[from..quote]) {
                last = Some(from + line_feed + 1);
            }
            if self.opens(bytes, quote) {
                let Some(closed) = close(bytes, quote) else { return (last, Ends::InsideQuotes) };
                from = closed;
            } else {
                from = quote + 1;
            }
        }
        (memrchr(b'\n', &bytes[from..]).map(|line_feed| from + line_feed + 1).or(last), Ends::Outside)
    }
}

/// Where bytes end.
#[derive(PartialEq, Eq)]
enum Ends {
    Outside,
    InsideQuotes,
}

/// Behind the quote that closes the one at `open`; two quotes in a row are one in the text.
fn close(bytes: &[u8], open: usize) -> Option<usize> {
    let mut from = open + 1;
    loop {
        let quote = from + memchr(b'"', &bytes[from..])?;
        if bytes.get(quote + 1) != Some(&b'"') {
            return Some(quote + 1);
        }
        from = quote + 2;
    }
}

/// The text of a quoted field: what stands between its quotes, with single ones for two, and what follows them.
fn unquote(bytes: &[u8], quoted: Range<usize>, end: usize) -> Vec<u8> {
    let mut text = Vec::with_capacity(end - quoted.start);
    let mut rest = &bytes[quoted.clone()];
    while let Some(quote) = memchr(b'"', rest) {
        text.extend_from_slice(&rest[..=quote]);
        rest = rest.get(quote + 2..).unwrap_or_default();
    }
    text.extend_from_slice(rest);
    text.extend_from_slice(bytes.get(quoted.end + 1..end).unwrap_or_default());
    text
}

impl Layout for Csv {
    const ROW_END: Option<&'static [u8]> = None;

    fn last_end(&self, bytes: &[u8]) -> Option<usize> {
        self.scan(bytes).0
    }

    fn may_end(&self, bytes: &[u8]) -> bool {
        self.scan(bytes).1 == Ends::Outside
    }

    fn row(&self, bytes: &[u8], start: usize, unescaped: &mut String) -> Row {
        let mut at = start;
        for _ in 0..self.column {
            let field = self.field(bytes, at);
            if bytes.get(field.end) != Some(&self.delimiter.0) {
                let end = (field.end + 1).min(bytes.len());
                let is_empty = field.bytes.start == start && field.bytes.is_empty();
                let found = if is_empty { Found::Nothing } else { Found::Fault(RowError::MissingColumn, None) };
                return Row { start, end, found };
            }
            at = field.end + 1;
        }
        let field = self.field(bytes, at);
        Row { start, end: self.row_end(bytes, field.end), found: found(bytes, field, unescaped) }
    }

    fn put(&self, out: &mut Vec<u8>, form: Form, text: &str) {
        let needs_quotes = |byte: &u8| *byte == self.delimiter.0 || b"\"\r\n".contains(byte);
        if form == Form::Bare && !text.as_bytes().iter().any(needs_quotes) {
            out.extend_from_slice(text.as_bytes());
            return;
        }
        let own_quotes: &[u8] = if form == Form::Quoted { b"" } else { b"\"" };
        out.extend_from_slice(own_quotes);
        for (at, part) in text.split('"').enumerate() {
            out.extend_from_slice(if at == 0 { b"" } else { b"\"\"" });
            out.extend_from_slice(part.as_bytes());
        }
        out.extend_from_slice(own_quotes);
    }
}

fn found(bytes: &[u8], field: Field, unescaped: &mut String) -> Found {
    let Some(quoted) = field.quoted else {
        let cell = Cell { bytes: field.bytes.clone(), form: Form::Bare };
        return if field.bytes.is_empty() { Found::Nothing } else { Found::Text(cell, Source::Block(field.bytes)) };
    };
    let ends_there = quoted.end + 1 == field.bytes.end;
    if ends_there && memchr(b'"', &bytes[quoted.clone()]).is_none() {
        let cell = Cell { bytes: quoted.clone(), form: Form::Quoted };
        return if quoted.is_empty() { Found::Nothing } else { Found::Text(cell, Source::Block(quoted)) };
    }
    let begin = unescaped.len();
    let text = Zeroizing::new(unquote(bytes, quoted.clone(), field.bytes.end));
    layout::push_lossy(unescaped, &text);
    let cell = if ends_there {
        Cell { bytes: quoted, form: Form::Quoted }
    } else {
        Cell { bytes: field.bytes, form: Form::Anew }
    };
    Found::Text(cell, Source::Unescaped(begin..unescaped.len()))
}
