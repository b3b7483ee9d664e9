//! One value a line; or, for values of the command line, one value before each NUL.

use memchr::{memchr, memrchr};

use super::{
    layout::{Cell, Finds, Form, Found, Layout, Source},
    row_error::RowError,
    scan::{Label, Labelled},
};

/// Values with an `end` byte after each. Results are always lines that end in a line feed.
#[derive(Clone)]
pub(super) struct Lines {
    pub(super) end: u8,
}

impl Layout for Lines {
    const ROW_END: Option<&'static [u8]> = Some(b"\n");
    const LEFT_OUT: &'static [u8] = b"\n";
    const NUL: Option<RowError> = None;
    const HAS_MORE: bool = false;
    const NOT_UTF8: RowError = RowError::NotUtf8;

    fn last_end(&self, bytes: &[u8]) -> Option<usize> {
        Some(memrchr(self.end, bytes)? + 1)
    }

    fn line_end(&self, bytes: &[u8]) -> Option<usize> {
        Some(memchr(self.end, bytes)? + 1)
    }

    fn row(&self, bytes: &[u8], start: usize, finds: &mut Finds) -> usize {
        let row = &bytes[start..];
        let (text, end) = memchr(self.end, row).map_or((row, row.len()), |end| (&row[..end], end + 1));
        let text = if self.end == b'\n' { text.strip_suffix(b"\r").unwrap_or(text) } else { text };
        let place = start..start + text.len();
        let cell = Cell { bytes: place.clone(), form: Form::Bare };
        let is_nothing = place.is_empty() && self.end != 0;
        finds.founds.push(if is_nothing { Found::Nothing } else { Found::Text(cell, Source::Block(place)) });
        start + end
    }

    fn label(&self, _: &[u8], _: usize, _: &mut Labelled) -> Label {
        Label::Elsewhere
    }

    fn put(&self, out: &mut Vec<u8>, _: Form, text: &str) {
        out.extend_from_slice(text.as_bytes());
    }
}
