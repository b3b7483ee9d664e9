//! The ring on disk through crashes and crowds.

use std::{
    fs,
    process::Stdio,
    time::{Duration, Instant},
};

use callveil::{keyring::KeyRing, tokenizer};
use serde_json::Value;

use crate::support::{Folder, callveil, run, sha256_hex};

/// Kills a rotation at a moment that differs each time, from before it does anything to after it is done.
#[test]
fn a_killed_rotation_leaves_the_old_ring_or_the_new_one() {
    const KILLS: u32 = 200;
    let folder = Folder::new();
    let old = fs::read_to_string(folder.ring()).unwrap();
    let rotate = || {
        callveil()
            .args(["keys", "rotate"])
            .current_dir(folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    };
    let started = Instant::now();
    assert!(rotate().wait().unwrap().success());
    let whole = started.elapsed().max(Duration::from_millis(2));
    let mut new = 0;
    for kill in 0..KILLS {
        fs::write(folder.ring(), &old).unwrap();
        let mut child = rotate();
        let moment = Instant::now() + whole * 2 * kill / KILLS;
        while Instant::now() < moment {
            std::hint::spin_loop();
        }
        let _ = child.kill();
        child.wait().unwrap();
        let found = fs::read_to_string(folder.ring()).unwrap();
        let ring = KeyRing::from_json(found.as_bytes(), tokenizer::knows).expect("the ring loads");
        if found != old {
            let json: Value = serde_json::from_str(&found).unwrap();
            assert_eq!((ring.generation(), &json["parent"]), (2, &sha256_hex(&old)[..16].into()));
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
    assert_eq!(left.len(), 3, "the ring, its lock, and the one before: {left:?}");
}

#[test]
fn writers_in_a_crowd_lose_no_update() {
    let folder = Folder::new();
    let rotate = |_| {
        callveil()
            .args(["keys", "rotate"])
            .current_dir(folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    };
    let crowd: Vec<_> = (0..20).map(rotate).collect();
    let done =
        crowd.into_iter().filter_map(|mut child| child.wait().ok()).filter(std::process::ExitStatus::success).count();
    let ring: Value = serde_json::from_slice(&fs::read(folder.ring()).unwrap()).unwrap();
    // One rotation at a time: the others found a pending key, and said so.
    assert_eq!((done, &ring["generation"], ring["keys"].as_array().unwrap().len()), (1, &2.into(), 2));
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
