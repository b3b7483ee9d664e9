//! What comes from the operating system's random source: seeds, materials and ids.

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

/// A random id for which `taken` says no.
pub(super) fn new_key_id(taken: impl Fn(KeyId) -> bool) -> Result<KeyId, ChangeError> {
    // Half of all ids taken would take some 32,000 rotations; 1,000 draws miss a free half with probability 2^-1000.
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
