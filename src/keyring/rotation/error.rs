//! Why a ring was not changed.

use std::fmt;

use jiff::Timestamp;

use super::StatusChange;
use crate::{
    ids::KeyId,
    keyring::{GENERATION_MAX, key::Status},
};

/// Why a ring was not changed.
#[derive(Debug)]
#[non_exhaustive]
pub enum ChangeError {
    /// The operating system gave no random bytes.
    Random(getrandom::Error),
    /// Nearly all key ids of this ring are used.
    IdsUsedUp,
    /// The ring's generation cannot grow.
    GenerationsUsedUp,
    /// Another key has yet to activate.
    Pending {
        /// That key.
        id: KeyId,
        /// When it does.
        activates: Timestamp,
    },
    /// The time of activation is past.
    Past,
    /// The time of activation is beyond the calendar.
    TooFar,
    /// The ring has no such key.
    NoSuchKey(KeyId),
    /// The key has another status than the change wants.
    Status {
        /// The key.
        id: KeyId,
        /// What it is.
        status: Status,
        /// The status that the change needs.
        wanted: Status,
    },
    /// The key has not been disabled for [`DISABLED_MIN`](super::DISABLED_MIN).
    Early {
        /// The key.
        id: KeyId,
        /// When it was disabled, if the ring knows.
        disabled: Option<Timestamp>,
    },
    /// The key is the primary.
    Primary(KeyId),
    /// No other key is enabled.
    LastEnabled(KeyId),
    /// The key would be the primary at once, which leaves the replicas no time to get the file.
    PrimaryAtOnce(KeyId),
    /// The changes would disable or destroy keys, and nobody confirmed that.
    Unconfirmed(Vec<StatusChange>),
    /// The other file is of another ring.
    OtherRing,
    /// The other copy is the same.
    Same,
    /// The ring is not the one that was shown.
    Moved,
    /// This approver has signed it already.
    Approved,
    /// The two copies differ in a property of this key that never changes.
    Altered(KeyId),
}

impl fmt::Display for ChangeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Random(error) => write!(f, "no random bytes from the operating system: {error}"),
            Self::IdsUsedUp => f.write_str("nearly all key ids of this ring are used: begin another ring"),
            Self::GenerationsUsedUp => {
                write!(f, "the ring's generation cannot grow beyond {GENERATION_MAX}")
            }
            Self::Pending { id, activates } => {
                write!(
                    f,
                    "key {id} is pending until {activates}: one rotation at a time (`keys disable {id}` takes it back)"
                )
            }
            Self::Past => f.write_str("the time of activation is past"),
            Self::TooFar => f.write_str("the time of activation is too far ahead"),
            Self::NoSuchKey(id) => write!(f, "the ring has no key {id}"),
            Self::Status { id, status, wanted } => write!(f, "key {id} is {status}, and would have to be {wanted}"),
            Self::Early { id, disabled } => {
                let since = disabled.map_or("nobody knows when".to_owned(), |since| since.to_string());
                write!(
                    f,
                    "key {id} was disabled {since}: it may be destroyed 7 days later, if nobody has \
                     missed it (--early skips the wait)"
                )
            }
            Self::Primary(id) => write!(f, "key {id} is the primary: rotate first, and wait until another key is"),
            Self::LastEnabled(id) => write!(f, "key {id} is the only one that is enabled"),
            Self::PrimaryAtOnce(id) => write!(
                f,
                "key {id} would be the primary at once, before any replica has the file: rotate, and enable it once another key is the primary"
            ),
            Self::Unconfirmed(changes) => {
                changes.iter().try_for_each(|change| write!(f, "{change}; "))?;
                f.write_str("UIDs of these keys can then no longer be opened: say --yes if you mean it")
            }
            Self::OtherRing => f.write_str("the other file is of another ring"),
            Self::Moved => f.write_str("the ring was changed since it was shown: look at it again"),
            Self::Approved => f.write_str("there is a signature of this approver already"),
            Self::Same => f.write_str("the other file is the same"),
            Self::Altered(id) => write!(f, "the two files differ about key {id} in something that never changes"),
        }
    }
}

impl std::error::Error for ChangeError {}
