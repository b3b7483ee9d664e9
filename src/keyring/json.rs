//! The plain ring: a signed note, whose text is JSON, to a valid ring, and back. A ring is refused as a whole when
//! anything in it is wrong, and all that is wrong is told at once.

use std::collections::HashSet;

use data_encoding::BASE64;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{
    FORMAT, Fingerprint, GENERATION_MAX, Key, KeyRing, Known, Material, RING_NAME, RingId, SCHEME, Status,
    decode_base64,
    fault::{Fault, Faults, KeyFault},
    note::{self, Name, Note, Signer, Verifier},
};
use crate::ids::KeyId;

impl KeyRing {
    /// Reads a plain ring, and which of `approvers` have signed it.
    ///
    /// # Errors
    /// [`Faults`]: everything that is wrong with it.
    pub fn from_note(note: &[u8], known: Known, approvers: &[Verifier]) -> Result<Self, Faults> {
        let note = Note::parse(note).ok_or_else(|| Faults(vec![Fault::NotANote]))?;
        let raw: RawRing = serde_json::from_slice(note.text).map_err(|error| {
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
        let parent = raw.parent.as_deref().and_then(Fingerprint::from_hex);
        if raw.parent.is_some() && parent.is_none() {
            faults.push(Fault::Parent);
        }
        let signer = ring.and_then(|ring| raw.signer(ring, &mut faults));
        if let Some(ring) = ring {
            check_signature(&note, ring, &mut faults);
        }
        let approvals = check_approvals(&note, approvers, &mut faults);
        let keys: Vec<Key> =
            raw.keys.iter().enumerate().filter_map(|(at, raw)| raw.check(at, known, &mut faults)).collect();
        let mut seen = HashSet::new();
        let ids = raw.keys.iter().filter_map(|key| key.id.parse::<KeyId>().ok());
        faults.extend(ids.filter(|id| !seen.insert(*id)).map(Fault::DuplicateId));
        if !raw.keys.iter().any(|key| key.status == Status::Enabled) {
            faults.push(Fault::NoEnabledKey);
        }
        match signer {
            Some(signer) if faults.is_empty() => {
                let hash = Fingerprint::of(note.text);
                let names = note.lines().iter().map(note::Line::name);
                let claims = names.filter(|name| name.as_str() != RING_NAME && !approvals.contains(name)).cloned();
                let (recipients, claims) = (raw.recipients, claims.collect());
                Ok(Self { parent, recipients, approvals, claims, ..Self::assemble(signer, raw.generation, hash, keys) })
            }
            _ => Err(Faults(faults)),
        }
    }
}

/// The ring signs itself once, and no other key does under its name.
fn check_signature(note: &Note<'_>, ring: RingId, faults: &mut Vec<Fault>) {
    let is_signed = note.is_signed_by(&Verifier::new(ring_name(), ring.0)) == Some(true);
    if !is_signed || note.lines().iter().filter(|line| line.name().as_str() == RING_NAME).count() > 1 {
        faults.push(Fault::Signature);
    }
}

/// The names of those who have signed it. A line of theirs that does not fit is a fault, and no line is none.
fn check_approvals(note: &Note<'_>, approvers: &[Verifier], faults: &mut Vec<Fault>) -> Vec<Name> {
    let mut approvals = Vec::new();
    for approver in approvers {
        match note.is_signed_by(approver) {
            None => {}
            Some(true) => approvals.push(approver.name().clone()),
            Some(false) => faults.push(Fault::Approval(approver.name().clone())),
        }
    }
    approvals
}

pub(super) fn ring_name() -> Name {
    Name::new(RING_NAME).expect("it is printable and short")
}

/// The signed note of a ring.
pub(super) fn to_note(
    signer: &Signer,
    generation: u64,
    parent: Option<Fingerprint>,
    recipients: &[String],
    keys: &[Key],
) -> Zeroizing<Vec<u8>> {
    let raw = RawRing {
        format: FORMAT.to_owned(),
        ring: RingId(*signer.verifier().key()).to_string(),
        // Exposed because every copy of the ring holds it: who can open a ring may write it.
        signing_key: Zeroizing::new(BASE64.encode(signer.seed())),
        generation,
        parent: parent.map(|parent| parent.to_string()),
        recipients: recipients.to_vec(),
        keys: keys.iter().map(RawKey::from).collect(),
    };
    // Large enough that it never grows: a buffer that grew would leave its secrets behind, unwiped.
    let recipients: usize = recipients.iter().map(|recipient| recipient.len() + 16).sum();
    let capacity = 1024 + recipients + 1024 * keys.len();
    let mut note = Zeroizing::new(Vec::with_capacity(capacity));
    serde_json::to_writer_pretty(&mut *note, &raw).expect("strings and numbers go into a buffer");
    note.push(b'\n');
    let line = signer.line(&note);
    note.push(b'\n');
    note.extend_from_slice(line.as_bytes());
    note
}

/// `note` with a line of `signer` added to it; `None` where it has signed it already.
pub fn with_line(note: &[u8], signer: &Signer) -> Option<Zeroizing<Vec<u8>>> {
    let parsed = Note::parse(note).filter(|note| note.is_signed_by(signer.verifier()).is_none())?;
    let line = signer.line(parsed.text);
    Some(Zeroizing::new([note, line.as_bytes()].concat()))
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRing {
    format: String,
    ring: String,
    signing_key: Zeroizing<String>,
    generation: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    parent: Option<String>,
    /// For whom an encrypted ring is encrypted. age files do not tell, and the next one must be for the same.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    recipients: Vec<String>,
    keys: Vec<RawKey>,
}

impl RawRing {
    /// The key that signs this ring, or `None` with a fault.
    fn signer(&self, ring: RingId, faults: &mut Vec<Fault>) -> Option<Signer> {
        let signer = decode_base64(&self.signing_key).map(|seed| Signer::new(ring_name(), &seed));
        let signer = signer.filter(|signer| *signer.verifier().key() == ring.0);
        if signer.is_none() {
            faults.push(Fault::SigningKey);
        }
        signer
    }
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
    disabled: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    exportable: bool,
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
        let disabled = self.disabled.as_ref().map(|time| time.parse::<Timestamp>()).transpose();
        if disabled.is_err() {
            wrong(KeyFault::Disabled);
        }
        let check = Fingerprint::from_hex(&self.check);
        let decode = |text: &Zeroizing<String>| decode_base64(text).map(|bytes| Material::new(&bytes));
        let material = self.material.as_ref().map(decode);
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
            disabled: disabled.ok()?,
            exportable: self.exportable,
            material: material.flatten(),
        })
    }
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
            disabled: key.disabled.map(|time| time.to_string()),
            exportable: key.exportable,
            material: key.material.as_ref().map(|material| Zeroizing::new(BASE64.encode(material.expose()))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{MATERIAL_BYTES, note::KEY_BYTES},
        *,
    };

    fn signer(name: &str, byte: u8) -> Signer {
        Signer::new(Name::new(name).expect("a name"), &[byte; KEY_BYTES])
    }

    /// The ring of these keys, as its text and its signatures.
    fn note(keys: &[Key]) -> (String, String) {
        let note = to_note(&signer(RING_NAME, 1), 3, None, &[], keys);
        let text = str::from_utf8(&note).expect("JSON is UTF-8");
        text.split_once("\n\n").map(|(text, lines)| (format!("{text}\n"), lines.to_owned())).expect("a note")
    }

    /// `text`, signed as a ring signs itself.
    fn signed(text: &str) -> String {
        format!("{text}\n{}", signer(RING_NAME, 1).line(text.as_bytes()))
    }

    fn read(note: &str, approvers: &[Verifier]) -> Result<KeyRing, Vec<Fault>> {
        KeyRing::from_note(note.as_bytes(), |numbers, region| (numbers, region) == ("rules", "CN"), approvers)
            .map_err(|faults| faults.0)
    }

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
        let (text, _) = note(&[key("3fa1", Status::Enabled), key("0b7e", Status::Destroyed)]);
        let mut value = serde_json::from_str(&text).expect("it is JSON");
        change(&mut value);
        assert_eq!(read(&signed(&format!("{value}\n")), &[]).map(|_| ()), Err(faults.to_vec()));
    }

    #[test]
    fn a_ring_is_refused_for_anything_wrong_in_it() {
        fn of(what: KeyFault) -> [Fault; 1] {
            [Fault::Key { id: "3fa1".parse().expect("a key id"), what }]
        }
        check_faults(|ring| ring["format"] = "callveil-keyring/1".into(), &[Fault::Format]);
        check_faults(|ring| ring["ring"] = "AB".repeat(32).into(), &[Fault::RingId]);
        check_faults(|ring| ring["ring"] = "ab".repeat(32).into(), &[Fault::SigningKey, Fault::Signature]);
        check_faults(|ring| ring["signing_key"] = BASE64.encode(&[2; 32]).into(), &[Fault::SigningKey]);
        check_faults(|ring| ring["signing_key"] = BASE64.encode(&[1; 31]).into(), &[Fault::SigningKey]);
        check_faults(|ring| ring["generation"] = 0.into(), &[Fault::Generation]);
        check_faults(|ring| ring["generation"] = (GENERATION_MAX + 1).into(), &[Fault::Generation]);
        check_faults(|ring| ring["parent"] = "ab".into(), &[Fault::Parent]);
        check_faults(|ring| ring["keys"][0]["id"] = "0000".into(), &[Fault::KeyId { at: 0 }]);
        check_faults(|ring| ring["keys"][0]["scheme"] = "aes128-siv".into(), &of(KeyFault::Scheme));
        check_faults(|ring| ring["keys"][0]["numbers"] = "other".into(), &of(KeyFault::Numbering));
        check_faults(|ring| ring["keys"][0]["region"] = "XX".into(), &of(KeyFault::Numbering));
        check_faults(|ring| ring["keys"][0]["created"] = "yesterday".into(), &of(KeyFault::Created));
        check_faults(|ring| ring["keys"][0]["activates"] = "".into(), &of(KeyFault::Activates));
        check_faults(|ring| ring["keys"][0]["disabled"] = "once".into(), &of(KeyFault::Disabled));
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
        let (text, _) = note(&[key("3fa1", Status::Enabled)]);
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
            let Err(faults) = read(&signed(&format!("{}\n", broken.trim_end())), &[]) else {
                panic!("read {broken:?}")
            };
            assert!(matches!(faults[..], [Fault::NotARing { .. }]), "{faults:?}");
            assert!(!Faults(faults).to_string().contains(&secret[..8]));
            assert!(matches!(read(broken, &[]), Err(faults) if faults == [Fault::NotANote]));
        }
    }

    #[test]
    fn nobody_alters_a_ring_who_cannot_open_it() {
        let (text, line) = note(&[key("3fa1", Status::Enabled)]);
        let whole = format!("{text}\n{line}");
        assert!(read(&whole, &[]).is_ok());
        let mut flipped = whole.clone().into_bytes();
        for at in 0..flipped.len() * 8 {
            flipped[at / 8] ^= 1 << (at % 8);
            assert!(KeyRing::from_note(&flipped, |_, _| true, &[]).is_err(), "bit {at}");
            flipped[at / 8] ^= 1 << (at % 8);
        }
        let stranger = signer(RING_NAME, 2).line(text.as_bytes());
        for lines in [stranger.clone(), format!("{line}{stranger}"), signer("alice", 1).line(text.as_bytes())] {
            assert!(matches!(read(&format!("{text}\n{lines}"), &[]), Err(faults) if faults == [Fault::Signature]));
        }
        for lines in ["", &format!("{line}{line}"), &format!("{line}x\n"), &line[..line.len() - 2]] {
            assert!(matches!(read(&format!("{text}\n{lines}"), &[]), Err(faults) if faults == [Fault::NotANote]));
        }
    }

    #[test]
    fn approvals_belong_to_no_generation_and_are_those_of_approvers() {
        let (text, line) = note(&[key("3fa1", Status::Enabled)]);
        let (alice, bob, eve) = (signer("alice", 5), signer("bob", 6), signer("alice", 7));
        let approvers = [alice.verifier().clone(), bob.verifier().clone()];
        let plain = format!("{text}\n{line}");
        let approved = with_line(plain.as_bytes(), &alice).expect("it is the first of hers");
        assert!(with_line(&approved, &alice).is_none());
        let approved = str::from_utf8(&approved).expect("it is UTF-8").to_owned();
        let names = |names: &[Name]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        let (Ok(before), Ok(after)) = (read(&plain, &approvers), read(&approved, &approvers)) else {
            panic!("both are rings")
        };
        assert_eq!(before.hash(), after.hash());
        assert_eq!((names(before.approvals()), names(after.approvals())), (vec![], vec!["alice".to_owned()]));
        // To those who know no approvers it is a name; the same name of another key is nobody's approval.
        let unknown = [read(&approved, &[]), read(&approved, &[eve.verifier().clone()])];
        for ring in unknown {
            let ring = ring.expect("a ring");
            assert_eq!((names(ring.approvals()), names(ring.claims())), (vec![], vec!["alice".to_owned()]));
        }
        // Whatever is altered of a line, it approves nothing any more; and a line twice is no ring.
        let mut flipped = approved.clone().into_bytes();
        for at in plain.len() * 8..flipped.len() * 8 {
            flipped[at / 8] ^= 1 << (at % 8);
            let read = KeyRing::from_note(&flipped, |_, _| true, &approvers);
            assert!(read.is_err() || read.is_ok_and(|ring| ring.approvals().is_empty()), "bit {at}");
            flipped[at / 8] ^= 1 << (at % 8);
        }
        let wrong = alice.line(b"another text");
        let fault = Fault::Approval(alice.verifier().name().clone());
        assert!(matches!(read(&format!("{plain}{wrong}"), &approvers), Err(faults) if faults == [fault]));
        let hers = &approved[plain.len()..];
        assert!(matches!(read(&format!("{approved}{hers}"), &approvers), Err(faults) if faults == [Fault::NotANote]));
    }
}
