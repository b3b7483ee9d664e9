//! Files: the one module that reads within a bound, and writes so that neither a crash nor another user of the system
//! can spoil anything.
//!
//! [`Disk`] has one method for each system call on a ring's file, so that tests can fail or stop between any two.

pub mod exposure;
pub mod reading;
pub mod writing;

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown},
    path::{Path, PathBuf},
};

use zeroize::Zeroizing;

use self::reading::{open_at_once, open_companion, whole};

/// Bytes of the largest file that is read: room for some ten thousand keys.
pub const FILE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Permission bits of a folder: others can write it, but they can replace only files in it that are their own.
const OTHERS_WRITE: u32 = 0o002;
const STICKY: u32 = 0o1000;

/// Who may do what with a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// Permission bits.
    pub mode: u32,
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// Whether others may put another file in its place: they can write its folder, and that has no sticky bit.
    pub is_replaceable: bool,
}

/// Keeps files. [`RealDisk`] keeps them in the system's file system.
pub trait Disk: Send + Sync {
    /// The file that `path` leads to, through symbolic links.
    fn resolve(&self, path: &Path) -> PathBuf;

    /// Whether others may put another file in the place of the file at `path`, or make one there.
    fn is_replaceable(&self, _path: &Path) -> bool {
        false
    }

    /// Waits until nobody else holds the lock file. A missing lock file is made for the owner of a file with the access
    /// `like`, or for the owner of the folder. It is never deleted: a second lock on a new file would exclude nobody.
    /// If somebody else holds the lock, `tell` is called before the wait.
    ///
    /// # Errors
    /// The system's error.
    fn lock(&self, path: &Path, like: Option<Access>, tell: &dyn Fn()) -> io::Result<Lock>;

    /// Whether there is anything at `path`.
    fn exists(&self, path: &Path) -> bool;

    /// The whole file, up to [`FILE_BYTES_MAX`].
    ///
    /// # Errors
    /// The system's error.
    fn read(&self, path: &Path) -> io::Result<(Zeroizing<Vec<u8>>, Access)>;

    /// Removes the file, if there is one.
    ///
    /// # Errors
    /// The system's error.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes a file that was not there, for its owner and everyone whom `like` lets in. Without `like`, a file that
    /// root makes is given to the owner of the folder, so that a service can read what was made for it.
    ///
    /// # Errors
    /// The system's error.
    fn create(&self, path: &Path, bytes: &[u8], like: Option<Access>) -> io::Result<()>;

    /// Makes the content of a file last.
    ///
    /// # Errors
    /// The system's error.
    fn sync(&self, path: &Path) -> io::Result<()>;

    /// Moves a file to the place of another, in one step.
    ///
    /// # Errors
    /// The system's error.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Makes the names in a folder last.
    ///
    /// # Errors
    /// The system's error.
    fn sync_folder(&self, path: &Path) -> io::Result<()>;
}

/// A lock, held until it is dropped.
pub struct Lock(Option<File>);

impl Lock {
    /// A lock that holds nothing, for a disk that nobody else can reach.
    pub fn of_nothing() -> Self {
        Self(None)
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        if let Some(file) = &self.0 {
            // Closing it unlocks it as well.
            let _ = file.unlock();
        }
    }
}

/// The system's file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn resolve(&self, path: &Path) -> PathBuf {
        fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
    }

    fn is_replaceable(&self, path: &Path) -> bool {
        // The folder of a link counts, too: someone who can replace the link need not reach the file.
        [path.to_owned(), self.resolve(path)].iter().any(|path| {
            fs::metadata(folder_of(path)).is_ok_and(|folder| folder.mode() & (OTHERS_WRITE | STICKY) == OTHERS_WRITE)
        })
    }

    fn lock(&self, path: &Path, like: Option<Access>, tell: &dyn Fn()) -> io::Result<Lock> {
        let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
        if let Ok(file) = &made {
            // Best effort: only root can give a file away.
            let _ = match like {
                Some(like) => fchown(file, Some(like.uid), Some(like.gid)),
                None => give_to_owner_of_folder(file, path),
            };
        }
        let file = made.or_else(|_| open_companion(OpenOptions::new().write(true), path))?;
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => {
                tell();
                file.lock()?;
            }
            tried => tried?,
        }
        Ok(Lock(Some(file)))
    }

    fn exists(&self, path: &Path) -> bool {
        fs::symlink_metadata(path).is_ok()
    }

    fn read(&self, path: &Path) -> io::Result<(Zeroizing<Vec<u8>>, Access)> {
        let file = open_at_once(path)?;
        let metadata = file.metadata()?;
        let (mode, uid, gid) = (metadata.mode() & 0o7777, metadata.uid(), metadata.gid());
        let access = Access { mode, uid, gid, is_replaceable: self.is_replaceable(path) };
        Ok((whole(&file, metadata.len(), FILE_BYTES_MAX)?, access))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn create(&self, path: &Path, bytes: &[u8], like: Option<Access>) -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        if let Some(like) = like {
            // A group that may read the ring (Kubernetes' fsGroup, a service's own) must be able to read the next one.
            // Only root can give a file away, but a member of that group can give the file to the group.
            let given = fchown(&file, Some(like.uid), Some(like.gid));
            let given = given.or_else(|_| fchown(&file, None, Some(like.gid)));
            if like.mode & 0o070 != 0 && file.metadata()?.gid() != like.gid {
                let error = given.err().unwrap_or_else(|| io::ErrorKind::PermissionDenied.into());
                return Err(io::Error::new(error.kind(), "its group, which may read it, could not read the next one"));
            }
            file.set_permissions(fs::Permissions::from_mode(0o600 | like.mode))?;
        } else {
            give_to_owner_of_folder(&file, path)?;
        }
        file.write_all(bytes)
    }

    fn sync(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }
}

/// The folder that a file is in.
pub fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."))
}

/// Gives a file that root made at `path` to the owner of the folder, so that the owner can read it.
///
/// # Errors
/// The system's error.
pub fn give_to_owner_of_folder(file: &File, path: &Path) -> io::Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let folder = fs::metadata(folder_of(path))?;
    if folder.uid() == 0 { Ok(()) } else { fchown(file, Some(folder.uid()), Some(folder.gid())) }
}

/// `path`, with `suffix` added to its name.
pub fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut path = path.to_owned().into_os_string();
    path.push(suffix);
    path.into()
}
