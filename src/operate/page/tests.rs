//! Small samples of both pages, as files that people can open. After a change of the look, `CALLVEIL_RENEW=1 cargo test
//! --lib page::` writes them anew, and `git diff` shows what changed.

use std::{fs, path::Path};

use jiff::Timestamp;

use super::{
    Answer, AuditFigures, ClientFigures, Fleet, FleetKey, KeyFigures, Lag, LimitUse, Replica, RingFigures, Span, fleet,
    is_page, replica,
};
use crate::{keyring::key::KeyState, lately::Lately};

#[track_caller]
fn check(name: &str, page: &str) {
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/pages")).join(name);
    if std::env::var_os("CALLVEIL_RENEW").is_some() {
        fs::write(&path, page).expect("the folder is there");
    }
    let agreed = fs::read_to_string(&path).expect("a page");
    let differs = page.lines().zip(agreed.lines()).find(|(new, old)| new != old);
    assert!(agreed == page, "{name} is not as it was: {differs:?}");
    assert!(is_page(page.as_bytes()));
}

fn at(time: &str) -> Timestamp {
    time.parse().expect("a time")
}

fn keys() -> [Span; 3] {
    let span = |id: &str, state, created, activates| Span {
        id: id.to_owned(),
        state,
        created: at(created),
        activates: at(activates),
        retired: None,
    };
    let mut old = span("c402", KeyState::Disabled, "2025-06-01T00:00:00Z", "2025-06-02T00:00:00Z");
    old.retired = Some(at("2026-10-01T00:00:00Z"));
    [
        span("3fa1", KeyState::Primary, "2026-09-01T00:00:00Z", "2026-09-02T00:00:00Z"),
        span("0b7e", KeyState::Pending, "2026-11-26T00:00:00Z", "2026-11-29T04:00:00Z"),
        old,
    ]
}

fn a_replica() -> Replica {
    let lately = Lately { hour: 12, day: 3456 };
    let key =
        |span: Span| KeyFigures { span, lately, opened: 1_234_567, last_opened: Some(at("2026-11-27T00:59:59Z")) };
    let limits = vec![
        LimitUse { what: "detokenize a minute".to_owned(), used: 1, of: 60_000 },
        LimitUse { what: "detokenize a day".to_owned(), used: 1_000_000, of: 1_200_000 },
    ];
    let client = |name: &str, limits| ClientFigures {
        name: name.to_owned(),
        context: "default".to_owned(),
        lately,
        by_key: vec![("c402".to_owned(), Lately { hour: 0, day: 6 }), ("3fa1".to_owned(), lately)],
        limited: 0,
        limits,
    };
    Replica {
        now: at("2026-11-27T01:00:00Z"),
        version: "0.0.0",
        instance: "0123456789abcdef".to_owned(),
        started: at("2026-11-24T00:30:00Z"),
        lack: None,
        connections: (3, 10_000),
        resident_bytes: Some(24 << 20),
        certificate_expires: Some(at("2026-12-01T00:00:00Z")),
        failed_logins: (2, 1),
        refused: vec![("configuration", "callveil.toml: `<clients>` & more".to_owned())],
        awaits: Some("of 2 approvals it has 1".to_owned()),
        reload_failures: 1,
        is_reload_stuck: true,
        ring: RingFigures {
            ring: "e25908c5ddc2ee61c8598d357988a47e5e1e2c9231379326d919f2b306286524".to_owned(),
            hash: "26916f0fb924e90e".to_owned(),
            generation: 3,
            since: Some(at("2026-11-26T00:00:02Z")),
            recipients: 2,
            keys: keys().map(key).into(),
        },
        audit: AuditFigures {
            lines: 4321,
            hash: "696eca8e665e4fe68edba911a1f8fbb4".to_owned(),
            told: 4300,
            queued: (1, 8192),
            dropped: 5,
            is_stuck: true,
        },
        clients: vec![client("crm <b>", limits), client("ccc", Vec::new())],
    }
}

#[test]
fn the_page_of_a_replica_is_what_was_agreed() {
    check("replica.html", &replica(&a_replica()));
}

#[test]
fn the_page_of_all_replicas_is_what_was_agreed() {
    let answer = |generation, lag| Answer {
        instance: "0123456789abcdef".to_owned(),
        started: at("2026-11-24T00:30:00Z"),
        generation,
        hash: "26916f0fb924e90e".to_owned(),
        primary: "3fa1".to_owned(),
        lag,
        refused: None,
        awaits: None,
        clock_ahead: None,
    };
    let refuses = Answer { refused: Some("not a <ring>".to_owned()), ..answer(2, Lag::Apart) };
    let awaits = Answer { awaits: Some("approvals".to_owned()), clock_ahead: Some(-7), ..answer(2, Lag::OtherRing) };
    let all = Fleet {
        now: at("2026-11-27T01:00:00Z"),
        version: "0.0.0",
        answers: vec![
            ("http://10.0.0.7:9640/".to_owned(), Ok(answer(3, Lag::None))),
            ("http://10.0.0.8:9640/".to_owned(), Ok(answer(1, Lag::Behind(2)))),
            ("http://10.0.0.9:9640/".to_owned(), Ok(refuses)),
            ("http://10.0.0.10:9640/".to_owned(), Ok(awaits)),
            ("http://10.0.0.11:9640/".to_owned(), Err("it answers <401>".to_owned())),
        ],
        problems: vec!["the replicas have not all the same generation of the ring".to_owned()],
        notes: vec!["key c402 may be disabled".to_owned()],
        ring: Some(("e25908c5".to_owned(), 3, "26916f0fb924e90e".to_owned())),
        keys: keys()
            .map(|span| FleetKey {
                missing_on: if span.state == KeyState::Pending {
                    vec!["http://10.0.0.8:9640/".to_owned(); 7]
                } else {
                    Vec::new()
                },
                span,
                opened: 12,
                last_opened: Some(at("2026-11-27T00:59:59Z")),
            })
            .into(),
    };
    check("fleet.html", &fleet(&all));
}

/// Each list is bounded, however many entries there are and however long they are.
#[test]
fn pages_have_a_bound() {
    let (mut big, long) = (a_replica(), "<".repeat(100_000));
    big.ring.keys = vec![big.ring.keys[0].clone(); 5000];
    big.ring.keys.iter_mut().for_each(|key| key.span.id = long.clone());
    big.clients = vec![big.clients[0].clone(); 5000];
    for client in &mut big.clients {
        client.name = "<".repeat(64);
        client.by_key = vec![client.by_key[0].clone(); 5000];
    }
    big.refused = vec![("configuration", long.clone()); 3];
    let page = replica(&big);
    assert!(page.len() < 512 * 1024, "{}", page.len());
    for left_out in ["4,960 keys more", "4,900 clients more", "4,960 limits more", "and 4988 more"] {
        assert!(page.contains(left_out), "{left_out}");
    }
}
