//! Two copies of a ring, in which different things were changed, to one.

use std::fmt;

use jiff::Timestamp;

use super::{ChangeError, Previous, Revision, successor};
use crate::{
    ids::KeyId,
    keyring::{KeyRing, json::to_note, key::Status},
};

/// A key that becomes something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatusChange {
    /// The key.
    pub id: KeyId,
    /// What it was.
    pub from: Status,
    /// What it becomes.
    pub to: Status,
}

impl StatusChange {
    /// Whether some UIDs open no more after it.
    pub fn closes(&self) -> bool {
        self.to > self.from
    }
}

impl fmt::Display for StatusChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "key {}: {} becomes {}", self.id, self.from, self.to)
    }
}

/// What two copies of a ring join to.
pub struct Merged {
    /// The ring that takes the place of ours.
    pub revision: Revision,
    /// Keys of the other copy that ours did not know.
    pub added: Vec<KeyId>,
    /// What becomes of the keys of ours.
    pub changes: Vec<StatusChange>,
}

/// `ring` with what happened to `other`, another copy of it: all keys of both. Where they differ about a key, the more
/// cautious wins: destroyed before disabled before enabled, and the later of two activations ahead.
///
/// # Errors
/// [`ChangeError`] where they are no copies of one ring, or nothing is to be joined.
pub fn merge(ring: &KeyRing, other: &KeyRing, now: Timestamp) -> Result<Merged, ChangeError> {
    if ring.id() != other.id() {
        return Err(ChangeError::OtherRing);
    }
    if ring.hash == other.hash {
        return Err(ChangeError::Same);
    }
    let (mut keys, mut changes) = (ring.keys().to_vec(), Vec::new());
    for key in &mut keys {
        let Some(theirs) = other.key(key.id) else { continue };
        if !key.is_made_like(theirs) {
            return Err(ChangeError::Altered(key.id));
        }
        if key.activates != theirs.activates {
            if key.activates.min(theirs.activates) <= now {
                return Err(ChangeError::Altered(key.id));
            }
            key.activates = key.activates.max(theirs.activates);
        }
        key.disabled = key.disabled.max(theirs.disabled);
        let (from, to) = (key.status, key.status.max(theirs.status));
        if from != to {
            changes.push(StatusChange { id: key.id, from, to });
            key.set_status(to);
        }
    }
    let added: Vec<_> = other.keys().iter().filter(|theirs| ring.key(theirs.id).is_none()).cloned().collect();
    keys.extend_from_slice(&added);
    let next = successor(ring, ring.generation.max(other.generation), &ring.recipients, &keys)?;
    let destroyed = |id| keys.iter().any(|key| key.id == id && key.status == Status::Destroyed);
    let mut before = ring.keys().to_vec();
    before.iter_mut().filter(|key| destroyed(key.id)).for_each(|key| key.set_status(Status::Destroyed));
    let previous = to_note(&ring.signer, ring.generation, None, &ring.recipients, &before);
    let revision = Revision { next, previous: Previous::Rewritten(previous) };
    Ok(Merged { revision, added: added.iter().map(|key| key.id).collect(), changes })
}
