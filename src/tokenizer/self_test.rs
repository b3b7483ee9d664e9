//! Checks that this machine computes correctly: each key makes and opens one UID in several ways.

use super::Tokenizer;
use crate::{
    ids::Context,
    number::{E164, Number},
    siv::{Cipher, NumberCipher, SEALED_NUMBER_BYTES},
    uid::{Plaintext, Sealed, Uid},
};

impl Tokenizer {
    /// Seals a number with every enabled key in two ways, with the crates' cipher and with the fast one, and opens it
    /// again, as UIDs of one key are opened and as those of many. Returns whether all agree.
    pub(super) fn computes_correctly(&self) -> bool {
        let context = Context::default();
        let Some(number) = E164::new(8_613_988_888_888) else { return false };
        let Plaintext::Short(plaintext) = Plaintext::of(&Number::E164(number)) else { return false };
        self.ring.keys().iter().zip(&self.mappers).all(|(key, mapper)| {
            let (Some(material), Some(cipher)) = (key.material(), &mapper.cipher) else { return true };
            let (prefix, mut sealed, mut opened) = (cipher.prefix(&context), [[0; SEALED_NUMBER_BYTES]], [None; 2]);
            let (of_one, of_many) = opened.split_at_mut(1);
            cipher.seal(&prefix, &[plaintext], &mut sealed);
            cipher.open(&prefix, &sealed, of_one);
            NumberCipher::open_of_many(&[(cipher, &prefix)], &sealed, of_many);
            let reference = Cipher::new(material.expose(), key.id, &context).seal(&plaintext);
            let uid = Uid { key_id: key.id, sealed: Sealed::Short(sealed[0]) };
            let reference_uid = Uid { key_id: key.id, sealed: Sealed::Long(reference) };
            uid.to_string() == reference_uid.to_string() && opened == [Some(plaintext); 2]
        })
    }
}
