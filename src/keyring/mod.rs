//! The key ring (specification, section 4): its model, which is pure and takes `now`. [`json`] writes and reads it as a
//! signed [`note`], [`mod@file`] keeps it on a [`disk`], [`sealed`] if so wanted, and [`rotation`] changes it.

pub mod approval;
pub mod difference;
pub mod disk;
pub mod fault;
pub mod file;
mod hybrid;
pub mod identity;
pub mod json;
pub mod note;
pub mod recipient;
pub mod rotation;
pub mod sealed;

use std::{fmt, mem};

use data_encoding::{BASE64, HEXLOWER};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use self::{
    json::to_note,
    note::{KEY_BYTES, Name, Signer},
};
use crate::{ids::KeyId, memory::Locked};

/// Value of a ring file's `format`.
pub const FORMAT: &str = "callveil-keyring/2";

/// The name under which a ring signs itself.
pub const RING_NAME: &str = "callveil-ring";

/// Value of a key's `scheme`: AES-256-SIV as section 3 of the specification uses it.
pub const SCHEME: &str = "aes256-siv";

/// Bytes of a key's material.
pub const MATERIAL_BYTES: usize = 64;

/// The greatest generation, 2^53 - 1: every JSON reader holds it exactly.
pub const GENERATION_MAX: u64 = (1 << 53) - 1;

/// Says whether this program knows a key's `numbers` and `region`.
pub type Known = fn(numbers: &str, region: &str) -> bool;

/// The secret of one key. It is wiped when dropped, is never printed, and stays in its locked page when its owner moves.
pub struct Material(Locked<[u8; MATERIAL_BYTES]>);

impl Material {
    /// Material made of these bytes, which must come from a cryptographic random source.
    pub fn new(bytes: &[u8; MATERIAL_BYTES]) -> Self {
        Self(Locked::new(*bytes))
    }

    /// The secret itself, for the cipher, the ring file, and an export that was asked for.
    pub fn expose(&self) -> &[u8; MATERIAL_BYTES] {
        &self.0
    }

    fn check(&self) -> Fingerprint {
        Fingerprint::of(&self.0[..])
    }
}

impl Clone for Material {
    fn clone(&self) -> Self {
        Self::new(&self.0)
    }
}

/// The first 16 hex digits of a SHA-256: tells rings and materials apart and gives nothing of them away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 8]);

impl Fingerprint {
    fn of(bytes: &[u8]) -> Self {
        let mut fingerprint = [0; 8];
        fingerprint.copy_from_slice(&Sha256::digest(bytes)[..8]);
        Self(fingerprint)
    }

    fn from_hex(text: &str) -> Option<Self> {
        decode_hex(text).map(Self)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

/// The name of a ring, made once by `keys init`: the public key that signs each generation, so that nobody else can make
/// a ring of this name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RingId([u8; KEY_BYTES]);

impl RingId {
    /// The ring id of 64 lower-case hex digits; `None` for any other text.
    pub fn from_hex(text: &str) -> Option<Self> {
        decode_hex(text).map(Self)
    }
}

impl fmt::Display for RingId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

fn decode_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    HEXLOWER.decode(text.as_bytes()).ok()?.try_into().ok()
}

/// `N` bytes of the one base64 text that stands for them.
fn decode_base64<const N: usize>(text: &str) -> Option<Zeroizing<[u8; N]>> {
    // The decoder would take several padded texts for one: padding may only stand at the end.
    let padding = (3 - N % 3) % 3;
    let is_padded = text.find('=') == (padding > 0).then(|| text.len().wrapping_sub(padding));
    if text.len() != BASE64.encode_len(N) || !is_padded {
        return None;
    }
    let mut buffer = Zeroizing::new(vec![0; BASE64.decode_len(text.len()).ok()?]);
    let decoded = BASE64.decode_mut(text.as_bytes(), &mut buffer).ok()?;
    let mut bytes = Zeroizing::new([0; N]);
    bytes.copy_from_slice(buffer.get(..decoded).filter(|_| decoded == N)?);
    Some(bytes)
}

/// What may be done with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It decrypts, and encrypts while it is the primary.
    Enabled,
    /// It does nothing, and can be enabled again.
    Disabled,
    /// Its material is gone for good; the entry stays, so that its id is never used again.
    Destroyed,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Enabled => "enabled",
            Self::Disabled => "disabled",
            Self::Destroyed => "destroyed",
        })
    }
}

/// What a key is good for at some time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It makes UIDs, and opens them.
    Primary,
    /// It will, and opens UIDs already.
    Pending,
    /// It opens UIDs.
    Enabled,
    /// It does nothing, and can be enabled again.
    Disabled,
    /// Its material is gone for good.
    Destroyed,
}

impl State {
    /// The state in one word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Primary => "primary",
            Self::Pending => "pending",
            Self::Enabled => "enabled",
            Self::Disabled => "disabled",
            Self::Destroyed => "destroyed",
        }
    }
}

/// One key of a ring. All but its status, the time of that, and an activation still ahead, never changes.
#[derive(Clone)]
pub struct Key {
    /// Its name, never used twice in a ring.
    pub id: KeyId,
    /// What may be done with it.
    pub status: Status,
    /// When it was made.
    pub created: Timestamp,
    /// When it becomes the primary, if no other key does after it.
    pub activates: Timestamp,
    /// The rules by which it reads numbers.
    pub numbers: Box<str>,
    /// The region whose numbers need no country code.
    pub region: Box<str>,
    /// The fingerprint of its material.
    pub check: Fingerprint,
    /// When it was last disabled, if ever.
    pub disabled: Option<Timestamp>,
    /// Whether it may be given away.
    pub exportable: bool,
    material: Option<Material>,
}

impl Key {
    /// A new, enabled key.
    pub fn new(
        id: KeyId,
        material: Material,
        (created, activates): (Timestamp, Timestamp),
        numbers: &str,
        region: &str,
    ) -> Self {
        let check = material.check();
        let (numbers, region) = (numbers.into(), region.into());
        let (status, disabled, exportable, material) = (Status::Enabled, None, false, Some(material));
        Self { id, status, created, activates, numbers, region, check, disabled, exportable, material }
    }

    /// The material of a key that is enabled.
    pub fn material(&self) -> Option<&Material> {
        self.material.as_ref().filter(|_| self.status == Status::Enabled)
    }

    /// Whether this key is enabled and has yet to activate.
    pub fn is_pending(&self, now: Timestamp) -> bool {
        self.status == Status::Enabled && self.activates > now
    }
}

/// A valid ring: it has an enabled key, and so a primary at any time.
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
    /// For each key id, the index of that key in `keys` and 1 more; 0 where there is none.
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

    /// The name of this ring.
    pub fn ring(&self) -> RingId {
        RingId(*self.signer.verifier().key())
    }

    /// How often this ring was written.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The fingerprint of its content: of the note's text, without the signatures.
    pub fn hash(&self) -> Fingerprint {
        self.hash
    }

    /// The hash of the ring that it was made of, as far as it tells.
    pub fn parent(&self) -> Option<Fingerprint> {
        self.parent
    }

    /// For whom the ring is encrypted, as age public keys; none where it is plain.
    pub fn recipients(&self) -> &[String] {
        &self.recipients
    }

    /// Those of the approvers it was read with who have signed it.
    pub fn approvals(&self) -> &[Name] {
        &self.approvals
    }

    /// Names on signatures of keys that are none of those approvers': nobody has verified them.
    pub fn claims(&self) -> &[Name] {
        &self.claims
    }

    /// All keys, tombstones too, in the order of the file.
    pub fn keys(&self) -> &[Key] {
        &self.keys
    }

    /// The key of this id, whatever its status.
    pub fn key(&self, id: KeyId) -> Option<&Key> {
        self.index_of(id).map(|index| &self.keys[index])
    }

    /// The index of the key of this id in [`KeyRing::keys`].
    pub fn index_of(&self, id: KeyId) -> Option<usize> {
        usize::from(self.index[number_of(id)]).checked_sub(1)
    }

    /// The key that encrypts at `now`: of the enabled keys the one that activated last, the greatest id on a tie; where
    /// none is active yet, the one that activates first.
    pub fn primary(&self, now: Timestamp) -> &Key {
        let activates = |place: &usize| self.keys[*place].activates;
        let active = self.by_activation.partition_point(|place| activates(place) <= now);
        let first = activates(&self.by_activation[0]);
        let last =
            if active > 0 { active } else { self.by_activation.partition_point(|place| activates(place) <= first) };
        &self.keys[self.by_activation[last - 1]]
    }

    /// What `key`, which is one of this ring's, is good for at `now`.
    pub fn state(&self, key: &Key, now: Timestamp) -> State {
        match key.status {
            Status::Enabled if self.primary(now).id == key.id => State::Primary,
            Status::Enabled if key.is_pending(now) => State::Pending,
            Status::Enabled => State::Enabled,
            Status::Disabled => State::Disabled,
            Status::Destroyed => State::Destroyed,
        }
    }

    /// The enabled keys, newest first: by activation, then by id.
    pub fn enabled_newest_first(&self) -> impl Iterator<Item = &Key> {
        self.by_activation.iter().rev().map(|place| &self.keys[*place])
    }

    /// The enabled keys that have yet to activate, earliest first.
    pub fn pending(&self, now: Timestamp) -> impl Iterator<Item = &Key> {
        self.by_activation.iter().map(|place| &self.keys[*place]).filter(move |key| key.is_pending(now))
    }

    /// Whether `next` may take this ring's place in a running replica, or on disk.
    ///
    /// # Errors
    /// The first reason why not.
    pub fn check_successor(&self, next: &Self, now: Timestamp) -> Result<(), NotASuccessor> {
        if next.ring() != self.ring() {
            return Err(NotASuccessor::OtherRing);
        }
        if next.generation < self.generation {
            return Err(NotASuccessor::LowerGeneration { ours: self.generation, theirs: next.generation });
        }
        if next.generation == self.generation && next.hash != self.hash {
            return Err(NotASuccessor::SameGeneration(self.generation));
        }
        for key in &self.keys {
            let Some(later) = next.key(key.id) else { return Err(NotASuccessor::Vanished(key.id)) };
            if !key.may_become(later, now) {
                return Err(NotASuccessor::Altered(key.id));
            }
        }
        Ok(())
    }

    /// The signed note of the ring that follows this one after `generation`, with these keys and recipients.
    fn succeed(
        &self,
        generation: u64,
        recipients: &[String],
        keys: &[Key],
    ) -> Result<Zeroizing<Vec<u8>>, GenerationsUsedUp> {
        let generation = generation.checked_add(1).filter(|next| *next <= GENERATION_MAX).ok_or(GenerationsUsedUp)?;
        Ok(to_note(&self.signer, generation, Some(self.hash), recipients, keys))
    }
}

impl Key {
    /// Gives it this status; a destroyed key loses its material.
    fn set_status(&mut self, status: Status) {
        self.status = status;
        if status == Status::Destroyed {
            drop(mem::take(&mut self.material));
        }
    }

    /// Disables it at `now`; a clock that went back changes no time of before.
    fn disable(&mut self, now: Timestamp) {
        self.set_status(Status::Disabled);
        self.disabled = self.disabled.max(Some(now));
    }

    /// Whether all that never changes of a key is the same in both.
    fn is_made_like(&self, other: &Self) -> bool {
        (&self.created, &self.numbers, &self.region, &self.check, self.exportable)
            == (&other.created, &other.numbers, &other.region, &other.check, other.exportable)
    }

    fn may_become(&self, later: &Self, now: Timestamp) -> bool {
        let status = match (self.status, later.status) {
            (Status::Destroyed, Status::Destroyed) => true,
            (Status::Destroyed, _) => false,
            (Status::Enabled | Status::Disabled, _) => true,
        };
        let activates = self.activates == later.activates || self.activates > now || self.status == Status::Disabled;
        self.is_made_like(later) && status && activates && self.disabled <= later.disabled
    }
}

/// Why one ring may not take another's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NotASuccessor {
    /// It has another ring id.
    OtherRing,
    /// It is older.
    LowerGeneration {
        /// The generation of the ring in place.
        ours: u64,
        /// The generation of the one that would follow.
        theirs: u64,
    },
    /// It was made of the same ring as ours, in another way.
    SameGeneration(u64),
    /// A key of ours is not in it.
    Vanished(KeyId),
    /// A key of ours is in it, with something changed that never may.
    Altered(KeyId),
}

impl fmt::Display for NotASuccessor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OtherRing => f.write_str("it is another ring"),
            Self::LowerGeneration { ours, theirs } => write!(f, "its generation is {theirs}, lower than {ours}"),
            Self::SameGeneration(generation) => {
                write!(f, "it has the same generation {generation} with other content; `keys merge` joins the two")
            }
            Self::Vanished(id) => write!(f, "key {id} vanished from it"),
            Self::Altered(id) => write!(f, "key {id} was altered in it"),
        }
    }
}

impl std::error::Error for NotASuccessor {}

/// A ring whose generation cannot grow any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GenerationsUsedUp;

impl fmt::Display for GenerationsUsedUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the ring's generation cannot grow beyond {GENERATION_MAX}")
    }
}

impl std::error::Error for GenerationsUsedUp {}

#[cfg(test)]
mod tests {
    use super::*;

    fn signer(byte: u8) -> Signer {
        Signer::new(Name::new(RING_NAME).expect("a name"), &[byte; KEY_BYTES])
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a small number of seconds")
    }

    fn key(id: &str, status: Status, activates: i64) -> Key {
        let id: KeyId = id.parse().expect("a key id");
        let material = Material::new(&[id.to_bytes()[0]; MATERIAL_BYTES]);
        let mut key = Key::new(id, material, (at(0), at(activates)), "rules", "CN");
        key.set_status(status);
        key
    }

    fn ring(generation: u64, keys: &[Key]) -> KeyRing {
        KeyRing::from_note(&to_note(&signer(1), generation, None, &[], keys), |_, _| true, &[]).expect("a valid ring")
    }

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
        let newest: Vec<_> = ring(1, &keys).enabled_newest_first().map(|key| key.id.to_string()).collect();
        assert_eq!(newest, ["0002", "0001", "0003"]);
    }

    #[test]
    fn no_key_activates_after_the_end_of_the_calendar() {
        let last = Timestamp::MAX.as_second();
        let ring = ring(1, &[key("ffff", Status::Enabled, last)]);
        let rotated = rotation::rotate(&ring, at(last), at(last), "rules", "CN", rotation::Export::Never);
        assert!(matches!(rotated, Err(rotation::ChangeError::TooFar)), "a tie might leave ffff the primary");
    }

    #[test]
    fn successors_keep_every_key() {
        use Status::{Destroyed, Disabled, Enabled};
        let now = at(100);
        let before =
            [key("0001", Enabled, 0), key("0002", Disabled, 0), key("0003", Destroyed, 0), key("0004", Enabled, 200)];
        let old = ring(5, &before);
        let check = |generation, change: &dyn Fn(&mut Vec<Key>), expected| {
            let mut keys = before.to_vec();
            change(&mut keys);
            assert_eq!(old.check_successor(&ring(generation, &keys), now), expected);
        };
        let id = |text: &str| text.parse::<KeyId>().expect("a key id");
        check(6, &|_| {}, Ok(()));
        check(5, &|_| {}, Ok(()));
        check(9, &|keys| keys.push(key("0005", Enabled, 300)), Ok(()));
        check(6, &|keys| keys[0] = key("0001", Disabled, 0), Ok(()));
        check(6, &|keys| keys[1] = key("0002", Enabled, 0), Ok(()));
        check(6, &|keys| keys[1] = key("0002", Destroyed, 0), Ok(()));
        check(6, &|keys| keys[3] = key("0004", Enabled, 900), Ok(()));
        check(6, &|keys| keys[1] = key("0002", Disabled, 900), Ok(()));
        check(6, &|keys| keys[0].disable(now), Ok(()));
        check(6, &|keys| keys[0].disabled = Some(now), Ok(()));
        check(4, &|_| {}, Err(NotASuccessor::LowerGeneration { ours: 5, theirs: 4 }));
        check(5, &|keys| keys.truncate(4 - 1), Err(NotASuccessor::SameGeneration(5)));
        check(6, &|keys| keys.truncate(3), Err(NotASuccessor::Vanished(id("0004"))));
        check(6, &|keys| keys[2] = key("0003", Enabled, 0), Err(NotASuccessor::Altered(id("0003"))));
        check(6, &|keys| keys[0] = key("0001", Enabled, 1), Err(NotASuccessor::Altered(id("0001"))));
        check(6, &|keys| keys[0].region = "US".into(), Err(NotASuccessor::Altered(id("0001"))));
        check(6, &|keys| keys[0].exportable = true, Err(NotASuccessor::Altered(id("0001"))));
        let mut times = before.to_vec();
        times[1].disabled = Some(now);
        let forgotten = ring(4, &times).check_successor(&old, now);
        assert_eq!(forgotten, Err(NotASuccessor::Altered(id("0002"))));
        let other = KeyRing { signer: signer(2), ..ring(6, &before) };
        assert_eq!(old.check_successor(&other, now), Err(NotASuccessor::OtherRing));
    }
}
