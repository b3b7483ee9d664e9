//! A batch of strings to a batch of results, over one snapshot of the ring and one `now`. Pure.
//!
//! One bad item never spoils the others: it fails by itself, with an [`ItemError`].

use std::collections::HashMap;

use jiff::Timestamp;

use crate::{
    ids::{Context, KeyId},
    keyring::{Key, KeyRing, Status},
    number::Number,
    phone::{Numbering, TrunkZeroRegions},
    siv::Cipher,
    uid::{self, Uid},
};

/// What a batch asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Numbers to UIDs, under the primary key.
    PhoneToUid,
    /// UIDs to numbers, as CCC dials them.
    UidToPhone,
    /// UIDs under any enabled key to the UIDs of the same numbers under the primary key.
    RewrapUid,
    /// Numbers to their UIDs under every enabled key.
    PhoneToAliases,
}

impl Mode {
    /// Every mode.
    pub const ALL: [Self; 4] = [Self::PhoneToUid, Self::UidToPhone, Self::RewrapUid, Self::PhoneToAliases];

    /// The mode as it is written on the wire and in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::PhoneToUid => "PhoneToUID",
            Self::UidToPhone => "UIDToPhone",
            Self::RewrapUid => "RewrapUID",
            Self::PhoneToAliases => "PhoneToAliases",
        }
    }

    /// The mode of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.name() == name)
    }
}

/// What became of one item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The UID, or the number.
    Value(String),
    /// The UID under the primary key, then those under the other enabled keys, newest first.
    Values(Vec<String>),
    /// Nothing, and why.
    Failed(ItemError),
}

/// Why one item failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ItemError {
    /// Empty, over 128 bytes, or with a control character inside.
    InvalidNumber,
    /// Not the text of a UID, or one that holds what tokenizing never wrote.
    MalformedUid,
    /// A UID of a key that is not in this ring.
    UnknownKey,
    /// A UID of a key that is disabled.
    KeyDisabled,
    /// A UID of a key whose material is gone for good.
    KeyDestroyed,
    /// A UID that its key never made in this context: mistyped, forged, or another context's.
    NotAuthentic,
}

impl ItemError {
    /// Whether another ring might open the UID.
    pub fn is_about_the_key(self) -> bool {
        matches!(self, Self::UnknownKey | Self::KeyDisabled | Self::KeyDestroyed)
    }

    /// The error as it is written on the wire.
    pub fn code(self) -> &'static str {
        match self {
            Self::InvalidNumber => "invalid_number",
            Self::MalformedUid => "malformed_uid",
            Self::UnknownKey => "unknown_key",
            Self::KeyDisabled => "key_disabled",
            Self::KeyDestroyed => "key_destroyed",
            Self::NotAuthentic => "not_authentic",
        }
    }
}

/// Whether this program knows a key's `numbers` and `region`: what every ring is read with.
pub fn knows(numbers: &str, region: &str) -> bool {
    Numbering::new(numbers, region).is_some()
}

/// A key ring, ready to map.
pub struct Tokenizer {
    ring: KeyRing,
    numberings: HashMap<KeyId, Numbering>,
    trunk_zero: TrunkZeroRegions,
}

impl Tokenizer {
    /// A tokenizer over `ring`, which was read with [`knows`].
    ///
    /// # Panics
    /// Where the ring was read with anything else, and has a key whose numbering this program does not know.
    pub fn new(ring: KeyRing, trunk_zero: TrunkZeroRegions) -> Self {
        let numbering = |key: &Key| Numbering::new(&key.numbers, &key.region).expect("a ring was read with `knows`");
        let numberings = ring.keys().iter().map(|key| (key.id, numbering(key))).collect();
        Self { ring, numberings, trunk_zero }
    }

    /// The ring.
    pub fn ring(&self) -> &KeyRing {
        &self.ring
    }

    /// Does now what the first numbers of each region would otherwise have to wait for.
    pub fn warm_up(&self) {
        for key in self.ring.enabled_newest_first() {
            self.numberings[&key.id].warm_up();
        }
    }

    /// A batch for `context` at `now`, to which items are given one by one.
    pub fn batch<'t>(&'t self, context: &'t Context, now: Timestamp) -> Batch<'t> {
        Batch {
            tokenizer: self,
            context,
            primary: self.ring.primary(now),
            ciphers: HashMap::new(),
            opened: HashMap::new(),
        }
    }
}

/// One batch: it uses one ring, one primary, and each cipher once set up.
pub struct Batch<'t> {
    tokenizer: &'t Tokenizer,
    context: &'t Context,
    primary: &'t Key,
    ciphers: HashMap<KeyId, Cipher>,
    opened: HashMap<KeyId, u64>,
}

impl Batch<'_> {
    /// What `mode` makes of `item`.
    pub fn map(&mut self, mode: Mode, item: &str) -> Outcome {
        let mapped = match mode {
            Mode::PhoneToUid => self.seal(self.primary, item).map(Outcome::Value),
            Mode::UidToPhone => self.open(item).map(Outcome::Value),
            Mode::RewrapUid => {
                self.open(item).and_then(|dialled| self.seal(self.primary, &dialled)).map(Outcome::Value)
            }
            Mode::PhoneToAliases => self.aliases(item).map(Outcome::Values),
        };
        mapped.unwrap_or_else(Outcome::Failed)
    }

    /// How many UIDs this batch opened, by key.
    pub fn opened(&self) -> impl Iterator<Item = (KeyId, u64)> {
        self.opened.iter().map(|(id, count)| (*id, *count))
    }

    /// The UID of `text` under `key`, which must be enabled.
    fn seal(&mut self, key: &Key, text: &str) -> Result<String, ItemError> {
        let number = self.tokenizer.numberings[&key.id].normalize(text).map_err(|_| ItemError::InvalidNumber)?;
        let sealed = self.cipher(key)?.seal(&uid::to_plaintext(&number));
        Ok(Uid::new(key.id, &sealed).to_string())
    }

    /// The number in the UID `text`, as CCC dials it.
    fn open(&mut self, text: &str) -> Result<String, ItemError> {
        let uid = Uid::parse(text).map_err(|_| ItemError::MalformedUid)?;
        let key = self.tokenizer.ring.key(uid.key_id()).ok_or(ItemError::UnknownKey)?;
        let plaintext = self.cipher(key)?.open(uid.sealed()).map_err(|_| ItemError::NotAuthentic)?;
        let number = uid::from_plaintext(&plaintext).map_err(|_| ItemError::MalformedUid)?;
        *self.opened.entry(key.id).or_default() += 1;
        Ok(match number {
            Number::E164(number) => self.tokenizer.numberings[&key.id].dialled(number, &self.tokenizer.trunk_zero),
            Number::Verbatim(text) => text.as_str().to_owned(),
        })
    }

    fn aliases(&mut self, text: &str) -> Result<Vec<String>, ItemError> {
        let primary = self.primary;
        let others = self.tokenizer.ring.enabled_newest_first().filter(|key| key.id != primary.id);
        std::iter::once(primary).chain(others).map(|key| self.seal(key, text)).collect()
    }

    fn cipher(&mut self, key: &Key) -> Result<&mut Cipher, ItemError> {
        let material = key.material().ok_or(match key.status {
            Status::Destroyed => ItemError::KeyDestroyed,
            Status::Enabled | Status::Disabled => ItemError::KeyDisabled,
        })?;
        let new = || Cipher::new(material.expose(), key.id, self.context);
        Ok(self.ciphers.entry(key.id).or_insert_with(new))
    }
}
