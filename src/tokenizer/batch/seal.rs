//! Numbers to UIDs. Numbers are sealed together under one key.

use smallvec::SmallVec;
use zeroize::Zeroizing;

use super::{super::KeyMapper, Batch, WINDOW};
use crate::{
    item::ItemError,
    mapped::Mapped,
    number::{InvalidNumber, NUMBER_BYTES, trim},
    phone::Numbering,
    siv::SEALED_NUMBER_BYTES,
    uid::{self, Plaintext, Sealed, Uid},
};

impl Batch<'_> {
    /// Adds the UID of each of the `texts` under the key at `index`, which must be enabled.
    pub(super) fn seal<'i>(
        &mut self,
        index: usize,
        mut texts: impl Iterator<Item = Result<&'i str, ItemError>>,
        uids: Uids,
        mapped: &mut Mapped,
    ) {
        let KeyMapper { numbering, cipher } = &self.tokenizer.mappers[index];
        let (Some(cipher), Some(prefix)) = (cipher, self.prefix(index)) else {
            let error = self.tokenizer.unusable(index);
            return texts.for_each(|text| mapped.push(|_| text.and(Err(error))));
        };
        let key_id = self.tokenizer.ring.keys()[index].id;
        let window = texts.size_hint().0.clamp(1, WINDOW);
        let mut short: SmallVec<[_; 1]> = SmallVec::with_capacity(window);
        let mut sealed: SmallVec<[_; 1]> = SmallVec::with_capacity(window);
        // Each entry has the number of short plaintexts before it.
        let mut others: SmallVec<[(usize, NotShort); 1]> = SmallVec::new();
        let (mut count, mut already) = (0, 0);
        loop {
            for text in texts.by_ref().take(window) {
                match text.map_err(NotShort::Failed).and_then(|text| self.short(numbering, text, uids)) {
                    Ok(plaintext) => short.push(plaintext),
                    Err(other) => others.push((short.len(), other)),
                }
            }
            if short.is_empty() && others.is_empty() {
                break;
            }
            sealed.resize(short.len(), [0; SEALED_NUMBER_BYTES]);
            cipher.seal(prefix, &short, &mut sealed);
            let mut written = 0;
            for (before, other) in others.drain(..) {
                mapped.push_uids(key_id, &sealed[written..before]);
                written = before;
                mapped.push(|text| {
                    match other {
                        NotShort::Long(plaintext) => {
                            let sealed = Sealed::Long(self.reference(index)?.seal(&plaintext));
                            Uid { key_id, sealed }.push_to(text);
                            count += 1;
                        }
                        NotShort::Already(uid) => {
                            uid.push_to(text);
                            already += 1;
                        }
                        NotShort::Failed(error) => return Err(error),
                    }
                    Ok(())
                });
            }
            mapped.push_uids(key_id, &sealed[written..]);
            count += short.len();
            short.clear();
        }
        self.uses[index].sealed += count as u64;
        if index == self.primary {
            self.passed += already;
        }
    }

    /// The plaintext of the UID of `text`, if it is as short as a number's.
    #[inline]
    fn short(&self, numbering: &Numbering, text: &str, uids: Uids) -> Result<[u8; NUMBER_BYTES], NotShort> {
        if matches!(uids, Uids::Stay)
            && text.len() >= uid::CHARS_MIN
            && let Some(uid) = self.authentic(trim(text))
        {
            return Err(NotShort::Already(Box::new(uid)));
        }
        match numbering.normalize(text).map(|number| Plaintext::of(&number)) {
            Ok(Plaintext::Short(short)) => Ok(short),
            Ok(Plaintext::Long(long)) => Err(NotShort::Long(long)),
            Err(InvalidNumber) => Err(NotShort::Failed(ItemError::InvalidNumber)),
        }
    }

    /// `text` as a UID, if an enabled key made it in this context.
    fn authentic(&self, text: &str) -> Option<Uid> {
        let uid = Uid::parse(text).ok()?;
        let index = self.tokenizer.find_enabled(uid.key_id).ok()?;
        let (mut short, long);
        let plaintext: &[u8] = match &uid.sealed {
            Sealed::Short(sealed) => {
                short = [None];
                self.tokenizer.mappers[index].cipher.as_ref()?.open(self.prefix(index)?, &[*sealed], &mut short);
                short[0].as_ref()?
            }
            Sealed::Long(sealed) => {
                long = self.reference(index).ok()?.open(sealed).ok()?;
                &long
            }
        };
        let is_written = uid::from_plaintext(plaintext).is_ok();
        is_written.then_some(uid)
    }
}

/// What to do with texts that are UIDs of the same context.
#[derive(Clone, Copy)]
pub(super) enum Uids {
    /// Each stays as it is, so that mapping a value twice does not make a UID of a UID.
    Stay,
    /// They are texts like any other: they come from inside UIDs.
    AreTexts,
}

/// An item that is not sealed together with others.
enum NotShort {
    Long(Zeroizing<Vec<u8>>),
    /// It is a UID.
    Already(Box<Uid>),
    Failed(ItemError),
}
