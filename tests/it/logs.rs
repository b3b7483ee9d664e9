//! No log reveals a number, a UID, a password or a key. The logs of all other tests are also checked
//! (`support::check_log`).

use crate::{
    rings,
    support::{Folder, Http, PASSWORD, Server, USER, basic, callveil, check_log, post},
};

#[test]
fn the_most_talkative_log_tells_nothing() {
    let folder = Folder::new();
    let config = folder.config("", "modes = [\"PhoneToUID\", \"UIDToPhone\", \"RewrapUID\", \"PhoneToAliases\"]");
    let mut server = Server::spawn(callveil().args(["serve", "--config"]).arg(config).env("CALLVEIL_LOG", "trace"));
    let uids = server.values("PhoneToUID", &["13988888888", "+39 06 12345678", "secret-sip@example.com"]);
    let uids: Vec<&str> = uids.iter().map(String::as_str).collect();
    for mode in ["UIDToPhone", "RewrapUID", "PhoneToAliases"] {
        server.call(mode, &uids);
        server.call(mode, &["13988888888\n", "", "x"]);
    }
    let path = format!("/13988888888/{}", uids[0]);
    for request in [
        format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n"),
        format!("POST {path}?{} HTTP/1.1\r\nhost: 13988888888\r\ncontent-length: 0\r\n\r\n", uids[1]),
        post(&basic("13988888888", "wrong-password"), "{}"),
        post(&basic(USER, PASSWORD), "{\"Numbers\":[\"13988888888\"],\"Mode\":\"13988888888\"}"),
        post(&basic(USER, PASSWORD), "13988888888"),
        "13988888888 NO HTTP\r\n\r\n".to_owned(),
    ] {
        Http::connect(server.address).send(request);
    }
    server.signal("TERM");
    assert_eq!(server.wait(), Some(0));
    let log = server.full_log();
    assert!(log.contains("\"request\"") && log.contains("PhoneToAliases"), "{log}");
    let ring = rings::read(&folder.ring());
    let material = ring["keys"][0]["material"].as_str().unwrap();
    for secret in
        uids.iter().copied().chain(["12345678", "secret-sip", "wrong-password", material, &basic(USER, PASSWORD)[6..]])
    {
        assert!(!log.contains(secret), "{secret} is in the log:\n{log}");
    }
    check_log(&log);
}
