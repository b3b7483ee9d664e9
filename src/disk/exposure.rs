//! What others on the system can do with a secret file.

use std::fmt;

use super::{Access, OTHERS_WRITE};

/// Permission bits of a plain ring that let others on the system reach it.
const OTHERS: u32 = 0o007;

/// What others on the system can do with a file although they must not.
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

/// How a secret file is stored on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtRest {
    /// Anyone who can read it has the secret.
    Plain,
    /// It is encrypted.
    Sealed,
}

/// Who may be able to read a secret file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum FileMode {
    /// The owner and the group; a file that others can reach is refused.
    #[default]
    Guarded,
    /// Anyone.
    Any,
}

impl FileMode {
    /// What others can do with such a file although they must not.
    pub fn exposure(self, access: Access, at_rest: AtRest) -> Option<Exposure> {
        match at_rest {
            _ if self == Self::Any => None,
            AtRest::Plain if access.mode & OTHERS != 0 => Some(Exposure::Open(access.mode)),
            _ if access.mode & OTHERS_WRITE != 0 => Some(Exposure::Writable(access.mode)),
            _ => access.is_replaceable.then_some(Exposure::Replaceable),
        }
    }

    /// The access of a file that replaces one with `access`: everyone who could read the old file can read the new one.
    pub fn kept(self, access: Access) -> Access {
        let mask = match self {
            Self::Guarded => 0o070,
            Self::Any => 0o077,
        };
        Access { mode: access.mode & mask, ..access }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(mode: u32, is_replaceable: bool, plain: Option<Exposure>, sealed: Option<Exposure>) {
        let access = Access { mode, is_replaceable, ..Access::default() };
        let exposures = [AtRest::Plain, AtRest::Sealed].map(|at_rest| FileMode::Guarded.exposure(access, at_rest));
        assert_eq!(exposures, [plain, sealed], "{mode:o}");
        assert_eq!(FileMode::Any.exposure(access, AtRest::Plain), None);
    }

    #[test]
    fn a_secret_is_its_owners_and_its_groups() {
        check(0o600, false, None, None);
        check(0o660, false, None, None);
        check(0o604, false, Some(Exposure::Open(0o604)), None);
        check(0o602, false, Some(Exposure::Open(0o602)), Some(Exposure::Writable(0o602)));
        check(0o600, true, Some(Exposure::Replaceable), Some(Exposure::Replaceable));
    }

    #[test]
    fn whoever_could_read_a_file_can_read_the_next_one() {
        let access = Access { mode: 0o644, uid: 1, gid: 2, is_replaceable: false };
        assert_eq!(FileMode::Guarded.kept(access), Access { mode: 0o040, ..access });
        assert_eq!(FileMode::Any.kept(access), Access { mode: 0o044, ..access });
    }
}
