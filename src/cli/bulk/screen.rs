//! The terminal line of the progress bar.

use std::{
    io::{self, Write as _, stderr},
    sync::Mutex,
};

use indicatif::TermLike;

use crate::lock::lock;

/// Columns of a terminal that does not report its width.
const WIDTH_DEFAULT: u16 = 80;

/// Standard error, with the cursor at the beginning of the bar's line instead of its end. Otherwise the `^C` that a
/// terminal shows on an interrupt would continue on the next line, and clearing the bar would miss it.
#[derive(Debug, Default)]
pub(super) struct Screen(Mutex<String>);

impl Screen {
    /// Adds text to the next write, so that it never appears in halves.
    fn push(&self, text: &str) -> io::Result<()> {
        lock(&self.0).push_str(text);
        Ok(())
    }

    /// Moves the cursor in one of the four directions, which ANSI names by letters.
    fn go(&self, far: usize, letter: char) -> io::Result<()> {
        if far == 0 { Ok(()) } else { self.push(&format!("\u{1b}[{far}{letter}")) }
    }
}

impl TermLike for Screen {
    fn width(&self) -> u16 {
        let size = rustix::termios::tcgetwinsize(stderr()).ok();
        size.map(|size| size.ws_col).filter(|columns| *columns > 0).unwrap_or(WIDTH_DEFAULT)
    }

    fn move_cursor_up(&self, far: usize) -> io::Result<()> {
        self.go(far, 'A')
    }

    fn move_cursor_down(&self, far: usize) -> io::Result<()> {
        self.go(far, 'B')
    }

    fn move_cursor_right(&self, far: usize) -> io::Result<()> {
        self.go(far, 'C')
    }

    fn move_cursor_left(&self, far: usize) -> io::Result<()> {
        self.go(far, 'D')
    }

    fn write_line(&self, text: &str) -> io::Result<()> {
        self.push(text)?;
        self.push("\n")
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        self.push(text)
    }

    fn clear_line(&self) -> io::Result<()> {
        self.push("\r\u{1b}[2K")
    }

    fn flush(&self) -> io::Result<()> {
        self.push("\r")?;
        let text = std::mem::take(&mut *lock(&self.0));
        stderr().write_all(text.as_bytes())
    }
}
