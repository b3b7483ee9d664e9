//! Reads blocks of whole rows in bounded memory, whatever the input.

use std::{
    fmt, io,
    io::Read,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use zeroize::Zeroizing;

use super::{
    block::{Block, Holds, ROW_BYTES_MAX},
    encoding::{Decoder, Encoding},
    layout::Layout,
    sniff::{self, NotText},
};

const BYTE_ORDER_MARK: &[u8] = "\u{FEFF}".as_bytes();

/// How long to wait for more input.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Pace {
    /// Until a block is full.
    Full,
    /// Until there is a row, because somebody waits for its result.
    Row,
}

/// How far a file was read, counted before it is unpacked or decoded.
#[derive(Clone, Default)]
pub(super) struct Position(Arc<AtomicU64>);

impl Position {
    pub(super) fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// A reader of `input` that moves this position forward with every byte.
    pub(super) fn of<R>(&self, input: R) -> Counted<R> {
        Counted { input, position: self.clone() }
    }
}

/// A reader that counts its bytes.
pub(super) struct Counted<R> {
    input: R,
    position: Position,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(room)?;
        self.position.0.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

/// The source of rows.
pub(super) struct Input {
    input: Box<dyn Read + Send>,
    pace: Pace,
    /// Bytes that were read but are in no block yet.
    rest: Zeroizing<Vec<u8>>,
    /// Whether `rest` continues a row that is too long.
    within_long_row: bool,
    ended: bool,
}

/// Why no more rows can be read.
#[derive(Debug)]
#[non_exhaustive]
pub(super) enum InputError {
    /// The system's error.
    Io(io::Error),
    /// The input is not text.
    NotText(NotText),
}

impl fmt::Display for InputError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "cannot read: {error}"),
            Self::NotText(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for InputError {}

impl From<io::Error> for InputError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl Input {
    pub(super) fn new(input: impl Read + Send + 'static, pace: Pace) -> Self {
        Self { input: Box::new(input), pace, rest: Zeroizing::default(), within_long_row: false, ended: false }
    }

    /// Opens text in the given encoding, or in UTF-8. Also returns which encoding it is.
    ///
    /// # Errors
    /// [`InputError`] if its first bytes show another kind of file, or if it cannot be read.
    pub(super) fn open(
        mut input: impl Read + Send + 'static,
        pace: Pace,
        said: Option<Encoding>,
    ) -> Result<(Self, Encoding), InputError> {
        let mut head = Zeroizing::new(Vec::new());
        let mut room = Zeroizing::new(vec![0; PEEK_BYTES]);
        while sniff::may_become_one(&head) {
            match input.read(&mut room) {
                Ok(0) => break,
                Ok(read) => head.extend_from_slice(&room[..read]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        let Some(said) = said else {
            sniff::check(&head).map_err(InputError::NotText)?;
            return Ok((Self { rest: head, ..Self::new(input, pace) }, Encoding::Utf8));
        };
        sniff::check_container(&head).map_err(InputError::NotText)?;
        let encoding = said.told_by(&head);
        if encoding == Encoding::Utf8 {
            return Ok((Self { rest: head, ..Self::new(input, pace) }, encoding));
        }
        let head = io::Cursor::new(std::mem::take(&mut *head));
        Ok((Self::new(Decoder::new(head.chain(input), encoding), pace), encoding))
    }

    /// Whether lines end with CR, as on old Macs: the first bytes contain a CR but no LF. In a pipe, each line is
    /// somebody's value, with or without CR.
    pub(super) fn has_cr_alone(&mut self) -> Result<bool, InputError> {
        if self.pace == Pace::Row {
            return Ok(false);
        }
        let mut block = Block::default();
        block.begin(&self.rest, PEEK_BYTES);
        self.read(&mut block, PEEK_BYTES)?;
        self.rest = Zeroizing::new(block.input().to_vec());
        let is_there = |byte| memchr::memchr(byte, &self.rest).is_some();
        Ok(is_there(b'\r') && !is_there(b'\n'))
    }

    /// Removes a byte order mark and returns it.
    pub(super) fn take_byte_order_mark(&mut self) -> Result<&'static [u8], InputError> {
        let mut block = Block::default();
        block.begin(&self.rest, BYTE_ORDER_MARK.len());
        while block.input().len() < BYTE_ORDER_MARK.len() && BYTE_ORDER_MARK.starts_with(block.input()) && !self.ended {
            self.read(&mut block, BYTE_ORDER_MARK.len())?;
        }
        let mark = if block.input().starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK } else { b"" };
        self.rest = Zeroizing::new(block.input()[mark.len()..].to_vec());
        Ok(mark)
    }

    /// The first rows, at least one if there is any. They stay in the input.
    pub(super) fn peek(&mut self, layout: &impl Layout) -> Result<&[u8], InputError> {
        let mut block = Block::default();
        self.next(layout, &mut block, PEEK_BYTES)?;
        self.rest.splice(..0, block.input().iter().copied());
        Ok(&self.rest[..block.input().len()])
    }

    /// Removes and returns the first `bytes` of the peeked rows.
    pub(super) fn take(&mut self, bytes: usize) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(self.rest.drain(..bytes).collect())
    }

    /// Fills `block` with about `bytes` of whole rows, or one longer row, or a part of a row that is too long. Returns
    /// whether there was anything left.
    pub(super) fn next(&mut self, layout: &impl Layout, block: &mut Block, bytes: usize) -> Result<bool, InputError> {
        block.begin(&self.rest, bytes);
        self.rest.clear();
        if self.within_long_row {
            return self.more_of_long_row(layout, block, bytes);
        }
        let mut goal = bytes;
        // If somebody waits for the rows that are already here, they do not wait for more rows.
        let mut is_at_hand = self.pace == Pace::Row && !block.input().is_empty();
        loop {
            if !is_at_hand {
                self.read(block, goal)?;
            }
            let filled = block.input().len();
            if let Some(end) = last_end(layout, block.input(), bytes / ROW_BYTES_EXPECTED) {
                self.rest.extend_from_slice(block.cut(end));
                return Ok(true);
            }
            if std::mem::take(&mut is_at_hand) {
                continue;
            }
            match layout.line_end(block.input()) {
                // Only the first line of this row is short enough for a row. The lines after it are taken as rows of
                // their own.
                Some(end) if filled >= ROW_BYTES_MAX => {
                    self.rest.extend_from_slice(block.cut(end));
                    return Ok(true);
                }
                _ if self.ended && filled <= ROW_BYTES_MAX => return Ok(filled > 0),
                _ if filled >= ROW_BYTES_MAX => {
                    block.holds = Holds::LongRow;
                    self.within_long_row = true;
                    return Ok(true);
                }
                _ if filled < goal => {}
                _ => goal = (2 * goal).min(ROW_BYTES_MAX + 1),
            }
        }
    }

    /// Fills `block` with more of a row that is too long, at most to the row's end.
    fn more_of_long_row(&mut self, layout: &impl Layout, block: &mut Block, bytes: usize) -> Result<bool, InputError> {
        block.holds = Holds::MoreOfIt;
        loop {
            self.read(block, bytes)?;
            if let Some(end) = layout.line_end(block.input()) {
                self.within_long_row = false;
                self.rest.extend_from_slice(block.cut(end));
                return Ok(true);
            }
            if self.ended {
                self.within_long_row = false;
                return Ok(!block.input().is_empty());
            }
            if block.input().len() >= bytes {
                // Its last byte may be the first half of a line end.
                let end = block.input().len() - 1;
                self.rest.extend_from_slice(block.cut(end));
                return Ok(true);
            }
        }
    }

    /// Reads until the block has `goal` bytes, or as much as the pace asks for.
    fn read(&mut self, block: &mut Block, goal: usize) -> Result<(), InputError> {
        while block.input().len() < goal && !self.ended {
            match self.input.read(block.room(goal)) {
                Ok(0) => self.ended = true,
                Ok(read) => block.fill(read),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.into()),
            }
            if self.pace == Pace::Row {
                break;
            }
        }
        Ok(())
    }
}

/// Bytes that are inspected before the first block, unless the first row is longer.
const PEEK_BYTES: usize = 4096;

/// The usual row is longer. If rows are shorter, a block takes fewer bytes: each row may become a UID, and this bounds
/// the output.
const ROW_BYTES_EXPECTED: usize = 8;

/// The end of the last whole row, of about `rows_max` rows at most. (With line feeds inside quotes it may be fewer.)
fn last_end(layout: &impl Layout, bytes: &[u8], rows_max: usize) -> Option<usize> {
    let usual = if memchr::memchr(b'\n', bytes).is_some() { b'\n' } else { b'\r' };
    let line_ends = memchr::memchr_iter(usual, bytes);
    if line_ends.clone().count() > rows_max
        && let Some(end) = line_ends.clone().nth(rows_max)
        && let Some(end) = layout.last_end(&bytes[..=end])
    {
        return Some(end);
    }
    layout.last_end(bytes)
}
