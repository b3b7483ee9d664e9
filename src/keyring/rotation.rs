//! What the `keys` commands do to a ring: pure but for the random source, each giving the plain file of the next
//! generation.

use std::fmt;

use jiff::{SignedDuration, Timestamp};
use zeroize::Zeroizing;

use super::{GenerationsUsedUp, Key, KeyRing, MATERIAL_BYTES, Material, RingId, first_generation};
use crate::ids::KeyId;

/// A ring of one key, made and active at `now`.
///
/// # Errors
/// [`ChangeError::Random`] where the operating system gives no random bytes.
pub fn init(now: Timestamp, numbers: &str, region: &str) -> Result<Zeroizing<Vec<u8>>, ChangeError> {
    let mut ring = [0; 16];
    fill_random(&mut ring)?;
    let now = whole_second(now);
    let key = Key::new(new_key_id(|_| false)?, new_material()?, (now, now), numbers, region);
    Ok(first_generation(RingId(ring), &key))
}

/// `ring` with a new key that becomes the primary at `activates`.
///
/// # Errors
/// [`ChangeError::Pending`] while another key is pending: two activations ahead are two things to undo.
/// [`ChangeError::Past`] where `activates` is before `now`.
pub fn rotate(
    ring: &KeyRing,
    now: Timestamp,
    activates: Timestamp,
    numbers: &str,
    region: &str,
) -> Result<(KeyId, Zeroizing<Vec<u8>>), ChangeError> {
    if let Some(pending) = ring.pending(now).next() {
        return Err(ChangeError::Pending { id: pending.id, activates: pending.activates });
    }
    if activates < now {
        return Err(ChangeError::Past);
    }
    let id = new_key_id(|id| ring.key(id).is_some())?;
    let key = Key::new(id, new_material()?, (whole_second(now), after_all(ring, activates)), numbers, region);
    let keys = [ring.keys(), &[key]].concat();
    Ok((id, ring.succeed(&keys)?))
}

/// `activates` as a whole second, or the second after the last activation of the ring: on a tie the greater id would
/// be the primary, and that need not be the new one.
fn after_all(ring: &KeyRing, activates: Timestamp) -> Timestamp {
    let last = ring.keys().iter().map(|key| key.activates).max().unwrap_or(Timestamp::MIN);
    let next = last.checked_add(SignedDuration::from_secs(1)).unwrap_or(last);
    whole_second(activates).max(if whole_second(activates) <= last { next } else { Timestamp::MIN })
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
                write!(f, "key {id} is pending until {activates}: one rotation at a time")
            }
            Self::Past => f.write_str("the time of activation is past"),
        }
    }
}

impl std::error::Error for ChangeError {}
