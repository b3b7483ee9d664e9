//! The ring on disk: locked, atomic, synced writes, of a plain ring or of one encrypted with age (specification, section
//! 4.5).
//!
//! A write goes through these steps, each of which may be the last before a crash:
//!
//! ```text
//! lock <name>.lock -> remove what an earlier crash left -> read
//!   -> create and sync <name>.previous.new -> rename to <name>.previous -> sync the folder
//!   -> create and sync <name>.new          -> rename to <name>          -> sync the folder
//! ```
//!
//! The folder is synced in between because not every file system keeps renames in order: a ring that says that a key is
//! destroyed must never be found beside one before, or a leftover, that still holds its material.

mod error;

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use jiff::Timestamp;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

pub use self::error::RingFileError;
use super::{
    KeyRing, Known,
    approval::Approval,
    disk::{Access, Disk, FILE_BYTES_MAX, Lock, OTHERS_WRITE, RealDisk, folder_of},
    fault::Faults,
    json::with_line,
    note::Signer,
    recipient::Recipient,
    rotation::{ChangeError, Previous, Revision},
    sealed::{Identities, SealError, is_age, seal},
};
use crate::keyring::fingerprint::Fingerprint;

/// What was being done when a ring could not be read.
const READ: &str = "read";

/// What stands behind a ring's name in those of the files that belong to it.
pub const COMPANIONS: [&str; 5] = [".lock", ".previous", ".audit", ".new", ".previous.new"];

/// Permission bits of a plain ring that mean that others on the system can reach it.
const OTHERS: u32 = 0o007;

/// What others on the system can do with a file that they must not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exposure {
    /// Read, write or run it, with these permission bits.
    Open(u32),
    /// Write it, with these permission bits.
    Writable(u32),
    /// Put another in its place.
    Replaceable,
}

impl fmt::Display for Exposure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open(mode) => write!(f, "is open to others on this system (mode {mode:04o}): chmod 0600 it")?,
            Self::Writable(mode) => {
                write!(f, "can be written by others on this system (mode {mode:04o}): chmod o-w it")?;
            }
            Self::Replaceable => {
                f.write_str("stands in a folder that others on this system can write: chmod o-w or +t the folder")?;
            }
        }
        f.write_str(", or set keyring_mode = \"any\"")
    }
}

/// Whether a file's content is a secret to those who can read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// It is.
    Plain,
    /// It is encrypted.
    Sealed,
}

impl Content {
    /// That of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        if is_age(bytes) { Self::Sealed } else { Self::Plain }
    }
}

/// Who may be able to read a plain ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum FileMode {
    /// The owner and the group; a ring that others can reach is refused.
    #[default]
    Guarded,
    /// Anyone.
    Any,
}

impl FileMode {
    /// What others can do with a file of this content that they must not.
    pub fn exposure(self, access: Access, content: Content) -> Option<Exposure> {
        match content {
            _ if self == Self::Any => None,
            Content::Plain if access.mode & OTHERS != 0 => Some(Exposure::Open(access.mode)),
            _ if access.mode & OTHERS_WRITE != 0 => Some(Exposure::Writable(access.mode)),
            _ => access.is_replaceable.then_some(Exposure::Replaceable),
        }
    }

    /// The access of a file that takes the place of one with `access`: whoever could read that can read this.
    fn kept(self, access: Access) -> Access {
        let mask = match self {
            Self::Guarded => 0o070,
            Self::Any => 0o077,
        };
        Access { mode: access.mode & mask, ..access }
    }
}

/// Where a ring is kept, and how to read it there.
#[derive(Clone)]
pub struct RingFile {
    path: PathBuf,
    mode: FileMode,
    known: Known,
    identities: Option<Arc<Identities>>,
    approval: Approval,
    plain: Plain,
    disk: Arc<dyn Disk>,
    tell_of_waiting: fn(&Path),
}

/// Whether a plain ring is taken although there are identities.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Plain {
    Refused,
    Taken,
}

/// Tells two contents of a ring file apart, encrypted or not.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ContentHash([u8; 32]);

/// A ring file that was not taken.
pub struct RefusedContent {
    /// Why.
    pub error: RingFileError,
    /// Its content, where that could be read.
    pub content: Option<ContentHash>,
}

/// A ring as it was found.
struct Found {
    ring: KeyRing,
    plain: Zeroizing<Vec<u8>>,
    /// The file itself: `plain`, or the age file.
    raw: Zeroizing<Vec<u8>>,
    access: Access,
}

impl Found {
    fn is_sealed(&self) -> bool {
        is_age(&self.raw)
    }
}

impl RingFile {
    /// The ring at `path`. With `identities` it must be encrypted, for one of them.
    pub fn new(path: impl Into<PathBuf>, mode: FileMode, known: Known, identities: Option<Identities>) -> Self {
        let (path, identities) = (path.into(), identities.map(Arc::new));
        let (approval, plain, disk) = (Approval::default(), Plain::Refused, Arc::new(RealDisk));
        Self { path, mode, known, identities, approval, plain, disk, tell_of_waiting: |_| {} }
    }

    /// The same, whose signatures are those of these approvers.
    #[must_use]
    pub fn approved_by(self, approval: Approval) -> Self {
        Self { approval, ..self }
    }

    /// The same, also where it is still plain although there are identities: for the change that encrypts it.
    #[must_use]
    pub fn or_plain(self) -> Self {
        Self { plain: Plain::Taken, ..self }
    }

    /// The same, kept on another disk.
    #[must_use]
    pub fn on(self, disk: Arc<dyn Disk>) -> Self {
        Self { disk, ..self }
    }

    /// The same, where `tell` hears of a lock file that is waited for, since another process holds it.
    #[must_use]
    pub fn telling_of_waiting(self, tell: fn(&Path)) -> Self {
        Self { tell_of_waiting: tell, ..self }
    }

    /// Whether the ring must be encrypted: there are identities to open it with.
    pub fn wants_sealed(&self) -> bool {
        self.identities.is_some()
    }

    /// Whose signatures a ring needs before it is used.
    pub fn approval(&self) -> &Approval {
        &self.approval
    }

    /// The path, as it was given.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the ring.
    ///
    /// # Errors
    /// [`RingFileError`] where it cannot be read, others can reach it, or anything in it is wrong.
    pub fn read(&self) -> Result<KeyRing, RingFileError> {
        self.find(&self.path).map(|found| found.ring)
    }

    /// Reads the ring if its file is not the one of `known`; gives `None` where it is.
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
        // Who may read the file can change without its content.
        let refused = |error| {
            // And a token that was away may be back.
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
    /// Those of [`RingFile::read`].
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
        if let Some(how) = self.mode.exposure(access, Content::of(&raw)) {
            return Err(RingFileError::Exposed { path: path.to_owned(), how });
        }
        let plain = match (&self.identities, is_age(&raw)) {
            (Some(_), false) if self.plain == Plain::Refused => {
                return Err(RingFileError::Plain { path: path.to_owned() });
            }
            (None, true) => return Err(RingFileError::IdentityWanted { path: path.to_owned() }),
            (_, false) => raw.clone(),
            (Some(identities), true) => {
                identities.open(&raw).map_err(|error| RingFileError::Sealed { path: path.to_owned(), error })?
            }
        };
        let ring = self.parse(&plain).map_err(|faults| RingFileError::Refused { path: path.to_owned(), faults })?;
        Ok(Found { ring, plain, raw, access })
    }

    fn parse(&self, plain: &[u8]) -> Result<KeyRing, Faults> {
        KeyRing::from_note(plain, self.known, self.approval.approvers())
    }

    /// Writes the first generation of a ring, encrypted for the recipients that it names, if it names any.
    ///
    /// # Errors
    /// [`RingFileError::Exists`] where there is anything at the path already.
    pub fn create(&self, plain: &[u8]) -> Result<KeyRing, RingFileError> {
        let target = Target::of(&self.path, &*self.disk)?;
        if self.mode != FileMode::Any && self.disk.is_replaceable(&self.path) {
            return Err(RingFileError::Exposed { path: self.path.clone(), how: Exposure::Replaceable });
        }
        let _lock = target.lock(None, self.tell_of_waiting)?;
        if self.disk.exists(&self.path) {
            return Err(RingFileError::Exists { path: self.path.clone() });
        }
        let previous = target.beside(".previous");
        if self.disk.exists(&previous) {
            return Err(RingFileError::PreviousLeft { path: previous });
        }
        let ring = self.check(plain)?;
        let bytes =
            if ring.recipients().is_empty() { Zeroizing::new(plain.to_vec()) } else { self.seal(&ring, plain)? };
        target.tidy()?;
        target.replace(&target.ring, &bytes, None)?;
        target.sync_folder()?;
        Ok(ring)
    }

    /// Replaces the ring by the one that `change` makes of it, and keeps the one before as `<name>.previous`.
    ///
    /// The lock is held from before the ring is read until the new one is safe on disk, and `clock` is asked within.
    /// `change` gives, beside the revision, something to return. An encrypted ring stays encrypted, for the recipients that the revision names; a
    /// plain one stays plain, unless the revision names recipients and it named none before.
    ///
    /// # Errors
    /// [`RingFileError`]; the ring is then as it was, or, where only the last sync failed, the new one.
    pub fn update<T>(
        &self,
        clock: impl FnOnce() -> Timestamp,
        change: impl FnOnce(&KeyRing, Timestamp) -> Result<(T, Revision), ChangeError>,
    ) -> Result<(KeyRing, T), RingFileError> {
        let target = Target::of(&self.path, &*self.disk)?;
        let (_lock, old) = self.find_locked(&target)?;
        let now = clock();
        let (made, revision) = change(&old.ring, now).map_err(RingFileError::Change)?;
        let new = self.check(&revision.next)?;
        old.ring.check_successor(&new, now).map_err(RingFileError::Successor)?;
        let newly_sealed = !new.recipients().is_empty() && old.ring.recipients().is_empty();
        let encode = |plain: &Zeroizing<Vec<u8>>| {
            if old.is_sealed() || newly_sealed { self.seal(&new, plain) } else { Ok(plain.clone()) }
        };
        let previous = match &revision.previous {
            Previous::AsItWas if newly_sealed => encode(&old.plain)?,
            Previous::AsItWas => old.raw.clone(),
            Previous::Rewritten(plain) => encode(plain)?,
        };
        let next = encode(&revision.next)?;
        let access = Some(self.mode.kept(old.access));
        target.replace(&target.beside(".previous"), &previous, access)?;
        target.sync_folder()?;
        target.replace(&target.ring, &next, access)?;
        target.sync_folder()?;
        Ok((new, made))
    }

    /// Adds the signature of `signer` to the ring, whose content must be the one of `hash`: the one that was shown. The
    /// content stays as it is, and so does the ring before.
    ///
    /// # Errors
    /// [`RingFileError`]; the ring is then as it was, or, where only the last sync failed, signed.
    pub fn approve(&self, signer: &Signer, hash: Fingerprint) -> Result<KeyRing, RingFileError> {
        let target = Target::of(&self.path, &*self.disk)?;
        let (_lock, old) = self.find_locked(&target)?;
        if old.ring.hash() != hash {
            return Err(RingFileError::Change(ChangeError::Moved));
        }
        let signed = with_line(&old.plain, signer).ok_or(RingFileError::Change(ChangeError::Approved))?;
        let new = self.check(&signed)?;
        let next = if old.is_sealed() { self.seal(&new, &signed)? } else { signed };
        target.replace(&target.ring, &next, Some(self.mode.kept(old.access)))?;
        target.sync_folder()?;
        Ok(new)
    }

    /// The ring as it is under the lock, which nobody else can change until the lock is dropped.
    fn find_locked(&self, target: &Target<'_>) -> Result<(Lock, Found), RingFileError> {
        let before = self.read_raw(&target.ring)?.1;
        let lock = target.lock(Some(self.mode.kept(before)), self.tell_of_waiting)?;
        target.tidy()?;
        Ok((lock, self.find(&target.ring)?))
    }

    /// What is about to be written must be readable, by us and by every replica.
    fn check(&self, plain: &[u8]) -> Result<KeyRing, RingFileError> {
        if plain.len() as u64 >= FILE_BYTES_MAX {
            return Err(RingFileError::TooLarge);
        }
        self.parse(plain).map_err(RingFileError::Unfit)
    }

    /// `plain`, encrypted for the recipients of `ring`. Where we have identities, one of them must open it again: nobody
    /// locks themselves out.
    fn seal(&self, ring: &KeyRing, plain: &[u8]) -> Result<Zeroizing<Vec<u8>>, RingFileError> {
        let recipients = ring.recipients().iter().map(|text| Recipient::parse(text)).collect::<Option<Vec<_>>>();
        let recipients = recipients.filter(|recipients| !recipients.is_empty()).ok_or(RingFileError::NoRecipients)?;
        let sealed = Zeroizing::new(seal(plain, &recipients).map_err(RingFileError::Unsealable)?);
        if let Some(identities) = &self.identities
            && !identities.open(&sealed).is_ok_and(|opened| *opened == plain)
        {
            return Err(RingFileError::LocksUsOut);
        }
        Ok(sealed)
    }
}

/// The file that is written, and its folder.
struct Target<'d> {
    ring: PathBuf,
    folder: PathBuf,
    disk: &'d dyn Disk,
}

impl<'d> Target<'d> {
    fn of(path: &Path, disk: &'d dyn Disk) -> Result<Self, RingFileError> {
        let ring = disk.resolve(path);
        let folder = folder_of(&ring).to_owned();
        if ring.file_name().is_none() {
            let error = io::Error::new(io::ErrorKind::InvalidInput, "it names no file");
            return Err(RingFileError::Io { doing: "write", path: path.to_owned(), error });
        }
        Ok(Self { ring, folder, disk })
    }

    /// `<name>` with `suffix` added to it.
    fn beside(&self, suffix: &str) -> PathBuf {
        with_suffix(&self.ring, suffix)
    }

    /// Waits for the lock; `tell` hears of it where another holds it.
    fn lock(&self, like: Option<Access>, tell: fn(&Path)) -> Result<Lock, RingFileError> {
        let path = self.beside(".lock");
        let locked = self.disk.lock(&path, like, &|| tell(&path));
        locked.map_err(|error| RingFileError::Io { doing: "lock", path, error })
    }

    /// Removes what a crash may have left half-written: it may hold keys.
    fn tidy(&self) -> Result<(), RingFileError> {
        [".new", ".previous.new"].into_iter().try_for_each(|suffix| {
            let path = self.beside(suffix);
            self.disk.remove(&path).map_err(|error| RingFileError::Io { doing: "write", path, error })
        })
    }

    /// Puts `bytes` in the place of `path`, in one step for every reader.
    fn replace(&self, path: &Path, bytes: &[u8], access: Option<Access>) -> Result<(), RingFileError> {
        let new = with_suffix(path, ".new");
        let written = self
            .disk
            .create(&new, bytes, access)
            .and_then(|()| self.disk.sync(&new))
            .and_then(|()| self.disk.rename(&new, path));
        written.map_err(|error| {
            // What cannot be removed now, the next write removes.
            let _ = self.disk.remove(&new);
            RingFileError::Io { doing: "write", path: path.to_owned(), error }
        })
    }

    fn sync_folder(&self) -> Result<(), RingFileError> {
        let synced = self.disk.sync_folder(&self.folder);
        synced.map_err(|error| RingFileError::Io { doing: "sync the folder of", path: self.ring.clone(), error })
    }
}

/// `path`, with `suffix` added to its name.
pub fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut path = path.to_owned().into_os_string();
    path.push(suffix);
    path.into()
}
