//! Rings forged by somebody who can write or send the ring's file but cannot open it. The forger knows what `keys list`
//! shows and the recipients, which are no secret. Nobody accepts such a ring.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use callveil::keyring::{
    RING_NAME,
    note::{KEY_BYTES, Name, Signer},
    recipient::Recipient,
    sealed::seal,
};
use data_encoding::{BASE64, HEXLOWER};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::{
    rings,
    support::{Folder, Server, run},
};

const FORGED: &str = "the signature \"callveil-ring\" is wrong: the ring was altered by somebody who cannot open it";

/// An encrypted ring with one key, its recipient, and the output of `keys list`.
fn sealed() -> (Folder, String, Value) {
    let identity = age::x25519::Identity::generate();
    let recipient = identity.to_public().to_string();
    let folder = Folder::made_with(&["--recipient", &recipient]);
    use age::secrecy::ExposeSecret as _;
    publish(&folder.path().join("identity"), identity.to_string().expose_secret().as_bytes());
    let list = run(folder.path(), &["keys", "list", "--json", "--identity", "identity"]);
    (folder, recipient, serde_json::from_slice(&list.stdout).unwrap())
}

fn publish(path: &Path, content: &[u8]) {
    let new = path.with_extension("published");
    fs::write(&new, content).unwrap();
    fs::set_permissions(&new, fs::Permissions::from_mode(0o600)).unwrap();
    fs::rename(new, path).unwrap();
}

/// The next generation, with all keys destroyed except one that the forger knows. `ring` is the ring's id in it.
fn forge(listed: &Value, recipient: &str, forger: &Signer, ring: &str) -> Vec<u8> {
    let mut keys: Vec<Value> = listed["keys"].as_array().unwrap().clone();
    for key in &mut keys {
        *key = json!({
            "id": key["id"], "status": "destroyed", "created": key["created"], "activates": key["activates"],
            "scheme": "aes256-siv", "numbers": key["numbers"], "region": key["region"], "check": key["check"],
        });
    }
    let material = [9; 64];
    keys.push(json!({
        "id": "0666", "status": "enabled", "created": "2026-01-01T00:00:00Z", "activates": "2026-01-01T00:00:00Z",
        "scheme": "aes256-siv", "numbers": keys[0]["numbers"], "region": "CN",
        "check": &HEXLOWER.encode(&Sha256::digest(material))[..16], "material": BASE64.encode(&material),
    }));
    let generation = listed["generation"].as_u64().unwrap() + 1;
    let text = json!({
        "format": "callveil-keyring/2", "ring": ring, "signing_key": BASE64.encode(forger.seed()),
        "generation": generation, "recipients": [recipient], "keys": keys,
    });
    let note = rings::signed_text(&format!("{text}\n"));
    seal(&note, &[Recipient::parse(recipient).unwrap()]).unwrap()
}

#[test]
fn a_ring_of_somebody_who_cannot_open_it_is_taken_by_nobody() {
    let (folder, recipient, listed) = sealed();
    let ring = listed["ring"].as_str().unwrap();
    let forger = Signer::new(Name::new(RING_NAME).unwrap(), &[6; KEY_BYTES]);
    let own = HEXLOWER.encode(forger.verifier().key());
    // One that bears the ring's name, and one that is honestly his.
    let (forged, stranger) = (forge(&listed, &recipient, &forger, ring), forge(&listed, &recipient, &forger, &own));
    let top = format!("identity = \"identity\"\nring_id = \"{ring}\"\nmin_generation = 1");
    let server = Server::start(&folder, &top, "");
    let uid = server.values("PhoneToUID", &["13988888888"]).remove(0);
    let good = fs::read(folder.ring()).unwrap();
    for (file, says) in [(&forged, FORGED), (&stranger, "is refused: it is another ring")] {
        publish(&folder.ring(), file);
        let reason = server.wait_for("keeping the key ring in use")["reason"].as_str().unwrap().to_owned();
        assert!(reason.contains(says), "{reason}");
        assert_eq!(server.admin_get("/readyz").json()["keyring_refused"], *reason);
        assert_eq!(server.values("UIDToPhone", &[&uid]), ["008613988888888"]);
        let replica = format!("http://{}", server.admin);
        check(&folder, &["keys", "check", &replica], 1, &["refused the file that it has now", says]);
        // A backup that somebody else has made is that: it stands in the ring's place.
        for command in [&["keys", "verify"][..], &["keys", "rotate"], &["keys", "list"], &["serve"]] {
            let says = if *file == forged { says } else { "`ring_id`: the key ring is another one" };
            check(&folder, &[command, &["--config", "callveil.toml"]].concat(), 78, &[says]);
        }
        assert_eq!(fs::read(folder.ring()).unwrap(), **file);
    }
    publish(&folder.ring(), &good);
    for (file, code, says) in
        [(&forged, 78, "`signing_key` is not the one"), (&stranger, 1, "the other file is of another ring")]
    {
        publish(&folder.path().join("theirs.json"), file);
        check(&folder, &["keys", "merge", "theirs.json", "--identity", "identity", "--yes"], code, &[says]);
        assert_eq!(fs::read(folder.ring()).unwrap(), good);
    }
    // With no pin, a start cannot tell a ring that is honestly another one, and says so.
    let warned = run(folder.path(), &["keys", "init", "--keyring", "new.json"]);
    let told = String::from_utf8_lossy(&warned.stdout).into_owned();
    assert!(told.contains("\nring_id = \""), "{told}");
    drop(server);
    let unpinned = Server::start(&folder, "identity = \"identity\"", "");
    let pin = unpinned.wait_for("not pinned: a start takes any key ring; set this `ring_id` in the configuration");
    assert_eq!(pin["ring_id"], ring);
}

/// A file on disk, not only what is parsed of it: a bit here and there, and each signature line.
#[test]
fn a_plain_ring_that_was_touched_is_refused() {
    let folder = Folder::new();
    let good = fs::read(folder.ring()).unwrap();
    let text = String::from_utf8(good.clone()).unwrap();
    let line = &text[rings::text(&good).len() + 1..];
    let refused = |content: &[u8]| {
        publish(&folder.ring(), content);
        check(&folder, &["keys", "verify"], 78, &["is refused"]);
        check(&folder, &["keys", "rotate"], 78, &["is refused"]);
        assert_eq!(fs::read(folder.ring()).unwrap(), content);
    };
    for place in 0..40 {
        let at = place * (good.len() - 1) / 39;
        let mut flipped = good.clone();
        flipped[at] ^= 1 << (place % 8);
        refused(&flipped);
    }
    refused(rings::text(&good).as_bytes());
    refused(format!("{text}{line}").as_bytes());
    refused(text.replace("callveil-ring", "callveil-rong").as_bytes());
    let other = Signer::new(Name::new(RING_NAME).unwrap(), &[6; KEY_BYTES]).line(rings::text(&good).as_bytes());
    refused(format!("{text}{other}").as_bytes());
    refused(text.replace(line, &other).as_bytes());
    publish(&folder.ring(), &good);
    check(&folder, &["keys", "verify"], 0, &[]);
}

#[track_caller]
fn check(folder: &Folder, args: &[&str], code: i32, says: &[&str]) {
    let output = run(folder.path(), args);
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{args:?}: {out}\n{err}");
    let told = format!("{out}{err}");
    assert!(says.iter().all(|says| told.contains(says)), "{args:?}: {told}");
}
