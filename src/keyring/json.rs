//! The plain ring file: JSON to a valid ring, and back. A ring is refused as a whole when anything in it is wrong, and
//! all that is wrong is told at once.

use std::{collections::HashSet, fmt};

use data_encoding::BASE64;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{
    FORMAT, Fingerprint, GENERATION_MAX, Key, KeyRing, Known, MATERIAL_BYTES, Material, RingId, SCHEME, Status,
};
use crate::ids::KeyId;

impl KeyRing {
    /// Reads a plain ring file.
    ///
    /// # Errors
    /// [`Faults`]: everything that is wrong with it.
    pub fn from_json(json: &[u8], known: Known) -> Result<Self, Faults> {
        let raw: RawRing = serde_json::from_slice(json).map_err(|error| {
            // serde_json quotes what it met, which may be a key: only the place is told.
            Faults(vec![Fault::NotARing { line: error.line(), column: error.column() }])
        })?;
        let mut faults = Vec::new();
        if raw.format != FORMAT {
            faults.push(Fault::Format);
        }
        let ring = RingId::from_hex(&raw.ring);
        if ring.is_none() {
            faults.push(Fault::RingId);
        }
        if !(1..=GENERATION_MAX).contains(&raw.generation) {
            faults.push(Fault::Generation);
        }
        if raw.parent.is_some_and(|parent| Fingerprint::from_hex(&parent).is_none()) {
            faults.push(Fault::Parent);
        }
        let keys: Vec<Key> =
            raw.keys.iter().enumerate().filter_map(|(at, raw)| raw.check(at, known, &mut faults)).collect();
        let mut seen = HashSet::new();
        let ids = raw.keys.iter().filter_map(|key| key.id.parse::<KeyId>().ok());
        faults.extend(ids.filter(|id| !seen.insert(*id)).map(Fault::DuplicateId));
        if !raw.keys.iter().any(|key| key.status == Status::Enabled) {
            faults.push(Fault::NoEnabledKey);
        }
        match ring {
            Some(ring) if faults.is_empty() => {
                let hash = Fingerprint::of(json);
                Ok(Self { recipients: raw.recipients, ..Self::assemble(ring, raw.generation, hash, keys) })
            }
            _ => Err(Faults(faults)),
        }
    }
}

/// The plain file of a ring.
pub(super) fn to_json(
    ring: RingId,
    generation: u64,
    parent: Option<Fingerprint>,
    recipients: &[String],
    keys: &[Key],
) -> Zeroizing<Vec<u8>> {
    let raw = RawRing {
        format: FORMAT.to_owned(),
        ring: ring.to_string(),
        generation,
        parent: parent.map(|parent| parent.to_string()),
        recipients: recipients.to_vec(),
        keys: keys.iter().map(RawKey::from).collect(),
    };
    // Large enough that it never grows: a buffer that grew would leave its secrets behind, unwiped.
    let mut json = Zeroizing::new(Vec::with_capacity(512 + 128 * recipients.len() + 1024 * keys.len()));
    serde_json::to_writer_pretty(&mut *json, &raw).expect("strings and numbers go into a buffer");
    json.push(b'\n');
    json
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRing {
    format: String,
    ring: String,
    generation: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    parent: Option<String>,
    /// For whom an encrypted ring is encrypted. age files do not tell, and the next one must be for the same.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    recipients: Vec<String>,
    keys: Vec<RawKey>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawKey {
    id: String,
    status: Status,
    created: String,
    activates: String,
    scheme: String,
    numbers: String,
    region: String,
    check: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    material: Option<Zeroizing<String>>,
}

impl RawKey {
    /// The key, or `None` with what is wrong with it added to `faults`. `at` is its place, from 0.
    fn check(&self, at: usize, known: Known, faults: &mut Vec<Fault>) -> Option<Key> {
        let Ok(id) = self.id.parse::<KeyId>() else {
            faults.push(Fault::KeyId { at });
            return None;
        };
        let before = faults.len();
        let mut wrong = |what| faults.push(Fault::Key { id, what });
        if self.scheme != SCHEME {
            wrong(KeyFault::Scheme);
        }
        if !known(&self.numbers, &self.region) {
            wrong(KeyFault::Numbering);
        }
        let created = self.created.parse::<Timestamp>();
        if created.is_err() {
            wrong(KeyFault::Created);
        }
        let activates = self.activates.parse::<Timestamp>();
        if activates.is_err() {
            wrong(KeyFault::Activates);
        }
        let check = Fingerprint::from_hex(&self.check);
        let material = self.material.as_deref().map(|text| decode_material(text));
        match &material {
            None if self.status == Status::Destroyed => {}
            Some(_) if self.status == Status::Destroyed => wrong(KeyFault::MaterialLeft),
            None => wrong(KeyFault::MaterialMissing),
            Some(None) => wrong(KeyFault::Material),
            Some(Some(material)) if check.is_some_and(|check| check != material.check()) => wrong(KeyFault::Check),
            Some(Some(_)) => {}
        }
        if check.is_none() {
            wrong(KeyFault::CheckForm);
        }
        if faults.len() > before {
            return None;
        }
        Some(Key {
            id,
            status: self.status,
            created: created.ok()?,
            activates: activates.ok()?,
            numbers: self.numbers.as_str().into(),
            region: self.region.as_str().into(),
            check: check?,
            material: material.flatten(),
        })
    }
}

fn decode_material(text: &str) -> Option<Material> {
    let mut bytes = Zeroizing::new([0; MATERIAL_BYTES]);
    let mut buffer = Zeroizing::new([0; MATERIAL_BYTES + 2]);
    // 64 bytes have two signs of padding, at the end alone; the decoder would take several padded texts for one.
    let is_padded = text.find('=') == text.len().checked_sub(2);
    if BASE64.decode_len(text.len()) != Ok(buffer.len()) || !is_padded {
        return None;
    }
    let decoded = BASE64.decode_mut(text.as_bytes(), &mut *buffer).ok()?;
    bytes.copy_from_slice(buffer.get(..decoded).filter(|_| decoded == MATERIAL_BYTES)?.get(..MATERIAL_BYTES)?);
    Some(Material::new(&bytes))
}

impl From<&Key> for RawKey {
    fn from(key: &Key) -> Self {
        Self {
            id: key.id.to_string(),
            status: key.status,
            created: key.created.to_string(),
            activates: key.activates.to_string(),
            scheme: SCHEME.to_owned(),
            numbers: key.numbers.to_string(),
            region: key.region.to_string(),
            check: key.check.to_string(),
            material: key.material.as_ref().map(|material| Zeroizing::new(BASE64.encode(material.expose()))),
        }
    }
}

/// Everything that is wrong with a ring file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faults(pub Vec<Fault>);

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, fault) in self.0.iter().enumerate() {
            let separator = if at == 0 { "" } else { "; " };
            write!(f, "{separator}{fault}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}

/// One thing that is wrong with a ring file.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// Not JSON, or not of a ring's shape from here on.
    NotARing {
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
    },
    /// `format` is not [`FORMAT`].
    Format,
    /// `ring` is not 32 lower-case hex digits.
    RingId,
    /// `generation` is 0 or above [`GENERATION_MAX`].
    Generation,
    /// `parent` is not 16 lower-case hex digits.
    Parent,
    /// The `id` of the key at this place, from 0, is none.
    KeyId {
        /// The place, from 0.
        at: usize,
    },
    /// Two keys have one id.
    DuplicateId(KeyId),
    /// No key is enabled, so none could be the primary.
    NoEnabledKey,
    /// Something is wrong with one key.
    Key {
        /// That key.
        id: KeyId,
        /// What is wrong with it.
        what: KeyFault,
    },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotARing { line, column } => write!(
                f,
                "not the JSON of a key ring: line {line}, column {column} (torn, or a field missing, unknown, repeated or of another type)"
            ),
            Self::Format => write!(f, "`format` is not \"{FORMAT}\""),
            Self::RingId => f.write_str("`ring` is not 32 lower-case hex digits"),
            Self::Generation => write!(f, "`generation` is not between 1 and {GENERATION_MAX}"),
            Self::Parent => f.write_str("`parent` is not 16 lower-case hex digits"),
            Self::KeyId { at } => {
                write!(f, "key number {}: `id` is not four lower-case hex digits other than 0000", at + 1)
            }
            Self::DuplicateId(id) => write!(f, "two keys have the id {id}"),
            Self::NoEnabledKey => f.write_str("no key is enabled"),
            Self::Key { id, what } => write!(f, "key {id}: {what}"),
        }
    }
}

/// What is wrong with one key of a ring file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyFault {
    /// `scheme` is not [`SCHEME`].
    Scheme,
    /// This program does not know its `numbers`, or the `region` there.
    Numbering,
    /// `created` is no RFC 3339 time.
    Created,
    /// `activates` is no RFC 3339 time.
    Activates,
    /// `check` is not 16 lower-case hex digits.
    CheckForm,
    /// `check` is not that of the material.
    Check,
    /// `material` is not the base64 of [`MATERIAL_BYTES`] bytes.
    Material,
    /// The key is not destroyed and has no `material`.
    MaterialMissing,
    /// The key is destroyed and has `material`.
    MaterialLeft,
}

impl fmt::Display for KeyFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Scheme => "this program does not know its `scheme`",
            Self::Numbering => "this program does not know its `numbers`, or the `region` there",
            Self::Created => "`created` is no RFC 3339 time",
            Self::Activates => "`activates` is no RFC 3339 time",
            Self::CheckForm => "`check` is not 16 lower-case hex digits",
            Self::Check => "`material` does not fit its `check`",
            Self::Material => "`material` is not 64 bytes in base64",
            Self::MaterialMissing => "`material` is missing",
            Self::MaterialLeft => "it is destroyed, and yet has `material`",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RING: RingId = RingId([0xab; 16]);

    /// A key of these bytes, over and over.
    fn key(id: &str, status: Status) -> Key {
        let id: KeyId = id.parse().expect("a key id");
        let material = Material::new(&[id.to_bytes()[0]; MATERIAL_BYTES]);
        let mut key = Key::new(id, material, (Timestamp::UNIX_EPOCH, Timestamp::UNIX_EPOCH), "rules", "CN");
        key.set_status(status);
        key
    }

    #[track_caller]
    fn check_faults(change: fn(&mut serde_json::Value), faults: &[Fault]) {
        let json = to_json(RING, 3, None, &[], &[key("3fa1", Status::Enabled), key("0b7e", Status::Destroyed)]);
        let mut value = serde_json::from_slice(&json).expect("it is JSON");
        change(&mut value);
        let known = |numbers: &str, region: &str| (numbers, region) == ("rules", "CN");
        let read = KeyRing::from_json(value.to_string().as_bytes(), known);
        assert_eq!(read.map(|_| ()).map_err(|faults| faults.0), Err(faults.to_vec()));
    }

    #[test]
    fn a_ring_is_refused_for_anything_wrong_in_it() {
        fn of(what: KeyFault) -> [Fault; 1] {
            [Fault::Key { id: "3fa1".parse().expect("a key id"), what }]
        }
        check_faults(|ring| ring["format"] = "callveil-keyring/2".into(), &[Fault::Format]);
        check_faults(|ring| ring["ring"] = "AB".repeat(16).into(), &[Fault::RingId]);
        check_faults(|ring| ring["generation"] = 0.into(), &[Fault::Generation]);
        check_faults(|ring| ring["generation"] = (GENERATION_MAX + 1).into(), &[Fault::Generation]);
        check_faults(|ring| ring["parent"] = "ab".into(), &[Fault::Parent]);
        check_faults(|ring| ring["keys"][0]["id"] = "0000".into(), &[Fault::KeyId { at: 0 }]);
        check_faults(|ring| ring["keys"][0]["scheme"] = "aes128-siv".into(), &of(KeyFault::Scheme));
        check_faults(|ring| ring["keys"][0]["numbers"] = "other".into(), &of(KeyFault::Numbering));
        check_faults(|ring| ring["keys"][0]["region"] = "XX".into(), &of(KeyFault::Numbering));
        check_faults(|ring| ring["keys"][0]["created"] = "yesterday".into(), &of(KeyFault::Created));
        check_faults(|ring| ring["keys"][0]["activates"] = "".into(), &of(KeyFault::Activates));
        check_faults(|ring| ring["keys"][0]["check"] = "0123456789abcdef".into(), &of(KeyFault::Check));
        check_faults(|ring| ring["keys"][0]["check"] = "0123".into(), &of(KeyFault::CheckForm));
        check_faults(|ring| ring["keys"][0]["material"] = BASE64.encode(&[1; 63]).into(), &of(KeyFault::Material));
        check_faults(|ring| ring["keys"][0]["material"] = BASE64.encode(&[1; 65]).into(), &of(KeyFault::Material));
        check_faults(|ring| ring["keys"][0]["material"] = "A".repeat(88).into(), &of(KeyFault::Material));
        check_faults(
            |ring| ring["keys"][0]["material"] = format!("{}Pz8/", BASE64.encode(&[0x3f; MATERIAL_BYTES - 3])).into(),
            &of(KeyFault::Material),
        );
        check_faults(|ring| ring["keys"][0]["material"] = serde_json::Value::Null, &of(KeyFault::MaterialMissing));
        check_faults(
            |ring| ring["keys"][0]["status"] = "destroyed".into(),
            &[of(KeyFault::MaterialLeft)[0].clone(), Fault::NoEnabledKey],
        );
        check_faults(|ring| ring["keys"][0]["status"] = "disabled".into(), &[Fault::NoEnabledKey]);
        check_faults(|ring| ring["keys"] = serde_json::json!([]), &[Fault::NoEnabledKey]);
        check_faults(
            |ring| {
                let copy = ring["keys"][0].clone();
                ring["keys"].as_array_mut().expect("an array").push(copy);
            },
            &[Fault::DuplicateId("3fa1".parse().expect("a key id"))],
        );
        check_faults(
            |ring| {
                ring["format"] = "".into();
                ring["keys"][0]["check"] = "".into();
                ring["keys"][1]["scheme"] = "".into();
            },
            &[
                Fault::Format,
                of(KeyFault::CheckForm)[0].clone(),
                Fault::Key { id: "0b7e".parse().expect("a key id"), what: KeyFault::Scheme },
            ],
        );
    }

    #[test]
    fn what_is_not_a_ring_is_told_by_its_place_alone() {
        let json = to_json(RING, 3, None, &[], &[key("3fa1", Status::Enabled)]);
        let text = str::from_utf8(&json).expect("JSON is UTF-8");
        let secret = BASE64.encode(&[0x3f; MATERIAL_BYTES]);
        for broken in [
            &text[..text.len() / 2],
            "",
            &text.replace("\"status\"", "\"statue\""),
            &text.replace("\"enabled\"", &format!("\"{secret}\"")),
            &text.replace("\"generation\": 3", &format!("\"generation\": \"{secret}\"")),
            &text.replace("\"generation\": 3", "\"generation\": 3, \"generation\": 3"),
            &text.replace("\"generation\": 3", "\"generation\": 3, \"more\": 1"),
            &format!("{text}x"),
        ] {
            let Err(faults) = KeyRing::from_json(broken.as_bytes(), |_, _| true) else { panic!("read {broken:?}") };
            assert!(matches!(faults.0[..], [Fault::NotARing { .. }]), "{faults}");
            assert!(!faults.to_string().contains(&secret[..8]), "{faults}");
        }
    }
}
