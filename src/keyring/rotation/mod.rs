//! The changes that the `keys` commands make to a ring. They are pure except for the random source; each returns the
//! signed note of the next generation.

mod error;
mod merge;
mod random;
#[cfg(test)]
mod tests;

use jiff::{SignedDuration, Timestamp};
use zeroize::Zeroizing;

use self::random::{fill_random, new_key_id, new_material};
pub use self::{
    error::ChangeError,
    merge::{Merged, StatusChange, merge},
};
use super::{
    GENERATION_MAX, KeyRing,
    json::{ring_name, to_note},
    key::{Key, Status},
    note::{KEY_BYTES, Signer},
};
use crate::ids::KeyId;

/// How long a key must have been disabled before it is destroyed, so that anybody who still needs it has noticed.
pub const DISABLED_MIN: SignedDuration = SignedDuration::from_hours(7 * 24);

/// Whether a new key may ever be given away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Export {
    /// It never leaves its ring.
    Never,
    /// `keys export-tink` gives it out.
    Allowed,
}

/// Whether a key may be destroyed before it has been disabled for [`DISABLED_MIN`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Haste {
    /// Not before.
    Wait,
    /// At once, because somebody asked for it.
    Early,
}

/// A ring that replaces another.
pub struct Revision {
    /// Its signed note.
    pub next: Zeroizing<Vec<u8>>,
    /// What happens to the old ring.
    pub previous: Previous,
}

/// What is kept of the old ring.
pub enum Previous {
    /// All of it.
    AsItWas,
    /// This signed note instead. It is encrypted if the new ring is.
    Rewritten(Zeroizing<Vec<u8>>),
}

impl Revision {
    fn new(ring: &KeyRing, keys: &[Key]) -> Result<Self, ChangeError> {
        let next = successor(ring, ring.generation, &ring.recipients, keys)?;
        Ok(Self { next, previous: Previous::AsItWas })
    }
}

/// The signed note of a ring with one key, made and active at `now`. It is to be encrypted for `recipients`, if there
/// are any.
///
/// # Errors
/// [`ChangeError::Random`] if the operating system gives no random bytes.
pub fn init(
    now: Timestamp,
    numbers: &str,
    region: &str,
    recipients: &[String],
    export: Export,
) -> Result<Zeroizing<Vec<u8>>, ChangeError> {
    let mut seed = Zeroizing::new([0; KEY_BYTES]);
    fill_random(&mut *seed)?;
    let now = whole_second(now);
    let mut key = Key::new(new_key_id(|_| false)?, new_material()?, (now, now), numbers, region);
    key.exportable = export == Export::Allowed;
    Ok(to_note(&Signer::new(ring_name(), &seed), 1, None, recipients, &[key]))
}

/// `ring` with a new key that becomes the primary at `activates`.
///
/// # Errors
/// [`ChangeError::Pending`] while another key is pending, since two activations ahead would be two things to undo.
/// [`ChangeError::Past`] if `activates` is before `now`, [`ChangeError::TooFar`] if it is past the end of the calendar.
pub fn rotate(
    ring: &KeyRing,
    now: Timestamp,
    activates: Timestamp,
    numbers: &str,
    region: &str,
    export: Export,
) -> Result<(KeyId, Revision), ChangeError> {
    check_activation(ring, now, activates)?;
    let id = new_key_id(|id| ring.key(id).is_some())?;
    let mut key = Key::new(id, new_material()?, (whole_second(now), after_all(ring, activates)?), numbers, region);
    key.exportable = export == Export::Allowed;
    Ok((id, Revision::new(ring, &[ring.keys(), &[key]].concat())?))
}

/// `ring` with the key `id` enabled again.
///
/// A key whose activation is still ahead is treated like a new one: it needs a lead time, and gets `activates`.
///
/// # Errors
/// [`ChangeError`] if there is no such key, it is not disabled, it would be the primary at once, or `activates` is
/// refused.
pub fn enable(ring: &KeyRing, now: Timestamp, id: KeyId, activates: Timestamp) -> Result<Revision, ChangeError> {
    let key = find(ring, id, Status::Disabled)?;
    if key.activates <= now {
        let keys = keys_with_status(ring, id, Status::Enabled);
        let enabled = KeyRing::assemble(ring.signer.clone(), ring.generation, ring.hash, keys);
        if enabled.primary(now).id == id {
            return Err(ChangeError::PrimaryAtOnce(id));
        }
        return Revision::new(ring, enabled.keys());
    }
    check_activation(ring, now, activates)?;
    let activates = after_all(ring, activates)?;
    let mut keys = ring.keys().to_vec();
    for key in keys.iter_mut().filter(|key| key.id == id) {
        (key.status, key.activates) = (Status::Enabled, activates);
    }
    Revision::new(ring, &keys)
}

/// `ring` with the key `id` disabled.
///
/// # Errors
/// [`ChangeError`] if there is no such key, it is not enabled, it is the primary, or no other key is enabled.
pub fn disable(ring: &KeyRing, now: Timestamp, id: KeyId) -> Result<Revision, ChangeError> {
    find(ring, id, Status::Enabled)?;
    if ring.enabled_newest_first().all(|key| key.id == id) {
        return Err(ChangeError::LastEnabled(id));
    }
    if ring.primary(now).id == id {
        return Err(ChangeError::Primary(id));
    }
    let mut keys = ring.keys().to_vec();
    keys.iter_mut().filter(|key| key.id == id).for_each(|key| key.disable(whole_second(now)));
    Revision::new(ring, &keys)
}

/// `ring` without the material of the key `id`, which must be disabled. Its entry stays as a tombstone. The previous
/// ring is also kept without that material.
///
/// # Errors
/// [`ChangeError`] if there is no such key, or if it is not disabled or was disabled too recently.
pub fn destroy(ring: &KeyRing, now: Timestamp, id: KeyId, haste: Haste) -> Result<Revision, ChangeError> {
    let key = find(ring, id, Status::Disabled)?;
    let is_due = key.disabled.is_some_and(|since| now.duration_since(since) >= DISABLED_MIN);
    if haste == Haste::Wait && !is_due {
        return Err(ChangeError::Early { id, disabled: key.disabled });
    }
    let keys = keys_with_status(ring, id, Status::Destroyed);
    let next = Revision::new(ring, &keys)?.next;
    let previous = to_note(&ring.signer, ring.generation, None, &ring.recipients, &keys);
    Ok(Revision { next, previous: Previous::Rewritten(previous) })
}

/// `ring`, encrypted for `recipients` instead of its own; so is the previous ring.
///
/// # Errors
/// [`ChangeError::GenerationsUsedUp`].
pub fn set_recipients(ring: &KeyRing, recipients: &[String]) -> Result<Revision, ChangeError> {
    let next = successor(ring, ring.generation, recipients, ring.keys())?;
    let previous = to_note(&ring.signer, ring.generation, None, recipients, ring.keys());
    Ok(Revision { next, previous: Previous::Rewritten(previous) })
}

/// The signed note of the successor of `ring` after `generation`, with these keys and recipients.
fn successor(
    ring: &KeyRing,
    generation: u64,
    recipients: &[String],
    keys: &[Key],
) -> Result<Zeroizing<Vec<u8>>, ChangeError> {
    let next = generation.checked_add(1).filter(|next| *next <= GENERATION_MAX);
    let generation = next.ok_or(ChangeError::GenerationsUsedUp)?;
    Ok(to_note(&ring.signer, generation, Some(ring.hash), recipients, keys))
}

fn check_activation(ring: &KeyRing, now: Timestamp, activates: Timestamp) -> Result<(), ChangeError> {
    if let Some(pending) = ring.pending(now).next() {
        return Err(ChangeError::Pending { id: pending.id, activates: pending.activates });
    }
    if activates < now { Err(ChangeError::Past) } else { Ok(()) }
}

fn find(ring: &KeyRing, id: KeyId, wanted: Status) -> Result<&Key, ChangeError> {
    let key = ring.key(id).ok_or(ChangeError::NoSuchKey(id))?;
    if key.status == wanted { Ok(key) } else { Err(ChangeError::Status { id, status: key.status, wanted }) }
}

fn keys_with_status(ring: &KeyRing, id: KeyId, status: Status) -> Vec<Key> {
    let mut keys = ring.keys().to_vec();
    keys.iter_mut().filter(|key| key.id == id).for_each(|key| key.set_status(status));
    keys
}

/// `activates` as a whole second, but at least a second after the last activation of the enabled keys. On a tie, the
/// key with the greater id would be the primary, and that might not be the new one.
fn after_all(ring: &KeyRing, activates: Timestamp) -> Result<Timestamp, ChangeError> {
    let activates = whole_second(activates);
    match ring.enabled_newest_first().next() {
        Some(last) if activates <= last.activates => {
            last.activates.checked_add(SignedDuration::from_secs(1)).map_err(|_| ChangeError::TooFar)
        }
        _ => Ok(activates),
    }
}

fn whole_second(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).expect("the second of a time is a time")
}
