//! The identity file that opens an encrypted ring.

use std::{fmt, io, path::Path};

use age::Callbacks;

use super::sealed::{AskPassphrase, Identities, SealError, at_rest};
use crate::disk::{
    Disk as _, RealDisk,
    exposure::{Exposure, FileMode},
};

/// Why an identity was refused.
#[derive(Debug)]
pub enum IdentityError {
    /// Its file cannot be read.
    Io(io::Error),
    /// Others on the system can access it.
    Exposed(Exposure),
    /// It is not an identity, or it cannot be opened.
    Refused(SealError),
}

impl fmt::Display for IdentityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::Exposed(how) => write!(f, "it {how}"),
            Self::Refused(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for IdentityError {}

/// An identity that was refused.
#[derive(Debug)]
pub struct IdentityFileError {
    path: Box<Path>,
    /// The reason.
    pub error: IdentityError,
}

impl fmt::Display for IdentityFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "identity {}: {}", self.path.display(), self.error)
    }
}

impl std::error::Error for IdentityFileError {}

/// Reads the identities in the file at `path`. `passphrase` is asked for if the file is encrypted with one. age plugins
/// show their messages and questions through `people`.
///
/// # Errors
/// [`IdentityFileError`].
pub fn read(
    path: &Path,
    mode: FileMode,
    passphrase: Option<AskPassphrase<'_>>,
    people: impl Callbacks,
) -> Result<Identities, IdentityFileError> {
    let failed = |error| IdentityFileError { path: path.into(), error };
    let (file, access) = RealDisk.read(path).map_err(|error| failed(IdentityError::Io(error)))?;
    if let Some(how) = mode.exposure(access, at_rest(&file)) {
        return Err(failed(IdentityError::Exposed(how)));
    }
    Identities::read_with(&file, passphrase, people).map_err(|error| failed(IdentityError::Refused(error)))
}
