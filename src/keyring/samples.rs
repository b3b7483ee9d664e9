//! Keys and rings for tests.

use jiff::Timestamp;

use super::{
    KeyRing, RING_NAME,
    json::to_note,
    key::{Key, Status},
    material::{MATERIAL_BYTES, Material},
    note::{KEY_BYTES, Name, Signer},
};
use crate::ids::KeyId;

/// A signer with this name, whose seed repeats this byte.
pub(super) fn signer(name: &str, byte: u8) -> Signer {
    Signer::new(Name::new(name).expect("a name"), &[byte; KEY_BYTES])
}

pub(super) fn id(text: &str) -> KeyId {
    text.parse().expect("a key id")
}

pub(super) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("a small number of seconds")
}

/// A key made at second 0. Its material repeats the first byte of its id.
pub(super) fn key(text: &str, status: Status, activates: i64) -> Key {
    let id = id(text);
    let material = Material::new(&[id.to_bytes()[0]; MATERIAL_BYTES]);
    let mut key = Key::new(id, material, (at(0), at(activates)), "rules", "CN");
    key.set_status(status);
    key
}

/// A ring with these keys, signed with the seed that repeats 1.
pub(super) fn ring(generation: u64, keys: &[Key]) -> KeyRing {
    let note = to_note(&signer(RING_NAME, 1), generation, None, &[], keys);
    KeyRing::from_note(&note, |_, _| true, &[]).expect("a valid ring")
}
