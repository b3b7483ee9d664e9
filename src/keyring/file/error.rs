//! Why a ring file could not be read or written.

use std::{fmt, io, path::PathBuf};

use super::READ;
use crate::{
    disk::{FILE_BYTES_MAX, exposure::Exposure},
    keyring::{fault::Faults, rotation::ChangeError, sealed::SealError, successor::NotASuccessor},
};

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
    /// Others on the system can read a plain ring, or can write or replace a ring.
    Exposed {
        /// The ring.
        path: PathBuf,
        /// What they can do.
        how: Exposure,
    },
    /// An identity is configured but the ring is plain: anybody could have written it.
    Plain {
        /// The ring.
        path: PathBuf,
    },
    /// The ring is encrypted, and no identity is configured.
    IdentityWanted {
        /// The ring.
        path: PathBuf,
    },
    /// The ring could not be opened.
    Sealed {
        /// The ring.
        path: PathBuf,
        /// Why.
        error: SealError,
    },
    /// The ring could not be encrypted for its recipients.
    Unsealable(SealError),
    /// The ring is encrypted but names no recipients for the next version.
    NoRecipients,
    /// The new recipients leave out the identity at hand.
    LocksUsOut,
    /// Something in the ring is wrong.
    Refused {
        /// The ring.
        path: PathBuf,
        /// All that is wrong.
        faults: Faults,
    },
    /// There is already a file where a ring was to be made.
    Exists {
        /// That file.
        path: PathBuf,
    },
    /// There is no ring, but its previous version is there: that may be the last copy of its keys.
    PreviousLeft {
        /// That file.
        path: PathBuf,
    },
    /// The ring would become larger than [`FILE_BYTES_MAX`].
    TooLarge,
    /// Readers would refuse the changed ring.
    Unfit(Faults),
    /// The change is not possible.
    Change(ChangeError),
    /// The changed ring may not replace the one on disk.
    Successor(NotASuccessor),
}

impl RingFileError {
    /// Whether the ring itself is at fault, rather than the operation.
    pub fn is_bad_ring(&self) -> bool {
        match self {
            Self::Io { doing, .. } => *doing == READ,
            Self::Exposed { .. }
            | Self::Plain { .. }
            | Self::IdentityWanted { .. }
            | Self::Sealed { .. }
            | Self::Refused { .. } => true,
            Self::Exists { .. }
            | Self::PreviousLeft { .. }
            | Self::Unfit(_)
            | Self::TooLarge
            | Self::Unsealable(_)
            | Self::NoRecipients
            | Self::LocksUsOut
            | Self::Change(_)
            | Self::Successor(_) => false,
        }
    }
}

impl fmt::Display for RingFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { doing, path, error } => write!(f, "cannot {doing} {}: {error}", path.display()),
            Self::Exposed { path, how } => write!(f, "key ring {} {how}", path.display()),
            Self::Plain { path } => write!(
                f,
                "key ring {} is not encrypted, but an identity is configured: anybody could have written it \
                 (`keys recipients --set` encrypts it)",
                path.display()
            ),
            Self::IdentityWanted { path } => {
                write!(f, "key ring {} is encrypted with age: an identity is wanted", path.display())
            }
            Self::Sealed { path, error } => write!(f, "key ring {}: {error}", path.display()),
            Self::Unsealable(error) => write!(f, "the key ring is not encrypted: {error}"),
            Self::NoRecipients => f.write_str(
                "the key ring does not say for whom to encrypt the next one: tell it with `keys recipients --set`",
            ),
            Self::LocksUsOut => {
                f.write_str("the recipients leave out the identity at hand: nobody locks themselves out")
            }
            Self::Refused { path, faults } => write!(f, "key ring {} is refused: {faults}", path.display()),
            Self::Exists { path } => write!(f, "{} exists already, and is left as it is", path.display()),
            Self::PreviousLeft { path } => write!(
                f,
                "{} is left of an earlier ring, and may be the last copy of its keys: restore it, or move it away",
                path.display()
            ),
            Self::Unfit(faults) => write!(f, "the change would leave a ring that is refused: {faults}"),
            Self::TooLarge => write!(f, "the key ring would be larger than {FILE_BYTES_MAX} bytes"),
            Self::Change(error) => error.fmt(f),
            Self::Successor(error) => write!(f, "the change is refused: {error}"),
        }
    }
}

impl std::error::Error for RingFileError {}
