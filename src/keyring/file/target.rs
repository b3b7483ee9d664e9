//! The destination of a ring: its file, and the files beside it.

use std::{
    io,
    path::{Path, PathBuf},
};

use super::RingFileError;
use crate::disk::{Access, Disk, Lock, folder_of, with_suffix, writing::replace};

/// The file to write, and its folder.
pub(super) struct Target<'d> {
    pub(super) ring: PathBuf,
    folder: PathBuf,
    disk: &'d dyn Disk,
}

impl<'d> Target<'d> {
    pub(super) fn of(path: &Path, disk: &'d dyn Disk) -> Result<Self, RingFileError> {
        let ring = disk.resolve(path);
        let folder = folder_of(&ring).to_owned();
        if ring.file_name().is_none() {
            let error = io::Error::new(io::ErrorKind::InvalidInput, "it names no file");
            return Err(RingFileError::Io { doing: "write", path: path.to_owned(), error });
        }
        Ok(Self { ring, folder, disk })
    }

    /// `<name>` with `suffix` added to it.
    pub(super) fn beside(&self, suffix: &str) -> PathBuf {
        with_suffix(&self.ring, suffix)
    }

    /// Takes the lock. If another process holds it, calls `tell` and waits.
    pub(super) fn lock(&self, like: Option<Access>, tell: fn(&Path)) -> Result<Lock, RingFileError> {
        let path = self.beside(".lock");
        let locked = self.disk.lock(&path, like, &|| tell(&path));
        locked.map_err(|error| RingFileError::Io { doing: "lock", path, error })
    }

    /// Removes half-written files that a crash may have left, since they may hold keys.
    pub(super) fn tidy(&self) -> Result<(), RingFileError> {
        [".new", ".previous.new"].into_iter().try_for_each(|suffix| {
            let path = self.beside(suffix);
            self.disk.remove(&path).map_err(|error| RingFileError::Io { doing: "write", path, error })
        })
    }

    /// Replaces the file at `path` by `bytes`, in one step for every reader.
    pub(super) fn replace(&self, path: &Path, bytes: &[u8], access: Option<Access>) -> Result<(), RingFileError> {
        let written = replace(self.disk, path, bytes, access);
        written.map_err(|error| RingFileError::Io { doing: "write", path: path.to_owned(), error })
    }

    pub(super) fn sync_folder(&self) -> Result<(), RingFileError> {
        let synced = self.disk.sync_folder(&self.folder);
        synced.map_err(|error| RingFileError::Io { doing: "sync the folder of", path: self.ring.clone(), error })
    }
}
