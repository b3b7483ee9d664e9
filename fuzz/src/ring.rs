//! The ring file: any bytes are a ring or faults that quote nothing, and what the `keys` commands make of a ring is a
//! ring that may follow it.

use std::collections::HashSet;

use callveil::{
    ids::KeyId,
    keyring::{
        GENERATION_MAX, Key, KeyRing, Status,
        json::{Fault, Faults},
        rotation::{self, ChangeError, Previous, Revision},
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

/// `data` is a ring file.
pub fn check(data: &[u8]) {
    let read = KeyRing::from_json(data, tokenizer::knows);
    check_torn(data);
    let Ok(value) = serde_json::from_slice::<Value>(data) else {
        let Err(Faults(faults)) = read else { panic!("no JSON was read as a ring") };
        assert!(matches!(faults[..], [Fault::NotARing { .. }]));
        return;
    };
    check_quiet(&value, data);
    if let Ok(ring) = read {
        check_ring(&ring, data);
    }
    // Nearly no change to a key's material would otherwise get beyond its check.
    let mended = mended(value).to_string();
    if let Ok(ring) = KeyRing::from_json(mended.as_bytes(), tokenizer::knows) {
        check_ring(&ring, mended.as_bytes());
    }
}

/// With the marker put somewhere.
fn check_torn(data: &[u8]) {
    let (before, after) = data.split_at(pick(data, data.len() + 1));
    for marker in [MARKER.to_owned(), format!("\"{MARKER}\""), format!("\"{MARKER}\":"), format!("{NUMBER_MARKER}")] {
        if let Err(faults) = KeyRing::from_json(&[before, marker.as_bytes(), after].concat(), tokenizer::knows) {
            check_message(&faults);
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
    for marker in [Value::from(MARKER), Value::from(NUMBER_MARKER), Value::from(vec![MARKER])] {
        let mut value = value.clone();
        let mut found = Vec::new();
        leaves(&mut value, &mut found);
        let at = pick(data, found.len());
        if let Some(leaf) = found.into_iter().nth(at) {
            *leaf = marker;
        }
        if let Err(faults) = KeyRing::from_json(value.to_string().as_bytes(), tokenizer::knows) {
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

fn check_ring(ring: &KeyRing, json: &[u8]) {
    let value: Value = serde_json::from_slice(json).expect("what was read is JSON");
    assert_eq!(value["ring"], ring.ring().to_string());
    assert_eq!(value["generation"], ring.generation());
    assert!((1..=GENERATION_MAX).contains(&ring.generation()));
    assert_eq!(ring.hash().to_string(), HEXLOWER.encode(&Sha256::digest(json)[..8]));
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

/// SPEC 4: the enabled key with the latest activation that is not ahead, the greatest id on a tie; if there is none, the
/// one with the earliest activation.
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
        let destroyed = rotation::destroy(ring, key.id);
        assert_eq!(destroyed.is_ok(), key.status == Status::Disabled && ring.generation() < GENERATION_MAX);
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
    let Ok((id, revision)) = rotation::rotate(ring, now, activates, NUMBERS_NEWEST, "CN") else {
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
        let Some(next) = accepted(ours, now, rotation::merge(ours, theirs, now)) else { continue };
        assert_eq!(theirs.check_successor(&next, now), Ok(()));
    }
}

/// The ring that a revision makes of `ring`, which must be one that may follow it.
fn accepted(ring: &KeyRing, now: Timestamp, revision: Result<Revision, ChangeError>) -> Option<KeyRing> {
    let Ok(Revision { next, previous }) = revision else { return None };
    let next = KeyRing::from_json(&next, tokenizer::knows).expect("a change makes a ring");
    assert_eq!(ring.check_successor(&next, now), Ok(()));
    assert!(next.generation() > ring.generation());
    if let Previous::Rewritten(previous) = previous {
        let previous = KeyRing::from_json(&previous, tokenizer::knows).expect("what is kept is a ring");
        assert_eq!(previous.generation(), ring.generation());
        let gone = |key: &Key| next.key(key.id).is_some_and(|key| key.status == Status::Destroyed);
        assert!(previous.keys().iter().all(|key| !gone(key) || key.status == Status::Destroyed));
    }
    Some(next)
}
