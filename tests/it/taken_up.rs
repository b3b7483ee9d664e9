//! What SIGHUP takes up from the configuration: exactly what the list says, and each setting takes effect.

use std::{fs, io::Write as _, time::Instant};

use callveil::config::{keys::Taken, list::KEYS};

use crate::support::{Answer, Folder, Http, PASSWORD, PATIENCE, Server, USER, basic, post};

const RESTART: &str = "settings changed that take effect only at the start: restart this replica";

/// The keys with this `taken`, except those of clients and of tables that this configuration does not have.
fn keys(taken: Taken, tables: &[&str]) -> Vec<&'static str> {
    let is_there = |path: &str| path.rsplit_once('.').is_none_or(|(table, _)| tables.contains(&table));
    let keys = KEYS.iter().filter(|key| key.taken == taken && is_there(key.path) && key.path != "listen");
    let mut keys: Vec<_> = keys.map(|key| key.path).collect();
    keys.sort_unstable();
    keys
}

/// Every key except `listen`, each with a value that is not its default.
const ALL_CHANGED: &str = r#"
path = "/other"
keyring = "other.json"
identity = "identity"
keyring_mode = "any"
ring_id = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
min_generation = 2
approvers = ["alice+4124365a+AYqI4910CfGV/VLbLTy6XXLKZwm/HZQSG/N0iAG0D29c"]
approvals = 1
trunk_zero_regions = []
threads = 1
plaintext = true
allow_from = ["127.0.0.0/8"]
trusted_proxies = ["127.0.0.0/8"]
[limits]
body_bytes = 1024
buffered_bytes = 1000000
numbers = 2
connections = 1000
connections_per_peer = 100
header_seconds = 1
request_seconds = 1
idle_seconds = 1
drain_delay_seconds = 0
drain_seconds = 0
[audit]
to = "audit.log"
items = "hmac"
hmac_key = "key"
on_full = "drop"
[admin.tls]
certificate = "tls.crt"
private_key = "tls.key"
client_ca = "ca.pem"
"#;

#[test]
fn each_key_is_taken_up_as_the_list_says() {
    let tables = ["limits", "audit", "admin.tls"];
    let folder = Folder::new();
    let server = Server::start(&folder, "", "");
    let config = folder.config(ALL_CHANGED, "");
    server.signal("HUP");
    assert_eq!(server.wait_for(RESTART)["keys"], keys(Taken::AtStart, &tables).join(", "));
    assert_eq!(server.wait_for("configuration reloaded")["changed"], keys(Taken::OnReload, &tables).join(", "));
    // Once taken up it is no change any more; the rest still is.
    server.signal("HUP");
    assert_eq!(server.wait_for(RESTART)["keys"], keys(Taken::AtStart, &tables).join(", "));
    assert_eq!(server.wait_for("configuration reloaded")["changed"], "");
    // Those that exclude others, or are of a table that is there in any case.
    let text = fs::read_to_string(&config).unwrap().replace("plaintext = true", "");
    let text = text.replace("[audit]", "[tls]\ncertificate = \"tls.crt\"\nprivate_key = \"tls.key\"\n[audit]");
    let token = format!("[admin]\ntoken_sha256 = \"{}\"", "0".repeat(64));
    fs::write(&config, text.replace("[admin]", &token).replace("127.0.0.1:0", "127.0.0.1:1")).unwrap();
    server.signal("HUP");
    let told = server.wait_for(RESTART)["keys"].as_str().unwrap().to_owned();
    let mut wanted = keys(Taken::AtStart, &["limits", "audit", "admin.tls", "tls", "admin"]);
    wanted.retain(|key| *key != "plaintext");
    wanted.push("listen");
    wanted.sort_unstable();
    assert_eq!(told, wanted.join(", "));
    // Of a client all is.
    assert!(KEYS.iter().all(|key| !key.path.starts_with("clients.") || key.taken == Taken::OnReload));
}

const SLOW: &str = "[limits]\nheader_seconds = 3600\nrequest_seconds = 3600\nidle_seconds = 3600\n\
                    drain_delay_seconds = 3600\ndrain_seconds = 3600\n";

fn send(server: &Server, path: &str, numbers: &str) -> Answer {
    let body = format!("{{\"Numbers\":[{numbers}],\"Mode\":\"PhoneToUID\"}}");
    let request = post(&basic(USER, PASSWORD), &body).replace("POST / ", &format!("POST {path} "));
    server.connect().send(request.replacen("\r\n", "\r\nx-forwarded-for: 203.0.113.7\r\n", 1))
}

/// A connection with an unfinished request.
fn begin(server: &Server, path: &str) -> Http {
    let mut http = server.connect();
    let request = post(&basic(USER, PASSWORD), "{}").replace("POST / ", &format!("POST {path} "));
    http.write(request.replacen("\r\n", "\r\nexpect: 100-continue\r\n", 1).strip_suffix("{}").unwrap());
    assert_eq!(http.read().status, 100);
    http
}

#[test]
fn what_is_taken_up_holds_at_once() {
    let folder = Folder::new();
    let audit = "[audit]\nto = \"audit.log\"";
    let mut server = Server::start(&folder, SLOW, audit);
    let landline = server.values("PhoneToUID", &["075586013388"]).remove(0);
    assert_eq!(server.values("UIDToPhone", &[&landline]), ["0086075586013388"]);
    let long = format!("\"{}\"", "1".repeat(2000));
    assert_eq!([send(&server, "/", "\"1\",\"2\",\"3\"").status, send(&server, "/", &long).status], [200; 2]);
    let mut under_way = begin(&server, "/");

    let changed: String = ALL_CHANGED
        .lines()
        .filter(|line| {
            let name = line.split(" = ").next().unwrap();
            let taken = |key: &&callveil::config::keys::Key| {
                key.path.rsplit('.').next() == Some(name) && key.taken == Taken::OnReload
            };
            *line == "[limits]" || KEYS.iter().any(|key| taken(&key))
        })
        .map(|line| format!("{line}\n"))
        .collect();
    folder.config(&changed, audit);
    server.signal("HUP");
    server.wait_for("configuration reloaded");
    // path, limits.numbers, limits.body_bytes, trusted_proxies
    assert_eq!([send(&server, "/", "").status, send(&server, "/other", "\"1\",\"2\"").status], [404, 200]);
    assert_eq!([send(&server, "/other", "\"1\",\"2\",\"3\"").status, send(&server, "/other", &long).status], [413; 2]);
    let begun = Instant::now();
    let log = || fs::read_to_string(folder.path().join("audit.log")).unwrap();
    while !log().contains("\"peer\":\"203.0.113.7\"") {
        assert!(begun.elapsed() < PATIENCE, "{}", log());
    }
    // trunk_zero_regions
    let body = format!("{{\"Numbers\":[\"{landline}\"],\"Mode\":\"UIDToPhone\"}}");
    let mut kept = server.connect();
    let answer = kept.send(post(&basic(USER, PASSWORD), &body).replace("POST / ", "POST /other "));
    assert_eq!(answer.json()["Results"][0]["Value"], "008675586013388");
    // limits.idle_seconds, limits.header_seconds, limits.request_seconds
    assert!(kept.is_over());
    assert!(server.connect().is_over());
    assert_eq!(begin(&server, "/other").read().status, 408);
    // allow_from
    folder.config(&changed.replace("127.0.0.0/8\"]\ntrusted", "203.0.113.0/24\"]\ntrusted"), audit);
    server.signal("HUP");
    assert_eq!(server.wait_for("configuration reloaded")["changed"], "allow_from");
    let mut refused = server.connect();
    let _ = refused.0.get_mut().write_all(b"GET / HTTP/1.1\r\n\r\n");
    assert!(refused.is_over());
    // limits.drain_delay_seconds, limits.drain_seconds: nothing waits for a request that began on other terms.
    server.signal("TERM");
    assert_eq!(server.wait_within(PATIENCE), Some(0));
    assert!(under_way.is_over());
}
