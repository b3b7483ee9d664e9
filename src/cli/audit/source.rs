//! Logs in all their forms: files, folders and stdin, plain or compressed, with the wrapping of collectors around each
//! line.
//!
//! ```text
//! bytes -> gzip / zstd -> lines -> CRI, Docker, journald, syslog taken off -> messages
//! ```
//!
//! Only the line that is being read is kept in memory.

use std::{
    borrow::Cow,
    fs::{self, File},
    io::{self, BufRead as _, BufReader, Read},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use super::{lines::read_lines, unwrap::Piece};
use crate::{audit::verify::fault::Location, cli::container::Container};

/// Bytes of one read.
const READ_BYTES: usize = 256 * 1024;

/// Maximum depth of nested folders.
const DEPTH_MAX: usize = 16;

/// A file, or stdin.
pub(super) struct Source {
    path: Option<PathBuf>,
}

impl Source {
    /// The files that `paths` name, and the files in folders among them; stdin if there is no path. Each file is read
    /// once, however often it is named.
    pub(super) fn all(paths: &[PathBuf]) -> io::Result<Vec<Self>> {
        if paths.is_empty() {
            return Ok(vec![Self { path: None }]);
        }
        let mut files = Vec::new();
        for path in paths {
            add_files(path, 0, &mut files)
                .map_err(|error| io::Error::new(error.kind(), format!("cannot read {}: {error}", path.display())))?;
        }
        let mut seen = std::collections::HashSet::new();
        files.retain(|path| seen.insert(path.canonicalize().unwrap_or_else(|_| path.clone())));
        Ok(files.into_iter().map(|path| Self { path: Some(path) }).collect())
    }

    /// Its name for messages.
    pub(super) fn name(&self) -> Cow<'_, str> {
        self.path.as_deref().map_or("stdin".into(), Path::to_string_lossy)
    }

    /// Its size in bytes, if known.
    pub(super) fn bytes(&self) -> Option<u64> {
        fs::metadata(self.path.as_ref()?).ok().filter(fs::Metadata::is_file).map(|metadata| metadata.len())
    }

    /// Gives `each` every message, and every piece that is no message. Adds the bytes that were read to `read`.
    pub(super) fn read<E: From<io::Error>>(
        &self,
        file: usize,
        read: &Arc<AtomicU64>,
        each: impl FnMut(Location, Piece<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let log: Box<dyn Read + Send> = match &self.path {
            Some(path) => Box::new(File::open(path)?),
            None => Box::new(io::stdin()),
        };
        let mut log = BufReader::with_capacity(READ_BYTES, Counted { log, read: read.clone() });
        let container = Container::of_content(log.fill_buf()?);
        read_lines(BufReader::with_capacity(READ_BYTES, container.unpack(log)?), file, each)
    }
}

fn add_files(path: &Path, depth: usize, files: &mut Vec<PathBuf>) -> io::Result<()> {
    if !fs::metadata(path)?.is_dir() {
        files.push(path.to_owned());
        return Ok(());
    }
    if depth >= DEPTH_MAX {
        return Err(io::Error::other("its folders are too deep"));
    }
    let mut entries = fs::read_dir(path)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    entries.sort();
    entries.iter().try_for_each(|entry| add_files(entry, depth + 1, files))
}

/// Counts the bytes of a log.
struct Counted<R> {
    log: R,
    read: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.log.read(buffer)?;
        self.read.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}
