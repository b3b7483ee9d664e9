//! Names that are parsed once: the key and the context to which a UID is bound, and the ring.

use std::{borrow::Cow, fmt, str::FromStr};

use data_encoding::HEXLOWER;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// The name of a key within its ring: two bytes, written as four lower-case hex digits, never `0000`.
///
/// ```
/// use callveil::ids::KeyId;
///
/// let id: KeyId = "3fa1".parse()?;
/// assert_eq!(id.to_bytes(), [0x3f, 0xa1]);
/// assert_eq!(id.to_string(), "3fa1");
/// assert!("3FA1".parse::<KeyId>().is_err());
/// assert!("0000".parse::<KeyId>().is_err());
/// # Ok::<(), callveil::ids::NotAKeyId>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId([u8; 2]);

impl KeyId {
    /// The key id made of `bytes`, or `None` for the reserved `0000`.
    pub fn from_bytes(bytes: [u8; 2]) -> Option<Self> {
        (bytes != [0, 0]).then_some(Self(bytes))
    }

    /// Four lower-case hex digits.
    pub fn to_hex(self) -> [u8; 4] {
        let mut hex = [0; 4];
        HEXLOWER.encode_mut(&self.0, &mut hex);
        hex
    }

    /// The two bytes that begin a UID of this key.
    pub fn to_bytes(self) -> [u8; 2] {
        self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02x}{:02x}", self.0[0], self.0[1])
    }
}

impl FromStr for KeyId {
    type Err = NotAKeyId;

    fn from_str(text: &str) -> Result<Self, NotAKeyId> {
        let bytes = HEXLOWER.decode(text.as_bytes()).map_err(|_| NotAKeyId)?;
        let id = <[u8; 2]>::try_from(bytes).ok().and_then(Self::from_bytes);
        id.ok_or(NotAKeyId)
    }
}

impl Serialize for KeyId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for KeyId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<str>::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// A text that is not a key id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAKeyId;

impl fmt::Display for NotAKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key id is four lower-case hex digits other than 0000")
    }
}

impl std::error::Error for NotAKeyId {}

/// Characters in the longest context.
const CONTEXT_CHARS_MAX: usize = 64;

/// The name of a space of UIDs: one number has unlinkable UIDs in two contexts.
///
/// ```
/// use callveil::ids::Context;
///
/// assert!("crm-eu.1".parse::<Context>().is_ok());
/// assert!("CRM".parse::<Context>().is_err());
/// assert_eq!(Context::default().as_str(), "default");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Context(Box<str>);

impl Context {
    /// The context as it appears in the associated data.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Context {
    fn default() -> Self {
        Self("default".into())
    }
}

impl FromStr for Context {
    type Err = NotAContext;

    fn from_str(text: &str) -> Result<Self, NotAContext> {
        let alphanumeric = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
        let fits = (1..=CONTEXT_CHARS_MAX).contains(&text.len())
            && text.bytes().all(|c| alphanumeric(c) || b"._-".contains(&c))
            && text.bytes().next().is_some_and(alphanumeric);
        if fits { Ok(Self(text.into())) } else { Err(NotAContext) }
    }
}

/// A text that cannot name a context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAContext;

impl fmt::Display for NotAContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a context is 1 to 64 of a-z, 0-9, '.', '_' and '-', beginning with a letter or a digit")
    }
}

impl std::error::Error for NotAContext {}

/// Bytes of a ring's name.
const RING_ID_BYTES: usize = 32;

/// The name of a ring, made once by `keys init`. It is the public key under which each generation is signed, so that
/// nobody else can make a ring of this name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RingId([u8; RING_ID_BYTES]);

impl RingId {
    /// The name of the ring that is signed under this Ed25519 public key.
    pub fn new(public_key: [u8; RING_ID_BYTES]) -> Self {
        Self(public_key)
    }

    /// The public key under which the ring is signed.
    pub fn to_bytes(self) -> [u8; RING_ID_BYTES] {
        self.0
    }

    /// The ring id of 64 lower-case hex digits; `None` for any other text.
    pub fn from_hex(text: &str) -> Option<Self> {
        Some(Self(HEXLOWER.decode(text.as_bytes()).ok()?.try_into().ok()?))
    }
}

impl fmt::Display for RingId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_ids_have_one_spelling() {
        for text in ["", "3fa", "3fa10", "3fA1", "0000", "3fg1", " 3fa", "３fa1"] {
            assert!(text.parse::<KeyId>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn contexts_are_short_and_plain() {
        let longest = "a".repeat(CONTEXT_CHARS_MAX);
        for text in ["a", "0", "a-b_c.d", &longest] {
            assert!(text.parse::<Context>().is_ok(), "{text:?}");
        }
        for text in ["", "-a", ".a", "A", "a/b", "a b", "ä", &format!("{longest}a")] {
            assert!(text.parse::<Context>().is_err(), "{text:?}");
        }
    }
}
