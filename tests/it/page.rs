//! The page of a replica and the page of a fleet: what they show, what they do not, and how they are requested.

use std::{fs, path::Path, process::Command};

use callveil::keyring::key::Status;
use data_encoding::{BASE64, HEXLOWER};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::{
    rings,
    support::{Answer, Folder, Http, PASSWORD, Server, USER, basic, callveil, post, run, sha256_hex, write_secret},
};

const TOKEN: &str = "a-token-of-the-admin-listener";

/// A name that a page must not interpret as HTML. Its last character would reverse the text that follows.
const HOSTILE: &str = "<script>alert('1')</script>\\\"&\u{202e}";

/// Times of a key, in days from now; negative in the past.
struct Days {
    created: i64,
    activates: i64,
    disabled: Option<i64>,
    status: Status,
}

const fn enabled(created: i64, activates: i64) -> Days {
    Days { created, activates, disabled: None, status: Status::Enabled }
}

const fn over(created: i64, disabled: Option<i64>, status: Status) -> Days {
    Days { created, activates: created + 1, disabled, status }
}

/// Twelve keys, of three years.
const TWELVE: [Days; 12] = [
    over(-1100, Some(-800), Status::Destroyed),
    over(-1000, Some(-700), Status::Destroyed),
    over(-900, None, Status::Destroyed),
    over(-800, Some(-400), Status::Disabled),
    over(-700, Some(-300), Status::Disabled),
    over(-600, Some(-200), Status::Disabled),
    enabled(-500, -499),
    enabled(-400, -399),
    enabled(-300, -299),
    enabled(-200, -199),
    enabled(-100, -99),
    enabled(-2, 3),
];

fn in_days(now: Timestamp, days: i64) -> String {
    (now + SignedDuration::from_hours(24 * days)).strftime("%FT%H:%M:%SZ").to_string()
}

/// Puts keys with these times and the ids from 1001 on into the folder's ring.
fn set_keys(folder: &Folder, days: &[Days]) {
    let (mut ring, now) = (rings::read(&folder.ring()), Timestamp::now());
    let first = ring["keys"][0].clone();
    let keys = days.iter().zip(0x1001_u16..).map(|(days, id)| {
        let material = [id.to_be_bytes()[1]; 64];
        let mut key = first.clone();
        key["id"] = format!("{id:04x}").into();
        key["status"] = json!(days.status);
        key["created"] = in_days(now, days.created).into();
        key["activates"] = in_days(now, days.activates).into();
        key["check"] = HEXLOWER.encode(&Sha256::digest(material)[..8]).into();
        key["material"] = BASE64.encode(&material).into();
        if let Some(disabled) = days.disabled {
            key["disabled"] = in_days(now, disabled).into();
        }
        if days.status == Status::Destroyed {
            key.as_object_mut().unwrap().remove("material");
        }
        key
    });
    ring["keys"] = keys.collect::<Vec<Value>>().into();
    write_secret(folder.ring(), rings::signed(&ring));
}

/// Adds `count` clients with all modes, each with the password `pN`.
fn clients(count: usize) -> String {
    let client = |at: usize| {
        let (name, hash) =
            (if at == 0 { HOSTILE.to_owned() } else { format!("crm-{at}") }, sha256_hex(&format!("p{at}")));
        format!(
            "[[clients]]\nusername = \"{name}\"\ncontext = \"team-{at}\"\npassword_sha256 = [\"{hash}\"]\n\
            modes = [\"PhoneToUID\", \"UIDToPhone\", \"PhoneToAliases\"]\ntokenize_per_minute = 100\n"
        )
    };
    (0..count).map(client).collect()
}

fn call_as(server: &Server, at: usize, mode: &str, numbers: &[String]) -> Value {
    let name = if at == 0 { HOSTILE.replace("\\\"", "\"") } else { format!("crm-{at}") };
    let body = json!({"Numbers": numbers, "Mode": mode}).to_string();
    Http::connect(server.address).send(post(&basic(&name, &format!("p{at}")), &body)).json()
}

/// Makes every client open a UID of every enabled key.
fn open_all(server: &Server, clients: usize) -> Vec<String> {
    let mut all = Vec::new();
    for at in 0..clients {
        let numbers: Vec<String> = (0..13).map(|number| format!("139{at:04}{number:04}")).collect();
        let answer = call_as(server, at, "PhoneToAliases", &numbers);
        let uids = answer["Results"].as_array().unwrap().iter().flat_map(|result| result["Values"].as_array().unwrap());
        let uids: Vec<String> = uids.map(|uid| uid.as_str().unwrap().to_owned()).collect();
        assert_eq!(call_as(server, at, "UIDToPhone", &uids)["Code"], 0);
        all.extend(numbers.into_iter().chain(uids));
    }
    all
}

/// A replica whose admin listener wants [`TOKEN`], if it wants any.
fn start(folder: &Folder, rest: &str, token: Option<&str>) -> Server {
    let config = folder.config("", rest);
    if let Some(token) = token {
        let with_token = format!("[admin]\ntoken_sha256 = \"{}\"", sha256_hex(token));
        fs::write(&config, fs::read_to_string(&config).unwrap().replace("[admin]", &with_token)).unwrap();
    }
    Server::spawn(callveil().args(["serve", "--config"]).arg(config))
}

fn ask(server: &Server, method: &str, headers: &str) -> Answer {
    Http::connect(server.admin).send(format!("{method} / HTTP/1.1\r\nhost: admin\r\n{headers}\r\n"))
}

#[test]
fn the_page_wants_the_token_and_is_kept_and_framed_by_nobody() {
    let folder = Folder::new();
    let server = start(&folder, "", Some(TOKEN));
    let refused = ask(&server, "GET", "");
    assert_eq!((refused.status, refused.json()["Code"].as_u64()), (401, Some(401)));
    let challenges: Vec<_> = refused.head.lines().filter(|line| line.starts_with("www-authenticate: ")).collect();
    let wanted = ["Bearer realm=\"callveil\"", "Basic realm=\"callveil\", charset=\"UTF-8\""];
    assert_eq!(challenges, wanted.map(|wanted| format!("www-authenticate: {wanted}")));
    for wrong in [
        "Bearer hunter2",
        &basic("anybody", "hunter2"),
        &basic("", ""),
        &format!("Basic {TOKEN}"),
        &format!("Basic {}", BASE64.encode(TOKEN.as_bytes())),
        TOKEN,
    ] {
        assert_eq!(ask(&server, "GET", &format!("authorization: {wrong}\r\n")).status, 401, "{wrong}");
    }
    assert_eq!(ask(&server, "GET", &format!("cookie: token={TOKEN}\r\n")).status, 401);
    for good in [format!("Bearer {TOKEN}"), basic("anybody", TOKEN), basic("", TOKEN)] {
        let page = ask(&server, "GET", &format!("authorization: {good}\r\n"));
        assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")), "{good}");
        let policy = page.header("content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'none'; style-src 'sha256-") && !policy.contains("unsafe"), "{policy}");
        assert_eq!(page.header("cache-control"), Some("no-store"));
        assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
        assert_eq!((page.header("set-cookie"), page.header("referrer-policy")), (None, Some("no-referrer")));
        // Browsers that showed the page follow its links with the same.
        let keyring = format!("GET /keyring HTTP/1.1\r\nhost: admin\r\nauthorization: {good}\r\n\r\n");
        assert_eq!(Http::connect(server.admin).send(keyring).status, 200);
    }
    let post = ask(&server, "POST", &format!("authorization: Bearer {TOKEN}\r\ncontent-length: 0\r\n"));
    assert_eq!((post.status, post.header("allow")), (405, Some("GET, HEAD")));
    let mut connection = Http::connect(server.admin);
    connection
        .write(format!("HEAD / HTTP/1.1\r\nhost: admin\r\nauthorization: Bearer {TOKEN}\r\nconnection: close\r\n\r\n"));
    let mut all = String::new();
    std::io::Read::read_to_string(&mut connection.0, &mut all).unwrap();
    assert!(all.starts_with("HTTP/1.1 200 ") && all.ends_with("\r\n\r\n"), "{all}");
    assert!(all.contains("text/html") && !all.contains("<html"), "{all}");
}

#[test]
fn the_page_is_small_and_holds_neither_numbers_nor_uids_nor_anybodys_html() {
    let folder = Folder::new();
    set_keys(&folder, &TWELVE);
    let server = start(&folder, &clients(60), None);
    let secrets = open_all(&server, 60);
    // Near a limit, and over it.
    for (numbers, code) in [(10, 0), (30, 429)] {
        assert_eq!(call_as(&server, 1, "PhoneToUID", &vec!["8001".to_owned(); numbers])["Code"], code);
    }
    let since = std::time::Instant::now();
    let page = ask(&server, "GET", "").body;
    let (took, bytes) = (since.elapsed(), page.len());
    eprintln!("{bytes} bytes, {took:?} from connecting to the last byte");
    assert!(bytes < 60 * 1024, "{bytes} bytes");
    assert_eq!(secrets.len(), 60 * (13 + 13 * 6));
    assert!(secrets.iter().all(|secret| !page.contains(secret)), "a number, or a UID");
    let ring = rings::read(&folder.ring());
    assert!(
        ring["keys"].as_array().unwrap().iter().all(|key| key["material"].as_str().is_none_or(|it| !page.contains(it)))
    );
    assert!(!page.contains(PASSWORD) && !page.contains(ring["signing_key"].as_str().unwrap()));
    assert!(!page.contains("<script") && !page.contains('\u{202e}') && !page.contains("style="));
    let name = "<bdi>&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;&quot;&amp;\u{fffd}</bdi>";
    assert!(
        page.contains(&format!(
            "{name}<small>context team-0</small></th><td class=\"n\">78</td><td class=\"n\">78</td>"
        ))
    );
    // 60 clients opened 13 UIDs of each of the six keys that are enabled.
    assert_eq!(page.matches("1007: 13, 1008: 13, 1009: 13, 100a: 13, 100b: 13, 100c: 13</td>").count(), 60);
    assert_eq!(
        page.matches("<td class=\"n\">780</td><td class=\"n\">780</td><td class=\"n\">780</td></tr>").count(),
        6
    );
    assert!(
        page.contains(">100b</th><td class=\"text\">primary<small>since ") && page.contains(">1004 disabled<"),
        "{page}"
    );
    assert!(page.contains("Key 100c becomes the primary in "), "{page}");
    let near = "<bdi>crm-1</bdi></th><td class=\"text\">tokenize a minute</td><td class=\"n\">88 of 100</td><td class=\"n\">88 %</td>";
    assert!(page.contains(near) && page.matches("tokenize a minute").count() == 1, "{page}");
    assert!(page.contains("<p>Items that limits refused since the start: 30.</p>"));
}

#[test]
fn what_is_refused_is_on_the_page() {
    let folder = Folder::new();
    let server = start(&folder, "", None);
    let fine = ask(&server, "GET", "").body;
    assert!(fine.contains("<p class=\"state good\">ready</p>") && fine.contains("Nothing here wants attention."));
    assert!(fine.contains("No key waits to become the primary."));
    fs::write(folder.ring(), "{}").unwrap();
    server.wait_for("keeping the key ring in use");
    let page = ask(&server, "GET", "").body;
    assert!(page.contains("<strong>Wrong:</strong> <span>The key ring on disk is refused."), "{page}");
    assert!(page.contains("<dt>Key ring</dt><dd>what is on disk is refused</dd>"), "{page}");
    assert!(
        page.contains("<dt>Refused since the start</dt><dd>1</dd>")
            && page.contains("<p class=\"state warn\">ready, but something is wrong</p>")
    );
}

/// Two replicas, one of which lacks the newest key, and one that is gone. Writes the page of `keys check` about them.
fn lagging(page: &Path) -> (Server, Server) {
    let (one, other) = (Folder::new(), Folder::new());
    fs::copy(one.ring(), other.ring()).unwrap();
    let rotated = run(one.path(), &["keys", "rotate", "--activate-in", "2d"]);
    assert!(rotated.status.success(), "{rotated:?}");
    let replicas = (start(&one, "", None), start(&other, "", None));
    let uids = replicas.0.values("PhoneToUID", &["13988888888"]);
    replicas.1.values("UIDToPhone", &[&uids[0]]);
    let gone = crate::other_tools::free_port();
    let urls = [replicas.0.admin.to_string(), replicas.1.admin.to_string(), format!("127.0.0.1:{gone}")];
    let urls = urls.map(|url| format!("http://{url}"));
    let args = ["keys", "check", &urls[0], &urls[1], &urls[2], "--html", page.to_str().unwrap()];
    assert_eq!(run(one.path(), &args).status.code(), Some(1));
    replicas
}

#[test]
fn all_replicas_are_side_by_side() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("fleet.html");
    let (ahead, behind) = lagging(&file);
    let page = fs::read_to_string(&file).unwrap();
    let row = |server: &Server| {
        let found = page.split("<tr>").find(|row| row.contains(&format!("<bdi>http://{}/</bdi>", server.admin)));
        found.unwrap_or_else(|| panic!("{page}")).to_owned()
    };
    assert!(
        row(&ahead).contains("<span class=\"good\">up to date</span></td><td class=\"text\">generation 2<small>"),
        "{}",
        row(&ahead)
    );
    assert!(
        row(&behind).contains("behind by 1 generation</strong></td><td class=\"text\">generation 1<small>"),
        "{}",
        row(&behind)
    );
    assert!(page.contains("<strong class=\"bad\">did not answer</strong>"), "{page}");
    assert!(page.contains("becomes the primary in ") && page.contains("problems</p>"), "{page}");
    assert!(
        page.contains(&format!("hand generation 2 of the key ring to http://{}/, which has 1</span>", behind.admin))
    );
    assert!(page.contains(&format!("<strong class=\"bad\">missing</strong> on <bdi>http://{}/</bdi>", behind.admin)));
    assert!(page.contains("<small>last opened <time") && !page.contains("13988888888"));
    assert!(
        page.contains("<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'sha256-")
    );
    let metadata = fs::metadata(&file).unwrap();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o777, 0o600);
    // It is renewed, and its old content is gone.
    let url = format!("http://{}", ahead.admin);
    let again = run(folder.path(), &["keys", "check", &url, "--html", "fleet.html"]);
    assert!(again.status.success(), "{}", String::from_utf8_lossy(&again.stderr));
    let page = fs::read_to_string(&file).unwrap();
    assert!(
        page.contains("<p class=\"state good\">all is well</p>") && page.contains("every replica has it"),
        "{page}"
    );
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_page_takes_the_place_of_pages_alone() {
    let folder = Folder::new();
    let server = start(&folder, "", None);
    let url = format!("http://{}", server.admin);
    let path = |name: &str| folder.path().join(name);
    fs::write(path("empty"), "").unwrap();
    fs::write(path("page.html"), "<!DOCTYPE html>\n<html lang=\"en\">\n<p>of mine</p>").unwrap();
    std::os::unix::fs::symlink("keys/keyring.json", path("link.html")).unwrap();
    for name in
        ["keys/keyring.json", "keys/keyring.json.lock", "link.html", "callveil.toml", "empty", "page.html", "keys"]
    {
        let before = fs::read(path(name)).ok();
        let refused = run(folder.path(), &["keys", "check", &url, "--html", name]);
        assert_eq!(refused.status.code(), Some(2), "{name}: {}", String::from_utf8_lossy(&refused.stderr));
        assert!(fs::read(path(name)).ok() == before, "{name}");
    }
    let refused = run(folder.path(), &["keys", "check", &url, "--html", "keys/keyring.json.previous"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(!path("keys/keyring.json.previous").exists());
}

/// The pages in a browser, looked at by axe-core: `CALLVEIL_SHOTS` is a folder for pictures of them.
///
/// It wants `chromium` and `nodejs` of Debian, and `npm install --prefix target/npm axe-core`.
#[test]
#[ignore = "a minute of Chromium, with axe-core of npm"]
fn the_pages_read_well_in_a_browser() {
    let target = Path::new(env!("CARGO_BIN_EXE_callveil")).ancestors().nth(2).unwrap();
    let axe = target.join("npm/node_modules/axe-core/axe.min.js");
    assert!(axe.exists(), "no {}", axe.display());
    let folders: [Folder; 5] = std::array::from_fn(|_| Folder::new());
    let [one, twelve, pending, refused, sixty] = &folders;
    set_keys(twelve, &TWELVE);
    set_keys(sixty, &TWELVE);
    set_keys(pending, &[enabled(-40, -40), enabled(-1, 2)]);
    let many = clients(60);
    let one = start(one, "", Some(TOKEN));
    let [twelve, pending, sixty] =
        [(twelve, ""), (pending, ""), (sixty, &many)].map(|(folder, rest)| start(folder, rest, None));
    open_all(&sixty, 60);
    call_as(&sixty, 1, "PhoneToUID", &vec!["8001".to_owned(); 10]);
    call_as(&sixty, 2, "PhoneToUID", &vec!["8001".to_owned(); 22]);
    call_as(&sixty, 3, "PhoneToUID", &vec!["8001".to_owned(); 23]);
    let uids = pending.values("PhoneToUID", &["13988888888"]);
    pending.values("UIDToPhone", &[&uids[0]]);
    let refuses = start(refused, "", None);
    fs::write(refused.ring(), "{}").unwrap();
    refuses.wait_for("keeping the key ring in use");
    let work = tempfile::tempdir().unwrap();
    let fleet = work.path().join("fleet.html");
    let _lagging = lagging(&fleet);
    let mut pages =
        vec![format!("one=http://{USER}:{TOKEN}@{}/", one.admin), format!("lagging=file://{}", fleet.display())];
    for (name, server) in [("twelve", &twelve), ("pending", &pending), ("refused", &refuses), ("sixty", &sixty)] {
        pages.push(format!("{name}=http://{}/", server.admin));
    }
    let shots = std::env::var("CALLVEIL_SHOTS").unwrap_or_default();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/pages/look.mjs");
    let output = Command::new("node")
        .arg(script)
        .args([&axe, work.path().join("profile").as_path()])
        .arg(shots)
        .args(pages)
        .output();
    let output = output.unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success() && said.is_empty(), "{}", String::from_utf8_lossy(&said));
}
