//! AES-SIV (RFC 5297), and nothing else: the only user of the cipher.
//!
//! One key and one associated-data string a UID, as SPEC 3 fixes it:
//!
//! ```text
//! AD   = "callveil/1/" || key id as 4 lower-case hex digits || "/" || context
//! V    = S2V(K1, AD, P)                                  RFC 5297 section 2.4
//! C    = P xor AES-CTR(K2, V with bits 63 and 31 cleared) RFC 5297 section 2.6
//! ```
//!
//! With one associated-data string this is also what Tink's `AesSivKey` computes.

use aes_siv::{KeyInit, siv::Aes256Siv};
use zeroize::Zeroizing;

use crate::ids::{Context, KeyId};

/// Bytes of an AES-256-SIV key: K1 for S2V, then K2 for CTR, of 32 bytes each (RFC 5297 section 2.2).
pub const KEY_BYTES: usize = 64;

/// Bytes of the synthetic initialisation vector V that precedes a ciphertext.
pub const SIV_BYTES: usize = 16;

/// A cipher that is bound to one key and one context.
pub struct Cipher {
    /// Boxed, so that it stays where it is wiped.
    siv: Box<Aes256Siv>,
    associated_data: Box<[u8]>,
}

impl Cipher {
    /// The cipher for UIDs that `id`, whose key is `key`, makes in `context`.
    pub fn new(key: &[u8; KEY_BYTES], id: KeyId, context: &Context) -> Self {
        let associated_data = format!("callveil/1/{id}/{}", context.as_str()).into_bytes().into();
        Self { siv: Box::new(Aes256Siv::new(key.into())), associated_data }
    }

    /// `V || C`: AES-SIV-ENCRYPT of RFC 5297 section 2.6, [`SIV_BYTES`] longer than `plaintext`.
    pub fn seal(&mut self, plaintext: &[u8]) -> Vec<u8> {
        self.siv.encrypt([&self.associated_data], plaintext).expect("one header is within the limit of 126")
    }

    /// The plaintext of `V || C`: AES-SIV-DECRYPT of RFC 5297 section 2.7.
    ///
    /// # Errors
    /// [`NotAuthentic`] where `sealed` was not made by [`Cipher::seal`] with this key and context.
    pub fn open(&mut self, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, NotAuthentic> {
        self.siv.decrypt([&self.associated_data], sealed).map(Zeroizing::new).map_err(|_| NotAuthentic)
    }
}

/// A ciphertext that this key, in this context, never made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAuthentic;

#[cfg(test)]
mod tests {
    use aes_siv::siv::Aes128Siv;
    use data_encoding::HEXLOWER;

    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        HEXLOWER.decode(text.as_bytes()).expect("test vectors are hex")
    }

    #[test]
    fn rfc_5297_appendix_a1() {
        let key = hex("fffefdfcfbfaf9f8f7f6f5f4f3f2f1f0f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff");
        let mut siv = Aes128Siv::new_from_slice(&key).expect("32 bytes");
        let sealed = siv
            .encrypt([hex("101112131415161718191a1b1c1d1e1f2021222324252627")], &hex("112233445566778899aabbccddee"))
            .expect("one header");
        assert_eq!(sealed, hex("85632d07c6e8f37f950acd320a2ecc9340c02b9690c4dc04daef7f6afe5c"));
    }

    #[test]
    fn opens_only_what_the_same_key_and_context_sealed() {
        let id = KeyId::from_bytes([0x3f, 0xa1]).expect("not zero");
        let other_id = KeyId::from_bytes([0x3f, 0xa2]).expect("not zero");
        let context = Context::default();
        let other_context: Context = "crm".parse().expect("a context");
        let sealed = Cipher::new(&[7; KEY_BYTES], id, &context).seal(b"seven b");
        assert_eq!(sealed.len(), SIV_BYTES + 7);
        assert_eq!(*Cipher::new(&[7; KEY_BYTES], id, &context).open(&sealed).expect("authentic"), b"seven b");
        for mut stranger in [
            Cipher::new(&[8; KEY_BYTES], id, &context),
            Cipher::new(&[7; KEY_BYTES], other_id, &context),
            Cipher::new(&[7; KEY_BYTES], id, &other_context),
        ] {
            assert_eq!(stranger.open(&sealed), Err(NotAuthentic));
        }
        assert_eq!(Cipher::new(&[7; KEY_BYTES], id, &context).open(b"short"), Err(NotAuthentic));
    }
}
