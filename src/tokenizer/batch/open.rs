//! UIDs to numbers. UIDs are opened many at once.

use smallvec::{SmallVec, smallvec};

use super::{super::Tokenizer, Batch, WINDOW};
use crate::{
    item::{ItemError, PlainNumbers},
    mapped::Mapped,
    memory,
    number::{InvalidNumber, NUMBER_BYTES, Number},
    phone::Numbering,
    siv::{NotAuthentic, NumberCipher, SEALED_NUMBER_BYTES},
    uid::{self, Sealed, Uid},
};

impl Batch<'_> {
    /// Adds the number in each of the `uids`, as CCC dials it.
    pub(super) fn open(&mut self, uids: &[impl AsRef<str>], plain_numbers: PlainNumbers, mapped: &mut Mapped) {
        let trunk_zero = &self.tokenizer.trunk_zero;
        self.open_with(uids, plain_numbers, mapped, |numbering, number, text| numbering.dial(number, trunk_zero, text));
    }

    /// Opens `uids`. `write` adds the number of each to the texts of `mapped`.
    pub(super) fn open_with(
        &mut self,
        uids: &[impl AsRef<str>],
        plain_numbers: PlainNumbers,
        mapped: &mut Mapped,
        write: impl Fn(&Numbering, &Number<'_>, &mut String),
    ) {
        let window = uids.len().min(WINDOW);
        let mut indexes: SmallVec<[usize; 1]> = SmallVec::with_capacity(window);
        let mut sealed: SmallVec<[_; 1]> = smallvec![[0; SEALED_NUMBER_BYTES]; window];
        let mut numbers: SmallVec<[Option<[u8; NUMBER_BYTES]>; 1]> = smallvec![None; window];
        // Each entry has the number of short UIDs before it.
        let mut others: SmallVec<[(usize, &str, NotShortUid); 1]> = SmallVec::new();
        for uids in uids.chunks(WINDOW) {
            for uid in uids.iter().map(AsRef::as_ref) {
                match self.tokenizer.find(uid, &mut sealed[indexes.len()]) {
                    Ok(index) => indexes.push(index),
                    Err(other) => others.push((indexes.len(), uid, other)),
                }
            }
            let numbers = &mut numbers[..indexes.len()];
            self.open_short(&indexes, &sealed[..indexes.len()], numbers);
            let mut written = 0;
            for (before, text, other) in others.drain(..) {
                self.push_numbers(&indexes[written..before], &numbers[written..before], mapped, &write);
                written = before;
                mapped.push(|dialled| {
                    self.open_other(text, other, plain_numbers, |numbering, number| write(numbering, number, dialled))
                });
            }
            self.push_numbers(&indexes[written..], &numbers[written..], mapped, &write);
            indexes.clear();
        }
        memory::wipe(&mut numbers);
    }

    /// Opens the sealed parts of short UIDs with the keys at `indexes`. The number of each goes into `numbers`.
    fn open_short(
        &self,
        indexes: &[usize],
        sealed: &[[u8; SEALED_NUMBER_BYTES]],
        numbers: &mut [Option<[u8; NUMBER_BYTES]>],
    ) {
        // `find` found enabled keys only, which have both.
        let key = |index: &usize| self.tokenizer.mappers[*index].cipher.as_ref().zip(self.prefix(*index));
        let opened = match indexes {
            [first, others @ ..] if others.iter().all(|index| index == first) => {
                key(first).map(|(cipher, prefix)| cipher.open(prefix, sealed, numbers))
            }
            _ => {
                let keys: Option<Vec<_>> = indexes.iter().map(key).collect();
                keys.map(|keys| NumberCipher::open_of_many(&keys, sealed, numbers))
            }
        };
        if opened.is_none() {
            numbers.fill(None);
        }
    }

    /// Adds the `numbers` that the keys at `indexes` opened to `mapped`.
    fn push_numbers(
        &mut self,
        indexes: &[usize],
        numbers: &[Option<[u8; NUMBER_BYTES]>],
        mapped: &mut Mapped,
        write: impl Fn(&Numbering, &Number<'_>, &mut String),
    ) {
        for (index, number) in indexes.iter().zip(numbers) {
            mapped.push(|text| {
                let plaintext = number.as_ref().ok_or(ItemError::NotAuthentic)?;
                let number = uid::from_plaintext(plaintext).map_err(|_| ItemError::MalformedUid)?;
                write(&self.tokenizer.mappers[*index].numbering, &number, text);
                self.uses[*index].opened += 1;
                Ok(())
            });
        }
    }

    /// Opens `text`, which is not a short UID, and lets `write` add its number.
    fn open_other(
        &mut self,
        text: &str,
        other: NotShortUid,
        plain_numbers: PlainNumbers,
        write: impl FnOnce(&Numbering, &Number<'_>),
    ) -> Result<(), ItemError> {
        match other {
            NotShortUid::Long(index, sealed) => {
                let plaintext = self.reference(index)?.open(&sealed).map_err(|NotAuthentic| ItemError::NotAuthentic)?;
                let number = uid::from_plaintext(&plaintext).map_err(|_| ItemError::MalformedUid)?;
                write(&self.tokenizer.mappers[index].numbering, &number);
                self.uses[index].opened += 1;
            }
            NotShortUid::Failed(ItemError::MalformedUid) => {
                let numbering = &self.tokenizer.mappers[self.primary].numbering;
                write(numbering, &plain_number(numbering, text, plain_numbers)?);
                self.passed += 1;
            }
            NotShortUid::Failed(error) => return Err(error),
        }
        Ok(())
    }
}

/// An item that is not opened together with others.
enum NotShortUid {
    /// A UID that is too long for a number: the index of its key, and its sealed part.
    Long(usize, Vec<u8>),
    Failed(ItemError),
}

/// The number in a place where a UID is expected, if it may pass.
fn plain_number<'t>(numbering: &Numbering, text: &'t str, passing: PlainNumbers) -> Result<Number<'t>, ItemError> {
    match (numbering.normalize(text), passing) {
        (Ok(number @ (Number::E164(_) | Number::Hotline(_))), PlainNumbers::Pass) => Ok(number),
        (Ok(Number::E164(_) | Number::Hotline(_)), PlainNumbers::Refuse) => Err(ItemError::PlainNumber),
        (Ok(Number::Verbatim(_)) | Err(InvalidNumber), _) => Err(ItemError::MalformedUid),
    }
}

impl Tokenizer {
    /// The index of the key that made the UID `text`, if it is enabled. The sealed part of the UID goes into `sealed`.
    #[inline]
    fn find(&self, text: &str, sealed: &mut [u8; SEALED_NUMBER_BYTES]) -> Result<usize, NotShortUid> {
        match uid::read_short(text, sealed) {
            Some(key_id) => self.find_enabled(key_id).map_err(NotShortUid::Failed),
            None => self.find_other(text, sealed),
        }
    }

    /// The same for a text that is not simply a short UID.
    #[cold]
    fn find_other(&self, text: &str, short: &mut [u8; SEALED_NUMBER_BYTES]) -> Result<usize, NotShortUid> {
        let uid = Uid::parse(text).map_err(|_| NotShortUid::Failed(ItemError::MalformedUid))?;
        let index = self.find_enabled(uid.key_id).map_err(NotShortUid::Failed)?;
        match uid.sealed {
            Sealed::Long(sealed) => Err(NotShortUid::Long(index, sealed)),
            Sealed::Short(sealed) => {
                *short = sealed;
                Ok(index)
            }
        }
    }
}
