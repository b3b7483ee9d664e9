//! Maps a batch of strings to a batch of results, with one snapshot of the ring and one `now`. Pure.
//!
//! A bad item never affects the others: it fails on its own, with an [`ItemError`].

pub mod batch;
mod prefixes;
mod self_test;
#[cfg(test)]
mod tests;

use std::{collections::BTreeSet, fmt};

use jiff::Timestamp;

use self::{
    batch::Batch,
    prefixes::{ContextPrefixes, PrefixCache},
};
use crate::{
    ids::{Context, KeyId},
    item::ItemError,
    keyring::{
        KeyRing,
        key::{Key, Status},
    },
    number::InvalidNumber,
    phone::{Numbering, TrunkZeroRegions},
    siv::NumberCipher,
    uid::{self, Uid},
};

/// Whether `text` has the form of a UID, no matter who made it. Such a text is never read as a number.
pub fn has_uid_form(text: &str) -> bool {
    text.len() >= uid::CHARS_MIN && Uid::parse(text).is_ok()
}

/// Whether this program supports a key's `numbers` and `region`. Every ring is read with this function.
pub fn supports(numbers: &str, region: &str) -> bool {
    Numbering::new(numbers, region).is_some()
}

/// A key ring that is ready to map.
pub struct Tokenizer {
    ring: KeyRing,
    /// One for each key of the ring, in its order.
    mappers: Vec<KeyMapper>,
    trunk_zero: TrunkZeroRegions,
    prefixes: PrefixCache,
}

/// What one key needs for mapping.
struct KeyMapper {
    numbering: Numbering,
    /// The cipher, if the key is enabled.
    cipher: Option<NumberCipher>,
}

impl Tokenizer {
    /// A tokenizer over `ring`.
    ///
    /// # Errors
    /// [`Unusable`] if this program has no rules for a key, or computes wrongly here.
    pub fn new(ring: KeyRing, trunk_zero: TrunkZeroRegions) -> Result<Self, Unusable> {
        let tokenizer = Self::without_self_test(ring, trunk_zero)?;
        if tokenizer.computes_correctly() { Ok(tokenizer) } else { Err(Unusable::Miscomputed) }
    }

    /// The same for a ring that passed already.
    pub(crate) fn without_self_test(ring: KeyRing, trunk_zero: TrunkZeroRegions) -> Result<Self, Unusable> {
        let mapper = |key: &Key| {
            let numbering = Numbering::new(&key.numbers, &key.region).ok_or(Unusable::UnknownNumbers(key.id))?;
            let cipher = key.material().map(|material| NumberCipher::new(material.expose(), key.id));
            Ok(KeyMapper { numbering, cipher })
        };
        let mappers = ring.keys().iter().map(mapper).collect::<Result<_, _>>()?;
        Ok(Self { ring, mappers, trunk_zero, prefixes: PrefixCache::default() })
    }

    /// The ring.
    pub fn ring(&self) -> &KeyRing {
        &self.ring
    }

    /// The same tokenizer, but with other regions whose numbers are dialled with their trunk prefix.
    #[must_use]
    pub fn dialling(self, trunk_zero: TrunkZeroRegions) -> Self {
        Self { trunk_zero, ..self }
    }

    /// The numbering for numbers that are sealed at `now`.
    pub fn numbering(&self, now: Timestamp) -> &Numbering {
        let index = self.ring.index_of(self.ring.primary(now).id).expect("the primary is a key of the ring");
        &self.mappers[index].numbering
    }

    /// The numbering of the key of `uid`, if that is a UID of this ring.
    pub fn numbering_of(&self, uid: &str) -> Option<&Numbering> {
        let index = self.ring.index_of(Uid::parse(uid).ok()?.key_id)?;
        Some(&self.mappers[index].numbering)
    }

    /// Whether all keys have the same region and the same rules.
    pub fn has_one_numbering(&self) -> bool {
        let mut keys = self.ring.keys().iter().map(|key| (&key.region, &key.numbers));
        let first = keys.next();
        keys.all(|other| Some(other) == first)
    }

    /// `text` as each key of the ring reads it, including keys that no longer open UIDs, in the form of
    /// [`Batch::canonical`].
    ///
    /// # Errors
    /// [`InvalidNumber`].
    pub fn canonical(&self, text: &str) -> Result<BTreeSet<String>, InvalidNumber> {
        let mut readings = BTreeSet::new();
        for mapper in &self.mappers {
            let mut reading = String::new();
            mapper.numbering.normalize(text)?.push_canonical(&mut reading);
            readings.insert(reading);
        }
        Ok(readings)
    }

    /// Prepares what the first numbers of each region would otherwise have to wait for.
    pub fn warm_up(&self) {
        let mut warm: Vec<(&str, &str)> = Vec::new();
        for (key, mapper) in self.ring.keys().iter().zip(&self.mappers) {
            if mapper.cipher.is_some() && !warm.contains(&(&*key.numbers, &*key.region)) {
                mapper.numbering.warm_up();
                warm.push((&key.numbers, &key.region));
            }
        }
    }

    /// A batch for `context` at `now`.
    pub fn batch<'t>(&'t self, context: &'t Context, now: Timestamp) -> Batch<'t> {
        Batch::new(self, context, now)
    }

    /// The S2V prefixes of `context`.
    fn prefixes(&self, context: &Context) -> ContextPrefixes {
        self.prefixes
            .of(context, || self.mappers.iter().map(|mapper| Some(mapper.cipher.as_ref()?.prefix(context))).collect())
    }

    /// The index of this key, if it is enabled.
    fn find_enabled(&self, key_id: KeyId) -> Result<usize, ItemError> {
        let index = self.ring.index_of(key_id).ok_or(ItemError::UnknownKey)?;
        if self.mappers[index].cipher.is_some() { Ok(index) } else { Err(self.unusable(index)) }
    }

    /// Why the key at `index` cannot map.
    fn unusable(&self, index: usize) -> ItemError {
        match self.ring.keys()[index].status {
            Status::Destroyed => ItemError::KeyDestroyed,
            Status::Enabled | Status::Disabled => ItemError::KeyDisabled,
        }
    }
}

/// Why a ring cannot be used for mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unusable {
    /// This program has no rules for the key, so it can neither read nor write numbers as that key requires.
    UnknownNumbers(KeyId),
    /// Two ways to make one UID differ, so that no UID of this machine can be trusted.
    Miscomputed,
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownNumbers(key) => write!(f, "key {key}: this program does not know its `numbers` or `region`"),
            Self::Miscomputed => f.write_str(
                "two ways to make one UID come to different ones: this machine or this build computes wrongly",
            ),
        }
    }
}

impl std::error::Error for Unusable {}
