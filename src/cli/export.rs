//! `callveil keys export-tink`: one key as a Tink keyset, for tools that open UIDs without callveil.

use std::{
    fmt::Write as _,
    fs::File,
    io::{self, IsTerminal as _, Write as _},
    os::fd::AsFd as _,
    path::{Path, PathBuf},
};

use clap::Args;
use data_encoding::BASE64;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::{failure::Failure, recipients::recipients_of, ring::RingArgs, say::tell};
use crate::{
    disk::writing,
    ids::KeyId,
    keyring::{
        KeyRing,
        key::Status,
        material::{MATERIAL_BYTES, Material},
        sealed::seal,
    },
};

/// Tink's type URL of an AES-SIV key.
const TYPE_URL: &str = "type.googleapis.com/google.crypto.tink.AesSivKey";

/// The beginning of the protocol buffer `AesSivKey`: field 2, `key_value`, and its length. The version, 0, is not
/// written.
const KEY_VALUE: [u8; 2] = [2 << 3 | 2, 64];

/// Maximum bytes of a keyset's JSON.
const KEYSET_BYTES_MAX: usize = 512;

#[derive(Args)]
pub(super) struct ExportArgs {
    /// The key
    pub(super) id: KeyId,
    #[command(flatten)]
    pub(super) ring: RingArgs,
    /// Encrypt the keyset for this age public key; may be repeated
    #[arg(long, value_name = "[NAME=]AGE1…")]
    recipient: Vec<String>,
    /// Do not encrypt it
    #[arg(long, conflicts_with = "recipient")]
    cleartext: bool,
    /// Yes, in plain
    #[arg(long, requires = "cleartext")]
    yes: bool,
    /// The file to make [default: stdout, where that is no terminal]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// A keyset, ready to be given away.
pub(super) struct Export<'a> {
    bytes: Zeroizing<Vec<u8>>,
    output: Option<&'a Path>,
}

impl ExportArgs {
    /// Checks that the flags say who gets the keyset, and how.
    pub(super) fn check(&self) -> Result<(), Failure> {
        let id = self.id;
        recipients_of(&self.recipient)?;
        if self.recipient.is_empty() && !self.cleartext {
            return Err(Failure::usage(
                "say for whom: --recipient age1… encrypts the keyset, --cleartext --yes does not",
            ));
        }
        if self.cleartext && !self.yes {
            return Err(Failure::usage(format_args!(
                "whoever reads it can open and forge every UID of key {id}: say --yes if it is meant to be plain"
            )));
        }
        if self.output.is_none() && io::stdout().is_terminal() {
            return Err(Failure::usage("a key is never written to a terminal: --output FILE, or a pipe"));
        }
        Ok(())
    }

    /// The keyset of this key of `ring`, encrypted or in plain as the flags say.
    pub(super) fn prepare(&self, ring: &KeyRing) -> Result<Export<'_>, Failure> {
        let keyset = keyset(self.id, material(ring, self.id)?);
        let bytes = if self.cleartext {
            keyset
        } else {
            Zeroizing::new(seal(&keyset, &recipients_of(&self.recipient)?).map_err(Failure::failed)?)
        };
        Ok(Export { bytes, output: self.output.as_deref() })
    }

    /// What the record says of the export: the key, its recipients and the file.
    pub(super) fn about(&self) -> Value {
        let output = self.output.as_ref().map(|path| path.display().to_string());
        json!({"key": self.id.to_string(), "cleartext": self.cleartext, "recipients": self.recipient, "output": output})
    }

    /// Warns of what the exported key allows.
    pub(super) fn warn(&self) {
        let id = self.id;
        let who =
            if self.cleartext { "whoever reads that keyset" } else { "its recipients, and whom they pass it to," };
        tell(format_args!("{who} can open every UID of key {id}, and make UIDs that callveil believes:"));
        tell("in every context, for all time, with no limit and no audit record.");
        tell(format_args!(
            "to shut them out, rotate, rewrap, and destroy key {id} (\"A leaked key\" in keys/README.md)"
        ));
    }
}

impl Export<'_> {
    /// Writes the keyset to its destination, without a copy anywhere else.
    pub(super) fn hand_over(&self) -> Result<(), Failure> {
        let Some(path) = self.output else {
            // The standard library's `stdout` has a buffer that is never wiped.
            let unbuffered = io::stdout().as_fd().try_clone_to_owned().map(File::from);
            return unbuffered.and_then(|mut out| out.write_all(&self.bytes)).map_err(Failure::from);
        };
        // Half a keyset is half a key, so an incomplete file is not left behind.
        writing::create(path, &self.bytes).map_err(|error| {
            if error.kind() == io::ErrorKind::AlreadyExists {
                return Failure::failed(format_args!("{} exists already", path.display()));
            }
            Failure::failed(format_args!("cannot write {}: {error}", path.display()))
        })
    }
}

/// The material of an enabled key.
fn material(ring: &KeyRing, id: KeyId) -> Result<&Material, Failure> {
    let failed = |reason| Err(Failure::failed(format_args!("key {id} {reason}")));
    let Some(key) = ring.key(id) else { return failed("is not in this ring") };
    match key.material() {
        Some(material) if key.exportable => Ok(material),
        Some(_) => failed("was not made to be given away (`keys rotate --exportable` makes one that is)"),
        None if key.status == Status::Destroyed => failed("is destroyed: there is nothing left to export"),
        None => failed("is disabled, and only enabled keys are given out: `keys enable` it first"),
    }
}

/// A keyset of this one key as Tink's JSON, in a buffer that never grows. A UID carries the id of its key, so Tink adds
/// no prefix of its own: RAW.
fn keyset(id: KeyId, material: &Material) -> Zeroizing<Vec<u8>> {
    let mut key = Zeroizing::new([0; KEY_VALUE.len() + MATERIAL_BYTES]);
    key[..KEY_VALUE.len()].copy_from_slice(&KEY_VALUE);
    // Exposed because the export was asked for.
    key[KEY_VALUE.len()..].copy_from_slice(material.expose());
    let number = u16::from_be_bytes(id.to_bytes());
    let mut json = Zeroizing::new(String::with_capacity(KEYSET_BYTES_MAX));
    let begin = write!(json, r#"{{"primaryKeyId":{number},"key":[{{"keyData":{{"typeUrl":"{TYPE_URL}","value":""#);
    BASE64.encode_append(&*key, &mut json);
    let end = writeln!(
        json,
        r#"","keyMaterialType":"SYMMETRIC"}},"status":"ENABLED","keyId":{number},"outputPrefixType":"RAW"}}]}}"#
    );
    begin.and(end).expect("a String takes everything");
    assert!(json.len() <= KEYSET_BYTES_MAX, "it would have grown, and left a copy behind");
    Zeroizing::new(std::mem::take(&mut *json).into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_keyset_is_written_in_place() {
        let id: KeyId = "3fa1".parse().expect("a key id");
        let keyset = keyset(id, &Material::new(&[7; MATERIAL_BYTES]));
        assert_eq!(keyset.capacity(), KEYSET_BYTES_MAX);
        let json: Value = serde_json::from_slice(&keyset).expect("it is JSON");
        let key = &json["key"][0];
        assert_eq!((&json["primaryKeyId"], &key["keyId"]), (&0x3fa1.into(), &0x3fa1.into()));
        let value = BASE64.decode(key["keyData"]["value"].as_str().expect("text").as_bytes()).expect("base64");
        assert_eq!(value, [&[0x12, 0x40][..], &[7; MATERIAL_BYTES]].concat());
    }
}
