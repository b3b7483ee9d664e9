//! The ring file: any bytes are a ring or faults that quote nothing, a ring that was touched is none, and what the `keys`
//! commands make of a ring is a ring that may follow it.

use std::collections::HashSet;

use callveil::{
    ids::KeyId,
    keyring::{
        FORMAT, GENERATION_MAX, KeyRing, RING_NAME,
        fault::Faults,
        json::with_line,
        key::{Key, Status},
        note::{KEY_BYTES, Name, Note, Signer},
        rotation::{self, ChangeError, DISABLED_MIN, Export, Haste, Previous, Revision},
    },
    phone::NUMBERS_NEWEST,
    tokenizer,
};
use data_encoding::{BASE64, HEXLOWER};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::{MARKER, pick};

/// An integer that no message has for a reason of its own.
const NUMBER_MARKER: u64 = 7_770_001_777_123;

/// Keys that each change is tried on.
const KEYS_MAX: usize = 6;

/// An approver, whose signature is on every other ring.
fn approver() -> Signer {
    Signer::new(Name::new("approver").expect("a name"), &[2; KEY_BYTES])
}

/// Ours: `ring` in the format of today, named and signed by a key that everybody here knows.
pub fn signed(mut ring: Value) -> Vec<u8> {
    let signer = Signer::new(Name::new(RING_NAME).expect("a name"), &[1; KEY_BYTES]);
    if let Some(ring) = ring.as_object_mut() {
        ring.insert("format".to_owned(), FORMAT.into());
        ring.insert("ring".to_owned(), HEXLOWER.encode(signer.verifier().key()).into());
        ring.insert("signing_key".to_owned(), BASE64.encode(signer.seed()).into());
    }
    note(&format!("{ring}\n"), &signer)
}

fn note(text: &str, signer: &Signer) -> Vec<u8> {
    format!("{text}\n{}", signer.line(text.as_bytes())).into_bytes()
}

fn read(note: &[u8]) -> Result<KeyRing, Faults> {
    KeyRing::from_note(note, tokenizer::supports, &[approver().verifier().clone()])
}

/// `data` is a ring file, or the text of one.
pub fn check(data: &[u8]) {
    if let Ok(ring) = read(data) {
        check_ring(&ring, data);
        check_signatures(data);
    }
    check_torn(data);
    let text = match Note::parse(data) {
        Some(note) => note.text,
        None => data,
    };
    let Ok(value) = serde_json::from_slice::<Value>(text) else { return };
    check_quiet(&value, data);
    // Nearly no change to a text would otherwise get beyond its signature, nor one to a key's material beyond its check.
    for value in [value.clone(), mended(value)] {
        let signed = signed(value);
        if let Ok(ring) = read(&signed) {
            check_ring(&ring, &signed);
            check_signatures(&signed);
        }
    }
}

/// A ring with one byte of it changed is none, and one more signature is one more, once.
fn check_signatures(ring: &[u8]) {
    let mut changed = ring.to_vec();
    let at = pick(ring, changed.len());
    changed[at] ^= 1 << (at % 8);
    // A line of somebody unknown may say anything.
    let own = Note::parse(ring).is_some_and(|note| note.lines().len() == 1);
    assert!(!own || read(&changed).is_err(), "byte {at}");
    let Some(more) = with_line(ring, &approver()) else { return };
    let (before, after) = (read(ring).expect("it was read"), read(&more).expect("it is signed once more"));
    assert_eq!((before.hash(), before.approvals().len() + 1), (after.hash(), after.approvals().len()));
    assert!(with_line(&more, &approver()).is_none());
}

/// With the marker put somewhere, as it is, and in a text that is signed.
fn check_torn(data: &[u8]) {
    let signer = Signer::new(Name::new(RING_NAME).expect("a name"), &[1; KEY_BYTES]);
    let (before, after) = data.split_at(pick(data, data.len() + 1));
    for marker in [MARKER.to_owned(), format!("\"{MARKER}\""), format!("\"{MARKER}\":"), format!("{NUMBER_MARKER}")] {
        let torn = [before, marker.as_bytes(), after].concat();
        let text = String::from_utf8_lossy(&torn);
        for torn in [&*torn, &note(&format!("{}\n", text.trim_end()), &signer)] {
            if let Err(faults) = read(torn) {
                check_message(&faults);
            }
        }
    }
}

fn check_message(faults: &Faults) {
    let message = faults.to_string();
    assert!(!message.contains(MARKER) && !message.contains(&NUMBER_MARKER.to_string()), "{message}");
}

/// With the marker instead of one of the values.
fn check_quiet(value: &Value, data: &[u8]) {
    fn leaves<'v>(value: &'v mut Value, found: &mut Vec<&'v mut Value>) {
        match value {
            Value::Object(fields) => fields.values_mut().for_each(|value| leaves(value, found)),
            Value::Array(values) => values.iter_mut().for_each(|value| leaves(value, found)),
            _ => found.push(value),
        }
    }
    let signer = Signer::new(Name::new(RING_NAME).expect("a name"), &[1; KEY_BYTES]);
    for marker in [Value::from(MARKER), Value::from(NUMBER_MARKER), Value::from(vec![MARKER])] {
        let mut value = value.clone();
        let mut found = Vec::new();
        leaves(&mut value, &mut found);
        let at = pick(data, found.len());
        if let Some(leaf) = found.into_iter().nth(at) {
            *leaf = marker;
        }
        if let Err(faults) = read(&note(&format!("{value}\n"), &signer)) {
            check_message(&faults);
        }
    }
}

/// `ring` with the check of each key that its material has.
fn mended(mut ring: Value) -> Value {
    for key in ring.get_mut("keys").and_then(Value::as_array_mut).into_iter().flatten() {
        let material = key.get("material").and_then(Value::as_str).and_then(|text| BASE64.decode(text.as_bytes()).ok());
        if let (Some(material), Some(check)) = (material, key.get_mut("check")) {
            *check = HEXLOWER.encode(&Sha256::digest(material)[..8]).into();
        }
    }
    ring
}

fn check_ring(ring: &KeyRing, note: &[u8]) {
    let text = Note::parse(note).expect("what was read is a note").text;
    let value: Value = serde_json::from_slice(text).expect("what was read is JSON");
    assert_eq!(value["ring"], ring.id().to_string());
    assert_eq!(value["generation"], ring.generation());
    assert!((1..=GENERATION_MAX).contains(&ring.generation()));
    assert_eq!(ring.hash().to_string(), HEXLOWER.encode(&Sha256::digest(text)[..8]));
    let keys = value["keys"].as_array().expect("an array");
    assert_eq!(keys.len(), ring.keys().len());
    for (value, key) in keys.iter().zip(ring.keys()) {
        assert_eq!(value["id"], key.id.to_string());
        assert_eq!(value["status"], key.status.to_string());
        let exposed = key.material().map(|material| BASE64.encode(material.expose()));
        let enabled = key.status == Status::Enabled;
        assert_eq!(exposed.as_deref(), value["material"].as_str().filter(|_| enabled));
        assert!(ring.key(key.id).is_some_and(|found| found.check == key.check), "ids do not repeat");
    }
    let at: Timestamp = "2026-11-24T00:00:00Z".parse().expect("a time");
    let mut times = vec![at];
    times.extend(ring.keys().iter().take(KEYS_MAX).map(|key| key.activates));
    for now in times {
        check_primary(ring, now);
        check_changes(ring, now);
    }
}

/// Section 4.3: the enabled key with the latest activation that is not ahead, the greatest id on a tie; if there is none,
/// the one with the earliest activation.
fn check_primary(ring: &KeyRing, now: Timestamp) {
    let enabled = || ring.keys().iter().filter(|key| key.status == Status::Enabled);
    let active = enabled().filter(|key| key.activates <= now).max_by_key(|key| (key.activates, key.id));
    let first = enabled().map(|key| key.activates).min().expect("a ring has an enabled key");
    let earliest = enabled().filter(|key| key.activates == first).max_by_key(|key| key.id);
    assert!(active.or(earliest).is_some_and(|key| key.id == ring.primary(now).id));
    let mut newest: Vec<&Key> = enabled().collect();
    newest.sort_by_key(|key| std::cmp::Reverse((key.activates, key.id)));
    assert!(ring.enabled_newest_first().map(|key| key.id).eq(newest.iter().map(|key| key.id)));
    let pending: HashSet<KeyId> = enabled().filter(|key| key.activates > now).map(|key| key.id).collect();
    assert_eq!(ring.pending(now).map(|key| key.id).collect::<HashSet<_>>(), pending);
}

/// All that the `keys` commands do.
fn check_changes(ring: &KeyRing, now: Timestamp) {
    let ahead = now.checked_add(SignedDuration::from_mins(90)).unwrap_or(Timestamp::MAX);
    for activates in [now, ahead] {
        check_rotation(ring, now, activates);
    }
    assert!(ring.keys().len() > 1 || rotation::disable(ring, now, ring.keys()[0].id).is_err());
    for key in ring.keys().iter().take(KEYS_MAX) {
        let enabled = rotation::enable(ring, now, key.id, ahead);
        assert!(enabled.is_err() || key.status == Status::Disabled);
        if let Some(next) = accepted(ring, now, enabled) {
            assert_eq!(next.primary(now).id, ring.primary(now).id, "enabling changes nothing at once");
            check_merge(ring, &next, now);
        }
        let disabled = rotation::disable(ring, now, key.id);
        assert!(disabled.is_err() || key.status == Status::Enabled);
        if let Some(next) = accepted(ring, now, disabled) {
            assert_eq!(next.primary(now).id, ring.primary(now).id, "the primary stays");
            check_merge(ring, &next, now);
        }
        let may_be_destroyed = key.status == Status::Disabled && ring.generation() < GENERATION_MAX;
        let waited = key.disabled.is_some_and(|since| now.duration_since(since) >= DISABLED_MIN);
        let due = rotation::destroy(ring, now, key.id, Haste::Wait);
        assert_eq!(due.is_ok(), may_be_destroyed && waited);
        let destroyed = rotation::destroy(ring, now, key.id, Haste::Early);
        assert_eq!(destroyed.is_ok(), may_be_destroyed);
        if let Some(next) = accepted(ring, now, destroyed) {
            assert_eq!(next.key(key.id).map(|key| key.status), Some(Status::Destroyed));
            check_merge(ring, &next, now);
        }
    }
    let recipients = [MARKER.to_owned()];
    if let Some(next) = accepted(ring, now, rotation::set_recipients(ring, &recipients)) {
        assert_eq!(next.recipients(), recipients);
    }
}

fn check_rotation(ring: &KeyRing, now: Timestamp, activates: Timestamp) {
    let Ok((id, revision)) = rotation::rotate(ring, now, activates, NUMBERS_NEWEST, "CN", Export::Never) else {
        let calendar_ends = now.checked_add(SignedDuration::from_secs(1)).is_err();
        let may_fail = calendar_ends || ring.pending(now).next().is_some() || ring.generation() == GENERATION_MAX;
        assert!(may_fail, "a ring with nothing ahead rotates");
        return;
    };
    let next = accepted(ring, now, Ok(revision)).expect("it is a revision");
    let new = next.key(id).expect("the new key");
    assert!(ring.key(id).is_none() && new.status == Status::Enabled);
    let before = new.activates.checked_sub(SignedDuration::from_nanos(1)).unwrap_or(Timestamp::MIN);
    assert_eq!(next.primary(new.activates).id, id);
    assert_eq!(next.primary(before).id, ring.primary(before).id, "until then nothing changes");
    check_merge(ring, &next, now);
}

/// What one ring and a later one of its kind join to follows both, whichever of them is at hand.
fn check_merge(ring: &KeyRing, later: &KeyRing, now: Timestamp) {
    for (ours, theirs) in [(ring, later), (later, ring)] {
        let merged = rotation::merge(ours, theirs, now).map(|merged| merged.revision);
        let Some(next) = accepted(ours, now, merged) else { continue };
        assert_eq!(theirs.check_successor(&next, now), Ok(()));
    }
}

/// The ring that a revision makes of `ring`, which must be one that may follow it.
fn accepted(ring: &KeyRing, now: Timestamp, revision: Result<Revision, ChangeError>) -> Option<KeyRing> {
    let Ok(Revision { next, previous }) = revision else { return None };
    let next = read(&next).expect("a change makes a ring");
    assert_eq!(ring.check_successor(&next, now), Ok(()));
    assert!(next.generation() > ring.generation());
    if let Previous::Rewritten(previous) = previous {
        let previous = read(&previous).expect("what is kept is a ring");
        assert_eq!(previous.generation(), ring.generation());
        let gone = |key: &Key| next.key(key.id).is_some_and(|key| key.status == Status::Destroyed);
        assert!(previous.keys().iter().all(|key| !gone(key) || key.status == Status::Destroyed));
    }
    Some(next)
}
