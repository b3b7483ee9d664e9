//! Keyed hashes of items, so that a later question about one of them can be answered, by those who hold the key alone.

use std::fmt;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use zeroize::Zeroize as _;

use crate::ids::Context;

/// Bytes of the key.
pub const KEY_BYTES: usize = 32;

/// Bytes of a hash: the first half of HMAC-SHA-256 (RFC 2104 section 5).
const HASH_BYTES: usize = 16;

/// The key under which items are hashed.
pub struct ItemKey(Box<Hmac<Sha256>>);

impl ItemKey {
    /// The key of these bytes.
    pub fn new(bytes: &[u8; KEY_BYTES]) -> Self {
        Self(Box::new(Hmac::new_from_slice(bytes).expect("HMAC takes keys of any length")))
    }

    /// The hash of a UID: `HMAC(key, "uid/" || context || "/" || the UID in lower case)`.
    pub fn uid(&self, context: &Context, uid: &str) -> ItemHash {
        let mut lower = uid.trim().to_ascii_lowercase();
        let hash = self.hash(&[b"uid/", context.as_str().as_bytes(), b"/", lower.as_bytes()]);
        lower.zeroize();
        hash
    }

    /// The hash of a number: `HMAC(key, "number/" || as UIDToPhone writes it)`.
    pub fn number(&self, dialled: &str) -> ItemHash {
        self.hash(&[b"number/", dialled.as_bytes()])
    }

    fn hash(&self, parts: &[&[u8]]) -> ItemHash {
        let mut mac = (*self.0).clone();
        parts.iter().for_each(|part| mac.update(part));
        let mut hash = [0; HASH_BYTES];
        hash.copy_from_slice(&mac.finalize().into_bytes()[..HASH_BYTES]);
        ItemHash(hash)
    }
}

/// The hash of a UID or of a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ItemHash([u8; HASH_BYTES]);

impl fmt::Display for ItemHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&data_encoding::HEXLOWER.encode(&self.0))
    }
}
