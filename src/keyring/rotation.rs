//! What the `keys` commands do to a ring: pure but for the random source, each giving the signed note of the next
//! generation.

use std::fmt;

use jiff::{SignedDuration, Timestamp};
use zeroize::Zeroizing;

use super::{
    GenerationsUsedUp, Key, KeyRing, MATERIAL_BYTES, Material, Status,
    json::{ring_name, to_note},
    note::{KEY_BYTES, Signer},
};
use crate::ids::KeyId;

/// How long a key has to have been disabled before it is destroyed: so that who still needs it has missed it.
pub const DISABLED_MIN: SignedDuration = SignedDuration::from_hours(7 * 24);

/// Whether a new key may ever be given away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Export {
    /// It never leaves its ring.
    Never,
    /// `keys export-tink` gives it out.
    Allowed,
}

/// Whether a key is destroyed before it has been disabled for [`DISABLED_MIN`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Haste {
    /// Not before.
    Wait,
    /// At once, because somebody said so.
    Early,
}

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

/// The ring that takes another's place.
pub struct Revision {
    /// Its signed note.
    pub next: Zeroizing<Vec<u8>>,
    /// What becomes of the ring before.
    pub previous: Previous,
}

/// What is kept of the ring before.
pub enum Previous {
    /// All of it.
    AsItWas,
    /// This signed note instead, to be encrypted as the new one is.
    Rewritten(Zeroizing<Vec<u8>>),
}

impl Revision {
    fn new(ring: &KeyRing, keys: &[Key]) -> Result<Self, ChangeError> {
        let next = ring.succeed(ring.generation, &ring.recipients, keys)?;
        Ok(Self { next, previous: Previous::AsItWas })
    }
}

/// The signed note of a ring of one key, made and active at `now`, to be encrypted for `recipients` if there are any.
///
/// # Errors
/// [`ChangeError::Random`] where the operating system gives no random bytes.
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
/// [`ChangeError::Pending`] while another key is pending: two activations ahead are two things to undo.
/// [`ChangeError::Past`] where `activates` is before `now`, [`ChangeError::TooFar`] at the calendar's end.
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
/// A key whose activation is still ahead is as good as a new one: it wants a lead, and gets `activates`.
///
/// # Errors
/// [`ChangeError`] where there is no such key, it is not disabled, or it would be the primary at once.
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
/// [`ChangeError`] where there is no such key, it is not enabled, it is the primary, or no other is enabled.
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

/// `ring` without the material of the key `id`, which must be disabled; the entry stays as a tombstone. The ring before
/// is kept without that material, too.
///
/// # Errors
/// [`ChangeError`] where there is no such key, or it is not disabled, or not for long enough.
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

/// `ring`, encrypted for `recipients` instead of those that it names; the ring before, too.
///
/// # Errors
/// [`ChangeError::GenerationsUsedUp`].
pub fn set_recipients(ring: &KeyRing, recipients: &[String]) -> Result<Revision, ChangeError> {
    let next = ring.succeed(ring.generation, recipients, ring.keys())?;
    let previous = to_note(&ring.signer, ring.generation, None, recipients, ring.keys());
    Ok(Revision { next, previous: Previous::Rewritten(previous) })
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
    if ring.ring() != other.ring() {
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
    let next = ring.succeed(ring.generation.max(other.generation), &ring.recipients, &keys)?;
    let destroyed = |id| keys.iter().any(|key| key.id == id && key.status == Status::Destroyed);
    let mut before = ring.keys().to_vec();
    before.iter_mut().filter(|key| destroyed(key.id)).for_each(|key| key.set_status(Status::Destroyed));
    let previous = to_note(&ring.signer, ring.generation, None, &ring.recipients, &before);
    let revision = Revision { next, previous: Previous::Rewritten(previous) };
    Ok(Merged { revision, added: added.iter().map(|key| key.id).collect(), changes })
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

/// `activates` as a whole second, or the second after the last activation of the enabled keys: on a tie the greater id
/// would be the primary, and that need not be the new one.
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

fn new_material() -> Result<Material, ChangeError> {
    let mut bytes = Zeroizing::new([0; MATERIAL_BYTES]);
    fill_random(&mut *bytes)?;
    Ok(Material::new(&bytes))
}

/// A random id for which `taken` says no.
fn new_key_id(taken: impl Fn(KeyId) -> bool) -> Result<KeyId, ChangeError> {
    // Half of all ids taken would take some 32,000 rotations; 1,000 draws miss a free half with probability 2^-1000.
    for _ in 0..1000 {
        let mut bytes = [0; 2];
        fill_random(&mut bytes)?;
        if let Some(id) = KeyId::from_bytes(bytes).filter(|id| !taken(*id)) {
            return Ok(id);
        }
    }
    Err(ChangeError::IdsUsedUp)
}

fn fill_random(bytes: &mut [u8]) -> Result<(), ChangeError> {
    getrandom::fill(bytes).map_err(ChangeError::Random)
}

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
        /// What it would have to be.
        wanted: Status,
    },
    /// The key has not been disabled for [`DISABLED_MIN`].
    Early {
        /// The key.
        id: KeyId,
        /// Since when it is, as far as the ring knows.
        disabled: Option<Timestamp>,
    },
    /// The key is the primary.
    Primary(KeyId),
    /// No other key is enabled.
    LastEnabled(KeyId),
    /// The key would be the primary at once, with no lead for the replicas.
    PrimaryAtOnce(KeyId),
    /// The changes would close keys, and nobody said yes to that.
    Unconfirmed(Vec<StatusChange>),
    /// The other file is of another ring.
    OtherRing,
    /// The other copy is the same.
    Same,
    /// The ring is another one than the one that was shown.
    Moved,
    /// This approver has signed it already.
    Approved,
    /// The two copies differ about something of this key that never changes.
    Altered(KeyId),
}

impl From<GenerationsUsedUp> for ChangeError {
    fn from(_: GenerationsUsedUp) -> Self {
        Self::GenerationsUsedUp
    }
}

impl fmt::Display for ChangeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Random(error) => write!(f, "no random bytes from the operating system: {error}"),
            Self::IdsUsedUp => f.write_str("nearly all key ids of this ring are used: begin another ring"),
            Self::GenerationsUsedUp => GenerationsUsedUp.fmt(f),
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
                    "key {id} was disabled {since}, and is destroyed 7 days after that, once nobody has missed it: --early does not wait"
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
                f.write_str("UIDs of such keys open no more: say --yes if that is meant")
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
