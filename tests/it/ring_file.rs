//! The ring on disk through crashes and concurrent commands.

use std::{
    fs,
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use callveil::{
    keyring::{
        KeyRing,
        key::Status,
        rotation::{self, Export},
    },
    phone::NUMBERS_NEWEST,
    tokenizer,
};
use jiff::{SignedDuration, Timestamp};

use crate::{
    rings,
    support::{Folder, callveil, run, sha256_hex},
};

/// Starts a rotation.
fn rotate(folder: &Folder) -> Child {
    let mut command = callveil();
    command.args(["keys", "rotate"]).current_dir(folder.path()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().unwrap()
}

/// Kills a rotation at a moment that differs each time, from before it does anything to after it is done.
#[test]
fn a_killed_rotation_leaves_the_old_ring_or_the_new_one() {
    const KILLS: u32 = 200;
    let folder = Folder::new();
    let old = fs::read_to_string(folder.ring()).unwrap();
    let started = Instant::now();
    assert!(rotate(&folder).wait().unwrap().success());
    let whole = started.elapsed().max(Duration::from_millis(2));
    let mut new = 0;
    for kill in 0..KILLS {
        fs::write(folder.ring(), &old).unwrap();
        let mut child = rotate(&folder);
        let moment = Instant::now() + whole * 2 * kill / KILLS;
        while Instant::now() < moment {
            std::hint::spin_loop();
        }
        let _ = child.kill();
        child.wait().unwrap();
        let found = fs::read_to_string(folder.ring()).unwrap();
        let ring = KeyRing::from_note(found.as_bytes(), tokenizer::supports, &[]).expect("the ring loads");
        if found != old {
            let parent = ring.parent().expect("it was made of one").to_string();
            assert_eq!((ring.generation(), &*parent), (2, &sha256_hex(rings::text(old.as_bytes()))[..16]));
            new += 1;
        }
        // And the next command finds nothing in its way.
        if kill % 20 == 0 {
            assert!(run(folder.path(), &["keys", "verify"]).status.success());
        }
    }
    assert!(new > 0, "no rotation ever got as far as the new ring");
    fs::write(folder.ring(), &old).unwrap();
    assert!(run(folder.path(), &["keys", "rotate"]).status.success());
    let left: Vec<_> =
        fs::read_dir(folder.path().join("keys")).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert_eq!(left.len(), 4, "the ring, its lock, the one before, and the record of all that: {left:?}");
}

#[test]
fn writers_in_a_crowd_lose_no_update() {
    let folder = Folder::new();
    let crowd: Vec<_> = (0..20).map(|_| rotate(&folder)).collect();
    let done =
        crowd.into_iter().filter_map(|mut child| child.wait().ok()).filter(std::process::ExitStatus::success).count();
    let ring = rings::read(&folder.ring());
    // One rotation at a time: the others found a pending key, and said so.
    assert_eq!((done, &ring["generation"], ring["keys"].as_array().unwrap().len()), (1, &2.into(), 2));
}

#[test]
fn writers_in_a_crowd_lose_none_of_their_updates() {
    const WRITERS: usize = 20;
    let folder = Folder::new();
    let read = || KeyRing::from_note(&fs::read(folder.ring()).unwrap(), tokenizer::supports, &[]).unwrap();
    let mut ring = read();
    let begin = Timestamp::now();
    // As if they were made one after another, in the hours to come.
    for key in 1..25 {
        let now = begin + SignedDuration::from_hours(key);
        let (_, revision) = rotation::rotate(&ring, now, now, NUMBERS_NEWEST, "CN", Export::Never).unwrap();
        fs::write(folder.ring(), &revision.next).unwrap();
        ring = read();
    }
    let with = |ring: &KeyRing, status| {
        let keys = ring.keys().iter().filter(|key| key.status == status);
        keys.map(|key| key.id.to_string()).collect::<Vec<_>>()
    };
    // The first key is the only one that is active already, and so the primary, which cannot be disabled.
    let chosen = with(&ring, Status::Enabled)[1..=WRITERS].to_vec();
    let disable = |id: &String| {
        let mut command = callveil();
        command.args(["keys", "disable", id]).current_dir(folder.path());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let crowd: Vec<_> = chosen.iter().map(disable).collect();
    for writer in crowd {
        let output = writer.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let after = read();
    assert_eq!(after.generation(), ring.generation() + 20);
    assert_eq!((with(&after, Status::Disabled), after.keys().len()), (chosen, 25));
}

#[test]
fn a_folder_that_cannot_be_written_leaves_the_ring_as_it_was() {
    let folder = Folder::new();
    let old = fs::read(folder.ring()).unwrap();
    // A directory in the place of the new file stands in for a disk that refuses: permissions do not stop root.
    fs::create_dir_all(folder.path().join("keys/keyring.json.new/x")).unwrap();
    let output = run(folder.path(), &["keys", "rotate"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("cannot write"));
    assert_eq!(fs::read(folder.ring()).unwrap(), old);
}
