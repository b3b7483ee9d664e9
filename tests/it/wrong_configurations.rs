//! Sixty wrong configurations: one run names every fault of each, and shows no value.

use std::{fs, thread};

use serde_json::Value;

use crate::support::callveil;

/// A correct client.
const CLIENT: &str = "[[clients]]
username = \"ccc\"
password_sha256 = [\"5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8\"]
";

const LOOPBACK: &str = "listen = \"127.0.0.1:0\"\n";

/// The SHA-256 of an empty text.
const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

const ALICE: &str = "alice+4124365a+AYqI4910CfGV/VLbLTy6XXLKZwm/HZQSG/N0iAG0D29c";

/// Lines at the top of an otherwise correct file, and all of its faults.
const TOPS: &[(&str, &[&str])] = &[
    ("path = 's3cret'\nthreads = 0", &["path", "threads"]),
    ("path = '/s3cret?a'\nthreads = 2000\nplaintext = 's3cret'", &["path", "threads", "plaintext"]),
    ("path = 5\nkeyring = 5\nidentity = 5", &["path", "keyring", "identity"]),
    ("keyring_mode = 's3cret'\nring_id = 's3cret'", &["keyring_mode", "ring_id"]),
    ("ring_id = 5\nmin_generation = 0", &["ring_id", "min_generation"]),
    ("min_generation = -1\napprovals = 1", &["min_generation", "approvals"]),
    ("approvers = []\nnmubers = 5", &["approvers", "nmubers"]),
    ("approvers = ['s3cret']\napprovals = 0", &["approvers", "approvals"]),
    ("approvers = ['ALICE', 'ALICE']\napprovals = 3", &["approvers", "approvals"]),
    ("approvers = ['ALICE']\napprovals = 2\nport = 1", &["approvals", "port"]),
    ("approvers = ['PRIVATE+KEY+s3cret']\nidentity = 'AGE-SECRET-KEY-1S3CRET'", &["approvers", "identity"]),
    ("trunk_zero_regions = ['s3cret']\nallow_from = []", &["trunk_zero_regions", "allow_from"]),
    ("trunk_zero_regions = 'CN'\ntrusted_proxies = ['s3cret']", &["trunk_zero_regions", "trusted_proxies"]),
    ("allow_from = ['10.0.0.0/33']\ntrusted_proxies = ['10.0.0.7/8']", &["allow_from", "trusted_proxies"]),
    ("allow_from = '10.0.0.0/8'\ntrusted_proxies = ['::ffff:10.0.0.0/104']", &["allow_from", "trusted_proxies"]),
    ("allow_from = ['0.0.0.0']\npassword = 's3cret'\ntoken = 's3cret'", &["allow_from", "password", "token"]),
    ("plaintext = true\n[tls]\ncertificate = 's3cret'", &["plaintext", "tls.private_key"]),
    ("tls = 5\nadmin = 5\nlimits = 5\naudit = 5", &["tls", "admin", "limits", "audit"]),
    ("[tls]", &["tls.certificate", "tls.private_key"]),
    ("[tls]\nprivate_key = 5\nkey = 's3cret'", &["tls.certificate", "tls.private_key", "tls.key"]),
    ("[tls]\ncertificate = '-----BEGIN PRIVATE KEY-----s3cret'", &["tls.certificate", "tls.private_key"]),
    (
        "[tls]\ncertificate = 5\nprivate_key = 5\nclient_ca = 's3cret'",
        &["tls.certificate", "tls.private_key", "tls.client_ca"],
    ),
    ("[admin]\nlisten = 's3cret'\ntoken = 's3cret'", &["admin.listen", "admin.token"]),
    ("[admin]\nlisten = '0.0.0.0:9640'\nport = 1", &["admin.token_sha256", "admin.port"]),
    ("[admin]\nlisten = '0.0.0.0:9640'\ntoken_sha256 = 's3cret'\ntls = 5", &["admin.token_sha256", "admin.tls"]),
    ("[admin.tls]\nclient_ca = 5", &["admin.tls.certificate", "admin.tls.private_key", "admin.tls.client_ca"]),
    (
        "[admin.tls]\ncertificate = 5\nprivate_key = 5\nca = 5",
        &["admin.tls.certificate", "admin.tls.private_key", "admin.tls.ca"],
    ),
    ("[limits]\nbody_bytes = 0\nbuffered_bytes = 0", &["limits.body_bytes", "limits.buffered_bytes"]),
    (
        "[limits]\nbody_bytes = 2000000\nbuffered_bytes = 1000000\nnumbers = 0",
        &["limits.buffered_bytes", "limits.numbers"],
    ),
    (
        "[limits]\nnumbers = 's3cret'\nconnections = 0\nconnections_per_peer = 0",
        &["limits.numbers", "limits.connections", "limits.connections_per_peer"],
    ),
    (
        "[limits]\nnumbers = 1.5\nconnections = -1\nconnections_per_peer = true",
        &["limits.numbers", "limits.connections", "limits.connections_per_peer"],
    ),
    (
        "[limits]\nheader_seconds = 0\nrequest_seconds = 0\nidle_seconds = 0",
        &["limits.header_seconds", "limits.request_seconds", "limits.idle_seconds"],
    ),
    (
        "[limits]\ndrain_delay_seconds = -1\ndrain_seconds = 3601",
        &["limits.drain_delay_seconds", "limits.drain_seconds"],
    ),
    ("[limits]\nidle = 5\nheader = 5\nnumbers = 0x1000000", &["limits.idle", "limits.header", "limits.numbers"]),
    ("[limits]\nbody_bytes = 's3cret'\n[audit]\nto = 5", &["limits.body_bytes", "audit.to"]),
    ("[audit]\nto = 'none'\nitems = 's3cret'", &["audit.to", "audit.items"]),
    ("[audit]\nto = '/dev/stderr'\nitems = 'hmac'", &["audit.to", "audit.hmac_key"]),
    ("[audit]\nhmac_key = 's3cret'\non_full = 's3cret'", &["audit.hmac_key", "audit.on_full"]),
    ("[audit]\nto = 'log/'\nfull = 's3cret'\non_full = true", &["audit.to", "audit.full", "audit.on_full"]),
    ("[audit]\nitems = 'hmac'\nhmac_key = 5\nto = '-'", &["audit.hmac_key", "audit.to"]),
];

/// Additional lines of a client, and all of its faults.
const CLIENTS: &[(&str, &[&str])] = &[
    ("password = 's3cret'\ncontext = 'S3CRET'", &["clients[0].password", "clients[0].context"]),
    ("modes = ['s3cret']\npartial = 's3cret'", &["clients[0].modes", "clients[0].partial"]),
    ("modes = 'PhoneToUID'\nplain_numbers = 's3cret'", &["clients[0].modes", "clients[0].plain_numbers"]),
    (
        "tokenize_per_minute = 0\ndetokenize_per_minute = 's3cret'",
        &["clients[0].tokenize_per_minute", "clients[0].detokenize_per_minute"],
    ),
    (
        "tokenize_per_day = 0\ndetokenize_per_day = 1500000000000",
        &["clients[0].tokenize_per_day", "clients[0].detokenize_per_day"],
    ),
    (
        "tokenize_per_minute = 1000000001\npartial = 5\nplain_numbers = 5",
        &["clients[0].tokenize_per_minute", "clients[0].partial", "clients[0].plain_numbers"],
    ),
    ("context = 5\nrate = 5\nCLIENT", &["clients[0].context", "clients[0].rate", "clients[1].username"]),
    (
        "[[clients]]\nusername = 's3:cret'\npassword_sha256 = 's3cret'",
        &["clients[1].username", "clients[1].password_sha256"],
    ),
    (
        "[[clients]]\n[[clients]]",
        &["clients[1].username", "clients[1].password_sha256", "clients[2].username", "clients[2].password_sha256"],
    ),
    ("[[clients]]\nusername = 5\npassword_sha256 = ['s3cret']", &["clients[1].username", "clients[1].password_sha256"]),
    ("[[clients]]\nusername = ''\npassword_sha256 = []", &["clients[1].username", "clients[1].password_sha256"]),
    (
        "[[clients]]\nusername = 'ccc'\npassword_sha256 = ['EMPTY']",
        &["clients[1].username", "clients[1].password_sha256"],
    ),
];

/// Whole files.
const FILES: &[(&str, &[&str])] = &[
    ("", &["clients", "listen"]),
    ("listen = 's3cret'\npath = 's3cret'", &["listen", "path", "clients"]),
    ("listen = '0.0.0.0:8443'\nclients = []", &["listen", "clients"]),
    ("clients = 5\nthreads = 's3cret'", &["clients", "threads", "listen"]),
    ("clients = ['s3cret']\npath = 1", &["clients", "path", "listen"]),
    ("[clients]\nusername = 's3cret'", &["clients", "listen"]),
    (
        "plaintext = true\n[admin]\nlisten = '[::]:9640'\n[[clients]]\nname = 's3cret'",
        &["admin.token_sha256", "clients[0].name", "clients[0].username", "clients[0].password_sha256"],
    ),
    (
        "x = s3cret\n[limits\nnumbers = 5\ny = = 's3cret'",
        &["line 1, column 5", "line 2, column 8", "line 4, column 5", "line 4, column 7"],
    ),
];

#[test]
fn one_run_names_each_fault_of_sixty_wrong_configurations() {
    let filled = |text: &str| text.replace("ALICE", ALICE).replace("EMPTY", EMPTY).replace("CLIENT", CLIENT);
    let tops = TOPS.iter().map(|(text, faults)| (format!("{LOOPBACK}{}\n{CLIENT}", filled(text)), faults));
    let clients = CLIENTS.iter().map(|(text, faults)| (format!("{LOOPBACK}{CLIENT}{}\n", filled(text)), faults));
    let files = FILES.iter().map(|(text, faults)| (filled(text), faults));
    let all: Vec<_> = tops.chain(clients).chain(files).collect();
    assert_eq!(all.len(), 60);
    thread::scope(|scope| {
        for part in all.chunks(20) {
            scope.spawn(move || part.iter().for_each(|(text, faults)| check(text, faults)));
        }
    });
}

/// Runs `config check` once: it must name these faults and no others.
fn check(text: &str, faults: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("c.toml"), text).unwrap();
    let output = callveil().args(["config", "check", "c.toml", "--json"]).current_dir(folder.path()).output().unwrap();
    let (out, err) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!(output.status.code(), Some(78), "{text}\n{out}{err}");
    assert!(!(out.clone() + &err).to_lowercase().contains("s3cret"), "{text}\n{out}{err}");
    let told: Value = serde_json::from_str(&out).unwrap();
    let told = told["faults"].as_array().unwrap();
    let mut places: Vec<_> = told.iter().map(|fault| fault["place"].as_str().unwrap().trim_matches('`')).collect();
    let mut faults = faults.to_vec();
    places.sort_unstable();
    faults.sort_unstable();
    assert_eq!(places, faults, "{text}\n{out}");
    // Where a key stands in the file, its line is told.
    for fault in told.iter().filter(|fault| fault["what"] != "is missing") {
        let name = fault["place"].as_str().unwrap().trim_matches('`').rsplit('.').next().unwrap();
        let line = fault["line"].as_u64().and_then(|line| text.lines().nth(usize::try_from(line).unwrap() - 1));
        if text.lines().any(|line| line.split(" = ").next() == Some(name)) {
            assert!(line.is_some(), "{text}\n{fault}");
        }
    }
}
