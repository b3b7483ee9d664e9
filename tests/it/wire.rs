//! Section 1 of the specification over a real socket: each row of its table, and the rules for all answers.

use callveil::version::COMMIT;
use serde_json::{Value, json};

use crate::support::{Answer, Folder, Http, PASSWORD, Server, USER, basic, post, run};

/// Checks a refusal: the envelope, its `Code`, and nothing of the request.
#[track_caller]
fn check_refusal(answer: &Answer, status: u16) {
    let json = answer.json();
    assert_eq!((answer.status, &json["Code"]), (status, &json!(status)), "{answer:?}");
    assert!(json["Message"].as_str().is_some_and(|message| !message.is_empty()), "{json}");
    assert_eq!(json["Results"], json!([]));
}

fn call(numbers: &Value, mode: &str) -> String {
    json!({"Numbers": numbers, "Mode": mode}).to_string()
}

#[test]
fn the_vendors_example() {
    let server = Server::start(&Folder::new(), "", "");
    let answer = server.connect().post(r#"{"Numbers": ["13988888888", "13788888888"], "Mode": "PhoneToUID"}"#);
    assert_eq!(answer.status, 200);
    let json = answer.json();
    assert_eq!((&json["Code"], json.get("Message")), (&json!(0), None));
    assert_eq!(json["Results"][0]["Key"], "13988888888");
    let uids: Vec<&str> = (0..2).map(|at| json["Results"][at]["Value"].as_str().unwrap()).collect();
    assert_eq!(server.values("UIDToPhone", &uids), ["008613988888888", "008613788888888"]);
}

#[test]
fn refusals_before_the_body() {
    let server = Server::start(&Folder::new(), "path = \"/number-map\"", "");
    let good = basic(USER, PASSWORD);
    let head = |line: &str, more: &str| format!("{line} HTTP/1.1\r\nhost: a\r\n{more}\r\n");
    check_refusal(&server.connect().send(head("POST /", "content-length: 0\r\n")), 404);
    check_refusal(&server.connect().send(head("GET /number-map/", "")), 404);
    for method in ["GET", "PUT", "DELETE", "OPTIONS", "post"] {
        let answer = server.connect().send(head(&format!("{method} /number-map"), ""));
        check_refusal(&answer, 405);
        assert_eq!(answer.header("allow"), Some("POST"));
    }
    for wrong in
        [basic(USER, "wrong"), basic("nobody", PASSWORD), "Bearer x".to_owned(), "Basic !".to_owned(), String::new()]
    {
        let answer = server
            .connect()
            .send(head("POST /number-map", &format!("authorization: {wrong}\r\ncontent-length: 0\r\n")));
        check_refusal(&answer, 401);
        assert_eq!(answer.header("www-authenticate"), Some("Basic realm=\"callveil\", charset=\"UTF-8\""));
        assert_eq!(answer.header("connection"), Some("close"));
    }
    check_refusal(&server.connect().send(head("POST /number-map", "content-length: 0\r\n")), 401);
    let ok = head("POST /number-map?from=ccc", &format!("authorization: {good}\r\ncontent-length: 35\r\n"));
    assert_eq!(server.connect().send(ok + "{\"Numbers\":[],\"Mode\":\"PhoneToUID\"}  ").status, 200);
}

#[test]
fn bodies_that_are_too_long() {
    let server = Server::start(&Folder::new(), "[limits]\nbody_bytes = 2000", "");
    let good = basic(USER, PASSWORD);
    let head = format!("POST / HTTP/1.1\r\nhost: a\r\nauthorization: {good}\r\n");
    // As soon as Content-Length shows it: nothing of the body is sent.
    let mut early = server.connect();
    check_refusal(&early.send(format!("{head}content-length: 2001\r\n\r\n")), 413);
    // And a client that sends all of it before it looks sees the answer too, then the end.
    let mut late = server.connect();
    late.write(format!("{head}content-length: 7000\r\n\r\n"));
    late.write(vec![b'x'; 7000]);
    check_refusal(&late.read(), 413);
    assert!(late.is_over());
    let mut chunked = server.connect();
    chunked.write(format!("{head}transfer-encoding: chunked\r\n\r\n"));
    chunked.write(format!("7d1\r\n{}\r\n0\r\n\r\n", "x".repeat(2001)));
    check_refusal(&chunked.read(), 413);
    assert!(chunked.is_over());
    let mut unauthorized = server.connect();
    unauthorized.write("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 7000\r\n\r\n");
    unauthorized.write(vec![b'x'; 7000]);
    check_refusal(&unauthorized.read(), 401);
    assert!(unauthorized.is_over());
    // Beyond four times the limit it is not read on.
    let mut endless = server.connect();
    endless.write(format!("{head}content-length: 100000000\r\n\r\n"));
    check_refusal(&endless.read(), 413);
    assert!(std::io::copy(&mut std::io::repeat(b'x'), endless.0.get_mut()).is_err());
    let exact = format!("{{\"Numbers\":[],\"Mode\":\"PhoneToUID\"{}}}", " ".repeat(2000 - 34));
    assert_eq!(server.connect().post(&exact).status, 200);
}

#[test]
fn bodies_that_are_no_calls() {
    let server = Server::start(&Folder::new(), "", "");
    let mut http = server.connect();
    assert_eq!(http.post(&call(&json!([]), "UIDToPhone")).status, 200);
    for body in [
        "",
        "null",
        "{",
        "[]",
        "Numbers=1",
        r#"{"Numbers":["13988888888"]}"#,
        r#"{"Mode":"PhoneToUID"}"#,
        r#"{"Numbers":"13988888888","Mode":"PhoneToUID"}"#,
        r#"{"Numbers":[13988888888],"Mode":"PhoneToUID"}"#,
        r#"{"Numbers":["13988888888"],"Mode":"Phone"}"#,
        r#"{"Numbers":["13988888888"],"Mode":1}"#,
        r#"{"Numbers":[],"Numbers":["13988888888"],"Mode":"PhoneToUID"}"#,
        r#"{"Numbers":[],"Mode":"PhoneToUID","Mode":"PhoneToUID"}"#,
        r#"{"Numbers":[],"Mode":"PhoneToUID"}{}"#,
    ] {
        let answer = http.post(body);
        check_refusal(&answer, 400);
        assert!(!answer.body.contains("1398888"), "{answer:?}");
    }
    // All over one connection, which is as good as before.
    assert_eq!(http.post(&call(&json!([]), "UIDToPhone")).status, 200);
}

#[test]
fn modes_and_batches_that_are_not_granted() {
    let server = Server::start(&Folder::new(), "[limits]\nnumbers = 3", "");
    check_refusal(&server.connect().post(&call(&json!(["1"]), "RewrapUID")), 403);
    check_refusal(&server.connect().post(&call(&json!(["1", "2", "3", "4"]), "PhoneToAliases")), 403);
    check_refusal(&server.connect().post(&call(&json!(["1", "2", "3", "4"]), "PhoneToUID")), 413);
    assert_eq!(server.connect().post(&call(&json!(["1", "2", "3"]), "PhoneToUID")).status, 200);
}

#[test]
fn more_bodies_in_flight_than_may_be_buffered() {
    let server = Server::start(&Folder::new(), "[limits]\nbody_bytes = 10000\nbuffered_bytes = 10000", "");
    let good = basic(USER, PASSWORD);
    let body = format!("{{\"Numbers\":[],\"Mode\":\"PhoneToUID\"{}}}", " ".repeat(5000));
    // Until the server has read the slow body, others fit; then they do not. Where the two met, the slow one lost.
    let begin = || {
        let mut slow = server.connect();
        slow.write(format!("POST / HTTP/1.1\r\nhost: a\r\nauthorization: {good}\r\ncontent-length: 9000\r\n\r\n"));
        slow.write(format!("{{\"Numbers\":[],\"Mode\":\"PhoneToUID\"{}", " ".repeat(8000)));
        let refused = (0..1000).map(|_| server.connect().post(&body)).find(|answer| answer.status != 200);
        refused.map(|refused| (slow, refused))
    };
    let (mut slow, refused) = std::iter::repeat_with(begin).take(20).flatten().next().unwrap();
    check_refusal(&refused, 503);
    slow.write(format!("}}{}", " ".repeat(9000 - 8000 - 34)));
    assert_eq!(slow.read().status, 200);
    assert_eq!(server.connect().post(&body).status, 200);
}

#[test]
fn some_items_failed() {
    let folder = Folder::new();
    let lenient = Server::start(&folder, "", "partial = \"lenient\"");
    let strict = Server::start(&folder, "", "partial = \"strict\"");
    let uid = lenient.values("PhoneToUID", &["13988888888"]).remove(0);
    let unknown = format!("{}{}", if uid.starts_with("bbb") { "ccc" } else { "bbb" }, &uid[3..]);
    let forged = format!("{}{}", &uid[..39], if uid.ends_with('a') { "b" } else { "a" });
    let items = [&uid, "x", &unknown, &forged, &uid];
    for (server, code) in [(&lenient, 0), (&strict, 207)] {
        let answer = server.call("UIDToPhone", &items);
        assert_eq!(answer["Code"], code);
        assert_eq!(answer.get("Message").is_some(), code != 0);
        let errors: Vec<_> =
            answer["Results"].as_array().unwrap().iter().map(|item| item.get("Error").cloned()).collect();
        let some = |error: &str| Some(json!(error));
        assert_eq!(errors, [None, some("malformed_uid"), some("unknown_key"), some("not_authentic"), None]);
        assert_eq!(
            (&answer["Results"][1]["Value"], &answer["Results"][4]["Value"]),
            (&json!(""), &json!("008613988888888"))
        );
        let none = server.call("UIDToPhone", &["x"]);
        assert_eq!((&none["Code"], &none["Results"][0]["Error"]), (&json!(207), &json!("malformed_uid")));
        assert_eq!(server.call("UIDToPhone", &[])["Code"], 0);
    }
}

#[test]
fn ten_thousand_in_order_with_their_duplicates_and_keys() {
    let server = Server::start(&Folder::new(), "", "");
    let numbers: Vec<String> = (0..10_000)
        .map(|at| match at % 100 {
            0 => "\u{7}".to_owned(),
            1 => "  \"8001\"\\\u{1F600}\t".to_owned(),
            _ => format!("139{:08}", at * 7919 % 5000),
        })
        .collect();
    let answer = server.call("PhoneToUID", &numbers.iter().map(String::as_str).collect::<Vec<_>>());
    let results = answer["Results"].as_array().unwrap();
    assert_eq!((results.len(), &answer["Code"]), (10_000, &json!(0)));
    let mut seen = std::collections::HashMap::new();
    for (number, result) in numbers.iter().zip(results) {
        assert_eq!(result["Key"], **number);
        let value = result["Value"].as_str().unwrap();
        if number == "\u{7}" {
            assert_eq!((value, &result["Error"]), ("", &json!("invalid_number")));
        } else {
            assert!(result.get("Error").is_none());
            assert_eq!(*seen.entry(number).or_insert(value), value);
        }
    }
    let failed = results.iter().filter(|result| result.get("Error").is_some()).count();
    assert_eq!(failed, 100, "one in a hundred");
    let uids: Vec<&str> =
        results.iter().filter_map(|result| result["Value"].as_str().filter(|uid| !uid.is_empty())).collect();
    let phones = server.values("UIDToPhone", &uids);
    assert!(phones.iter().all(|phone| phone == "\"8001\"\\\u{1F600}" || phone.starts_with("0086139")));
    assert_eq!(server.values("PhoneToUID", &phones.iter().map(String::as_str).collect::<Vec<_>>()), uids);
}

#[test]
fn aliases_and_rewrapping_where_granted() {
    let server = Server::start(&Folder::new(), "", "modes = [\"PhoneToUID\", \"RewrapUID\", \"PhoneToAliases\"]");
    let uid = server.values("PhoneToUID", &["13988888888"]).remove(0);
    assert_eq!(server.values("RewrapUID", &[&uid.to_uppercase()]), [&*uid]);
    let answer = server.call("PhoneToAliases", &["+86 139 8888 8888", ""]);
    let aliases = json!({"Key": "+86 139 8888 8888", "Value": uid, "Values": [uid]});
    assert_eq!(answer["Results"], json!([aliases, {"Key": "", "Value": "", "Error": "invalid_number"}]));
    check_refusal(&server.connect().post(&call(&json!([uid]), "UIDToPhone")), 403);
}

#[test]
fn what_clients_may_send_around_a_call() {
    let server = Server::start(&Folder::new(), "", "");
    let good = basic(USER, PASSWORD).replace("Basic", "bAsIc");
    let body = r#"{"Appid": 1, "Mode": "PhoneToUID", "More": [[{"Mode": 1}]], "Numbers": ["13988888888"]}"#;
    let (one, rest) = body.split_at(20);
    let chunked = format!(
        "POST / HTTP/1.1\r\nhost: a\r\nauthorization: {good}\r\ncontent-type: text/plain\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{one}\r\n{:x}\r\n{rest}\r\n0\r\n\r\n",
        one.len(),
        rest.len()
    );
    assert_eq!(server.connect().send(&chunked).json()["Code"], 0);
    let http_1_0 = post(&good, body).replace("HTTP/1.1", "HTTP/1.0");
    let mut old = server.connect();
    assert_eq!(old.send(http_1_0).json()["Code"], 0);
    assert!(old.is_over());
    let mut continued = server.connect();
    continued.write(
        post(&good, "")
            .replace("content-length: 0", &format!("content-length: {}\r\nexpect: 100-continue", body.len())),
    );
    assert_eq!(continued.read().status, 100);
    assert_eq!(continued.send(body).json()["Code"], 0);
    // More than hyper takes in one turn of a connection.
    let mut pipelined = server.connect();
    pipelined.write(post(&good, body).repeat(100));
    for _ in 0..100 {
        assert_eq!(pipelined.read().json()["Code"], 0);
    }
    let mut in_pieces = server.connect();
    for request in [post(&good, body), post(&good, body), chunked] {
        for byte in request.as_bytes() {
            in_pieces.write([*byte]);
        }
        assert_eq!(in_pieces.read().json()["Code"], 0);
    }
}

#[test]
fn large_batches_leave_nothing_to_the_next() {
    let server = Server::start(&Folder::new(), "", "");
    let mut http = server.connect();
    let mut map = |mode, items: &[String]| -> Vec<Value> {
        let answer = http.post(&call(&json!(items), mode)).json();
        answer["Results"].as_array().unwrap().clone()
    };
    for count in [3000, 1024, 2000] {
        let phones: Vec<_> = (0..count).map(|at| format!("139{:08}", count * 10_000 + at)).collect();
        let uids: Vec<_> = map("PhoneToUID", &phones).iter().map(|uid| uid["Value"].as_str().unwrap().into()).collect();
        let mixed = [&uids[..], &["nonsense".to_owned()], &uids[..10]].concat();
        let results = map("UIDToPhone", &mixed);
        assert_eq!(results.len(), count + 11);
        assert_eq!(results[count], json!({"Key": "nonsense", "Value": "", "Error": "malformed_uid"}));
        let back = results.iter().filter_map(|result| result["Value"].as_str()?.strip_prefix("0086"));
        assert!(back.eq(phones.iter().chain(&phones[..10])));
    }
}

#[test]
fn slow_peers_are_cut_and_others_are_not() {
    let limits = "[limits]\nheader_seconds = 1\nrequest_seconds = 1\nidle_seconds = 2";
    let server = Server::start(&Folder::new(), limits, "");
    let good = basic(USER, PASSWORD);
    let (mut head, mut body, mut idle) = (server.connect(), server.connect(), server.connect());
    head.write("POST / HTTP/1.1\r\nhost: a\r\nx-slow: ");
    body.write(format!("POST / HTTP/1.1\r\nhost: a\r\nauthorization: {good}\r\ncontent-length: 100\r\n\r\n{{"));
    assert_eq!(idle.post(&call(&json!([]), "PhoneToUID")).status, 200);
    for slow in [&mut head, &mut body] {
        check_refusal(&slow.read(), 408);
        assert!(slow.is_over());
    }
    assert!(idle.try_read().is_none());
    // A connection that is used lives on, however old it is.
    let (mut used, since) = (server.connect(), std::time::Instant::now());
    while since.elapsed() < std::time::Duration::from_millis(3_500) {
        assert_eq!(used.post(&call(&json!(["13988888888"]), "PhoneToUID")).status, 200);
    }
}

#[test]
fn idle_peers_give_way_when_all_places_are_taken() {
    let server = Server::start(&Folder::new(), "[limits]\nconnections = 4", "");
    let client = || {
        let mut http = server.connect();
        assert_eq!(http.post(&call(&json!([]), "PhoneToUID")).status, 200);
        http
    };
    let mut idle: Vec<Http> = (0..3).map(|_| client()).collect();
    let _newcomers: Vec<Http> = (0..2).map(|_| client()).collect();
    let request = post(&basic(USER, PASSWORD), &call(&json!([]), "PhoneToUID"));
    let mut is_open = |http: &mut Http| {
        http.write(&request);
        // One that was told to end while the request came answers it, and ends.
        http.try_read().is_some_and(|answer| answer.header("connection") != Some("close"))
    };
    assert_eq!(idle.iter_mut().map(&mut is_open).filter(|open| *open).count(), 1, "as many as newcomers gave way");
}

/// Strangers hold half of the places at most, and none of them keeps a newcomer from its turn.
#[test]
fn strangers_give_way_to_newcomers_and_clients_do_not() {
    let server = Server::start(&Folder::new(), "[limits]\nconnections = 8", "");
    let mut clients: Vec<Http> = (0..4).map(|_| server.connect()).collect();
    for client in &mut clients {
        assert_eq!(client.post(&call(&json!([]), "PhoneToUID")).status, 200);
    }
    for at in 0..50 {
        // Some say nothing, some the half of a head.
        let mut stranger = server.connect();
        if at % 2 == 0 {
            stranger.write("POST / HTTP/1.1\r\nhost: ");
        }
        std::mem::forget(stranger);
    }
    assert_eq!(server.connect().post(&call(&json!([]), "PhoneToUID")).status, 200);
    for client in &mut clients {
        assert_eq!(client.post(&call(&json!([]), "PhoneToUID")).status, 200);
    }
}

/// One refusal ends the connection of a stranger; a client hears of several.
#[test]
fn strangers_have_one_refusal() {
    let server = Server::start(&Folder::new(), "", "");
    let (mut stranger, mut client) = (server.connect(), server.connect());
    let elsewhere = "GET /elsewhere HTTP/1.1\r\nhost: a\r\n\r\n";
    let refused = stranger.send(elsewhere);
    check_refusal(&refused, 404);
    assert_eq!(refused.header("connection"), Some("close"));
    assert!(stranger.is_over());
    assert_eq!(client.post(&call(&json!([]), "PhoneToUID")).status, 200);
    for _ in 0..3 {
        check_refusal(&client.send(elsewhere), 404);
    }
    let tunnel = client.send("CONNECT callveil:443 HTTP/1.1\r\nhost: callveil:443\r\n\r\n");
    assert_eq!((tunnel.status, tunnel.header("allow")), (405, Some("POST")));
    assert!(client.is_over());
}

#[test]
fn compressed_bodies_and_byte_order_marks() {
    let server = Server::start(&Folder::new(), "", "");
    let good = basic(USER, PASSWORD);
    let marked = format!("\u{FEFF}{}", call(&json!(["10086"]), "PhoneToUID"));
    assert_eq!(server.connect().post(&marked).json()["Code"], 0);
    let encoded = "POST / HTTP/1.1\r\nhost: a\r\ncontent-encoding: gzip\r\ncontent-length: 2\r\n";
    check_refusal(&server.connect().send(format!("{encoded}\r\n{{}}")), 401);
    for request in [
        format!("{encoded}authorization: {good}\r\n\r\n{{}}").into_bytes(),
        [post(&good, "123").trim_end_matches("123").as_bytes(), &[0x1f, 0x8b, 8]].concat(),
    ] {
        let answer = server.connect().send(request);
        check_refusal(&answer, 415);
        assert_eq!(answer.header("accept-encoding"), Some("identity"));
    }
    let plain = format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-encoding: identity\r\nauthorization: {good}\r\n");
    assert_eq!(
        server
            .connect()
            .send(format!("{plain}content-length: 34\r\n\r\n{{\"Numbers\":[],\"Mode\":\"PhoneToUID\"}}"))
            .status,
        200
    );
}

/// The longest head has 16 KiB.
#[test]
fn long_heads_are_refused() {
    let server = Server::start(&Folder::new(), "", "");
    let head = |bytes: usize| format!("GET / HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", "y".repeat(bytes));
    assert_eq!(server.connect().send(head(15_000)).status, 405);
    assert_eq!(server.connect().send(head(17_000)).status, 431);
}

/// Aliases count one for each key: in the limit of one request, and in that of a minute.
#[test]
fn aliases_count_as_many_numbers_as_there_are_keys() {
    let folder = Folder::new();
    let made = run(folder.path(), &["keys", "rotate"]);
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let client = "modes = [\"PhoneToUID\", \"PhoneToAliases\"]\ntokenize_per_minute = 12";
    let server = Server::start(&folder, "[limits]\nnumbers = 4", client);
    let aliases = |numbers: &[&str]| server.connect().post(&call(&json!(numbers), "PhoneToAliases"));
    check_refusal(&aliases(&["1", "2", "3"]), 413);
    for _ in 0..3 {
        assert_eq!(aliases(&["10010", "10086"]).json()["Results"][1]["Values"].as_array().unwrap().len(), 2);
    }
    check_refusal(&aliases(&["10086"]), 429);
}

#[test]
fn one_peer_cannot_take_all_places_and_strangers_none() {
    let server = Server::start(&Folder::new(), "[limits]\nconnections_per_peer = 2", "");
    let mut open: Vec<Http> = (0..2).map(|_| server.connect()).collect();
    for http in &mut open {
        assert_eq!(http.post(&call(&json!([]), "PhoneToUID")).status, 200);
    }
    assert!(server.connect().is_over());
    assert_eq!(open[0].post(&call(&json!([]), "PhoneToUID")).status, 200);
    let closed = Server::start(&Folder::new(), "allow_from = [\"10.0.0.0/8\"]", "");
    assert!(closed.connect().is_over());
    let open = Server::start(&Folder::new(), "allow_from = [\"10.0.0.0/8\", \"127.0.0.1\"]", "");
    assert_eq!(open.call("PhoneToUID", &[])["Code"], 0);
}

#[test]
fn the_admin_listener() {
    let server = Server::start(&Folder::new(), "", "");
    assert_eq!((server.admin_get("/healthz").status, server.admin_get("/readyz").status), (200, 200));
    let health = server.admin_get("/healthz").json();
    assert_eq!(health, json!({"status": "alive", "version": env!("CARGO_PKG_VERSION"), "commit": COMMIT}));
    assert_eq!(server.admin_get("/nothing").status, 404);
    let uids = server.values("PhoneToUID", &["13988888888", "8001"]);
    server.values("UIDToPhone", &uids.iter().map(String::as_str).collect::<Vec<_>>());
    let keyring = server.admin_get("/keyring").json();
    assert_eq!((&keyring["generation"], keyring["instance"].as_str().unwrap().len()), (&json!(1), 16));
    assert_eq!((&keyring["keys"][0]["decoded"], &keyring["keys"][0]["primary"]), (&json!(2), &json!(true)));
    assert!(!keyring.to_string().contains("material"));
    let mut admin = Http::connect(server.admin);
    let answer = admin.send("POST /keyring HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n");
    assert_eq!((answer.status, answer.header("allow")), (405, Some("GET, HEAD")));
}

#[test]
fn the_admin_listeners_token() {
    let folder = Folder::new();
    let config = folder.config("", "");
    let text = std::fs::read_to_string(&config).unwrap();
    let token = format!("[admin]\ntoken_sha256 = \"{}\"", crate::support::sha256_hex("let me see"));
    std::fs::write(&config, text.replace("[admin]", &token)).unwrap();
    let server = Server::spawn(crate::support::callveil().args(["serve", "--config"]).arg(config));
    // It may not have warmed up yet.
    assert_eq!(server.admin_get("/healthz").status, 200);
    assert_ne!(server.admin_get("/readyz").status, 401);
    let answer = server.admin_get("/keyring");
    assert_eq!((answer.status, answer.header("www-authenticate")), (401, Some("Bearer realm=\"callveil\"")));
    let with = |token: &str| {
        let request = format!("GET /keyring HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {token}\r\n\r\n");
        Http::connect(server.admin).send(request).status
    };
    assert_eq!((with("let me see"), with("let me"), with("")), (200, 401, 401));
}
