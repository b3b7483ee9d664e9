//! The metrics for Prometheus, the alerts and the dashboard that use them, and the OpenAPI document. Each is checked
//! with the program that reads it.

use std::{
    fs,
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use callveil::{
    operate::ring_in_use::RingInUse,
    version::{COMMIT, VERSION},
};
use serde_json::{Value, json};

use crate::{
    needs::is_here,
    other_tools::free_port,
    random::seeds,
    rings,
    support::{Answer, Folder, Http, PASSWORD, PATIENCE, Server, USER, basic, callveil, post, run, sha256_hex},
    tls::{Ca, TLS, install, request},
};

const DEPLOY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy");
const ALL_MODES: &str = "modes = [\"PhoneToUID\", \"UIDToPhone\", \"RewrapUID\", \"PhoneToAliases\"]\n";
pub const TOKEN: &str = "a-token-of-the-admin-listener";

fn scrape(server: &Server, headers: &str) -> Answer {
    Http::connect(server.admin).send(format!("GET /metrics HTTP/1.1\r\nhost: admin\r\n{headers}\r\n"))
}

/// The value of one series, given by its name and labels.
#[track_caller]
fn value(text: &str, series: &str) -> f64 {
    let found: Vec<_> = text.lines().filter_map(|line| line.strip_prefix(series)?.strip_prefix(' ')).collect();
    assert_eq!(found.len(), 1, "{series} {found:?}\n{text}");
    found[0].parse().unwrap()
}

/// Waits until a series has this value, since connections are counted until they have fully ended.
fn wait_for(server: &Server, series: &str, wanted: f64) {
    let since = Instant::now();
    while value(&scrape(server, "").body, series) != wanted {
        assert!(since.elapsed() < PATIENCE, "{series} never is {wanted}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Checks `text` with `program`, which must find nothing wrong.
fn judge(program: &str, args: &[&str], text: &str) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("text");
    fs::write(&file, text).unwrap();
    let output = Command::new(program).args(args).stdin(fs::File::open(file).unwrap()).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success() && said.is_empty(), "{}", String::from_utf8_lossy(&said));
}

#[test]
fn everything_is_counted_where_it_belongs() {
    let folder = Folder::new();
    let limits = format!("{ALL_MODES}tokenize_per_minute = 100\npartial = \"strict\"");
    let server = Server::start(&folder, "", &limits);
    let uids = server.values("PhoneToUID", &["13988888888", "8001"]);
    server.call("UIDToPhone", &[&uids[0], "x", "h6qqaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"]);
    server.call("RewrapUID", &[&uids[0]]);
    let many = vec!["13988888888"; 98];
    assert_eq!(server.call("PhoneToUID", &many)["Code"], 429);
    Http::connect(server.address).send(post(&basic(USER, "hunter2"), "{}"));
    server.connect().post("{");
    Http::connect(server.address).send("GET /nothing HTTP/1.1\r\nhost: a\r\n\r\n");
    // One whose body never comes.
    let mut half = server.connect();
    half.write(post(&basic(USER, PASSWORD), "{}").strip_suffix('}').unwrap());
    wait_for(&server, "callveil_connections", 1.0);
    drop(half);
    wait_for(&server, "callveil_connections", 0.0);

    let text = scrape(&server, "").body;
    for (series, count) in [
        ("callveil_requests_total{mode=\"PhoneToUID\",status=\"200\"}", 1),
        ("callveil_requests_total{mode=\"PhoneToUID\",status=\"429\"}", 1),
        ("callveil_requests_total{mode=\"UIDToPhone\",status=\"200\"}", 1),
        ("callveil_requests_total{mode=\"RewrapUID\",status=\"200\"}", 1),
        ("callveil_requests_total{mode=\"PhoneToAliases\",status=\"200\"}", 0),
        ("callveil_requests_total{mode=\"none\",status=\"401\"}", 1),
        ("callveil_requests_total{mode=\"none\",status=\"400\"}", 2),
        ("callveil_requests_total{mode=\"none\",status=\"404\"}", 1),
        ("callveil_requests_total{mode=\"none\",status=\"none\"}", 0),
        ("callveil_items_total{mode=\"PhoneToUID\",result=\"mapped\"}", 2),
        ("callveil_items_total{mode=\"UIDToPhone\",result=\"mapped\"}", 1),
        ("callveil_items_total{mode=\"UIDToPhone\",result=\"malformed_uid\"}", 1),
        ("callveil_items_total{mode=\"UIDToPhone\",result=\"unknown_key\"}", 1),
        ("callveil_client_items_total{client=\"ccc\",mode=\"PhoneToUID\",result=\"mapped\"}", 2),
        ("callveil_client_items_total{client=\"ccc\",mode=\"PhoneToUID\",result=\"limited\"}", 98),
        ("callveil_client_items_total{client=\"ccc\",mode=\"UIDToPhone\",result=\"mapped\"}", 1),
        ("callveil_client_items_total{client=\"ccc\",mode=\"UIDToPhone\",result=\"failed\"}", 2),
        ("callveil_client_items_total{client=\"ccc\",mode=\"UIDToPhone\",result=\"passed\"}", 0),
        ("callveil_client_limit_per_day{client=\"ccc\",limit=\"tokenize\"}", 2000),
        ("callveil_client_limit_per_day{client=\"ccc\",limit=\"detokenize\"}", 1_200_000),
        ("callveil_client_day_items{client=\"ccc\",limit=\"tokenize\"}", 3),
        ("callveil_client_day_items{client=\"ccc\",limit=\"detokenize\"}", 3),
        ("callveil_rate_limited_items_total{mode=\"PhoneToUID\"}", 98),
        ("callveil_rate_limited_items_total{mode=\"UIDToPhone\"}", 0),
        ("callveil_auth_failures_total", 1),
        ("callveil_request_duration_seconds_count", 8),
        ("callveil_request_duration_seconds_bucket{le=\"+Inf\"}", 8),
        ("callveil_connections_refused_total", 0),
        ("callveil_tls_failures_total", 0),
        ("callveil_audit_dropped_total", 0),
        ("callveil_audit_stuck", 0),
        ("callveil_keyring_generation", 1),
        ("callveil_keyring_keys{status=\"enabled\"}", 1),
        ("callveil_reload_failures_total", 0),
        ("callveil_reload_refused{what=\"keyring\"}", 0),
        (&format!("callveil_build_info{{version=\"{VERSION}\",commit=\"{}\"}}", COMMIT.unwrap_or_default()), 1),
        ("callveil_ready", 1),
    ] {
        assert_eq!(value(&text, series), f64::from(count), "{series}");
    }
    let ring = rings::read(&folder.ring());
    let key = ring["keys"][0]["id"].as_str().unwrap();
    assert_eq!(value(&text, &format!("callveil_decoded_total{{key=\"{key}\"}}")), 2.0);
    assert_eq!(value(&text, &format!("callveil_keyring_primary_info{{key=\"{key}\"}}")), 1.0);
    assert!(value(&text, "process_resident_memory_bytes") > 1e6 && value(&text, "process_open_fds") > 3.0);
    assert!(!text.contains("13988888888") && !text.contains("next_activation") && !text.contains("certificate_"));
    if is_here("promtool") {
        judge("promtool", &["check", "metrics"], &text);
    }
}

#[test]
fn rotation_and_refusals_show() {
    let folder = Folder::new();
    let server = Server::start(&folder, "", "");
    let old = server.values("PhoneToUID", &["13988888888"]);
    for (args, generation) in [(["--activate-in", "0s"], 2), (["--activate-in", "2d"], 3)] {
        assert!(run(folder.path(), &[&["keys", "rotate"][..], &args].concat()).status.success());
        while server.wait_for("key ring reloaded")["generation"] != generation {}
    }
    let text = scrape(&server, "").body;
    let ring = rings::read(&folder.ring());
    let key = |at: usize| ring["keys"][at]["id"].as_str().unwrap().to_owned();
    assert_eq!(value(&text, "callveil_keyring_keys{status=\"enabled\"}"), 3.0);
    assert_eq!(value(&text, &format!("callveil_keyring_primary_info{{key=\"{}\"}}", key(1))), 1.0);
    assert!((172_000.0..172_801.0).contains(&value(&text, "callveil_keyring_next_activation_seconds")));
    assert!(value(&text, &format!("callveil_key_superseded_seconds{{key=\"{}\"}}", key(0))) < 600.0);
    assert_eq!(text.matches("callveil_key_superseded_seconds{").count(), 1);
    assert!(value(&text, "callveil_keyring_reload_age_seconds") < 600.0);
    server.values("UIDToPhone", &[&old[0]]);
    fs::write(folder.ring(), "{}").unwrap();
    wait_for(&server, "callveil_reload_refused{what=\"keyring\"}", 1.0);
    let text = scrape(&server, "").body;
    assert_eq!(value(&text, "callveil_reload_failures_total"), 1.0);
    assert_eq!(value(&text, &format!("callveil_decoded_total{{key=\"{}\"}}", key(0))), 1.0);
}

#[test]
fn a_scraper_gets_the_format_that_it_asks_for() {
    let server = Server::start(&Folder::new(), "", "");
    let older = scrape(&server, "");
    assert_eq!(older.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    assert!(older.body.contains("# TYPE callveil_requests_total counter\n") && !older.body.contains("# EOF"));
    let open = scrape(&server, "accept: application/openmetrics-text;version=1.0.0,text/plain;q=0.5\r\n");
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert_eq!(open.header("content-type"), Some(content_type));
    assert!(open.body.contains("# TYPE callveil_requests counter\n") && open.body.ends_with("# EOF\n"));
}

#[test]
fn alerts_do_what_they_say() {
    if is_here("promtool") {
        for args in
            [&["check", "rules", "alerts.yaml"][..], &["test", "rules", "alerts.test.yaml", "alerts.week.test.yaml"]]
        {
            let output =
                Command::new("promtool").args(args).current_dir(format!("{DEPLOY}/prometheus")).output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        }
    }
    let rules = fs::read_to_string(format!("{DEPLOY}/prometheus/alerts.yaml")).unwrap();
    let tests = ["alerts.test.yaml", "alerts.week.test.yaml"];
    let tests = tests.map(|tests| fs::read_to_string(format!("{DEPLOY}/prometheus/{tests}")).unwrap()).concat();
    for alert in rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")) {
        let tested = tests.split(&format!("alertname: {alert}\n        exp_alerts")).count() > 1;
        assert!(tested, "{alert} never fires in alerts.test.yaml");
    }
}

/// A process that is killed when dropped.
pub struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A Prometheus with the example's configuration, except for its times and its target.
pub fn prometheus(folder: &Path, server: &Server) -> (Killed, u16) {
    let example = fs::read_to_string(format!("{DEPLOY}/prometheus/prometheus.yaml")).unwrap();
    let (before, _) = example.split_once("      - targets: [").unwrap();
    let config = format!("{before}      - targets: [\"{}\"]\n", server.admin);
    let config = config
        .replace("15s", "250ms")
        .replace("scheme: https", "scheme: http")
        .replace("tls_config:\n      ca_file: ca.pem", "");
    let config = config.replace("global:", "global:\n  evaluation_interval: 250ms");
    fs::write(folder.join("prometheus.yaml"), config).unwrap();
    fs::write(folder.join("admin.token"), TOKEN).unwrap();
    fs::copy(format!("{DEPLOY}/prometheus/alerts.yaml"), folder.join("alerts.yaml")).unwrap();
    let port = free_port();
    let mut command = Command::new("prometheus");
    command.args(["--config.file=prometheus.yaml", "--storage.tsdb.path=tsdb"]).current_dir(folder);
    command.arg(format!("--web.listen-address=127.0.0.1:{port}")).stdin(Stdio::null());
    let log = fs::File::create(folder.join("prometheus.log")).unwrap();
    (Killed(command.stdout(Stdio::null()).stderr(log).spawn().unwrap()), port)
}

/// The answer of Prometheus; `None` before it is ready.
pub fn ask(port: u16, path: &str, query: &str) -> Option<Value> {
    let url = format!("http://127.0.0.1:{port}/api/v1/{path}");
    let output =
        Command::new("curl").args(["-sG", &url, "--data-urlencode", &format!("query={query}")]).output().unwrap();
    let answer: Value = serde_json::from_slice(&output.stdout).ok()?;
    assert_eq!(answer["status"], "success", "{query} {answer}");
    Some(answer["data"].clone())
}

/// Every query of the dashboard.
fn queries() -> Vec<String> {
    let dashboard = fs::read(format!("{DEPLOY}/prometheus/dashboard.json")).unwrap();
    let dashboard: Value = serde_json::from_slice(&dashboard).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let targets = panels.filter_map(|panel| panel["targets"].as_array()).flatten();
    targets.map(|target| target["expr"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn prometheus_scrapes_and_the_dashboard_has_data() {
    if !is_here("prometheus") || !is_here("curl") {
        return;
    }
    let (folder, ca) = (Folder::new(), Ca::new());
    install(&folder, &ca.pair());
    for ahead in ["0s", "2d"] {
        // One at a time, and the first is not the primary before its second is over.
        let since = Instant::now();
        while !run(folder.path(), &["keys", "rotate", "--activate-in", ahead]).status.success() {
            assert!(since.elapsed() < PATIENCE, "the ring is never rotated");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    let config = folder.config(TLS, "");
    let with_token = format!("[admin]\ntoken_sha256 = \"{}\"", sha256_hex(TOKEN));
    let text = fs::read_to_string(&config).unwrap().replace("[admin]", &with_token);
    fs::write(&config, text).unwrap();
    let server = Server::spawn(callveil().args(["serve", "--config"]).arg(config));
    assert_eq!(scrape(&server, "").status, 401);
    assert_eq!(scrape(&server, &format!("authorization: Bearer {TOKEN}\r\n")).status, 200);

    let (_prometheus, port) = prometheus(folder.path(), &server);
    let (client, over) = (ca.client(rustls::ALL_VERSIONS), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                assert_eq!(request(server.address, &client).unwrap().1, 200);
            }
        });
        let queries = queries();
        assert!(queries.len() > 25, "the dashboard's queries were not found");
        let since = Instant::now();
        let mut empty = queries;
        while !empty.is_empty() && since.elapsed() < PATIENCE {
            empty.retain(|query| {
                let query =
                    query.replace("$job", "callveil").replace("$client", USER).replace("$__rate_interval", "5s");
                ask(port, "query", &query).is_none_or(|data| data["result"] == json!([]))
            });
        }
        over.store(true, Ordering::Relaxed);
        assert!(
            empty.is_empty(),
            "no data: {empty:#?}\n{}",
            fs::read_to_string(folder.path().join("prometheus.log")).unwrap()
        );
    });
    // Prometheus takes up the rules, and calls none of them wrong.
    let rules = ask(port, "rules", "").unwrap();
    let rules = rules["groups"][0]["rules"].as_array().unwrap();
    assert!(rules.len() > 10 && rules.iter().all(|rule| rule["lastError"].is_null()), "{rules:?}");
}

/// Copies a document to another file, but of the operations only those of one tag.
const OPERATIONS_OF: &str = "
import json, sys, yaml
source, tag, target = sys.argv[1:]
document = yaml.safe_load(open(source))
for path, item in list(document['paths'].items()):
    for method, operation in list(item.items()):
        if isinstance(operation, dict) and tag not in operation.get('tags', [tag]):
            del item[method]
json.dump(document, open(target, 'w'))
";

/// Too many numbers are 413, which its own list of refusals lacks.
const REFUSALS_OF_SCHEMATHESIS: &str = "
[checks.negative_data_rejection]
expected-statuses = [400, 401, 403, 404, 405, 406, 409, 413, 415, 422, 428, 429, '5xx']
";

#[test]
fn the_openapi_document_is_true() {
    let folder = Folder::new();
    let config = folder.config("", ALL_MODES);
    // Its own takes no colon in a password.
    let text = fs::read_to_string(&config).unwrap().replace(&sha256_hex(PASSWORD), &sha256_hex("simple"));
    fs::write(&config, text).unwrap();
    let start = || Server::spawn(callveil().args(["serve", "--config"]).arg(&config));
    let server = start();
    let document = server.admin_get("/openapi.yaml");
    assert_eq!((document.status, document.header("content-type")), (200, Some("application/yaml")));
    let file = format!("{DEPLOY}/openapi.yaml");
    assert!(fs::read_to_string(&file).unwrap() == document.body);
    // What `/keyring` says is one type for who writes it and who reads it, and the document names all of it.
    let said = server.admin_get("/keyring").body;
    let ring: RingInUse = serde_json::from_str(&said).unwrap();
    let ring = serde_json::to_value(ring).unwrap();
    assert_eq!(ring, serde_json::from_str::<Value>(&said).unwrap());
    let names = [&ring, &ring["keys"][0], &ring["audit_head"]].map(|object| object.as_object().unwrap().keys());
    assert!(names.into_iter().flatten().all(|name| document.body.contains(&format!(" {name}:"))), "{ring}");
    if !is_here("schemathesis") {
        return;
    }
    // Without a seed its requests would be others on each run.
    for seed in seeds(1) {
        let (server, seed) = (start(), seed.to_string());
        let document = [&file, seed.as_str()];
        held_to(document, "endpoint", server.address, &["--auth", &format!("{USER}:simple")]);
        held_to(document, "admin", server.admin, &[]);
    }
}

/// Schemathesis asks a listener what the document says of `tag`.
#[track_caller]
fn held_to([document, seed]: [&str; 2], tag: &str, address: SocketAddr, auth: &[&str]) {
    let folder = Folder::new();
    let refusals = folder.path().join("schemathesis.toml");
    fs::write(&refusals, REFUSALS_OF_SCHEMATHESIS).unwrap();
    // Both answer at `/`: each is held to what the document says of it alone.
    let listener = folder.path().join(format!("{tag}.json"));
    let listener = listener.to_str().unwrap();
    let kept = Command::new("python3").args(["-c", OPERATIONS_OF, document, tag, listener]).output().unwrap();
    assert!(kept.status.success(), "{}", String::from_utf8_lossy(&kept.stderr));
    let mut command = Command::new("schemathesis");
    command.arg("--config-file").arg(&refusals);
    command.args(["run", listener, "--url", &format!("http://{address}"), "--include-tag", tag]).args(auth);
    command.args(["--checks", "all", "--max-examples", "50", "--no-color", "--generation-database", "none"]);
    command.args(["--seed", seed]);
    let output = command.current_dir(folder.path()).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&said));
}
