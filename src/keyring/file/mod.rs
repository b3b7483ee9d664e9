//! The ring on disk: locked, atomic, synced writes of a plain ring or of a ring encrypted with age (specification,
//! section 4.5).
//!
//! A write takes these steps. After each of them the process may crash:
//!
//! ```text
//! lock <name>.lock -> remove what an earlier crash left -> read
//!   -> create and sync <name>.previous.new -> rename to <name>.previous -> sync the folder
//!   -> create and sync <name>.new          -> rename to <name>          -> sync the folder
//! ```
//!
//! The folder is synced in between because not every file system keeps renames in order. A ring that marks a key as
//! destroyed must never be beside a previous ring or a leftover that still holds its material.

mod error;
mod target;
#[cfg(test)]
mod tests;
mod write;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

pub use self::error::RingFileError;
use super::{
    KeyRing, SupportsNumbers,
    approval::Approval,
    fault::Faults,
    sealed::{Identities, SealError, at_rest},
};
use crate::disk::{
    Access, Disk, RealDisk,
    exposure::{AtRest, FileMode},
};

/// The `doing` of errors when a ring could not be read.
const READ: &str = "read";

/// The suffixes of the files that belong to a ring, after the ring's name.
pub const COMPANIONS: [&str; 5] = [".lock", ".previous", ".audit", ".new", ".previous.new"];

/// Where a ring is kept, and how to read it there.
#[derive(Clone)]
pub struct RingFile {
    path: PathBuf,
    mode: FileMode,
    supports: SupportsNumbers,
    identities: Option<Arc<Identities>>,
    approval: Approval,
    plain: Plain,
    disk: Arc<dyn Disk>,
    tell_of_waiting: fn(&Path),
}

/// Whether a plain ring is accepted although there are identities.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Plain {
    Refused,
    Taken,
}

/// The hash of a ring file's content, encrypted or not, to recognise whether it changed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ContentHash([u8; 32]);

/// A ring file that was refused.
pub struct RefusedContent {
    /// The reason.
    pub error: RingFileError,
    /// The hash of its content. `None` if it could not be read, or if the same content may be accepted later.
    pub content: Option<ContentHash>,
}

/// A ring as it was read.
struct Found {
    ring: KeyRing,
    plain: Zeroizing<Vec<u8>>,
    /// The file's content: `plain`, or the age file.
    raw: Zeroizing<Vec<u8>>,
    access: Access,
}

impl Found {
    fn is_sealed(&self) -> bool {
        at_rest(&self.raw) == AtRest::Sealed
    }
}

impl RingFile {
    /// The ring at `path`. With `identities`, it must be encrypted for one of them.
    pub fn new(
        path: impl Into<PathBuf>,
        mode: FileMode,
        supports: SupportsNumbers,
        identities: Option<Identities>,
    ) -> Self {
        let (path, identities) = (path.into(), identities.map(Arc::new));
        let (approval, plain, disk) = (Approval::default(), Plain::Refused, Arc::new(RealDisk));
        Self { path, mode, supports, identities, approval, plain, disk, tell_of_waiting: |_| {} }
    }

    /// The same file, with these approvers.
    #[must_use]
    pub fn approved_by(self, approval: Approval) -> Self {
        Self { approval, ..self }
    }

    /// The same file, but a plain ring is accepted although there are identities: for the change that encrypts it.
    #[must_use]
    pub fn or_plain(self) -> Self {
        Self { plain: Plain::Taken, ..self }
    }

    /// The same file on another disk.
    #[must_use]
    pub fn on(self, disk: Arc<dyn Disk>) -> Self {
        Self { disk, ..self }
    }

    /// The same file. If another process holds the lock, `tell` gets the path of the lock file that is waited for.
    #[must_use]
    pub fn telling_of_waiting(self, tell: fn(&Path)) -> Self {
        Self { tell_of_waiting: tell, ..self }
    }

    /// Whether the ring must be encrypted. It must if there are identities to open it with.
    pub fn wants_sealed(&self) -> bool {
        self.identities.is_some()
    }

    /// The signatures that a ring needs before it is used.
    pub fn approval(&self) -> &Approval {
        &self.approval
    }

    /// The path as it was given.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the ring.
    ///
    /// # Errors
    /// [`RingFileError`] if it cannot be read, others can access it, or anything in it is wrong.
    pub fn read(&self) -> Result<KeyRing, RingFileError> {
        self.find(&self.path).map(|found| found.ring)
    }

    /// Reads the ring if its content is not `known`; otherwise returns `None`.
    ///
    /// # Errors
    /// [`RefusedContent`].
    pub fn read_if_other_than(
        &self,
        known: Option<ContentHash>,
    ) -> Result<Option<(KeyRing, ContentHash)>, RefusedContent> {
        let (raw, access) = self.read_raw(&self.path).map_err(|error| RefusedContent { error, content: None })?;
        let hash = ContentHash(Sha256::digest(&*raw).into());
        if known == Some(hash) {
            return Ok(None);
        }
        // Permissions can change while the content stays the same.
        let refused = |error| {
            // Also, a token that was absent may be back.
            let changes = matches!(
                error,
                RingFileError::Exposed { .. } | RingFileError::Sealed { error: SealError::Token(_), .. }
            );
            let content = Some(hash).filter(|_| !changes);
            RefusedContent { error, content }
        };
        let found = self.open(&self.path, raw, access).map_err(refused)?;
        Ok(Some((found.ring, hash)))
    }

    /// Reads any other ring file under the same rules.
    ///
    /// # Errors
    /// The errors of [`RingFile::read`].
    pub fn read_other(&self, path: &Path) -> Result<KeyRing, RingFileError> {
        self.find(path).map(|found| found.ring)
    }

    fn find(&self, path: &Path) -> Result<Found, RingFileError> {
        let (raw, access) = self.read_raw(path)?;
        self.open(path, raw, access)
    }

    fn read_raw(&self, path: &Path) -> Result<(Zeroizing<Vec<u8>>, Access), RingFileError> {
        self.disk.read(path).map_err(|error| RingFileError::Io { doing: READ, path: path.to_owned(), error })
    }

    fn open(&self, path: &Path, raw: Zeroizing<Vec<u8>>, access: Access) -> Result<Found, RingFileError> {
        let at_rest = at_rest(&raw);
        if let Some(how) = self.mode.exposure(access, at_rest) {
            return Err(RingFileError::Exposed { path: path.to_owned(), how });
        }
        let plain = match (&self.identities, at_rest) {
            (Some(_), AtRest::Plain) if self.plain == Plain::Refused => {
                return Err(RingFileError::Plain { path: path.to_owned() });
            }
            (None, AtRest::Sealed) => return Err(RingFileError::IdentityWanted { path: path.to_owned() }),
            (_, AtRest::Plain) => raw.clone(),
            (Some(identities), AtRest::Sealed) => {
                identities.open(&raw).map_err(|error| RingFileError::Sealed { path: path.to_owned(), error })?
            }
        };
        let ring = self.parse(&plain).map_err(|faults| RingFileError::Refused { path: path.to_owned(), faults })?;
        Ok(Found { ring, plain, raw, access })
    }

    fn parse(&self, plain: &[u8]) -> Result<KeyRing, Faults> {
        KeyRing::from_note(plain, self.supports, self.approval.approvers())
    }
}
