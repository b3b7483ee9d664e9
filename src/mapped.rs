//! The results of a batch, item by item.

use std::mem;

use smallvec::SmallVec;

use crate::{ids::KeyId, item::ItemError, memory, siv::SEALED_NUMBER_BYTES, uid};

/// The results of a batch's items, in order. One buffer holds all texts, so that no item costs an allocation.
#[derive(Default)]
pub struct Mapped {
    texts: String,
    /// Where the text of each item ends, or why it has none.
    items: SmallVec<[Result<usize, ItemError>; 1]>,
}

impl Mapped {
    /// Separates the UIDs of one item. An item has several only with
    /// [`Mode::PhoneToAliases`](crate::item::Mode::PhoneToAliases). No text contains the separator: a UID is base32,
    /// and a text with a control character is not a number.
    pub const SEPARATOR: char = '\n';

    /// Room for `items` of the usual length.
    pub fn with_capacity(items: usize) -> Self {
        Self { texts: String::with_capacity(Self::bytes_for(items)), items: SmallVec::with_capacity(items) }
    }

    /// The number or UID that each item became, or why it failed. With
    /// [`Mode::PhoneToAliases`](crate::item::Mode::PhoneToAliases), the UID under the primary key comes first, then the
    /// UIDs under the other enabled keys, newest first, with [`Mapped::SEPARATOR`] between them.
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

    /// Whether there are no items.
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

    /// Makes room for `items` more of the usual length.
    pub fn reserve(&mut self, items: usize) {
        self.texts.reserve(Self::bytes_for(items));
        self.items.reserve(items);
    }

    /// Bytes of the texts of `items` of the usual length.
    pub fn bytes_for(items: usize) -> usize {
        items * uid::CHARS_MIN
    }

    /// Bytes of texts for which there is room.
    pub fn capacity(&self) -> usize {
        self.texts.capacity()
    }

    /// Wipes and forgets all items, but keeps the room that they had.
    pub fn clear(&mut self) {
        let mut texts = mem::take(&mut self.texts).into_bytes();
        memory::wipe(&mut texts);
        texts.clear();
        self.texts = String::from_utf8(texts).expect("nothing is UTF-8");
        self.items.clear();
    }

    /// Notes the result of the next item: the text that `write` appends, or the error that it returns.
    pub(crate) fn push(&mut self, write: impl FnOnce(&mut String) -> Result<(), ItemError>) {
        let begin = self.texts.len();
        let item = write(&mut self.texts).map(|()| self.texts.len());
        if item.is_err() {
            self.texts.truncate(begin);
        }
        self.items.push(item);
    }

    /// Notes the UIDs that `key_id` made of the next items.
    pub(crate) fn push_uids(&mut self, key_id: KeyId, sealed: &[[u8; SEALED_NUMBER_BYTES]]) {
        let begin = self.texts.len();
        uid::push_short(key_id, sealed, &mut self.texts);
        self.items.extend((1..=sealed.len()).map(|uids| Ok(begin + uids * uid::CHARS_MIN)));
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        self.clear();
    }
}

/// How many items failed for each reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Failures([usize; ItemError::ALL.len()]);

impl Failures {
    /// The reasons why items failed, each with the number of items.
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
