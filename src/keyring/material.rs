//! The secret of one key.

use super::fingerprint::Fingerprint;
use crate::memory::Locked;

/// Bytes of a key's material.
pub const MATERIAL_BYTES: usize = 64;

/// The secret of one key. It is wiped when dropped, is never printed, and stays in its locked page when its owner moves.
pub struct Material(Locked<[u8; MATERIAL_BYTES]>);

impl Material {
    /// Material made of these bytes, which must come from a cryptographic random source.
    pub fn new(bytes: &[u8; MATERIAL_BYTES]) -> Self {
        Self(Locked::new(*bytes))
    }

    /// The secret itself, for the cipher, the ring file, and an export that was asked for.
    pub fn expose(&self) -> &[u8; MATERIAL_BYTES] {
        &self.0
    }

    /// The fingerprint that shows whether the material in a ring file is intact.
    pub(super) fn check(&self) -> Fingerprint {
        Fingerprint::of(&self.0[..])
    }
}

impl Clone for Material {
    fn clone(&self) -> Self {
        Self::new(&self.0)
    }
}
