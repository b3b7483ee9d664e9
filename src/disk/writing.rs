//! Writing files, so that a reader finds either all of the content or nothing, and so that it lasts.

use std::{
    fs::{DirBuilder, File},
    io,
    os::unix::fs::DirBuilderExt as _,
    path::Path,
};

use super::{Access, Disk, RealDisk, folder_of, give_to_owner_of_folder, with_suffix};

/// The suffix of a file that is being written.
pub const NEW: &str = ".new";

/// Puts `bytes` in the place of `path`, in one step for every reader. It lasts once the folder is synced.
///
/// # Errors
/// The system's error. The earlier content is then still there.
pub fn replace(disk: &dyn Disk, path: &Path, bytes: &[u8], access: Option<Access>) -> io::Result<()> {
    let new = with_suffix(path, NEW);
    let written =
        disk.create(&new, bytes, access).and_then(|()| disk.sync(&new)).and_then(|()| disk.rename(&new, path));
    written.inspect_err(|_| {
        // If this fails, the next write removes the file.
        let _ = disk.remove(&new);
    })
}

/// Makes a file that was not there, for its owner alone. If it cannot be written whole, nothing is left of it.
///
/// # Errors
/// The system's error, including [`io::ErrorKind::AlreadyExists`].
pub fn create(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let written = RealDisk.create(path, bytes, None).and_then(|()| RealDisk.sync(path));
    written.inspect_err(|error| {
        if error.kind() != io::ErrorKind::AlreadyExists {
            let _ = RealDisk.remove(path);
        }
    })
}

/// Makes the folder of a file that is about to be made. The folder is for its owner alone, and lasts.
///
/// # Errors
/// The system's error, with the folder that could not be made.
pub fn make_folder_of(path: &Path) -> io::Result<()> {
    let Some(folder) = path.parent().filter(|folder| *folder != Path::new("") && !folder.exists()) else {
        return Ok(());
    };
    let failed = |error: io::Error| {
        io::Error::new(error.kind(), format!("cannot make the folder {}: {error}", folder.display()))
    };
    let missing: Vec<_> =
        folder.ancestors().take_while(|folder| *folder != Path::new("") && !folder.exists()).collect();
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
    // The outermost folder comes first: the others get the same owner.
    for made in missing.into_iter().rev() {
        File::open(made).and_then(|file| give_to_owner_of_folder(&file, made)).map_err(failed)?;
        RealDisk.sync_folder(folder_of(made)).map_err(failed)?;
    }
    Ok(())
}
