//! One list has every key. The parser, `docs/configuration.md`, the example and the schema must agree with it.

use std::{collections::BTreeSet, fs, path::Path, process::Command};

use callveil::config::{
    self, Config, Overrides,
    keys::{Key, Kind},
    list::KEYS,
};
use serde_json::Value;

use crate::{
    needs::is_here,
    support::{callveil, run},
};

const PAGE: &str = "docs/configuration.md";
const SCHEMA: &str = "docs/configuration.schema.json";

/// The required settings of a client.
const CLIENT: &str = "username = \"a\"
password_sha256 = [\"5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8\"]";

/// The code's complaint about a configuration in which this key is a table, which no key may be.
fn complaint(key: &Key) -> String {
    let name = key.path.rsplit('.').next().unwrap();
    let listen = if key.path == "listen" { "" } else { "listen = \"127.0.0.1:0\"\n" };
    let client = CLIENT.lines().filter(|line| !line.starts_with(name)).collect::<Vec<_>>().join("\n");
    let text = match key.path.strip_prefix("clients.") {
        Some(key) => format!("{listen}[[clients]]\n{client}\n{key} = {{ x = 1 }}\n"),
        None => format!("{listen}{} = {{ x = 1 }}\n[[clients]]\n{client}\n", key.path),
    };
    let read = Config::from_toml(&text, Path::new(""), Overrides::default());
    read.err().unwrap_or_else(|| panic!("accepted:\n{text}")).to_string()
}

/// Compares the file at `path` with what the code generates, or writes it if asked to.
fn hold(path: &str, made: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    if std::env::var_os("CALLVEIL_RENEW").is_some() {
        return fs::write(path, made).unwrap();
    }
    let kept = fs::read_to_string(&path).unwrap();
    assert!(kept == made, "{} is not what the code says: CALLVEIL_RENEW=1 writes it anew", path.display());
}

#[test]
fn the_page_has_every_key_and_says_of_it_what_the_code_says() {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(PAGE)).unwrap();
    let (mut made, mut keys) = (String::new(), KEYS.iter());
    for line in page.lines() {
        let is_key = line.starts_with("| `") && line.split(" | ").count() >= 5;
        let row = is_key.then(|| keys.next().map_or_else(String::new, Key::row));
        made += &format!("{}\n", row.as_deref().unwrap_or(line));
    }
    assert_eq!(keys.next().map(|key| key.path), None, "a row for each key is wanted in {PAGE}, in the list's order");
    hold(PAGE, &made);
}

#[test]
fn the_schema_has_every_key() {
    let schema = config::schema();
    hold(SCHEMA, &format!("{schema:#}\n"));
    let mut paths = BTreeSet::new();
    collect(&schema, "", &mut paths);
    assert_eq!(paths, KEYS.iter().map(|key| key.path.to_owned()).collect());
}

fn collect(schema: &Value, prefix: &str, paths: &mut BTreeSet<String>) {
    for (name, inner) in schema["properties"].as_object().unwrap() {
        let tables = if inner["items"]["type"] == "object" { &inner["items"] } else { inner };
        match tables["type"] == "object" {
            true => collect(tables, &format!("{prefix}{name}."), paths),
            false => assert!(paths.insert(format!("{prefix}{name}"))),
        }
    }
}

#[test]
fn the_reader_asks_for_every_key_and_has_its_range() {
    for key in KEYS {
        let complaint = complaint(key);
        let place = key.path.replace("clients.", "clients[0].");
        assert!(complaint.contains(&format!("`{place}`")), "{}: {complaint}", key.path);
        assert!(!complaint.contains("is not a key"), "{}: {complaint}", key.path);
        if let Kind::Integer(min, max) = key.kind
            && key.path != "approvals"
        {
            assert!(complaint.contains(&format!(" from {min} to {max}")), "{}: {complaint}", key.path);
        }
    }
}

/// The example configuration with every key set.
fn all_set() -> String {
    let example = config::example();
    let set = example.lines().map(|line| match line.strip_prefix('#') {
        Some(rest) if rest.starts_with(|c: char| c == '[' || c.is_ascii_lowercase()) => rest,
        _ => line,
    });
    set.map(|line| format!("{line}\n")).collect()
}

#[test]
fn the_example_has_every_key_and_each_of_its_values_is_right() {
    let text = all_set();
    let (mut table, mut paths) = (String::new(), Vec::new());
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        if let Some(name) = line.strip_prefix('[') {
            table = format!("{}.", name.trim_matches(['[', ']']));
        } else if let Some((name, _)) = line.split_once(" = ") {
            paths.push(format!("{table}{name}"));
        }
    }
    assert_eq!(paths, KEYS.iter().map(|key| key.path).collect::<Vec<_>>());
    // Two of them exclude others.
    let text: Vec<_> = text.lines().filter(|line| !line.starts_with("plaintext")).collect();
    let text = text.join("\n").replace("items = \"none\"", "items = \"hmac\"");
    let read = Config::from_toml(&text, Path::new(""), Overrides::default());
    assert_eq!(read.err().map(|error| error.to_string()), None);
    assert!(config::example().lines().all(|line| line.chars().count() <= 94));
}

#[test]
fn the_example_passes_the_check_and_serves_once_there_is_a_ring() {
    let folder = tempfile::tempdir().unwrap();
    let example = run(folder.path(), &["config", "example"]);
    assert_eq!(String::from_utf8(example.stdout).unwrap(), config::example());
    fs::write(folder.path().join("c.toml"), config::example()).unwrap();
    let check = |args: &[&str]| {
        let output = run(folder.path(), &[&["config", "check", "c.toml"], args].concat());
        let texts = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
        (output.status.code(), texts[0].clone(), texts[1].clone())
    };
    let (code, out, err) = check(&[]);
    assert!(code == Some(0) && out.ends_with("right\n"), "{out}{err}");
    assert!(err.contains("`serve` would not start here: `keyring`") && err.contains("of the example"), "{err}");
    assert_eq!(check(&["--here"]).0, Some(78));
    assert!(run(folder.path(), &["keys", "init"]).status.success());
    let (code, out, err) = check(&["--here"]);
    assert!(code == Some(0) && out.ends_with("right: `serve` would start\n"), "{out}{err}");
    for told in ["http://127.0.0.1:8443/", "1 keys, primary ", "memory_max_bytes", "ccc, context default", "600000"] {
        assert!(out.contains(told), "{told}: {out}");
    }
    assert!(err.contains("ring_id = \""), "{err}");
    let (_, out, _) = check(&["--json"]);
    let told: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&told["ok"], &told["starts"]), (&true.into(), &true.into()), "{out}");
}

#[test]
fn editors_take_the_example_and_refuse_what_is_wrong() {
    if !is_here("python3") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("schema.json"), config::schema().to_string()).unwrap();
    fs::write(folder.path().join("example.toml"), config::example()).unwrap();
    fs::write(folder.path().join("all.toml"), all_set()).unwrap();
    let script = "import json, sys, tomllib
try:
    import jsonschema
except ImportError:
    sys.exit(42)
check = jsonschema.Draft202012Validator(json.load(open('schema.json')))
jsonschema.Draft202012Validator.check_schema(check.schema)
for name in ['example.toml', 'all.toml']:
    check.validate(tomllib.load(open(name, 'rb')))
whole = tomllib.load(open('all.toml', 'rb'))
for table in [whole, whole['limits'], whole['clients'][0], whole['admin']['tls']]:
    table['nmubers'] = 1
    assert not check.is_valid(whole)
    del table['nmubers']
for name, value in [('threads', 0), ('plaintext', 'yes'), ('ring_id', 'abc'), ('clients', []), ('limits', {'numbers': -1})]:
    assert not check.is_valid(whole | {name: value}), name
";
    let output = Command::new("python3").args(["-c", script]).current_dir(folder.path()).output().unwrap();
    match output.status.code() {
        Some(42) => println!("skipped: python3 has no jsonschema"),
        code => assert_eq!(code, Some(0), "{output:?}"),
    }
}

#[test]
fn faults_of_the_files_are_told_beside_those_of_the_keys() {
    let folder = tempfile::tempdir().unwrap();
    assert!(run(folder.path(), &["keys", "init"]).status.success());
    fs::write(folder.path().join("tls.crt"), "no certificate").unwrap();
    fs::write(folder.path().join("tls.key"), "no key").unwrap();
    let ring_id = "0".repeat(64);
    let text = format!(
        "ring_id = \"{ring_id}\"\nmin_generation = 7\nthreads = 0\n[tls]\ncertificate = \"tls.crt\"\n\
         private_key = \"tls.key\"\n[audit]\nto = \"gone/audit.log\"\n[[clients]]\n{CLIENT}\n"
    );
    fs::write(folder.path().join("c.toml"), text).unwrap();
    let output = callveil().args(["config", "check", "c.toml"]).current_dir(folder.path()).output().unwrap();
    let (out, err) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!(output.status.code(), Some(78));
    for told in ["c.toml:3: `threads`", "c.toml: `tls`", "c.toml: `ring_id`"] {
        assert!(out.contains(told), "{told}: {out}");
    }
    assert!(err.contains("`audit.to`") && err.ends_with("callveil: c.toml is refused\n"), "{err}");
}
