//! SIGTERM: requests in progress are answered, and nobody can keep the process alive beyond its deadline.

use std::{io::BufRead as _, time::Duration};

use serde_json::json;

use crate::support::{Folder, PASSWORD, Server, USER, basic, post};

#[test]
fn requests_under_way_are_answered() {
    let mut server = Server::start(&Folder::new(), "[limits]\ndrain_delay_seconds = 0", "");
    let request = post(&basic(USER, PASSWORD), &json!({"Numbers": ["13988888888"], "Mode": "PhoneToUID"}).to_string());
    let (first, rest) = request.split_at(request.len() - 10);
    let mut begun: Vec<_> = (0..50).map(|_| server.connect()).collect();
    for http in &mut begun {
        http.write(first);
    }
    // A connection that was accepted after them all shows that they were, too.
    assert_eq!(server.call("PhoneToUID", &[])["Code"], 0);
    server.signal("TERM");
    server.wait_for("draining");
    for http in &mut begun {
        http.write(rest);
        assert_eq!(http.read().json()["Code"], 0);
        assert!(http.is_over());
    }
    assert_eq!(server.wait(), Some(0));
    assert!(std::net::TcpStream::connect(server.address).is_err());
}

#[test]
fn connections_are_taken_until_the_delay_is_over() {
    let mut server = Server::start(&Folder::new(), "[limits]\ndrain_delay_seconds = 3600", "");
    let mut old = server.connect();
    assert_eq!(old.post(r#"{"Numbers":[],"Mode":"PhoneToUID"}"#).header("connection"), None);
    server.signal("TERM");
    server.wait_for("shutting down: still taking connections");
    assert_eq!(server.admin_get("/readyz").status, 503);
    for http in [&mut old, &mut server.connect()] {
        let answer = http.post(r#"{"Numbers":[],"Mode":"PhoneToUID"}"#);
        assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
        assert!(http.is_over());
    }
    server.signal("INT");
    assert_eq!(server.wait(), Some(0));
}

/// To one who stops reading for longer than idle connections wait before they rest: it is not idle.
#[test]
fn an_answer_arrives_whole_however_slowly_it_is_read() {
    let limits = "[limits]\ndrain_delay_seconds = 0\nnumbers = 40000\nbody_bytes = 8000000";
    let mut server = Server::start(&Folder::new(), limits, "");
    let texts: Vec<_> = (0..40_000).map(|at| format!("x{at:0120}")).collect();
    let call = post(&basic(USER, PASSWORD), &json!({"Numbers": texts, "Mode": "PhoneToUID"}).to_string());
    let mut readers: Vec<_> = (0..2).map(|_| server.connect()).collect();
    for reader in &mut readers {
        reader.write(&call);
        // It is under way, and the pause is the reader's.
        assert_eq!(reader.0.fill_buf().unwrap().first(), Some(&b'H'));
    }
    std::thread::sleep(Duration::from_millis(300));
    let answer = readers.pop().unwrap().read();
    assert!(answer.body.len() > 10_000_000, "more than the kernel holds at once");
    assert_eq!(answer.json()["Results"].as_array().unwrap().len(), texts.len());
    server.signal("TERM");
    server.wait_for("draining");
    assert_eq!(readers.pop().unwrap().read().json()["Results"].as_array().unwrap().len(), texts.len());
    assert_eq!(server.wait(), Some(0));
}

#[test]
fn a_stuck_client_does_not_hold_it() {
    let limits = "[limits]\ndrain_delay_seconds = 0\ndrain_seconds = 1\nrequest_seconds = 3600\nheader_seconds = 3600";
    let mut server = Server::start(&Folder::new(), limits, "");
    let mut stuck = server.connect();
    stuck.write(&post(&basic(USER, PASSWORD), "{}")[..80]);
    assert_eq!(server.call("PhoneToUID", &[])["Code"], 0);
    server.signal("TERM");
    server.wait_for("the drain time is over: cut the remaining connections");
    assert_eq!(server.wait(), Some(0));
    assert!(stuck.is_over());
}
