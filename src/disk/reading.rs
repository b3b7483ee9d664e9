//! Reading files: never more than memory allows, and never waiting for something that is not a file.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use rustix::fs::OFlags;
use zeroize::Zeroizing;

/// Everything that `reader` gives, in a buffer that never grows, so that no copy of a secret is left behind.
///
/// # Errors
/// [`io::ErrorKind::FileTooLarge`] if that is more than `bytes_max`, and any error of the reader.
pub fn all(mut reader: impl Read, bytes_max: usize) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut buffer = Zeroizing::new(vec![0; bytes_max + 1]);
    let mut filled = 0;
    while filled <= bytes_max {
        match reader.read(&mut buffer[filled..]) {
            Ok(0) => {
                buffer.truncate(filled);
                return Ok(buffer);
            }
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Err(too_large(bytes_max))
}

/// The whole file at `path`. A pipe is read too, once somebody writes to it, because services get secrets that way.
///
/// # Errors
/// The errors of [`all`].
pub fn file(path: &Path, bytes_max: usize) -> io::Result<Zeroizing<Vec<u8>>> {
    all(File::open(path)?, bytes_max)
}

/// The whole file at `path` as text, under the rules of [`file()`].
///
/// # Errors
/// The errors of [`all`], and [`io::ErrorKind::InvalidData`] if it is not UTF-8.
pub fn text(path: &Path, bytes_max: usize) -> io::Result<String> {
    let bytes = file(path, bytes_max)?;
    str::from_utf8(&bytes)
        .map(ToOwned::to_owned)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "stream did not contain valid UTF-8"))
}

/// The first bytes of a file, at most this many `bytes`.
///
/// # Errors
/// The errors of [`open_at_once`].
pub fn start(path: &Path, bytes: u64) -> io::Result<Vec<u8>> {
    let mut start = Vec::new();
    open_at_once(path)?.take(bytes).read_to_end(&mut start)?;
    Ok(start)
}

/// Opens a file beside a ring. It must not be a link, nor anything else that leads elsewhere or has to be waited for.
///
/// # Errors
/// The system's error.
pub fn open_companion(how: &mut OpenOptions, path: &Path) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    only_a_file(how.custom_flags(i32::try_from(flags.bits()).map_err(io::Error::other)?).open(path)?)
}

/// Opens a file to read it, but nothing that would have to be waited for, such as a pipe that nobody writes to.
///
/// # Errors
/// The system's error, and [`io::ErrorKind::InvalidInput`] if it is not a file.
pub fn open_at_once(path: &Path) -> io::Result<File> {
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).map_err(io::Error::other)?;
    only_a_file(OpenOptions::new().read(true).custom_flags(flags).open(path)?)
}

fn only_a_file(file: File) -> io::Result<File> {
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a file")),
    }
}

/// Reads a file of `length` bytes into a buffer that never grows.
pub(super) fn whole(file: &File, length: u64, bytes_max: usize) -> io::Result<Zeroizing<Vec<u8>>> {
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    match all(file, length.min(bytes_max)) {
        Err(error) if error.kind() == io::ErrorKind::FileTooLarge && length <= bytes_max => {
            Err(io::Error::other("it changed while it was read"))
        }
        Err(error) if error.kind() == io::ErrorKind::FileTooLarge => Err(too_large(bytes_max)),
        read => read,
    }
}

fn too_large(bytes_max: usize) -> io::Error {
    io::Error::new(io::ErrorKind::FileTooLarge, format!("it is larger than {bytes_max} bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_read_than_is_good() {
        assert_eq!(all(&b"abc"[..], 3).expect("it fits").as_slice(), b"abc");
        assert_eq!(all(&b""[..], 0).expect("it fits").as_slice(), b"");
        let refused = all(io::repeat(b'x'), 3).expect_err("it has no end");
        assert_eq!(
            (refused.kind(), refused.to_string()),
            (io::ErrorKind::FileTooLarge, "it is larger than 3 bytes".to_owned())
        );
    }

    #[test]
    fn a_file_is_told_from_what_is_none() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("text");
        std::fs::write(&path, "é!").expect("it is written");
        assert_eq!(text(&path, 3).expect("it is text"), "é!");
        assert_eq!(text(&path, 2).expect_err("it is longer").kind(), io::ErrorKind::FileTooLarge);
        assert_eq!(start(&path, 2).expect("it is a file"), "é".as_bytes());
        std::fs::write(&path, [0xff]).expect("it is written");
        assert_eq!(text(&path, 3).expect_err("it is no text").kind(), io::ErrorKind::InvalidData);
        assert_eq!(open_at_once(folder.path()).expect_err("it is a folder").kind(), io::ErrorKind::InvalidInput);
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&path, &link).expect("a link");
        assert!(open_at_once(&link).is_ok() && open_companion(OpenOptions::new().read(true), &link).is_err());
        let file = File::open(&path).expect("it is there");
        assert!(whole(&file, 0, 9).expect_err("it grew").to_string().contains("changed"));
    }
}
