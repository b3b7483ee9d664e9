//! The ring on disk: locked, atomic, synced writes (SPEC 4).
//!
//! A write goes through these steps, each of which may be the last before a crash:
//!
//! ```text
//! lock <name>.lock -> read -> write and sync <name>.previous.new -> rename to <name>.previous
//!                          -> write and sync <name>.new          -> rename to <name> -> sync the folder
//! ```

use std::{
    fmt,
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use zeroize::Zeroizing;

use super::{Faults, KeyRing, Known, NotASuccessor, rotation::ChangeError};

/// Bytes of the largest ring file that is read: room for some ten thousand keys.
pub const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Permission bits of a plain ring that mean that others on the system can reach it.
const OTHERS: u32 = 0o007;

/// What was being done when a ring could not be read.
const READ: &str = "read";

/// Who may be able to read a plain ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum FileMode {
    /// The owner and the group; a ring that others can reach is refused.
    #[default]
    Guarded,
    /// Anyone.
    Any,
}

/// Where a ring is kept, and how to read it there.
#[derive(Clone)]
pub struct RingFile {
    path: PathBuf,
    mode: FileMode,
    known: Known,
}

impl RingFile {
    /// The ring at `path`.
    pub fn new(path: impl Into<PathBuf>, mode: FileMode, known: Known) -> Self {
        Self { path: path.into(), mode, known }
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
        self.read_plain(&self.path).map(|(ring, ..)| ring)
    }

    fn read_plain(&self, path: &Path) -> Result<(KeyRing, Zeroizing<Vec<u8>>, fs::Metadata), RingFileError> {
        let failed = |error| RingFileError::Io { doing: READ, path: path.to_owned(), error };
        let file = File::open(path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        if !metadata.is_file() {
            return Err(failed(io::Error::new(io::ErrorKind::InvalidInput, "it is not a file")));
        }
        let mode = metadata.mode();
        if self.mode == FileMode::Guarded && mode & OTHERS != 0 {
            return Err(RingFileError::Exposed { path: path.to_owned(), mode: mode & 0o7777 });
        }
        let plain = read_bounded(&file, metadata.len()).map_err(failed)?;
        let ring = KeyRing::from_json(&plain, self.known)
            .map_err(|faults| RingFileError::Refused { path: path.to_owned(), faults })?;
        Ok((ring, plain, metadata))
    }

    /// Writes the first generation of a ring.
    ///
    /// # Errors
    /// [`RingFileError::Exists`] where there is anything at the path already.
    pub fn create(&self, plain: &[u8]) -> Result<KeyRing, RingFileError> {
        let target = Target::of(&self.path)?;
        let _lock = target.lock()?;
        if fs::symlink_metadata(&self.path).is_ok() {
            return Err(RingFileError::Exists { path: self.path.clone() });
        }
        let ring = self.check(plain)?;
        target.replace(&target.ring, plain, None)?;
        target.sync_folder()?;
        Ok(ring)
    }

    /// Replaces the ring by the one that `change` makes of it, and keeps the one before as `<name>.previous`.
    ///
    /// The lock is held from before the ring is read until the new one is safe on disk. `change` gives, beside the
    /// plain file, something to return.
    ///
    /// # Errors
    /// [`RingFileError`]; the ring is then as it was, or, where only the last sync failed, the new one.
    pub fn update<T>(
        &self,
        now: Timestamp,
        change: impl FnOnce(&KeyRing) -> Result<(T, Zeroizing<Vec<u8>>), ChangeError>,
    ) -> Result<(KeyRing, T), RingFileError> {
        let target = Target::of(&self.path)?;
        let _lock = target.lock()?;
        let (old, old_plain, metadata) = self.read_plain(&target.ring)?;
        let (made, plain) = change(&old).map_err(RingFileError::Change)?;
        let new = self.check(&plain)?;
        old.check_successor(&new, now).map_err(RingFileError::Successor)?;
        target.replace(&target.beside(".previous"), &old_plain, Some(&metadata))?;
        target.replace(&target.ring, &plain, Some(&metadata))?;
        target.sync_folder()?;
        Ok((new, made))
    }

    /// What is about to be written must be readable, by us and by every replica.
    fn check(&self, plain: &[u8]) -> Result<KeyRing, RingFileError> {
        if plain.len() as u64 > FILE_BYTES_MAX {
            return Err(RingFileError::TooLarge);
        }
        KeyRing::from_json(plain, self.known)
            .map_err(|faults| RingFileError::Refused { path: self.path.clone(), faults })
    }
}

/// Reads at most [`FILE_BYTES_MAX`] bytes into a buffer that never grows, so that no copy of a key is left behind.
fn read_bounded(file: &File, length: u64) -> io::Result<Zeroizing<Vec<u8>>> {
    let too_large = || io::Error::new(io::ErrorKind::FileTooLarge, format!("it is larger than {FILE_BYTES_MAX} bytes"));
    let capacity = usize::try_from(length.min(FILE_BYTES_MAX) + 1).map_err(|_| too_large())?;
    let mut buffer = Zeroizing::new(vec![0; capacity]);
    let mut filled = 0;
    while filled < capacity {
        match (&*file).read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    if filled == capacity {
        return Err(if length >= FILE_BYTES_MAX {
            too_large()
        } else {
            io::Error::other("it changed while it was read")
        });
    }
    buffer.truncate(filled);
    Ok(buffer)
}

/// The file that is written: what `<name>` is in the end, where it is a symbolic link.
struct Target {
    ring: PathBuf,
    folder: PathBuf,
}

impl Target {
    fn of(path: &Path) -> Result<Self, RingFileError> {
        let ring = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let folder = match ring.parent() {
            Some(parent) if parent != Path::new("") => parent.to_owned(),
            _ => PathBuf::from("."),
        };
        if ring.file_name().is_none() {
            let error = io::Error::new(io::ErrorKind::InvalidInput, "it names no file");
            return Err(RingFileError::Io { doing: "write", path: path.to_owned(), error });
        }
        Ok(Self { ring, folder })
    }

    /// `<name>` with `suffix` added to it.
    fn beside(&self, suffix: &str) -> PathBuf {
        let mut path = self.ring.clone().into_os_string();
        path.push(suffix);
        path.into()
    }

    /// Waits for all other writers. The file is never deleted: a second lock on a new file would exclude nobody.
    fn lock(&self) -> Result<File, RingFileError> {
        let path = self.beside(".lock");
        let lock = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
        let locked = lock.and_then(|lock| lock.lock().map(|()| lock));
        locked.map_err(|error| RingFileError::Io { doing: "lock", path, error })
    }

    /// Puts `plain` in the place of `path`, in one step for every reader. Whoever could read the file that `like`
    /// describes can read the new one, but others never.
    fn replace(&self, path: &Path, plain: &[u8], like: Option<&fs::Metadata>) -> Result<(), RingFileError> {
        let mut new = path.to_owned().into_os_string();
        new.push(".new");
        let new = PathBuf::from(new);
        let written = write_synced(&new, plain, like).and_then(|()| fs::rename(&new, path));
        written.map_err(|error| {
            // Best effort: what stays behind is overwritten, or removed, by the next write.
            let _ = fs::remove_file(&new);
            RingFileError::Io { doing: "write", path: path.to_owned(), error }
        })
    }

    fn sync_folder(&self) -> Result<(), RingFileError> {
        let synced = File::open(&self.folder).and_then(|folder| folder.sync_all());
        synced.map_err(|error| RingFileError::Io { doing: "sync the folder of", path: self.ring.clone(), error })
    }
}

fn write_synced(path: &Path, plain: &[u8], like: Option<&fs::Metadata>) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    if let Some(like) = like {
        // A group that may read the ring (Kubernetes' fsGroup, a service's own) must be able to read the next one.
        let _ = std::os::unix::fs::fchown(&file, Some(like.uid()), Some(like.gid()));
        let kept = file.metadata()?.gid() == like.gid();
        let group = if kept { like.mode() & 0o070 } else { 0 };
        file.set_permissions(fs::Permissions::from_mode(0o600 | group))?;
    }
    file.write_all(plain)?;
    file.sync_all()
}

/// Why a ring file could not be read or written.
#[derive(Debug)]
#[non_exhaustive]
pub enum RingFileError {
    /// The operating system refused.
    Io {
        /// What was being done.
        doing: &'static str,
        /// To which file.
        path: PathBuf,
        /// Its reason.
        error: io::Error,
    },
    /// Others on the system can reach a plain ring.
    Exposed {
        /// The ring.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Something in the ring is wrong.
    Refused {
        /// The ring.
        path: PathBuf,
        /// All that is wrong.
        faults: Faults,
    },
    /// There is a file already where a ring was to be made.
    Exists {
        /// That file.
        path: PathBuf,
    },
    /// The ring would become larger than [`FILE_BYTES_MAX`].
    TooLarge,
    /// The change is not possible.
    Change(ChangeError),
    /// The changed ring would not follow the one on disk.
    Successor(NotASuccessor),
}

impl RingFileError {
    /// Whether the ring itself is at fault, rather than what was to be done with it.
    pub fn is_bad_ring(&self) -> bool {
        match self {
            Self::Io { doing, .. } => *doing == READ,
            Self::Exposed { .. } | Self::Refused { .. } => true,
            Self::Exists { .. } | Self::TooLarge | Self::Change(_) | Self::Successor(_) => false,
        }
    }
}

impl fmt::Display for RingFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { doing, path, error } => write!(f, "cannot {doing} {}: {error}", path.display()),
            Self::Exposed { path, mode } => write!(
                f,
                "key ring {} is open to others on this system (mode {mode:04o}): chmod 0600 it, or set keyring_mode = \"any\"",
                path.display()
            ),
            Self::Refused { path, faults } => write!(f, "key ring {} is refused: {faults}", path.display()),
            Self::Exists { path } => write!(f, "{} exists already, and is left as it is", path.display()),
            Self::TooLarge => write!(f, "the key ring would be larger than {FILE_BYTES_MAX} bytes"),
            Self::Change(error) => error.fmt(f),
            Self::Successor(error) => write!(f, "the change is refused: {error}"),
        }
    }
}

impl std::error::Error for RingFileError {}
