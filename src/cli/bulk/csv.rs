//! CSV: RFC 4180 with any delimiter, and CR, LF or CRLF as the line end. The first row sets the number of cells. A row
//! with another number of cells, or with quotes that RFC 4180 does not allow, is ambiguous: its column cannot be found.

use std::ops::Range;

use memchr::{memchr, memchr_iter, memchr2, memchr2_iter, memchr3, memrchr2};
use smallvec::SmallVec;
use zeroize::Zeroizing;

use super::{
    block::ROW_BYTES_MAX,
    delimiter::Delimiter,
    layout::{self, Cell, Finds, Form, Found, Layout, Source},
    row_error::RowError,
    scan::{Label, Labelled},
};

/// CSV in which some columns are mapped.
#[derive(Clone)]
pub(super) struct Csv {
    pub(super) delimiter: Delimiter,
    /// The indices of the columns, from 0, in ascending order and without repeats.
    pub(super) columns: Vec<usize>,
    /// The number of cells in each row; 0 until it is known.
    pub(super) cells: usize,
    /// How many line ends one row may have within quotes.
    pub(super) quoted_lines: usize,
}

/// A field: its bytes with quotes, and the bytes between the quotes if there are any.
#[derive(Clone)]
struct Field {
    bytes: Range<usize>,
    quoted: Option<Range<usize>>,
}

/// Whether more bytes may follow those at hand.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Beyond {
    More,
    Nothing,
}

/// The result of looking at one field.
enum Look {
    Field(Field),
    /// Its quotes break RFC 4180.
    Wrong,
    /// Its end is not among the bytes.
    Open,
}

/// The fields of a row, unquoted.
type Fields = Vec<Zeroizing<Vec<u8>>>;

/// A row that was scanned field by field.
struct Walked {
    /// The index after its line end.
    end: usize,
    cells: usize,
    /// The fields of the mapped columns.
    fields: SmallVec<[Field; 1]>,
    fault: Option<RowError>,
}

impl Csv {
    /// The fields of the first row, unquoted, and the index of its end.
    ///
    /// # Errors
    /// [`RowError`] if its quotes are wrong.
    pub(super) fn first_row(&self, bytes: &[u8]) -> Result<(Fields, usize), RowError> {
        let walked = self.walk(bytes, 0, Beyond::Nothing).unwrap_or_else(|| self.wrong(bytes, 0));
        let row = Self { cells: walked.cells, ..self.clone() };
        let walked = row.walk(bytes, 0, Beyond::Nothing).unwrap_or_else(|| self.wrong(bytes, 0));
        if memchr(0, &bytes[..walked.end]).is_some() {
            return Err(RowError::WrongQuoting);
        }
        if let Some(error) = walked.fault {
            return Err(error);
        }
        let mut fields = Vec::with_capacity(walked.cells);
        let mut at = 0;
        for _ in 0..walked.cells {
            let Look::Field(field) = self.field(bytes, at) else { break };
            at = field.bytes.end + 1;
            fields.push(Zeroizing::new(match field.quoted {
                Some(quoted) => unquote(&bytes[quoted]),
                None => bytes[field.bytes].to_vec(),
            }));
        }
        Ok((fields, walked.end))
    }

    /// The field that begins at `start`.
    fn field(&self, bytes: &[u8], start: usize) -> Look {
        if bytes.get(start) == Some(&b'"') {
            let Some(end) = close(bytes, start) else { return Look::Open };
            return match bytes.get(end) {
                Some(byte) if *byte != self.delimiter.0 && !b"\r\n".contains(byte) => Look::Wrong,
                _ => Look::Field(Field { bytes: start..end, quoted: Some(start + 1..end - 1) }),
            };
        }
        let rest = &bytes[start..];
        let end = memchr3(self.delimiter.0, b'\n', b'\r', rest).map_or(bytes.len(), |end| start + end);
        if memchr(b'"', &bytes[start..end]).is_some() {
            return Look::Wrong;
        }
        Look::Field(Field { bytes: start..end, quoted: None })
    }

    /// Scans the row that begins at `start`. Returns `None` if it needs more bytes to find the end.
    fn walk(&self, bytes: &[u8], start: usize, beyond: Beyond) -> Option<Walked> {
        let window = &bytes[..bytes.len().min(start + ROW_BYTES_MAX)];
        let beyond = if window.len() < bytes.len() { Beyond::Nothing } else { beyond };
        let (mut at, mut cells, mut line_ends, mut fields) = (start, 0, 0, SmallVec::new());
        loop {
            let field = match self.field(window, at) {
                Look::Field(field) => field,
                Look::Wrong => return Some(self.wrong(bytes, start)),
                Look::Open if beyond == Beyond::More && count_line_ends(&window[at..]) <= self.quoted_lines => {
                    return None;
                }
                Look::Open => return Some(self.wrong(bytes, start)),
            };
            if let Some(quoted) = &field.quoted {
                line_ends += count_line_ends(&window[quoted.clone()]);
                if line_ends > self.quoted_lines {
                    return Some(self.wrong(bytes, start));
                }
            }
            let end = field.bytes.end;
            if self.columns.get(fields.len()) == Some(&cells) {
                fields.push(field);
            }
            cells += 1;
            if window.get(end) == Some(&self.delimiter.0) {
                at = end + 1;
                continue;
            }
            if beyond == Beyond::More && matches!(window[end..], [] | [b'\r']) {
                return None;
            }
            if line_ends > 0 && self.swallows(&window[start..end]) {
                return Some(self.wrong(bytes, start));
            }
            return Some(Walked { end: behind_line_end(window, end), cells, fields, fault: None });
        }
    }

    /// A row whose quotes are wrong. It ends with its first line, because the lines after it may be good rows.
    fn wrong(&self, bytes: &[u8], start: usize) -> Walked {
        let line_end = memchr2(b'\n', b'\r', &bytes[start..]).map_or(bytes.len(), |end| start + end);
        let end = behind_line_end(bytes, line_end);
        Walked { end, cells: 0, fields: SmallVec::new(), fault: Some(RowError::WrongQuoting) }
    }

    /// Whether most lines of this row, which has line ends within quotes, could be rows of their own. Then an unclosed
    /// quote swallowed them.
    fn swallows(&self, row: &[u8]) -> bool {
        if self.cells < 2 {
            return false;
        }
        let (mut lines, mut like_rows) = (0, 0);
        for line in row.split(|byte| b"\r\n".contains(byte)).filter(|line| !line.is_empty()) {
            lines += 1;
            like_rows += usize::from(memchr_iter(self.delimiter.0, line).count() + 1 >= self.cells);
        }
        2 * like_rows > lines
    }
}

/// Line ends in `bytes`; CRLF counts as two.
fn count_line_ends(bytes: &[u8]) -> usize {
    memchr2_iter(b'\n', b'\r', bytes).count()
}

/// The index after the line end that begins at `end`, or `end` itself if none does.
fn behind_line_end(bytes: &[u8], end: usize) -> usize {
    match bytes[end..] {
        [b'\r', b'\n', ..] => end + 2,
        [] => end,
        _ => end + 1,
    }
}

/// The index after the last line end in `bytes`. A CR at the very end does not count, since an LF may follow.
fn behind_last_line_end(bytes: &[u8]) -> Option<usize> {
    let bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
    Some(memrchr2(b'\n', b'\r', bytes)? + 1)
}

/// The index after the quote that closes the one at `open`. Two quotes in a row stand for one in the text.
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

/// The text between quotes, with each doubled quote made single.
fn unquote(quoted: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(quoted.len());
    let mut rest = quoted;
    while let Some(quote) = memchr(b'"', rest) {
        text.extend_from_slice(&rest[..=quote]);
        rest = rest.get(quote + 2..).unwrap_or_default();
    }
    text.extend_from_slice(rest);
    text
}

impl Layout for Csv {
    const ROW_END: Option<&'static [u8]> = None;
    const LEFT_OUT: &'static [u8] = b"";
    const NUL: Option<RowError> = Some(RowError::WrongQuoting);
    const NOT_UTF8: RowError = RowError::NotUtf8;

    fn last_end(&self, bytes: &[u8]) -> Option<usize> {
        let mut at = 0;
        // Rows without a quote are single lines. The others are scanned.
        while let Some(quote) = memchr(b'"', &bytes[at..]) {
            let quote = at + quote;
            let row = memrchr2(b'\n', b'\r', &bytes[at..quote]).map_or(at, |end| at + end + 1);
            match self.walk(bytes, row, Beyond::More) {
                Some(walked) => at = walked.end,
                None => return (row > 0).then_some(row),
            }
        }
        behind_last_line_end(&bytes[at..]).map(|end| at + end).or((at > 0).then_some(at))
    }

    fn line_end(&self, bytes: &[u8]) -> Option<usize> {
        let bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
        memchr2(b'\n', b'\r', bytes).map(|end| behind_line_end(bytes, end))
    }

    fn row(&self, bytes: &[u8], start: usize, finds: &mut Finds) -> usize {
        let line_end = memchr3(b'"', b'\n', b'\r', &bytes[start..]).map_or(bytes.len(), |end| start + end);
        if bytes.get(line_end) == Some(&b'"') {
            return self.row_with_quotes(bytes, start, finds);
        }
        let (line, end) = (&bytes[start..line_end], behind_line_end(bytes, line_end));
        if memchr_iter(self.delimiter.0, line).count() + 1 != self.cells {
            finds.founds.push(if line.is_empty() { Found::Nothing } else { Found::Unfit(RowError::WrongShape) });
            return end;
        }
        let mut delimiters = memchr_iter(self.delimiter.0, line).map(|at| start + at);
        let (mut cell, mut begin) = (0, start);
        finds.founds.extend(self.columns.iter().map(|column| {
            if *column > cell {
                begin = delimiters.nth(column - cell - 1).map_or(line_end, |before| before + 1);
            }
            let place = begin..delimiters.next().unwrap_or(line_end);
            (cell, begin) = (column + 1, place.end + 1);
            found_bare(place)
        }));
        end
    }

    fn label(&self, row: &[u8], at: usize, labelled: &mut Labelled) -> Label {
        let mut cell = if let Some(Label::Cell(cell)) = labelled.label { cell } else { 0 };
        while let Look::Field(field) = self.field(row, labelled.from)
            && field.bytes.end <= at
        {
            (cell, labelled.from) = (cell + 1, field.bytes.end + 1);
        }
        Label::Cell(cell)
    }

    fn column(&self, _: &[u8], nth: usize, _: Option<usize>) -> Option<Label> {
        self.columns.get(nth).filter(|_| self.columns.len() > 1).map(|column| Label::Cell(*column))
    }

    fn delimiter(&self) -> Option<u8> {
        Some(self.delimiter.0)
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

impl Csv {
    fn row_with_quotes(&self, bytes: &[u8], start: usize, finds: &mut Finds) -> usize {
        let walked = self.walk(bytes, start, Beyond::Nothing).unwrap_or_else(|| self.wrong(bytes, start));
        let Finds { founds, unescaped } = finds;
        match walked.fault {
            Some(error) => founds.push(Found::Unfit(error)),
            None if walked.cells != self.cells => founds.push(Found::Unfit(RowError::WrongShape)),
            None => founds.extend(walked.fields.into_iter().map(|field| found(bytes, field, unescaped))),
        }
        walked.end
    }
}

fn found_bare(place: Range<usize>) -> Found {
    let cell = Cell { bytes: place.clone(), form: Form::Bare };
    if place.is_empty() { Found::Nothing } else { Found::Text(cell, Source::Block(place)) }
}

fn found(bytes: &[u8], field: Field, unescaped: &mut String) -> Found {
    let Some(quoted) = field.quoted else { return found_bare(field.bytes) };
    let cell = Cell { bytes: quoted.clone(), form: Form::Quoted };
    if memchr(b'"', &bytes[quoted.clone()]).is_none() {
        return if quoted.is_empty() { Found::Nothing } else { Found::Text(cell, Source::Block(quoted)) };
    }
    let begin = unescaped.len();
    layout::push_lossy(unescaped, &Zeroizing::new(unquote(&bytes[quoted])));
    Found::Text(cell, Source::Unescaped(begin..unescaped.len()))
}
