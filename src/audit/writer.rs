//! The thread that writes the lines.

use std::{
    fs::{File, Metadata, OpenOptions},
    io::{self, Write},
    os::{
        fd::AsFd as _,
        unix::fs::{FileExt as _, OpenOptionsExt as _},
    },
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, atomic::Ordering},
    thread,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use tracing::{info, warn};

use super::{
    chain::{Chain, Instance},
    queue::{Shared, empty},
    record::event_line,
    strangers::INTERVAL,
};
use crate::lock::lock;

/// How long lines are gathered for one write. A crash can lose lines of this age. If it were much longer, so much would
/// be written at once that requests on the same CPU would notice.
const GATHER: Duration = Duration::from_millis(2);

/// How long to wait after a write failed.
const RETRY: Duration = Duration::from_millis(100);

/// How long a process that is ending tries to write what is left.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Bytes that are written at a time, plus the rest of a line, so that others who append to the file do so between
/// lines.
const BYTES_A_WRITE: usize = 128 * 1024;

/// Where lines go.
pub enum Destination {
    /// Standard output.
    Stdout(File),
    /// A file, made if missing, and opened anew on request.
    File(PathBuf, File),
    /// Anything else.
    Other(Box<dyn Write + Send>),
}

impl Destination {
    /// Standard output, without the buffer of the standard library.
    ///
    /// # Errors
    /// The system's error.
    pub fn stdout() -> io::Result<Self> {
        Ok(Self::Stdout(io::stdout().as_fd().try_clone_to_owned()?.into()))
    }

    /// The file at `path`, to which lines are appended. Its owner and group may read it.
    ///
    /// # Errors
    /// The system's error.
    pub fn file(path: &Path) -> io::Result<Self> {
        Ok(Self::File(path.to_owned(), open(path)?))
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Stdout(file) | Self::File(_, file) => file.write(bytes),
            Self::Other(other) => other.write(bytes),
        }
    }
}

/// Opens a log to append to it, and makes it if it is missing. Its owner and group may read it. If a crash left a line
/// without an end, that line is ended.
///
/// # Errors
/// The system's error.
pub fn open(path: &Path) -> io::Result<File> {
    let mut log = OpenOptions::new().append(true).create(true).mode(0o640).open(path)?;
    if ends_in_a_line(path, &log) == Some(true) {
        log.write_all(b"\n")?;
    }
    Ok(log)
}

/// Whether `log`, at `path`, ends in the middle of a line; `None` if that cannot be seen, since some may write a log
/// but not read it.
fn ends_in_a_line(path: &Path, log: &File) -> Option<bool> {
    let last = log.metadata().ok().filter(Metadata::is_file)?.len().checked_sub(1)?;
    let mut byte = [0];
    File::open(path).ok()?.read_exact_at(&mut byte, last).ok()?;
    Some(byte != *b"\n")
}

/// Writes lines, in their order, until it is told to stop.
pub struct Writer {
    destination: Destination,
    shared: Arc<Shared>,
    /// Lines that are to be written, and how many of their bytes have gone to `block`.
    buffer: Vec<u8>,
    taken: usize,
    /// Places that the rest of those lines holds.
    places: usize,
    /// The lines that are being written, with their links, and how many bytes of them are written.
    block: Vec<u8>,
    written: usize,
    /// Places that the rest of the block holds.
    block_places: usize,
    chain: Chain,
    /// The unrecorded requests that the log has reported.
    dropped: u64,
    /// When the sums of strangers' requests were last written.
    told: Instant,
    /// When a writer that was told to stop gives up.
    deadline: Option<Instant>,
}

impl Writer {
    pub(super) fn new(destination: Destination, shared: Arc<Shared>, instance: Instance) -> Self {
        Self {
            destination,
            shared,
            buffer: Vec::new(),
            taken: 0,
            places: 0,
            block: Vec::new(),
            written: 0,
            block_places: 0,
            chain: Chain::new(instance),
            dropped: 0,
            told: Instant::now(),
            deadline: None,
        }
    }

    /// Runs until the log is stopped. Returns how many lines were lost then because they could not be written.
    pub fn run(mut self) -> usize {
        loop {
            self.wait();
            if !self.write() || !self.tell_dropped() {
                return self.shared.unwritten.load(Ordering::Relaxed);
            }
            if self.deadline.is_some() && lock(&self.shared.queue).lines.is_empty() {
                return 0;
            }
        }
    }

    /// Waits for lines, a little longer for more of them, and takes them all.
    fn wait(&mut self) {
        let mut queue = lock(&self.shared.queue);
        while queue.lines.is_empty() && !queue.stop && !queue.reopen {
            let left = INTERVAL.saturating_sub(self.told.elapsed());
            if left.is_zero() {
                drop(queue);
                self.tell_strangers();
                queue = lock(&self.shared.queue);
                continue;
            }
            queue.idle = true;
            queue = self.shared.wake.wait_timeout(queue, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        if !queue.stop && !queue.reopen {
            drop(queue);
            thread::sleep(GATHER);
            queue = lock(&self.shared.queue);
        }
        std::mem::swap(&mut queue.lines, &mut self.buffer);
        self.places = std::mem::take(&mut queue.places);
        drop(queue);
        self.heed_orders();
        if self.told.elapsed() >= INTERVAL {
            self.tell_strangers();
        }
    }

    /// Queues the sums of strangers' requests. This is not reached while nothing can be written, so that the queue does
    /// not grow.
    fn tell_strangers(&mut self) {
        self.told = Instant::now();
        self.shared.tell_strangers();
    }

    fn heed_orders(&mut self) {
        let mut queue = lock(&self.shared.queue);
        let (reopen, stop) = (std::mem::take(&mut queue.reopen), queue.stop);
        drop(queue);
        if reopen {
            self.reopen();
        }
        if stop && self.deadline.is_none() {
            self.deadline = Some(Instant::now() + LAST_WORDS);
        }
    }

    /// Writes the buffer, however long it takes; `false` if the writer was told to stop meanwhile and cannot write.
    fn write(&mut self) -> bool {
        while self.written < self.block.len() || self.next_block() {
            let rest = &self.block[self.written..];
            *lock(&self.shared.busy_since) = Some(Instant::now());
            let done = self.destination.write(rest);
            *lock(&self.shared.busy_since) = None;
            let error = match done {
                Ok(0) => io::ErrorKind::WriteZero.into(),
                Ok(written) => {
                    // Places are given back in proportion to how much of the rest was written.
                    let places = self.block_places * written / rest.len();
                    let is_done = written == rest.len();
                    self.shared.unwritten.fetch_sub(lines(&rest[..written]), Ordering::Relaxed);
                    self.written += written;
                    self.block_places -= places;
                    self.shared.give_back(places);
                    if is_done {
                        *lock(&self.shared.head) = self.chain.head();
                    }
                    if self.shared.failed.swap(false, Ordering::Relaxed) {
                        info!("the audit log is written again");
                    }
                    continue;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => error,
            };
            if !self.shared.failed.swap(true, Ordering::Relaxed) {
                warn!(%error, "the audit log cannot be written");
            }
            if self.deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                return false;
            }
            thread::sleep(RETRY);
            self.heed_orders();
        }
        empty(&mut self.buffer);
        self.taken = 0;
        true
    }

    /// Links the next lines to the lines before; `false` if there are none.
    fn next_block(&mut self) -> bool {
        self.block.clear();
        self.written = 0;
        let rest = &self.buffer[self.taken..];
        let some = some_lines(rest);
        if some.is_empty() {
            return false;
        }
        self.block_places = self.places * some.len() / rest.len();
        self.places -= self.block_places;
        let mut begin = 0;
        for end in memchr::memchr_iter(b'\n', some) {
            self.chain.seal(&some[begin..end], &mut self.block);
            begin = end + 1;
        }
        self.taken += some.len();
        true
    }

    /// Says in the log itself that it is incomplete, if it is. Returns `false` in the same case as [`Writer::write`].
    fn tell_dropped(&mut self) -> bool {
        let dropped = self.shared.dropped.load(Ordering::Relaxed);
        if dropped > self.dropped {
            let fields = [("requests".to_owned(), (dropped - self.dropped).into())];
            self.buffer = event_line(Timestamp::now(), "dropped", fields.into_iter().collect());
            self.shared.unwritten.fetch_add(1, Ordering::Relaxed);
            if !self.write() {
                return false;
            }
            self.dropped = dropped;
        }
        true
    }

    /// Opens the file anew. If a line was written only in part to the old file, the whole line goes to the new one.
    fn reopen(&mut self) {
        let Destination::File(path, file) = &mut self.destination else { return };
        *lock(&self.shared.busy_since) = Some(Instant::now());
        let opened = open(path);
        *lock(&self.shared.busy_since) = None;
        match opened {
            Ok(new) => {
                *file = new;
                let line = self.block[..self.written].iter().rposition(|byte| *byte == b'\n');
                self.written = line.map_or(0, |end| end + 1);
            }
            Err(error) => warn!(%error, "the audit log cannot be opened anew: going on with the old file"),
        }
    }
}

/// The first lines of `lines`, about [`BYTES_A_WRITE`].
fn some_lines(lines: &[u8]) -> &[u8] {
    let rest = lines.get(BYTES_A_WRITE..).unwrap_or_default();
    let end = memchr::memchr(b'\n', rest).map_or(lines.len(), |end| BYTES_A_WRITE + end + 1);
    &lines[..end]
}

/// How many lines end in `text`.
pub(super) fn lines(text: &[u8]) -> usize {
    memchr::memchr_iter(b'\n', text).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_ends_where_a_line_ends() {
        let line = |bytes: usize| [&*vec![b'x'; bytes - 1], b"\n"].concat();
        let (half, whole) = (line(BYTES_A_WRITE / 2), line(BYTES_A_WRITE));
        for (lines, first) in [
            (vec![], 0),
            (half.clone(), half.len()),
            (half.repeat(2), 2 * half.len()),
            (half.repeat(9), 3 * half.len()),
            ([&*half, &whole, &half].concat(), half.len() + whole.len()),
        ] {
            assert_eq!(some_lines(&lines).len(), first);
        }
    }
}
