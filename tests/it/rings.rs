//! Plain rings as tests read and make them. Like anybody who can open a ring, tests can put any time and status into
//! it.

use std::{fs, path::Path};

use callveil::keyring::{
    RING_NAME,
    note::{Name, Signer},
};
use data_encoding::BASE64;
use serde_json::Value;

/// The text of a signed note, including its last line end.
pub fn text(note: &[u8]) -> &str {
    let note = str::from_utf8(note).unwrap();
    &note[..note.rfind("\n\n").unwrap() + 1]
}

/// The content of a ring.
pub fn value(note: &[u8]) -> Value {
    serde_json::from_str(text(note)).unwrap()
}

/// The content of the ring in this file.
pub fn read(path: &Path) -> Value {
    value(&fs::read(path).unwrap())
}

/// The text, signed with the key that it contains.
pub fn signed_text(text: &str) -> Vec<u8> {
    let ring: Value = serde_json::from_str(text).unwrap();
    format!("{text}\n{}", signer(&ring).line(text.as_bytes())).into_bytes()
}

/// A ring with this content, signed with the key that it contains.
pub fn signed(ring: &Value) -> Vec<u8> {
    signed_text(&format!("{ring}\n"))
}

/// The key that signs a ring.
pub fn signer(ring: &Value) -> Signer {
    let seed = BASE64.decode(ring["signing_key"].as_str().unwrap().as_bytes()).unwrap();
    Signer::new(Name::new(RING_NAME).unwrap(), &seed.try_into().unwrap())
}
