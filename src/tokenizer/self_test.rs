//! Checks that this machine computes correctly: each key makes one UID in two ways.

use std::fmt;

use super::Tokenizer;
use crate::{
    ids::Context,
    number::{E164, Number},
    siv::{Cipher, SEALED_NUMBER_BYTES},
    uid::{Plaintext, Sealed, Uid},
};

impl Tokenizer {
    /// Seals a number with every enabled key in two ways, with the crates' cipher and with the fast one, and opens it
    /// again.
    ///
    /// # Errors
    /// [`Miscomputed`] if the two UIDs differ or the number does not come back. Then no UID of this machine can be
    /// trusted.
    pub fn self_test(&self) -> Result<(), Miscomputed> {
        let (context, number) = (Context::default(), E164::new(8_613_988_888_888).ok_or(Miscomputed)?);
        let Plaintext::Short(plaintext) = Plaintext::of(&Number::E164(number)) else { return Err(Miscomputed) };
        for (key, mapper) in self.ring.keys().iter().zip(&self.mappers) {
            let (Some(material), Some(cipher)) = (key.material(), &mapper.cipher) else { continue };
            let (prefix, mut sealed, mut opened) = (cipher.prefix(&context), [[0; SEALED_NUMBER_BYTES]], [None]);
            cipher.seal(&prefix, &[plaintext], &mut sealed);
            cipher.open(&prefix, &sealed, &mut opened);
            let reference = Cipher::new(material.expose(), key.id, &context).seal(&plaintext);
            let uid = Uid { key_id: key.id, sealed: Sealed::Short(sealed[0]) };
            let reference_uid = Uid { key_id: key.id, sealed: Sealed::Long(reference) };
            if uid.to_string() != reference_uid.to_string() || opened != [Some(plaintext)] {
                return Err(Miscomputed);
            }
        }
        Ok(())
    }
}

/// A machine that computes incorrectly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Miscomputed;

impl fmt::Display for Miscomputed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("two ways to make one UID come to different ones: this machine or this build computes wrongly")
    }
}

impl std::error::Error for Miscomputed {}
