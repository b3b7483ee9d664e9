//! What can be wrong with a ring file. Nothing of the file is quoted, since it may be a key.

use std::fmt;

use super::{FORMAT, GENERATION_MAX, RING_NAME, note::Name};
use crate::ids::KeyId;

/// Everything that is wrong with a ring file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faults(pub Vec<Fault>);

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, fault) in self.0.iter().enumerate() {
            let separator = if at == 0 { "" } else { "; " };
            write!(f, "{separator}{fault}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}

/// One thing that is wrong with a ring file.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// Not a signed note.
    NotANote,
    /// It is not JSON, or it stops being a ring at this place.
    NotARing {
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
    },
    /// `format` is not [`FORMAT`].
    Format,
    /// `ring` is not 64 lower-case hex digits.
    RingId,
    /// `signing_key` is not that of `ring`.
    SigningKey,
    /// The ring's own signature is missing or wrong, or another signature has the same name.
    Signature,
    /// This approver's signature is wrong.
    Approval(Name),
    /// `generation` is 0 or above [`GENERATION_MAX`].
    Generation,
    /// `parent` is not 16 lower-case hex digits.
    Parent,
    /// The `id` of a key is not a key id.
    KeyId {
        /// The place, from 0.
        at: usize,
    },
    /// Two keys have one id.
    DuplicateId(KeyId),
    /// No key is enabled, so none could be the primary.
    NoEnabledKey,
    /// Something is wrong with one key.
    Key {
        /// That key.
        id: KeyId,
        /// What is wrong with it.
        what: KeyFault,
    },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotANote => f.write_str(
                "not a signed key ring (torn, a signature missing, doubled or altered, or written by something else)",
            ),
            Self::NotARing { line, column } => write!(
                f,
                "not the JSON of a key ring: line {line}, column {column} (torn, or a field missing, unknown, repeated or of another type)"
            ),
            Self::Format => write!(f, "`format` is not \"{FORMAT}\""),
            Self::RingId => f.write_str("`ring` is not 64 lower-case hex digits"),
            Self::SigningKey => f.write_str("`signing_key` is not the one of this `ring`"),
            Self::Signature => {
                write!(f, "the signature \"{RING_NAME}\" is wrong: the ring was altered by somebody who cannot open it")
            }
            Self::Approval(name) => write!(f, "the signature of the approver {name} does not fit"),
            Self::Generation => write!(f, "`generation` is not between 1 and {GENERATION_MAX}"),
            Self::Parent => f.write_str("`parent` is not 16 lower-case hex digits"),
            Self::KeyId { at } => {
                write!(f, "key number {}: `id` is not four lower-case hex digits other than 0000", at + 1)
            }
            Self::DuplicateId(id) => write!(f, "two keys have the id {id}"),
            Self::NoEnabledKey => f.write_str("no key is enabled"),
            Self::Key { id, what } => write!(f, "key {id}: {what}"),
        }
    }
}

/// What is wrong with one key of a ring file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyFault {
    /// `scheme` is not [`SCHEME`](super::SCHEME).
    Scheme,
    /// This program does not know its `numbers`, or does not know its `region` there.
    Numbering,
    /// `created` is no RFC 3339 time.
    Created,
    /// `activates` is no RFC 3339 time.
    Activates,
    /// `disabled` is no RFC 3339 time.
    Disabled,
    /// `check` is not 16 lower-case hex digits.
    CheckForm,
    /// `check` is not that of the material.
    Check,
    /// `material` is not the base64 of 64 bytes.
    Material,
    /// The key is not destroyed and has no `material`.
    MaterialMissing,
    /// The key is destroyed and has `material`.
    MaterialLeft,
}

impl fmt::Display for KeyFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Scheme => "this program does not know its `scheme`",
            Self::Numbering => "this program does not know its `numbers`, or the `region` there",
            Self::Created => "`created` is no RFC 3339 time",
            Self::Activates => "`activates` is no RFC 3339 time",
            Self::Disabled => "`disabled` is no RFC 3339 time",
            Self::CheckForm => "`check` is not 16 lower-case hex digits",
            Self::Check => "`material` does not fit its `check`",
            Self::Material => "`material` is not 64 bytes in base64",
            Self::MaterialMissing => "`material` is missing",
            Self::MaterialLeft => "it is destroyed, and yet has `material`",
        })
    }
}
