//! Writing, so that whoever reads finds all of it or nothing, and so that it lasts.

use std::{
    fs::{DirBuilder, File},
    io,
    os::unix::fs::DirBuilderExt as _,
    path::Path,
};

use super::{Access, Disk, RealDisk, folder_of, give_to_owner_of_folder, with_suffix};

/// What stands behind the name of a file that is being written.
pub const NEW: &str = ".new";

/// Puts `bytes` in the place of `path`, in one step for every reader. It lasts once the folder is synced.
///
/// # Errors
/// The system's; what was there before is there still.
pub fn replace(disk: &dyn Disk, path: &Path, bytes: &[u8], access: Option<Access>) -> io::Result<()> {
    let new = with_suffix(path, NEW);
    let written =
        disk.create(&new, bytes, access).and_then(|()| disk.sync(&new)).and_then(|()| disk.rename(&new, path));
    written.inspect_err(|_| {
        // What cannot be removed now, the next write removes.
        let _ = disk.remove(&new);
    })
}

/// Makes a file that was not there, for its owner alone. Of one that could not be written whole nothing is left.
///
/// # Errors
/// The system's, [`io::ErrorKind::AlreadyExists`] among them.
pub fn create(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let written = RealDisk.create(path, bytes, None).and_then(|()| RealDisk.sync(path));
    written.inspect_err(|error| {
        if error.kind() != io::ErrorKind::AlreadyExists {
            let _ = RealDisk.remove(path);
        }
    })
}

/// Makes the folder of a file that is about to be made, for its owner alone, so that it lasts.
///
/// # Errors
/// The system's, with the folder that could not be made.
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
    // The outermost first, whose owner the others get, too.
    for made in missing.into_iter().rev() {
        File::open(made).and_then(|file| give_to_owner_of_folder(&file, made)).map_err(failed)?;
        RealDisk.sync_folder(folder_of(made)).map_err(failed)?;
    }
    Ok(())
}
