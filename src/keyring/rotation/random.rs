//! Values from the operating system's random source: seeds, materials and ids.

use zeroize::Zeroizing;

use super::ChangeError;
use crate::{
    ids::KeyId,
    keyring::material::{MATERIAL_BYTES, Material},
};

pub(super) fn new_material() -> Result<Material, ChangeError> {
    let mut bytes = Zeroizing::new([0; MATERIAL_BYTES]);
    fill_random(&mut *bytes)?;
    Ok(Material::new(&bytes))
}

/// A random id that is not `taken`.
pub(super) fn new_key_id(taken: impl Fn(KeyId) -> bool) -> Result<KeyId, ChangeError> {
    // It takes some 32,000 rotations to use up half of all ids. Even then, 1,000 draws fail with probability 2^-1000.
    for _ in 0..1000 {
        let mut bytes = [0; 2];
        fill_random(&mut bytes)?;
        if let Some(id) = KeyId::from_bytes(bytes).filter(|id| !taken(*id)) {
            return Ok(id);
        }
    }
    Err(ChangeError::IdsUsedUp)
}

pub(super) fn fill_random(bytes: &mut [u8]) -> Result<(), ChangeError> {
    getrandom::fill(bytes).map_err(ChangeError::Random)
}
