//! The key ring (specification, section 4). Its model is pure and takes `now`. [`json`] writes and reads it as a signed
//! [`note`], [`mod@file`] keeps it on a [`disk`](crate::disk), [`sealed`] encrypts it if wanted, and [`rotation`]
//! changes it.

pub mod approval;
mod base64;
pub mod difference;
pub mod fault;
pub mod file;
pub mod fingerprint;
mod hybrid;
pub mod identity;
pub mod json;
pub mod key;
pub mod material;
pub mod note;
pub mod recipient;
pub mod rotation;
#[cfg(test)]
mod samples;
pub mod sealed;
pub mod successor;

use jiff::Timestamp;

use self::{
    fingerprint::Fingerprint,
    key::{Key, KeyState, Status},
    note::{Name, Signer},
};
use crate::ids::{KeyId, RingId};

/// Value of a ring file's `format`.
pub const FORMAT: &str = "callveil-keyring/2";

/// The name under which a ring signs itself.
pub const RING_NAME: &str = "callveil-ring";

/// Value of a key's `scheme`: AES-256-SIV as section 3 of the specification uses it.
pub const SCHEME: &str = "aes256-siv";

/// The greatest generation, 2^53 - 1: every JSON reader holds it exactly.
pub const GENERATION_MAX: u64 = (1 << 53) - 1;

/// A function that says whether this program supports a key's `numbers` and `region`.
pub type SupportsNumbers = fn(numbers: &str, region: &str) -> bool;

/// A valid ring. It has an enabled key, and so a primary at any time.
#[derive(Clone)]
pub struct KeyRing {
    signer: Signer,
    generation: u64,
    hash: Fingerprint,
    parent: Option<Fingerprint>,
    recipients: Vec<String>,
    approvals: Vec<Name>,
    claims: Vec<Name>,
    keys: Vec<Key>,
    /// For each key id, the index of that key in `keys` plus 1; 0 if there is none.
    index: Vec<u16>,
    /// Indexes of the enabled keys in `keys`, by (activates, id).
    by_activation: Vec<usize>,
}

fn number_of(id: KeyId) -> usize {
    usize::from(u16::from_be_bytes(id.to_bytes()))
}

impl KeyRing {
    fn assemble(signer: Signer, generation: u64, hash: Fingerprint, keys: Vec<Key>) -> Self {
        let mut index = vec![0; 1 << 16];
        for (key, place) in keys.iter().zip(1..) {
            index[number_of(key.id)] = place;
        }
        let mut by_activation: Vec<usize> =
            (0..keys.len()).filter(|place| keys[*place].status == Status::Enabled).collect();
        by_activation.sort_by_key(|place| (keys[*place].activates, keys[*place].id));
        let (recipients, approvals, claims) = (Vec::new(), Vec::new(), Vec::new());
        Self { signer, generation, hash, parent: None, recipients, approvals, claims, keys, index, by_activation }
    }

    /// The id of this ring.
    pub fn id(&self) -> RingId {
        RingId::new(*self.signer.verifier().key())
    }

    /// How often this ring was written.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The fingerprint of its content, which is the note's text without the signatures.
    pub fn hash(&self) -> Fingerprint {
        self.hash
    }

    /// The hash of the ring that it was made from, if it names one.
    pub fn parent(&self) -> Option<Fingerprint> {
        self.parent
    }

    /// The ring's recipients, as age public keys. A plain ring has none.
    pub fn recipients(&self) -> &[String] {
        &self.recipients
    }

    /// The names of those approvers, among the ones it was read with, who have signed it.
    pub fn approvals(&self) -> &[Name] {
        &self.approvals
    }

    /// Names on signatures by keys that are not among those approvers. These signatures are not verified.
    pub fn claims(&self) -> &[Name] {
        &self.claims
    }

    /// All keys, including destroyed ones, in the order of the file.
    pub fn keys(&self) -> &[Key] {
        &self.keys
    }

    /// The key with this id, whatever its status.
    pub fn key(&self, id: KeyId) -> Option<&Key> {
        self.index_of(id).map(|index| &self.keys[index])
    }

    /// The index in [`KeyRing::keys`] of the key with this id.
    pub fn index_of(&self, id: KeyId) -> Option<usize> {
        usize::from(self.index[number_of(id)]).checked_sub(1)
    }

    /// The key that encrypts at `now`: of the enabled keys, the one that activated last, with the greatest id on a tie.
    /// If none is active yet, it is the one that activates first.
    pub fn primary(&self, now: Timestamp) -> &Key {
        let activates = |place: &usize| self.keys[*place].activates;
        let active = self.by_activation.partition_point(|place| activates(place) <= now);
        let first = activates(&self.by_activation[0]);
        let last =
            if active > 0 { active } else { self.by_activation.partition_point(|place| activates(place) <= first) };
        &self.keys[self.by_activation[last - 1]]
    }

    /// What `key`, a key of this ring, can be used for at `now`.
    pub fn state(&self, key: &Key, now: Timestamp) -> KeyState {
        KeyState::of(key.status, self.primary(now).id == key.id, key.activates, now)
    }

    /// The enabled keys, newest first: by activation, then by id.
    pub fn enabled_newest_first(&self) -> impl Iterator<Item = &Key> {
        self.by_activation.iter().rev().map(|place| &self.keys[*place])
    }

    /// The enabled keys that have yet to activate, earliest first.
    pub fn pending(&self, now: Timestamp) -> impl Iterator<Item = &Key> {
        self.by_activation.iter().map(|place| &self.keys[*place]).filter(move |key| key.is_pending(now))
    }
}

#[cfg(test)]
mod tests {
    use super::{
        samples::{at, key, ring},
        *,
    };

    #[track_caller]
    fn check_primary(keys: &[Key], now: i64, primary: &str) {
        assert_eq!(ring(1, keys).primary(at(now)).id.to_string(), primary);
    }

    #[test]
    fn primary_is_the_enabled_key_that_activated_last() {
        use Status::{Destroyed, Disabled, Enabled};
        let keys = [key("0003", Enabled, 10), key("0001", Enabled, 20), key("0002", Enabled, 20)];
        check_primary(&keys, 9, "0003");
        check_primary(&keys, 10, "0003");
        check_primary(&keys, 19, "0003");
        check_primary(&keys, 20, "0002");
        check_primary(&[key("0001", Disabled, 5), key("0002", Destroyed, 5), key("0003", Enabled, 50)], 9, "0003");
        check_primary(&[key("0001", Enabled, 50), key("0002", Enabled, 50), key("0003", Enabled, 60)], 9, "0002");
        let states = |now| keys.each_ref().map(|key| ring(1, &keys).state(key, at(now)));
        assert_eq!(states(9), [KeyState::Primary, KeyState::Pending, KeyState::Pending]);
        assert_eq!(states(20), [KeyState::Enabled, KeyState::Enabled, KeyState::Primary]);
        let newest: Vec<_> = ring(1, &keys).enabled_newest_first().map(|key| key.id.to_string()).collect();
        assert_eq!(newest, ["0002", "0001", "0003"]);
    }
}
