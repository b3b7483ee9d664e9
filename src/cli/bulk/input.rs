//! Reads blocks of whole rows: in bounded memory, whatever comes.

use std::{fmt, io, io::Read};

use zeroize::Zeroizing;

use super::{block::Block, layout::Layout};

/// Bytes of the longest row.
pub(super) const ROW_BYTES_MAX: usize = 1024 * 1024;

const BYTE_ORDER_MARK: &[u8] = "\u{FEFF}".as_bytes();

/// How long is waited for more.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Pace {
    /// Until a block is full.
    Full,
    /// Until there is a row: somebody waits for what becomes of it.
    Row,
}

/// What rows are read from.
pub(super) struct Input {
    input: Box<dyn Read + Send>,
    pace: Pace,
    /// What was read, and is in no block yet.
    rest: Zeroizing<Vec<u8>>,
    ended: bool,
}

/// Why there are no more rows.
#[derive(Debug)]
#[non_exhaustive]
pub(super) enum InputError {
    /// The system's.
    Io(io::Error),
    /// A row is longer than [`ROW_BYTES_MAX`].
    RowTooLong,
    /// The end came inside quotes.
    OpenQuote,
}

impl fmt::Display for InputError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "cannot read: {error}"),
            Self::RowTooLong => {
                write!(f, "it is longer than {ROW_BYTES_MAX} bytes; in CSV, a quote may be open that nothing closes")
            }
            Self::OpenQuote => f.write_str("a quote in it is never closed"),
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
        Self { input: Box::new(input), pace, rest: Zeroizing::default(), ended: false }
    }

    /// Takes off a byte order mark, and gives it.
    pub(super) fn take_byte_order_mark(&mut self) -> Result<&'static [u8], InputError> {
        let mut block = Block::default();
        block.begin(&self.rest, BYTE_ORDER_MARK.len());
        while block.input().len() < BYTE_ORDER_MARK.len() && BYTE_ORDER_MARK.starts_with(block.input()) && !self.ended {
            self.read(&mut block, BYTE_ORDER_MARK.len())?;
        }
        let mark = if block.input() == BYTE_ORDER_MARK { BYTE_ORDER_MARK } else { b"" };
        self.rest = Zeroizing::new(block.input()[mark.len()..].to_vec());
        Ok(mark)
    }

    /// The first rows, at least one if there is any; they are still to come.
    pub(super) fn peek(&mut self, layout: &impl Layout) -> Result<&[u8], InputError> {
        let mut block = Block::default();
        self.next(layout, &mut block, PEEK_BYTES)?;
        self.rest.splice(..0, block.input().iter().copied());
        Ok(&self.rest[..block.input().len()])
    }

    /// Takes off the first `bytes` of what was peeked.
    pub(super) fn take(&mut self, bytes: usize) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(self.rest.drain(..bytes).collect())
    }

    /// Fills `block` with about `bytes` of whole rows, or one longer row; whether there was any.
    pub(super) fn next(&mut self, layout: &impl Layout, block: &mut Block, bytes: usize) -> Result<bool, InputError> {
        block.begin(&self.rest, bytes);
        self.rest.clear();
        let mut goal = bytes;
        loop {
            self.read(block, goal)?;
            let filled = block.input().len();
            let end = last_end(layout, block.input(), bytes / ROW_BYTES_EXPECTED);
            match end {
                Some(end) => {
                    self.rest.extend_from_slice(block.cut(end));
                    return Ok(true);
                }
                None if self.ended && filled <= ROW_BYTES_MAX => {
                    return if layout.may_end(block.input()) { Ok(filled > 0) } else { Err(InputError::OpenQuote) };
                }
                None if filled >= ROW_BYTES_MAX => return Err(InputError::RowTooLong),
                None if filled < goal => {}
                None => goal = (2 * goal).min(ROW_BYTES_MAX),
            }
        }
    }

    /// Reads until `goal` bytes are in the block, or as far as the pace wants.
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

/// Bytes that are looked at before there are blocks, unless the first row is longer.
const PEEK_BYTES: usize = 4096;

/// The usual row is longer. Of shorter ones a block takes fewer bytes: each may become a UID, which bounds the output.
const ROW_BYTES_EXPECTED: usize = 8;

/// The end of the last of at most `rows_max` whole rows. (Where line feeds stand inside quotes there may be fewer.)
fn last_end(layout: &impl Layout, bytes: &[u8], rows_max: usize) -> Option<usize> {
    let line_feeds = memchr::memchr_iter(b'\n', bytes);
    if line_feeds.clone().count() > rows_max
        && let Some(end) = line_feeds.clone().nth(rows_max)
        && let Some(end) = layout.last_end(&bytes[..=end])
    {
        return Some(end);
    }
    layout.last_end(bytes)
}
