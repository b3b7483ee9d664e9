//! One value a line; or, for values of the command line, one value before each NUL.

use memchr::{memchr, memrchr};

use super::layout::{Cell, Form, Found, Layout, Row, Source};

/// Values behind each of which stands an `end`. Results always stand on lines that end in a line feed.
#[derive(Clone)]
pub(super) struct Lines {
    pub(super) end: u8,
}

impl Layout for Lines {
    const ROW_END: Option<&'static [u8]> = Some(b"\n");

    fn last_end(&self, bytes: &[u8]) -> Option<usize> {
        Some(memrchr(self.end, bytes)? + 1)
    }

    fn may_end(&self, _: &[u8]) -> bool {
        true
    }

    fn row(&self, bytes: &[u8], start: usize, _: &mut String) -> Row {
        let row = &bytes[start..];
        let (text, end) = memchr(self.end, row).map_or((row, row.len()), |end| (&row[..end], end + 1));
        let text = if self.end == b'\n' { text.strip_suffix(b"\r").unwrap_or(text) } else { text };
        let place = start..start + text.len();
        let cell = Cell { bytes: place.clone(), form: Form::Bare };
        Row { start, end: start + end, found: Found::Text(cell, Source::Block(place)) }
    }

    fn put(&self, out: &mut Vec<u8>, _: Form, text: &str) {
        out.extend_from_slice(text.as_bytes());
    }
}
