//! The reasons for refusing a ring, and who has signed it.

use serde_json::Value;

use super::{
    super::{
        key::Status,
        material::MATERIAL_BYTES,
        samples::{self, id, signer},
    },
    *,
};

/// The text and the signatures of a ring with these keys.
fn note(keys: &[Key]) -> (String, String) {
    let note = to_note(&signer(RING_NAME, 1), 3, None, &[], keys);
    let text = str::from_utf8(&note).expect("JSON is UTF-8");
    text.split_once("\n\n").map(|(text, lines)| (format!("{text}\n"), lines.to_owned())).expect("a note")
}

/// `text` with the signature of a ring.
fn signed(text: &str) -> String {
    format!("{text}\n{}", signer(RING_NAME, 1).line(text.as_bytes()))
}

fn read(note: &str, approvers: &[Verifier]) -> Result<KeyRing, Vec<Fault>> {
    KeyRing::from_note(note.as_bytes(), |numbers, region| (numbers, region) == ("rules", "CN"), approvers)
        .map_err(|faults| faults.0)
}

fn key(id: &str, status: Status) -> Key {
    samples::key(id, status, 0)
}

#[track_caller]
fn check_faults(change: fn(&mut Value), faults: &[Fault]) {
    let (text, _) = note(&[key("3fa1", Status::Enabled), key("0b7e", Status::Destroyed)]);
    let mut value = serde_json::from_str(&text).expect("it is JSON");
    change(&mut value);
    assert_eq!(read(&signed(&format!("{value}\n")), &[]).map(|_| ()), Err(faults.to_vec()));
}

#[test]
fn a_ring_is_refused_for_anything_wrong_in_it() {
    fn of(what: KeyFault) -> [Fault; 1] {
        [Fault::Key { id: id("3fa1"), what }]
    }
    check_faults(|ring| ring["format"] = "callveil-keyring/1".into(), &[Fault::Format]);
    check_faults(|ring| ring["ring"] = "AB".repeat(32).into(), &[Fault::RingId]);
    check_faults(|ring| ring["ring"] = "ab".repeat(32).into(), &[Fault::SigningKey, Fault::Signature]);
    check_faults(|ring| ring["signing_key"] = BASE64.encode(&[2; 32]).into(), &[Fault::SigningKey]);
    check_faults(|ring| ring["signing_key"] = BASE64.encode(&[1; 31]).into(), &[Fault::SigningKey]);
    check_faults(|ring| ring["generation"] = 0.into(), &[Fault::Generation]);
    check_faults(|ring| ring["generation"] = 9_007_199_254_740_992_u64.into(), &[Fault::Generation]);
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
    check_faults(|ring| ring["keys"][0]["material"] = Value::Null, &of(KeyFault::MaterialMissing));
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
        &[Fault::DuplicateId(id("3fa1"))],
    );
    check_faults(
        |ring| {
            ring["format"] = "".into();
            ring["keys"][0]["check"] = "".into();
            ring["keys"][1]["scheme"] = "".into();
        },
        &[Fault::Format, of(KeyFault::CheckForm)[0].clone(), Fault::Key { id: id("0b7e"), what: KeyFault::Scheme }],
    );
}

/// Growing would leave secrets behind.
#[test]
fn a_note_never_grows_in_its_buffer() {
    for (recipients, keys) in [(0, 1), (1, 1), (3, 2), (300, 1), (0, 500)] {
        let recipients = vec!["r".repeat(62); recipients];
        let keys: Vec<Key> =
            (1..=keys).map(|id| samples::key(&format!("{id:04x}"), Status::Disabled, 253_402_207_200)).collect();
        let note = to_note(&signer(RING_NAME, 1), GENERATION_MAX, Some(Fingerprint::of(b"")), &recipients, &keys);
        assert_eq!(note.capacity(), 1024 + recipients.len() * (62 + 16) + keys.len() * 1024);
    }
}

#[test]
fn faults_in_words() {
    let faults =
        vec![Fault::NoEnabledKey, Fault::Key { id: id("3fa1"), what: KeyFault::Check }, Fault::KeyId { at: 1 }];
    assert_eq!(
        Faults(faults).to_string(),
        "no key is enabled; key 3fa1: `material` does not fit its `check`; key number 2: `id` is not four lower-case hex digits other than 0000"
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
        let Err(faults) = read(&signed(&format!("{}\n", broken.trim_end())), &[]) else { panic!("read {broken:?}") };
        assert!(matches!(faults[..], [Fault::NotARing { .. }]), "{faults:?}");
        let words = Faults(faults).to_string();
        assert!(words.starts_with("not the JSON of a key ring: line ") && !words.contains(&secret[..8]), "{words}");
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
    // Without that approver configured, the signature is only a name. The same name with another key approves nothing.
    let unknown = [read(&approved, &[]), read(&approved, &[eve.verifier().clone()])];
    for ring in unknown {
        let ring = ring.expect("a ring");
        assert_eq!((names(ring.approvals()), names(ring.claims())), (vec![], vec!["alice".to_owned()]));
    }
    // A line with any bit altered approves nothing. A note with a line twice is not a ring.
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
