//! The result of each change of a ring, and what it refuses.

use super::{
    super::samples::{at, id, key, ring},
    *,
};

fn read(note: &[u8]) -> KeyRing {
    KeyRing::from_note(note, |_, _| true, &[]).expect("a change gives a valid ring")
}

/// The keys and their statuses.
fn statuses(ring: &KeyRing) -> Vec<(String, Status)> {
    ring.keys().iter().map(|key| (key.id.to_string(), key.status)).collect()
}

fn rotated(ring: &KeyRing, now: i64, activates: i64) -> Result<(KeyId, KeyRing), ChangeError> {
    let (id, revision) = rotate(ring, at(now), at(activates), "rules", "CN", Export::Never)?;
    Ok((id, read(&revision.next)))
}

#[test]
fn a_ring_begins_with_one_key_that_is_active() {
    let first = read(&init(at(7), "rules", "CN", &[], Export::Allowed).expect("random bytes"));
    let second = read(&init(at(7), "rules", "CN", &[], Export::Never).expect("random bytes"));
    assert_eq!((first.generation(), first.keys().len(), first.parent()), (1, 1, None));
    assert_eq!((first.keys()[0].activates, first.keys()[0].exportable), (at(7), true));
    assert!(!second.keys()[0].exportable && first.id() != second.id());
}

#[test]
fn a_rotation_adds_a_key_that_is_the_primary_later() {
    let before = ring(5, &[key("0001", Status::Enabled, 10)]);
    let (new, after) = rotated(&before, 20, 30).expect("it may be rotated");
    assert_eq!((after.generation(), after.parent()), (6, Some(before.hash())));
    assert_eq!(after.primary(at(29)).id, id("0001"));
    assert_eq!(after.primary(at(30)).id, new);
    assert!(before.check_successor(&after, at(20)).is_ok());
    assert!(matches!(rotated(&after, 21, 40), Err(ChangeError::Pending { id, .. }) if id == new));
    assert!(rotated(&after, 30, 40).is_ok(), "the one before is active");
    assert!(matches!(rotated(&before, 20, 19), Err(ChangeError::Past)));
    // On a tie, the key with the greater id would be the primary, so the new key activates a second later.
    let (new, after) = rotated(&before, 10, 10).expect("it may be rotated");
    assert_eq!(after.key(new).map(|key| key.activates), Some(at(11)));
}

#[test]
fn no_key_activates_after_the_end_of_the_calendar() {
    let last = Timestamp::MAX.as_second();
    let ring = ring(1, &[key("ffff", Status::Enabled, last)]);
    assert!(matches!(rotated(&ring, last, last), Err(ChangeError::TooFar)), "a tie might leave ffff the primary");
}

#[test]
fn no_generation_is_beyond_the_last() {
    let ring = ring(GENERATION_MAX, &[key("0001", Status::Enabled, 10), key("0002", Status::Enabled, 5)]);
    assert!(matches!(rotated(&ring, 20, 30), Err(ChangeError::GenerationsUsedUp)));
    assert!(matches!(disable(&ring, at(20), id("0002")), Err(ChangeError::GenerationsUsedUp)));
}

#[test]
fn a_key_that_others_need_is_not_disabled() {
    let before = ring(1, &[key("0001", Status::Enabled, 10), key("0002", Status::Enabled, 5)]);
    assert!(matches!(disable(&before, at(20), id("0001")), Err(ChangeError::Primary(_))));
    assert!(matches!(disable(&before, at(20), id("0003")), Err(ChangeError::NoSuchKey(_))));
    let after = read(&disable(&before, at(20), id("0002")).expect("it may be disabled").next);
    assert_eq!(after.key(id("0002")).and_then(|key| key.disabled), Some(at(20)));
    assert!(matches!(disable(&after, at(20), id("0001")), Err(ChangeError::LastEnabled(_))));
    assert!(matches!(disable(&after, at(20), id("0002")), Err(ChangeError::Status { .. })));
}

#[test]
fn a_key_is_enabled_with_a_lead_or_where_it_needs_none() {
    let keys = [key("0001", Status::Enabled, 10), key("0002", Status::Disabled, 5), key("0003", Status::Disabled, 15)];
    let before = ring(1, &keys);
    let after = read(&enable(&before, at(20), id("0002"), at(99)).expect("it may be enabled").next);
    assert_eq!(after.key(id("0002")).map(|key| (key.status, key.activates)), Some((Status::Enabled, at(5))));
    assert!(matches!(enable(&before, at(20), id("0003"), at(99)), Err(ChangeError::PrimaryAtOnce(_))));
    assert!(matches!(enable(&before, at(20), id("0001"), at(99)), Err(ChangeError::Status { .. })));
    // A key whose activation is ahead gets a new activation time.
    let after = read(&enable(&before, at(12), id("0003"), at(99)).expect("it may be enabled").next);
    assert_eq!(after.key(id("0003")).map(|key| (key.status, key.activates)), Some((Status::Enabled, at(99))));
}

#[test]
fn a_key_is_destroyed_after_a_week_here_and_in_the_ring_before() {
    let week = DISABLED_MIN.as_secs();
    let (enabled, mut old) = (key("0001", Status::Enabled, 10), key("0002", Status::Enabled, 5));
    old.disable(at(20));
    let before = ring(1, &[enabled, old]);
    let early = destroy(&before, at(19 + week), id("0002"), Haste::Wait);
    assert!(matches!(early, Err(ChangeError::Early { disabled: Some(since), .. }) if since == at(20)));
    assert!(destroy(&before, at(21), id("0002"), Haste::Early).is_ok());
    let Revision { next, previous } = destroy(&before, at(20 + week), id("0002"), Haste::Wait).expect("it is due");
    let Previous::Rewritten(previous) = previous else { panic!("the ring before still has the material") };
    for note in [next, previous] {
        assert_eq!(read(&note).key(id("0002")).map(|key| key.status), Some(Status::Destroyed));
    }
    assert!(matches!(destroy(&before, at(99), id("0001"), Haste::Early), Err(ChangeError::Status { .. })));
}

#[test]
fn of_two_copies_the_more_cautious_wins() {
    use Status::{Destroyed, Disabled, Enabled};
    let ours = ring(5, &[key("0001", Enabled, 10), key("0002", Enabled, 5), key("0003", Disabled, 5)]);
    let theirs =
        [key("0001", Enabled, 10), key("0002", Disabled, 5), key("0003", Destroyed, 5), key("0004", Enabled, 8)];
    let Merged { revision, added, changes } = merge(&ours, &ring(7, &theirs), at(20)).expect("they are copies");
    let joined = read(&revision.next);
    assert_eq!(joined.generation(), 8);
    let expected = [("0001", Enabled), ("0002", Disabled), ("0003", Destroyed), ("0004", Enabled)];
    assert_eq!(statuses(&joined), expected.map(|(id, status)| (id.to_owned(), status)));
    assert_eq!(added, [id("0004")]);
    assert!(changes.iter().all(StatusChange::closes) && changes.len() == 2);
    assert_eq!(changes[0].to_string(), "key 0002: enabled becomes disabled");
    let opens = |from, to| !StatusChange { id: id("0001"), from, to }.closes();
    assert!(opens(Disabled, Enabled) && opens(Disabled, Disabled));
    // A key destroyed in one copy is also removed from the previous ring.
    let Previous::Rewritten(previous) = revision.previous else { panic!("the ring before still has the material") };
    assert_eq!(read(&previous).key(id("0003")).map(|key| key.status), Some(Destroyed));

    assert!(matches!(merge(&ours, &ours, at(20)), Err(ChangeError::Same)));
    let other = read(&init(at(0), "rules", "CN", &[], Export::Never).expect("random bytes"));
    assert!(matches!(merge(&ours, &other, at(20)), Err(ChangeError::OtherRing)));
    let altered = ring(6, &[key("0001", Enabled, 11)]);
    assert!(matches!(merge(&ours, &altered, at(20)), Err(ChangeError::Altered(_))));
    // Of two activations ahead, the later one is kept.
    let joined = merge(&ours, &altered, at(9)).expect("neither is active yet");
    assert_eq!(read(&joined.revision.next).key(id("0001")).map(|key| key.activates), Some(at(11)));
}
