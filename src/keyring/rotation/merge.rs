//! Merges two copies of a ring that were changed independently.

use std::fmt;

use jiff::Timestamp;

use super::{ChangeError, Previous, Revision, successor};
use crate::{
    ids::KeyId,
    keyring::{KeyRing, json::to_note, key::Status},
};

/// A key whose status changes.
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
    /// Whether UIDs of this key can no longer be opened after the change.
    pub fn closes(&self) -> bool {
        self.to > self.from
    }
}

impl fmt::Display for StatusChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "key {}: {} becomes {}", self.id, self.from, self.to)
    }
}

/// The result of merging two copies of a ring.
pub struct Merged {
    /// The ring that replaces ours.
    pub revision: Revision,
    /// Keys of the other copy that ours did not have.
    pub added: Vec<KeyId>,
    /// The changes of our keys.
    pub changes: Vec<StatusChange>,
}

/// Merges `other`, another copy of `ring`, into `ring`. The result has all keys of both. If they differ about a key,
/// the more cautious state wins: destroyed over disabled over enabled, and the later of two activations ahead.
///
/// # Errors
/// [`ChangeError`] if they are not copies of one ring, are the same, or differ in what never changes.
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
