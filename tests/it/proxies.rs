//! Behind a trusted proxy, the address that it names is the one that counts. Also, each client's limits per minute.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::{Answer, Folder, Http, PASSWORD, Server, USER, basic, post, sha256_hex};

/// The tests act as the proxy: they connect from these addresses.
const TRUSTED: &str = "trusted_proxies = [\"127.0.0.0/8\"]";

/// Failed logins that one address may have in a minute.
const FAILURES: usize = 100;

fn call(numbers: usize, mode: &str) -> String {
    let numbers: Vec<String> = (0..numbers).map(|at| format!("139{at:08}")).collect();
    json!({"Numbers": numbers, "Mode": mode}).to_string()
}

/// A call as the proxy forwards it.
fn forwarded(forwarded: &str, password: &str) -> String {
    let request = post(&basic(USER, password), &call(1, "PhoneToUID"));
    request.replacen("\r\n", &format!("\r\nx-forwarded-for: {forwarded}\r\n"), 1)
}

fn status(server: &Server, address: &str, password: &str) -> u16 {
    server.connect().send(forwarded(address, password)).status
}

/// Checks that `Retry-After` is true: after that time, a minute has passed since `counted`. This is the earliest time
/// at which the event that must be forgotten may have been counted.
#[track_caller]
fn check_retry_after(answer: &Answer, counted: Instant) {
    assert_eq!((answer.status, &answer.json()["Code"]), (429, &json!(429)), "{answer:?}");
    let seconds: u64 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=60).contains(&seconds), "{seconds}");
    assert!(Instant::now() + Duration::from_secs(seconds) >= counted + Duration::from_secs(60), "{seconds}");
}

#[test]
fn failed_logins_are_counted_for_whom_the_proxy_speaks() {
    let server = Server::start(&Folder::new(), TRUSTED, "");
    let before = Instant::now();
    for _ in 0..FAILURES {
        assert_eq!(status(&server, "203.0.113.7", "wrong"), 401);
    }
    let over = server.connect().send(forwarded("203.0.113.7", "wrong"));
    check_retry_after(&over, before);
    // What the peer itself wrote in front of it is only its word.
    assert_eq!(status(&server, "198.51.100.1, 203.0.113.7", "wrong"), 429);
    // A second proxy of ours behind the first, a port, and IPv4 written as IPv6: the same peer.
    assert_eq!(status(&server, "203.0.113.7, 127.0.0.2", "wrong"), 429);
    assert_eq!(status(&server, "203.0.113.7:4711", "wrong"), 429);
    assert_eq!(status(&server, "::ffff:203.0.113.7", "wrong"), 429);
    // Its neighbours and the proxy itself are not it.
    assert_eq!(status(&server, "203.0.113.8", "wrong"), 401);
    assert_eq!(status(&server, "203.0.113.7, 203.0.113.8", "wrong"), 401);
    assert_eq!(server.connect().send(post(&basic(USER, "wrong"), "")).status, 401);
    // And good credentials are good from anywhere.
    assert_eq!(status(&server, "203.0.113.7", PASSWORD), 200);
}

#[test]
fn a_header_of_a_stranger_changes_nothing() {
    for top in ["", "trusted_proxies = [\"10.0.0.0/8\"]"] {
        let server = Server::start(&Folder::new(), top, "");
        for at in 0..FAILURES {
            assert_eq!(status(&server, &format!("203.0.113.{at}"), "wrong"), 401, "{at}");
        }
        assert_eq!(status(&server, "198.51.100.1", "wrong"), 429);
        assert_eq!(server.connect().send(post(&basic(USER, "wrong"), "")).status, 429);
        assert_eq!(status(&server, "198.51.100.1", PASSWORD), 200);
    }
}

/// Begins a request whose body is still to come. `100 Continue` shows that it is in progress.
fn begin(server: &Server, address: &str) -> (Http, String) {
    let (mut http, body) = (server.connect(), call(1, "PhoneToUID"));
    let request = forwarded(address, PASSWORD).replace(&body, "");
    assert_eq!(http.send(request.replacen("\r\n", "\r\nexpect: 100-continue\r\n", 1)).status, 100);
    (http, body)
}

#[test]
fn a_proxy_has_many_connections_and_each_peer_behind_it_few_requests() {
    let server = Server::start(&Folder::new(), &format!("{TRUSTED}\n[limits]\nconnections_per_peer = 2"), "");
    let mut open: Vec<Http> = (0..8).map(|_| server.connect()).collect();
    for http in &mut open {
        assert_eq!(http.send(forwarded("203.0.113.7", PASSWORD)).status, 200);
    }
    let (mut first, body) = begin(&server, "203.0.113.7");
    let (mut second, _) = begin(&server, "203.0.113.7");
    let third = open[0].send(forwarded("203.0.113.7", PASSWORD));
    assert_eq!((third.status, third.header("retry-after"), third.json()["Code"].as_u64()), (429, Some("1"), Some(429)));
    // Others are not concerned, nor is the proxy that speaks for itself.
    assert_eq!(status(&server, "203.0.113.8", PASSWORD), 200);
    for _ in 0..3 {
        assert_eq!(server.connect().post(&body).status, 200);
    }
    // One that is answered, or given up, makes room for the next.
    assert_eq!(first.send(&body).status, 200);
    assert_eq!(open[1].send(forwarded("203.0.113.7", PASSWORD)).status, 200);
    drop(first);
    assert_eq!(second.send(&body).status, 200);
    let (mut again, _) = begin(&server, "203.0.113.7");
    let (mut once_more, _) = begin(&server, "203.0.113.7");
    assert_eq!(open[2].send(forwarded("203.0.113.7", PASSWORD)).status, 429);
    assert_eq!((again.send(&body).status, once_more.send(&body).status), (200, 200));
}

#[test]
fn strangers_have_no_more_connections_for_a_header() {
    let server = Server::start(&Folder::new(), "[limits]\nconnections_per_peer = 2", "");
    let mut open: Vec<Http> = (0..2).map(|_| server.connect()).collect();
    for (at, http) in open.iter_mut().enumerate() {
        assert_eq!(http.send(forwarded(&format!("203.0.113.{at}"), PASSWORD)).status, 200);
    }
    assert!(server.connect().is_over());
}

#[test]
fn numbers_a_minute_are_counted_for_each_client_and_direction() {
    let other =
        format!("[[clients]]\nusername = \"other\"\npassword_sha256 = [\"{}\"]\n", sha256_hex("another password"));
    let limits = "tokenize_per_minute = 50\ndetokenize_per_minute = 20\n";
    let server = Server::start(&Folder::new(), "", &format!("{limits}{other}{limits}"));
    let send = |user: &str, password: &str, body: &str| server.connect().send(post(&basic(user, password), body));
    let ours = |numbers, mode| send(USER, PASSWORD, &call(numbers, mode));
    // More than ever fits is refused as such, and counts for nothing.
    for (numbers, mode) in [(51, "PhoneToUID"), (21, "UIDToPhone")] {
        let never = ours(numbers, mode);
        assert_eq!((never.status, never.header("retry-after"), &never.json()["Code"]), (413, None, &json!(413)));
    }
    let before = Instant::now();
    assert_eq!(ours(30, "PhoneToUID").status, 200);
    check_retry_after(&ours(21, "PhoneToUID"), before);
    // What was refused was not counted: just the rest fits, then nothing but an empty call.
    assert_eq!(ours(20, "PhoneToUID").status, 200);
    check_retry_after(&ours(1, "PhoneToUID"), before);
    assert_eq!(ours(0, "PhoneToUID").status, 200);
    // The other direction has its own, and so has the other client.
    let before = Instant::now();
    assert_eq!(ours(20, "UIDToPhone").status, 200);
    check_retry_after(&ours(1, "UIDToPhone"), before);
    assert_eq!(send("other", "another password", &call(50, "PhoneToUID")).status, 200);
    assert_eq!(send("other", "another password", &call(20, "UIDToPhone")).status, 200);
    assert_eq!(send("other", "another password", &call(1, "PhoneToUID")).status, 429);
}

/// A refusal for its rate leaves the connection as good as it was.
#[test]
fn one_connection_lives_through_429() {
    let server = Server::start(&Folder::new(), "", "tokenize_per_minute = 1\n");
    let mut http = server.connect();
    assert_eq!(http.post(&call(1, "PhoneToUID")).status, 200);
    assert_eq!(http.post(&call(1, "PhoneToUID")).status, 429);
    assert_eq!(http.post(&call(1, "UIDToPhone")).status, 200);
}
