//! What a client may have mapped in a day: its own share, told as it is, and nobody else's.

use serde_json::{Value, json};

use crate::{
    audit_reading::end,
    support::{Folder, Http, PASSWORD, Server, basic, post, run, sha256_hex},
};

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
        "callveil_client_charged_total{client=\"ccc\",limit=\"tokenize\"} 32\n",
        "callveil_client_charged_total{client=\"ccc\",limit=\"detokenize\"} 0\n",
        "callveil_client_charged_total{client=\"other\",limit=\"tokenize\"} 1\n",
    ] {
        assert!(metrics.contains(series), "{series}{metrics}");
    }
    end(server);
    let log = std::fs::read_to_string(folder.path().join("audit.log")).unwrap();
    // The one that no day ever admits says so, too.
    assert_eq!(refusals(&log), [(413, "day"), (429, "day"), (429, "day"), (429, "day")].map(of_ccc), "{log}");
}

/// The status of a line, and the limit and the client that it names.
type Refusal = (u64, String, String);

fn of_ccc((status, limit): (u64, &str)) -> Refusal {
    (status, limit.to_owned(), "ccc".to_owned())
}

fn refusals(log: &str) -> Vec<Refusal> {
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let refused = lines.filter(|line| line["code"].as_u64().is_some_and(|code| code >= 400));
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    refused.map(|line| (line["code"].as_u64().unwrap(), text(&line["limit"]), text(&line["client"]))).collect()
}

/// What counts are values: of aliases one for each key, and those that fail.
#[test]
fn the_metric_and_the_log_tell_which_limit_and_how_much_of_it() {
    let folder = Folder::new();
    assert!(run(folder.path(), &["keys", "rotate", "--activate-in", "2d"]).status.success());
    let limits = "modes = [\"PhoneToUID\", \"UIDToPhone\", \"PhoneToAliases\"]\nplain_numbers = \"pass\"\n\
        tokenize_per_minute = 20\ndetokenize_per_minute = 10\ndetokenize_per_day = 12";
    let server = Server::start(&folder, "", &limited(limits));
    let call = |mode: &str, numbers: &[&str]| {
        let body = json!({"Numbers": numbers, "Mode": mode}).to_string();
        server.connect().post(&body).status
    };
    let (uid, lost) = ("h6qqaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", ["h6qqaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"; 11]);
    assert_eq!(call("PhoneToAliases", &["8001", "8002", "8003"]), 200);
    assert_eq!(call("PhoneToAliases", &["8001"; 11]), 413);
    assert_eq!(call("UIDToPhone", &[uid, uid, "13988888888"]), 200);
    assert_eq!(call("UIDToPhone", &lost), 413);
    assert_eq!(call("UIDToPhone", &lost[..9]), 429);
    let metrics = server.admin_get("/metrics").body;
    for (limit, values) in [("tokenize", 3 * 2 + 1), ("detokenize", 2)] {
        let series = format!("callveil_client_charged_total{{client=\"ccc\",limit=\"{limit}\"}} {values}\n");
        assert!(metrics.contains(&series), "{series}{metrics}");
    }
    end(server);
    let log = std::fs::read_to_string(folder.path().join("audit.log")).unwrap();
    assert_eq!(refusals(&log), [(413, "minute"), (413, "minute"), (429, "minute")].map(of_ccc), "{log}");
}
