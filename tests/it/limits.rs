//! What a client may have mapped in a day: its own share, told as it is, and nobody else's.

use serde_json::{Value, json};

use crate::support::{Folder, Http, PASSWORD, Server, basic, post, sha256_hex};

/// Another client, with the same password, whom nothing limits.
fn other() -> String {
    let hash = sha256_hex(PASSWORD);
    format!("[[clients]]\nusername = \"other\"\npassword_sha256 = [\"{hash}\"]\n")
}

fn limited(numbers: &str) -> String {
    format!("{numbers}\n[audit]\nto = \"audit.log\"\n{}", other())
}

#[test]
fn a_day_has_its_limit_and_says_how_long_it_lasts() {
    let folder = Folder::new();
    let server = Server::start(&folder, "", &limited("tokenize_per_minute = 100\ntokenize_per_day = 30"));
    let call = |items: usize| {
        let body = json!({"Numbers": vec!["8001"; items], "Mode": "PhoneToUID"}).to_string();
        server.connect().post(&body)
    };
    // More than a day ever admits.
    assert_eq!(call(31).status, 413);
    assert_eq!((call(20).status, call(10).status), (200, 200));
    let refused = call(1);
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!(refused.status == 429 && (86_300..=86_400).contains(&wait), "{refused:?}");
    assert!(refused.json()["Message"].as_str().unwrap().contains("24 hours"), "{refused:?}");
    // Others have their own.
    let body = "{\"Numbers\":[\"8001\"],\"Mode\":\"PhoneToUID\"}";
    assert_eq!(Http::connect(server.address).send(post(&basic("other", PASSWORD), body)).status, 200);
    // A reload keeps what was used, under another limit, too.
    folder.config("", &limited("tokenize_per_minute = 100\ntokenize_per_day = 32"));
    server.signal("HUP");
    while server.wait_for("clients reloaded")["clients"] != 2 {}
    assert_eq!((call(3).status, call(2).status, call(1).status), (429, 200, 429));
    let metrics = server.admin_get("/metrics").body;
    for series in [
        "callveil_client_items_total{client=\"ccc\",mode=\"PhoneToUID\",result=\"mapped\"} 32\n",
        "callveil_client_items_total{client=\"ccc\",mode=\"PhoneToUID\",result=\"limited\"} 36\n",
        "callveil_client_items_total{client=\"other\",mode=\"PhoneToUID\",result=\"mapped\"} 1\n",
        "callveil_client_limit_per_day{client=\"ccc\",limit=\"tokenize\"} 32\n",
        "callveil_client_day_items{client=\"ccc\",limit=\"tokenize\"} 32\n",
    ] {
        assert!(metrics.contains(series), "{series}{metrics}");
    }
    drop(server);
    let log = std::fs::read_to_string(folder.path().join("audit.log")).unwrap();
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let refused: Vec<_> = lines.filter(|line| line["code"] == 429).collect();
    assert!(
        !refused.is_empty() && refused.iter().all(|line| line["limit"] == "day" && line["client"] == "ccc"),
        "{log}"
    );
}
