//! Keyed hashes of items. They answer later questions about one item, but only for those who hold the key.

use std::fmt;

use data_encoding::HEXLOWER;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use zeroize::Zeroize as _;

use crate::{ids::Context, number::trim};

/// Bytes of the key.
pub const KEY_BYTES: usize = 32;

/// Bytes of a hash: the first half of HMAC-SHA-256 (RFC 2104 section 5).
const HASH_BYTES: usize = 16;

/// Bytes of the name of a key.
const ID_BYTES: usize = 8;

/// The key under which items are hashed.
pub struct ItemKey {
    mac: Box<Hmac<Sha256>>,
    id: ItemKeyId,
}

/// The id of a key, in hex. It reveals nothing about the key, nor about any item.
pub type ItemKeyId = [u8; 2 * ID_BYTES];

impl ItemKey {
    /// The key of these bytes.
    pub fn new(bytes: &[u8; KEY_BYTES]) -> Self {
        let mac = Box::new(Hmac::new_from_slice(bytes).expect("HMAC takes keys of any length"));
        let mut key = Self { mac, id: ItemKeyId::default() };
        let id = key.hash(&[b"id"]);
        HEXLOWER.encode_mut(&id.0[..ID_BYTES], &mut key.id);
        key
    }

    /// The id of this key: the first half of `HMAC(key, "id")`.
    pub fn id(&self) -> ItemKeyId {
        self.id
    }

    /// The hash of a UID: `HMAC(key, "uid/" || context || "/" || the UID in lower case)`.
    pub fn uid(&self, context: &Context, uid: &str) -> ItemHash {
        let mut lower = trim(uid).to_ascii_lowercase();
        let hash = self.hash(&[b"uid/", context.as_str().as_bytes(), b"/", lower.as_bytes()]);
        lower.zeroize();
        hash
    }

    /// The hash of a number: `HMAC(key, "number/" || number)`, where the number is `+` and its E.164 digits, or else
    /// the text.
    pub fn number(&self, canonical: &str) -> ItemHash {
        self.hash(&[b"number/", canonical.as_bytes()])
    }

    fn hash(&self, parts: &[&[u8]]) -> ItemHash {
        let mut mac = (*self.mac).clone();
        parts.iter().for_each(|part| mac.update(part));
        let mut hash = [0; HASH_BYTES];
        hash.copy_from_slice(&mac.finalize().into_bytes()[..HASH_BYTES]);
        ItemHash(hash)
    }
}

/// The hash of a UID or of a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ItemHash([u8; HASH_BYTES]);

impl ItemHash {
    /// Reads a hash in hex.
    pub fn from_hex(hex: &str) -> Option<Self> {
        let mut bytes = [0; HASH_BYTES];
        let fits = hex.len() == 2 * HASH_BYTES && HEXLOWER.decode_mut(hex.as_bytes(), &mut bytes).is_ok();
        fits.then_some(Self(bytes))
    }

    /// Appends the hash to `out`, in hex.
    pub(super) fn push_to(self, out: &mut Vec<u8>) {
        let mut hex = [0; 2 * HASH_BYTES];
        HEXLOWER.encode_mut(&self.0, &mut hex);
        out.extend_from_slice(&hex);
    }
}

impl fmt::Display for ItemHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_in_hex() {
        let (hex, mut pushed) = ("00112233445566778899aabbccddeeff", Vec::new());
        let hash = ItemHash::from_hex(hex).expect("a hash");
        hash.push_to(&mut pushed);
        assert_eq!((hash.to_string(), pushed), (hex.to_owned(), hex.as_bytes().to_vec()));
        for wrong in ["", "00", &hex[1..], &hex[2..], &format!("{hex}00"), &hex.to_uppercase(), &hex.replace('0', "g")]
        {
            assert!(ItemHash::from_hex(wrong).is_none(), "{wrong}");
        }
    }
}
