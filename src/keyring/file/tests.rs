//! The reasons for refusing a ring file, and what a change leaves on disk. `tests/it/crashes.rs` tests crashes in
//! between.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
};

use jiff::Timestamp;
use tempfile::TempDir;

use super::*;
use crate::{
    disk::{exposure::Exposure, with_suffix},
    keyring::{
        note::{Name, Signer},
        rotation::{self, ChangeError, Export, Haste},
    },
};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("a small number of seconds")
}

fn init() -> Zeroizing<Vec<u8>> {
    rotation::init(at(0), "rules", "CN", &[], Export::Never).expect("random bytes")
}

/// A folder, and the file of a ring in it that does not exist yet.
fn place() -> (TempDir, RingFile) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = RingFile::new(folder.path().join("ring.json"), FileMode::Guarded, |_, _| true, None);
    (folder, file)
}

fn rotate(file: &RingFile) -> Result<KeyRing, RingFileError> {
    let change = |ring: &KeyRing, now| rotation::rotate(ring, now, now, "rules", "CN", Export::Never);
    Ok(file.update(|| at(99), change)?.0)
}

#[test]
fn a_ring_is_made_once() {
    let (_folder, file) = place();
    let made = file.create(&init()).expect("there is none");
    assert_eq!(file.read().expect("it is there").hash(), made.hash());
    assert!(matches!(file.create(&init()), Err(RingFileError::Exists { .. })));
    rotate(&file).expect("it may be rotated");
    fs::remove_file(file.path()).expect("it was there");
    assert!(matches!(file.create(&init()), Err(RingFileError::PreviousLeft { .. })), "the last copy of some keys");
    assert!(matches!(file.read(), Err(RingFileError::Io { .. })));
}

#[test]
fn a_change_keeps_the_ring_before_and_the_mode() {
    let (_folder, file) = place();
    let before = file.create(&init()).expect("there is none");
    fs::set_permissions(file.path(), Permissions::from_mode(0o640)).expect("it is ours");
    let after = rotate(&file).expect("it may be rotated");
    let previous = with_suffix(file.path(), ".previous");
    assert_eq!(file.read_other(&previous).expect("it is kept").hash(), before.hash());
    assert_eq!((file.read().expect("it is there").hash(), after.generation()), (after.hash(), 2));
    let mode = |path: &Path| fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
    assert_eq!((mode(file.path()), mode(&previous)), (0o640, 0o640));
    assert!(COMPANIONS[3..].iter().all(|new| !with_suffix(file.path(), new).exists()));
    // After a change that destroys a key, no file has its material.
    let old = before.keys()[0].id;
    let disable = |ring: &KeyRing, now| Ok(((), rotation::disable(ring, now, old)?));
    file.update(|| at(100), disable).expect("it may be disabled");
    let destroy = |ring: &KeyRing, now| Ok(((), rotation::destroy(ring, now, old, Haste::Early)?));
    file.update(|| at(101), destroy).expect("it may be destroyed");
    for path in [file.path(), &*previous] {
        let ring = file.read_other(path).expect("it is a ring");
        assert!(ring.key(old).is_some_and(|key| key.material().is_none()));
    }
}

#[test]
fn a_refused_change_leaves_the_file_as_it_was() {
    let (_folder, file) = place();
    let ring = file.create(&init()).expect("there is none");
    let content = fs::read(file.path()).expect("it is there");
    let only = ring.keys()[0].id;
    let disable = |ring: &KeyRing, now| Ok(((), rotation::disable(ring, now, only)?));
    let refused = file.update(|| at(99), disable);
    assert!(matches!(refused, Err(RingFileError::Change(ChangeError::LastEnabled(_)))));
    assert_eq!(fs::read(file.path()).expect("it is there"), content);
    // A change must not turn the ring into another ring.
    let other = |_: &KeyRing, _| Ok(((), rotation::Revision { next: init(), previous: rotation::Previous::AsItWas }));
    assert!(matches!(file.update(|| at(99), other), Err(RingFileError::Successor(_))));
    assert_eq!(fs::read(file.path()).expect("it is there"), content);
}

#[test]
fn a_ring_that_others_can_reach_is_refused() {
    let (folder, file) = place();
    file.create(&init()).expect("there is none");
    fs::set_permissions(file.path(), Permissions::from_mode(0o604)).expect("it is ours");
    let exposed = |file: &RingFile| match file.read() {
        Err(RingFileError::Exposed { how, .. }) => Some(how),
        read => read.map(|_| None).expect("nothing else is wrong"),
    };
    assert_eq!(exposed(&file), Some(Exposure::Open(0o604)));
    fs::set_permissions(file.path(), Permissions::from_mode(0o600)).expect("it is ours");
    assert_eq!(exposed(&file), None);
    fs::set_permissions(folder.path(), Permissions::from_mode(0o777)).expect("it is ours");
    assert_eq!(exposed(&file), Some(Exposure::Replaceable));
    let any = RingFile::new(file.path(), FileMode::Any, |_, _| true, None);
    assert_eq!(exposed(&any), None);
}

#[test]
fn a_file_is_read_again_only_where_its_content_is_another() {
    let (_folder, file) = place();
    file.create(&init()).expect("there is none");
    let Ok(Some((_, hash))) = file.read_if_other_than(None) else { panic!("a ring is other than none") };
    assert!(matches!(file.read_if_other_than(Some(hash)), Ok(None)));
    fs::write(file.path(), "no ring").expect("it is ours");
    let Err(refused) = file.read_if_other_than(Some(hash)) else { panic!("it is no ring") };
    assert!(refused.content.is_some_and(|content| content != hash));
    // Permissions may change while the content stays the same, so the file is looked at again.
    fs::set_permissions(file.path(), Permissions::from_mode(0o666)).expect("it is ours");
    let Err(refused) = file.read_if_other_than(Some(hash)) else { panic!("others can reach it") };
    assert!(refused.content.is_none());
}

#[test]
fn an_approver_signs_what_was_shown() {
    let (_folder, file) = place();
    let shown = file.create(&init()).expect("there is none");
    let alice = Signer::new(Name::new("alice").expect("a name"), &[5; 32]);
    let signed = file.approve(&alice, shown.hash()).expect("it is as it was shown");
    assert_eq!((signed.hash(), signed.generation()), (shown.hash(), 1));
    let again = file.approve(&alice, shown.hash());
    assert!(matches!(again, Err(RingFileError::Change(ChangeError::Approved))));
    rotate(&file).expect("it may be rotated");
    assert!(matches!(file.approve(&alice, shown.hash()), Err(RingFileError::Change(ChangeError::Moved))));
}
