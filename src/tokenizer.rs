//! A batch of strings to a batch of results, over one snapshot of the ring and one `now`. Pure.
//!
//! One bad item never spoils the others: it fails by itself, with an [`ItemError`].

use std::collections::HashMap;

use jiff::Timestamp;
use zeroize::{Zeroize as _, Zeroizing};

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

/// What became of a batch's items, in their order: one buffer holds all texts, so that an item costs no allocation.
#[derive(Default)]
pub struct Mapped {
    texts: Zeroizing<String>,
    /// Where the text of each item ends, or why it has none.
    items: Vec<Result<usize, ItemError>>,
}

impl Mapped {
    /// Stands between the UIDs of one item, which is the only item to have several with [`Mode::PhoneToAliases`]. No text
    /// holds it: a UID is base32, and a number with a control character is none.
    pub const SEPARATOR: char = '\n';

    /// Room for `items` of the usual length.
    pub fn with_capacity(items: usize) -> Self {
        Self { texts: Zeroizing::new(String::with_capacity(items * uid::CHARS_MIN)), items: Vec::with_capacity(items) }
    }

    /// The number or UID that each item became, or why it became none. With [`Mode::PhoneToAliases`] the UID under the
    /// primary key comes first, then those under the other enabled keys, newest first, [`Mapped::SEPARATOR`] between.
    pub fn iter(&self) -> impl Iterator<Item = Result<&str, ItemError>> {
        let mut begin = 0;
        self.items.iter().map(move |item| {
            let end = (*item)?;
            let text = &self.texts[begin..end];
            begin = end;
            Ok(text)
        })
    }

    /// How many items there are.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// How many items failed, in all and for each reason.
    pub fn failures(&self) -> Failures {
        let mut failures = Failures::default();
        for error in self.items.iter().filter_map(|item| item.err()) {
            failures.0[error as usize] += 1;
        }
        failures
    }

    /// Forgets all items, and keeps the room that they had.
    pub fn clear(&mut self) {
        self.texts.zeroize();
        self.items.clear();
    }

    /// Notes what became of the next item: what `write` adds to the texts, or its error.
    fn push(&mut self, write: impl FnOnce(&mut String) -> Result<(), ItemError>) {
        let begin = self.texts.len();
        let item = write(&mut self.texts).map(|()| self.texts.len());
        if item.is_err() {
            self.texts.truncate(begin);
        }
        self.items.push(item);
    }
}

/// How many items failed for each reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Failures([usize; ItemError::ALL.len()]);

impl Failures {
    /// The reasons for which items failed, and how many did.
    pub fn iter(&self) -> impl Iterator<Item = (ItemError, usize)> {
        ItemError::ALL.into_iter().zip(self.0).filter(|(_, count)| *count > 0)
    }

    /// How many items failed.
    pub fn total(&self) -> usize {
        self.0.iter().sum()
    }

    /// Whether another ring might have opened some of them.
    pub fn are_about_keys(&self) -> bool {
        self.iter().any(|(error, _)| error.is_about_the_key())
    }
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
    /// Every reason, in the order of their declaration.
    pub const ALL: [Self; 6] = [
        Self::InvalidNumber,
        Self::MalformedUid,
        Self::UnknownKey,
        Self::KeyDisabled,
        Self::KeyDestroyed,
        Self::NotAuthentic,
    ];

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
            uses: HashMap::new(),
        }
    }
}

/// One batch: it uses one ring, one primary, and each cipher once set up.
pub struct Batch<'t> {
    tokenizer: &'t Tokenizer,
    context: &'t Context,
    primary: &'t Key,
    ciphers: HashMap<KeyId, Cipher>,
    uses: HashMap<KeyId, KeyUse>,
}

/// How many items of a batch a key was used for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyUse {
    /// UIDs that it opened.
    pub opened: u64,
    /// UIDs that it made.
    pub sealed: u64,
}

impl Batch<'_> {
    /// Adds to `mapped` what `mode` makes of each of the `items`.
    pub fn map(&mut self, mode: Mode, items: &[impl AsRef<str>], mapped: &mut Mapped) {
        for item in items {
            let item = item.as_ref();
            mapped.push(|text| match mode {
                Mode::PhoneToUid => self.seal(self.primary, item, text),
                Mode::UidToPhone => self.open(item, text),
                Mode::RewrapUid => {
                    let mut dialled = Zeroizing::new(String::new());
                    self.open(item, &mut dialled).and_then(|()| self.seal(self.primary, &dialled, text))
                }
                Mode::PhoneToAliases => self.aliases(item, text),
            });
        }
    }

    /// Adds to `mapped` the number in each of the `uids` in the form that no configuration changes: `+` and the digits of
    /// its E.164 form, or the verbatim text.
    pub fn canonical(&mut self, uids: &[impl AsRef<str>], mapped: &mut Mapped) {
        for uid in uids {
            mapped.push(|text| {
                self.open_with(uid.as_ref(), |_, number| match number {
                    Number::E164(number) => text.push_str(&format!("+{}", number.digits())),
                    Number::Verbatim(verbatim) => text.push_str(verbatim.as_str()),
                })
            });
        }
    }

    /// The keys that this batch used, and for how many items.
    pub fn uses(&self) -> impl Iterator<Item = (KeyId, KeyUse)> {
        self.uses.iter().map(|(id, uses)| (*id, *uses))
    }

    /// Adds the UID of `text` under `key`, which must be enabled, to `uid`.
    fn seal(&mut self, key: &Key, text: &str, uid: &mut String) -> Result<(), ItemError> {
        let number = self.tokenizer.numberings[&key.id].normalize(text).map_err(|_| ItemError::InvalidNumber)?;
        let sealed = self.cipher(key)?.seal(&uid::to_plaintext(&number));
        self.uses.entry(key.id).or_default().sealed += 1;
        uid.push_str(&Uid::new(key.id, &sealed).to_string());
        Ok(())
    }

    /// Adds the number in the UID `text`, as CCC dials it, to `dialled`.
    fn open(&mut self, text: &str, dialled: &mut String) -> Result<(), ItemError> {
        let tokenizer = self.tokenizer;
        self.open_with(text, |key, number| match number {
            Number::E164(number) => {
                dialled.push_str(&tokenizer.numberings[&key.id].dialled(number, &tokenizer.trunk_zero));
            }
            Number::Verbatim(text) => dialled.push_str(text.as_str()),
        })
    }

    fn open_with(&mut self, text: &str, write: impl FnOnce(&Key, Number<'_>)) -> Result<(), ItemError> {
        let uid = Uid::parse(text).map_err(|_| ItemError::MalformedUid)?;
        let key = self.tokenizer.ring.key(uid.key_id()).ok_or(ItemError::UnknownKey)?;
        let plaintext = self.cipher(key)?.open(uid.sealed()).map_err(|_| ItemError::NotAuthentic)?;
        let number = uid::from_plaintext(&plaintext).map_err(|_| ItemError::MalformedUid)?;
        self.uses.entry(key.id).or_default().opened += 1;
        write(key, number);
        Ok(())
    }

    fn aliases(&mut self, text: &str, uids: &mut String) -> Result<(), ItemError> {
        let tokenizer = self.tokenizer;
        self.seal(self.primary, text, uids)?;
        for key in tokenizer.ring.enabled_newest_first().filter(|key| key.id != self.primary.id) {
            uids.push(Mapped::SEPARATOR);
            self.seal(key, text, uids)?;
        }
        Ok(())
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
