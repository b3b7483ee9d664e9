//! One batch: items in, results out.

mod open;
mod seal;

use jiff::Timestamp;
use smallvec::{SmallVec, smallvec};

use self::seal::Uids;
use super::{Tokenizer, prefixes::ContextPrefixes};
use crate::{
    ids::{Context, KeyId},
    item::{ItemError, Mode, PlainNumbers},
    mapped::Mapped,
    siv::{Cipher, Prefix},
};

/// Items that are sealed or opened together.
const WINDOW: usize = 64;

/// One batch. It uses one ring and one primary.
pub struct Batch<'t> {
    tokenizer: &'t Tokenizer,
    context: &'t Context,
    prefixes: ContextPrefixes,
    /// The primary's index in the ring. All indexes here are those of keys.
    primary: usize,
    plain_numbers: PlainNumbers,
    passed: usize,
    uses: SmallVec<[KeyUse; 4]>,
}

/// How many items of a batch a key was used for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyUse {
    /// UIDs that it opened.
    pub opened: u64,
    /// UIDs that it made.
    pub sealed: u64,
}

impl<'t> Batch<'t> {
    pub(super) fn new(tokenizer: &'t Tokenizer, context: &'t Context, now: Timestamp) -> Self {
        let primary = tokenizer.ring.primary(now).id;
        Self {
            tokenizer,
            context,
            prefixes: tokenizer.prefixes(context),
            primary: tokenizer.ring.index_of(primary).expect("the primary is a key of the ring"),
            plain_numbers: PlainNumbers::default(),
            passed: 0,
            uses: smallvec![KeyUse::default(); tokenizer.mappers.len()],
        }
    }
}

impl Batch<'_> {
    /// The same batch, with this treatment of numbers where UIDs are expected.
    #[must_use]
    pub fn with_plain_numbers(self, plain_numbers: PlainNumbers) -> Self {
        Self { plain_numbers, ..self }
    }

    /// Maps each of the `items` by `mode`, and adds the results to `mapped`.
    pub fn map(&mut self, mode: Mode, items: &[impl AsRef<str>], mapped: &mut Mapped) {
        match mode {
            Mode::PhoneToUid => {
                self.seal(self.primary, items.iter().map(|item| Ok(item.as_ref())), Uids::Stay, mapped);
            }
            Mode::UidToPhone => self.open(items, self.plain_numbers, mapped),
            Mode::RewrapUid => {
                let mut dialled = Mapped::with_capacity(items.len());
                self.open(items, PlainNumbers::Refuse, &mut dialled);
                self.seal(self.primary, dialled.iter(), Uids::AreTexts, mapped);
            }
            Mode::PhoneToAliases => self.aliases(items, mapped),
        }
    }

    /// Adds the number in each of the `uids` to `mapped`, in a form that does not depend on the configuration: `+` and
    /// the digits of its E.164 form, or the verbatim text.
    pub fn canonical(&mut self, uids: &[impl AsRef<str>], mapped: &mut Mapped) {
        self.open_with(uids, PlainNumbers::Refuse, mapped, |_, number, text| number.push_canonical(text));
    }

    /// The keys that this batch used, by their index in the ring, and for how many items each.
    pub fn uses(&self) -> impl Iterator<Item = (usize, KeyId, KeyUse)> {
        let keys = self.tokenizer.ring.keys().iter().zip(&self.uses).enumerate();
        let used = keys.filter(|(_, (_, uses))| **uses != KeyUse::default());
        used.map(|(index, (key, uses))| (index, key.id, *uses))
    }

    /// How many items already had the wanted form: UIDs where UIDs are made, and numbers that were passed.
    pub fn passed(&self) -> usize {
        self.passed
    }

    fn aliases(&mut self, items: &[impl AsRef<str>], mapped: &mut Mapped) {
        let (ring, primary) = (&self.tokenizer.ring, self.primary);
        let others =
            ring.enabled_newest_first().filter_map(|key| ring.index_of(key.id)).filter(|index| *index != primary);
        let indexes: Vec<usize> = std::iter::once(primary).chain(others).collect();
        for items in items.chunks(WINDOW) {
            let mut under_each = Vec::with_capacity(indexes.len());
            for index in &indexes {
                let mut uids = Mapped::with_capacity(items.len());
                self.seal(*index, items.iter().map(|item| Ok(item.as_ref())), Uids::Stay, &mut uids);
                under_each.push(uids);
            }
            let mut under_each: Vec<_> = under_each.iter().map(Mapped::iter).collect();
            for _ in items {
                // All results of an item are taken, even after a key failed, so that the next item gets its own.
                let uids = under_each.iter_mut().map(|uids| uids.next().expect("each key mapped each item"));
                let uids: SmallVec<[_; 4]> = uids.collect();
                mapped.push(|text| {
                    if let Some(error) = uids.iter().find_map(|uid| uid.err()) {
                        return Err(error);
                    }
                    let begin = text.len();
                    for uid in uids.into_iter().flatten() {
                        match &text[begin..] {
                            "" => text.push_str(uid),
                            // An item that was a UID already is the same under each key.
                            first if first == uid => {}
                            _ => {
                                text.push(Mapped::SEPARATOR);
                                text.push_str(uid);
                            }
                        }
                    }
                    Ok(())
                });
            }
        }
    }

    fn prefix(&self, index: usize) -> Option<&Prefix> {
        self.prefixes.of_key(index)
    }

    /// The crate's own cipher with the key at `index`, for texts that are longer than a number.
    fn reference(&self, index: usize) -> Result<Cipher, ItemError> {
        let key = &self.tokenizer.ring.keys()[index];
        let material = key.material().ok_or_else(|| self.tokenizer.unusable(index))?;
        Ok(Cipher::new(material.expose(), key.id, self.context))
    }
}
