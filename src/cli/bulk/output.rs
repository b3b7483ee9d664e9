//! Where results go: to stdout, or to a file that gets its name only once it is complete.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions, Permissions, TryLockError},
    io::{self, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown},
    path::{Path, PathBuf},
};

use super::{
    encoding::{Encoder, Encoding},
    interrupt::Litter,
};
use crate::{
    cli::{
        container::{Container, Packer},
        failure::Failure,
    },
    disk::folder_of,
};

/// The suffix of the name of an incomplete file. The name also begins with a dot.
const PARTIAL_SUFFIX: &str = ".callveil-partial";

/// The permission bits of a mode.
const MODE_BITS: u32 = 0o777;

/// How often another process may remove the file before that is an error.
const ATTEMPTS_MAX: usize = 16;

/// Where results go.
pub(super) enum Output {
    Stdout(io::Stdout, Encoder),
    File(UnfinishedFile),
    /// Nowhere: this is a dry run.
    Nowhere,
}

impl Output {
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        match self {
            Self::Stdout(stdout, encoder) => Ok(stdout.write_all(encoder.encode(bytes).map_err(Failure::failed)?)?),
            Self::File(file) => file.write(bytes),
            Self::Nowhere => Ok(()),
        }
    }

    pub(super) fn finish(self) -> Result<(), Failure> {
        match self {
            Self::Stdout(mut stdout, _) => Ok(stdout.flush()?),
            Self::File(file) => file.finish(),
            Self::Nowhere => Ok(()),
        }
    }
}

/// A file beside its destination, readable only by its owner. It is locked, so that two runs never write the same file.
/// An incomplete file is removed, and the next run removes what a crash left.
pub(super) struct UnfinishedFile {
    file: File,
    /// Writes into `file`, compressed if the ending of its name asks for it.
    packer: Packer,
    encoder: Encoder,
    path: PathBuf,
    complete: PathBuf,
    litter: Litter,
}

impl UnfinishedFile {
    pub(super) fn create(path: &Path, encoding: Encoding, litter: &Litter) -> Result<Self, Failure> {
        let failed = |reason: &dyn std::fmt::Display| Failure::failed(format_args!("{}: {reason}", path.display()));
        // If the name is a link, the file that it points to is replaced.
        let complete = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        if fs::metadata(&complete).is_ok_and(|metadata| !metadata.is_file()) {
            return Err(failed(&"it is there, and no file that could be replaced"));
        }
        if complete.file_name().is_none() {
            return Err(failed(&"it is no file's name"));
        }
        let path = unfinished_path(&complete);
        let file = create_locked(&path).map_err(|error| failed(&error))?;
        litter.file(&path);
        let packer = file.try_clone().and_then(|file| Container::of(&complete).pack(file));
        let packer = packer.map_err(|error| failed(&error))?;
        let unfinished = Self { file, packer, encoder: Encoder::new(encoding), path, complete, litter: litter.clone() };
        unfinished.take_owner().map_err(|error| failed(&format_args!("its owner cannot be kept: {error}")))?;
        Ok(unfinished)
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let written = self.encoder.encode(bytes).map_err(io::Error::other).and_then(|bytes| self.packer.write(bytes));
        written.map_err(|error| self.failed(&error))
    }

    /// Gives the file the owner of the file that it will replace.
    fn take_owner(&self) -> io::Result<()> {
        let Ok(replaced) = fs::metadata(&self.complete) else { return Ok(()) };
        let own = self.file.metadata()?;
        if (replaced.uid(), replaced.gid()) == (own.uid(), own.gid()) {
            return Ok(());
        }
        fchown(&self.file, Some(replaced.uid()), Some(replaced.gid()))
    }

    /// Gives the file the mode of the one that it replaces.
    fn take_mode(&self) -> io::Result<()> {
        let Ok(replaced) = fs::metadata(&self.complete) else { return Ok(()) };
        self.file.set_permissions(Permissions::from_mode(replaced.mode() & MODE_BITS))
    }

    /// Gives the file its final name.
    pub(super) fn finish(mut self) -> Result<(), Failure> {
        let folder = folder_of(&self.complete);
        let finished = self.packer.finish().and_then(|()| self.take_mode()).and_then(|()| {
            self.file.sync_all()?;
            self.litter.settle(&self.path, || fs::rename(&self.path, &self.complete))?;
            File::open(folder)?.sync_all()
        });
        finished.map_err(|error| self.failed(&error))
    }

    fn failed(&self, error: &io::Error) -> Failure {
        Failure::failed(format_args!("cannot write {}: {error}", self.complete.display()))
    }
}

impl Drop for UnfinishedFile {
    fn drop(&mut self) {
        // Once it has its final name, there is nothing left to remove.
        let _ = self
            .litter
            .settle(&self.path, || if is_at(&self.file, &self.path) { fs::remove_file(&self.path) } else { Ok(()) });
    }
}

/// The path of a file until it is complete.
pub(super) fn unfinished_path(complete: &Path) -> PathBuf {
    let name = complete.file_name().unwrap_or_default();
    let name: OsString = [".".as_ref(), name, PARTIAL_SUFFIX.as_ref()].into_iter().collect();
    complete.with_file_name(name)
}

/// Makes a new file at `path` and locks it. An existing file that no process has locked is left from a crash, and
/// removed.
fn create_locked(path: &Path) -> io::Result<File> {
    let busy = || io::Error::new(io::ErrorKind::ResourceBusy, "another run is writing it");
    let lock = |file: &File| {
        file.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => busy(),
            TryLockError::Error(error) => error,
        })
    };
    for _ in 0..ATTEMPTS_MAX {
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
            Ok(file) => {
                lock(&file)?;
                // Between the two steps, another run may have taken it for a leftover.
                if is_at(&file, path) {
                    return Ok(file);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                if !fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_file()) {
                    return Err(io::Error::other(format!("{} is in the way", path.display())));
                }
                let left = match File::open(path) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                    left => left?,
                };
                lock(&left)?;
                if is_at(&left, path) {
                    fs::remove_file(path)?;
                }
            }
            Err(error) => return Err(error),
        }
    }
    Err(busy())
}

/// Whether `path` is the name of `file`.
fn is_at(file: &File, path: &Path) -> bool {
    let there = fs::symlink_metadata(path).map(|there| (there.dev(), there.ino()));
    let here = file.metadata().map(|here| (here.dev(), here.ino()));
    matches!((there, here), (Ok(there), Ok(here)) if there == here)
}
