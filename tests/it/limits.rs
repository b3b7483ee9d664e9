//! What a client may map in a day: each client has its own share, and is told the truth about it.

use std::{
    path::PathBuf,
    thread::sleep,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    audit_reading::end,
    metrics,
    support::{Folder, Http, PASSWORD, PATIENCE, Server, basic, callveil, post, run, sha256_hex},
};

/// Another client, with the same password and without limits.
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
    while server.wait_for("configuration reloaded")["clients"] != 2 {}
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

/// The status of a line, and its limit and client.
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

/// How many seconds pass for the replica in one real second.
const SPEED: u32 = 60;

/// Debian's libfaketime.
fn faketime() -> PathBuf {
    let folders = std::fs::read_dir("/usr/lib").unwrap().map(|folder| folder.unwrap().path());
    let mut libraries = folders.map(|folder| folder.join("faketime/libfaketime.so.1"));
    libraries.find(|library| library.exists()).expect("libfaketime is not installed")
}

/// Through the real server, whose clock runs ahead, and Prometheus with the alerts of `deploy/`.
#[test]
#[ignore = "half a minute; wants faketime and prometheus"]
fn just_below_the_minutes_limit_a_client_is_stopped_at_the_days() {
    const MINUTE: u32 = 1000;
    const DAY: u32 = 20 * MINUTE;
    let folder = Folder::new();
    let config = folder.config("", &limited(&format!("detokenize_per_minute = {MINUTE}")));
    let text = std::fs::read_to_string(&config).unwrap();
    let with_token = format!("[admin]\ntoken_sha256 = \"{}\"", sha256_hex(metrics::TOKEN));
    std::fs::write(&config, text.replace("[admin]", &with_token)).unwrap();
    let mut command = callveil();
    command.env("LD_PRELOAD", faketime()).env("FAKETIME", format!("+0 x{SPEED}"));
    let server = Server::spawn(command.args(["serve", "--config"]).arg(config));
    let (_prometheus, port) = metrics::prometheus(folder.path(), &server);
    let ask = |query: &str| metrics::ask(port, "query", query).map_or(json!([]), |data| data["result"].clone());
    // What is counted before Prometheus has looked for the first time is no increase.
    let since = Instant::now();
    while ask("callveil_client_charged_total") == json!([]) {
        assert!(since.elapsed() < PATIENCE, "Prometheus never looks");
    }

    let uids = server.values("PhoneToUID", &["8001"; 11]);
    let body = json!({"Numbers": uids, "Mode": "UIDToPhone"}).to_string();
    // Never faster than 0.99 of the limit.
    let pause = Duration::from_secs(60) / SPEED * (100 * 11) / (99 * MINUTE);
    let (mut decoded, mut refused, since) = (0, 0, Instant::now());
    let last = loop {
        let answer = server.connect().post(&body);
        match answer.status {
            200 => decoded += 11,
            429 if answer.body.contains("24 hours") => break answer,
            // Held up on its way, it came together with others.
            429 => refused += 1,
            _ => panic!("{answer:?}"),
        }
        let other = Http::connect(server.address).send(post(&basic("other", PASSWORD), &body));
        assert_eq!(other.status, 200, "{other:?}");
        sleep(pause);
    };
    println!("{decoded} of {DAY} in {:?} of its time, {refused} refusals before", since.elapsed() * SPEED);
    assert!((DAY - DAY / 100..=DAY).contains(&decoded), "{decoded}");
    let wait: u64 = last.header("retry-after").unwrap().parse().unwrap();
    assert!((20 * 60 * 60..24 * 60 * 60).contains(&wait), "{wait}");
    // Nobody else is stopped, and it is, until its first numbers are a day old.
    assert_eq!(Http::connect(server.address).send(post(&basic("other", PASSWORD), &body)).status, 200);
    assert_eq!(server.connect().post(&body).status, 429);
    let since = Instant::now();
    let fired = loop {
        let fired = ask("ALERTS{alertname=\"CallveilClientNearDailyLimit\",alertstate=\"firing\"}");
        if fired != json!([]) || since.elapsed() > PATIENCE {
            break fired;
        }
    };
    let about = |alert: &Value| (alert["metric"]["client"].clone(), alert["metric"]["limit"].clone());
    let fired: Vec<_> = fired.as_array().unwrap().iter().map(about).collect();
    assert_eq!(fired, [(json!("ccc"), json!("detokenize"))]);
    end(server);
    let log = std::fs::read_to_string(folder.path().join("audit.log")).unwrap();
    let days: Vec<_> = refusals(&log).into_iter().filter(|(_, limit, _)| limit == "day").collect();
    assert_eq!(days, [(429, "day"), (429, "day")].map(of_ccc));
}
