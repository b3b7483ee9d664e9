//! `callveil doctor`: every check passes for our own server, and every fault fails exactly its check.

mod faulty;
mod remedies;

use std::{
    fs,
    net::TcpListener,
    path::Path,
    process::{Command, Output, Stdio},
    sync::Arc,
    thread,
};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};
use serde_json::Value;

use self::faulty::{Endpoint, Fault};
use crate::{
    clients::script,
    needs::is_here,
    support::{Folder, PASSWORD, Server, USER, callveil, check_log, run, write_secret},
};

/// A CA that `--ca` trusts.
struct Ca(CertifiedIssuer<'static, KeyPair>);

impl Ca {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// A certificate for this machine, modified by `change`.
    fn issue(&self, change: impl FnOnce(&mut CertificateParams)) -> (rcgen::Certificate, KeyPair) {
        let mut params = CertificateParams::new(["localhost", "127.0.0.1"].map(str::to_owned)).unwrap();
        params.not_after = date_time_ymd(4000, 1, 1);
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.0).unwrap(), key)
    }

    fn server(&self, change: impl FnOnce(&mut CertificateParams)) -> Arc<ServerConfig> {
        let (certificate, key) = self.issue(change);
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let builder = ServerConfig::builder_with_provider(aws_lc_rs::default_provider().into());
        let builder = builder.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
        Arc::new(builder.with_single_cert(vec![certificate.der().clone()], key).unwrap())
    }

    fn write(&self, folder: &Path) {
        fs::write(folder.join("ca.pem"), self.0.pem()).unwrap();
    }
}

/// Runs the doctor, which must not reveal what it sent.
fn ask(folder: &Path, url: &str, args: &[&str]) -> Output {
    let mut command = callveil();
    command.args(["doctor", url, "--user", USER]).args(args).current_dir(folder).stdin(Stdio::null());
    let output = command.env("CALLVEIL_PASSWORD", PASSWORD).output().unwrap();
    for text in [&output.stdout, &output.stderr] {
        let text = String::from_utf8_lossy(text);
        check_log(&text);
        for secret in ["154000", "79460", "86013388", "zzzz", "abcdef"] {
            assert!(!text.contains(secret), "{secret}: {text}");
        }
    }
    output
}

fn names(report: &Value, state: &str) -> Vec<String> {
    let rows = report["checks"].as_array().unwrap().iter().filter(|row| row["state"] == state);
    rows.map(|row| row["check"].as_str().unwrap().to_owned()).collect()
}

/// Checks that the checks in `bad` fail, those in `warnings` warn, and all others pass or do not apply.
#[track_caller]
fn check(folder: &Path, url: &str, args: &[&str], bad: &[&str], warnings: &[&str]) -> Value {
    let output = ask(folder, url, &[args, &["--json"]].concat());
    let out = String::from_utf8_lossy(&output.stdout);
    let report: Value = serde_json::from_str(&out).unwrap_or_else(|_| panic!("{output:?}"));
    assert_eq!((names(&report, "bad"), names(&report, "warning")), (owned(bad), owned(warnings)), "{report:#}");
    assert_eq!(
        (output.status.code(), report["ok"].as_bool()),
        (Some(i32::from(!bad.is_empty())), Some(bad.is_empty()))
    );
    assert_eq!(report["checks"].as_array().unwrap().len(), 22);
    report
}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn our_own_server_is_ready() {
    let (folder, ca) = (Folder::new(), Ca::new());
    ca.write(folder.path());
    let (certificate, key) = ca.issue(|_| {});
    fs::write(folder.path().join("tls.crt"), certificate.pem()).unwrap();
    write_secret(folder.path().join("tls.key"), key.serialize_pem());
    let server = Server::start(&folder, "[tls]\ncertificate = \"tls.crt\"\nprivate_key = \"tls.key\"", "");
    let url = format!("https://127.0.0.1:{}/", server.address.port());
    let report = check(folder.path(), &url, &["--ca", "ca.pem"], &[], &[]);
    assert_eq!((names(&report, "good").len(), names(&report, "not_applicable").len()), (22, 0), "{report:#}");
    assert_eq!(report["latency"]["requests"], 100);
    println!("{}", report["latency"]);
    // What people see.
    let output = ask(folder.path(), &url, &["--ca", "ca.pem"]);
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(out.lines().filter(|line| line.starts_with("✓ ")).count(), 22, "{out}");
    assert!(out.ends_with("ready for CCC\n") && err.contains("cannot ring"), "{out}{err}");
    // A name serves as well as an address.
    let named = format!("https://localhost:{}/", server.address.port());
    check(folder.path(), &named, &["--ca", "ca.pem"], &[], &[]);
    // Debian's way to trust a CA, by file.
    let mut command = callveil();
    command.args(["doctor", &url, "--user", USER]).env("SSL_CERT_FILE", folder.path().join("ca.pem"));
    let output = command.env("CALLVEIL_PASSWORD", PASSWORD).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stdout).contains("by a CA of this machine"), "{output:?}");
    // Without the CA nothing secret is sent, and there is no more to say.
    let report = check(folder.path(), &url, &[], &["chain"], &[]);
    assert_eq!(names(&report, "not_applicable").len(), 15);
}

#[test]
fn our_own_server_is_ready_in_other_regions_and_for_development() {
    for region in ["GB", "US", "SG"] {
        let folder = tempfile::tempdir().unwrap();
        assert!(run(folder.path(), &["keys", "init", "--region", region]).status.success());
        let dev = ["serve", "--dev", "--listen", "127.0.0.1:0", "--keyring", "keys/keyring.json"];
        let server = Server::spawn(callveil().args(dev).current_dir(folder.path()));
        let password = folder.path().join("password");
        fs::write(&password, "dev-password\n").unwrap();
        let args = ["--user", "dev", "--password-file", password.to_str().unwrap()];
        let region = if region == "SG" { "none" } else { region };
        let url = format!("http://{}/", server.address);
        let doctor = |region: &str| {
            let output = run(folder.path(), &[&["doctor", &url, "--json", "--region", region], &args[..]].concat());
            serde_json::from_slice::<Value>(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"))
        };
        let report = doctor(region);
        assert_eq!(report["ok"], true, "{report:#}");
        assert_eq!(names(&report, "not_applicable").len(), 7);
        // Another region's spellings mean other numbers there.
        let report = doctor("CN");
        assert_eq!(report["ok"], false, "{report:#}");
    }
}

#[test]
fn each_fault_is_one_cross() {
    let (folder, ca) = (tempfile::tempdir().unwrap(), Ca::new());
    ca.write(folder.path());
    let faults = [
        (Fault::None, &[][..], &[][..]),
        (Fault::TakesNoPassword, &["missing-credentials"], &[]),
        (Fault::TakesAnyPassword, &["wrong-credentials"], &[]),
        (Fault::NoChallenge, &[], &["missing-credentials", "wrong-credentials"]),
        (Fault::NotJson, &["round-trip"], &[]),
        (Fault::OtherNumber, &["round-trip"], &[]),
        (Fault::ShowsNumber, &["hidden"], &[]),
        (Fault::NoCountryCode, &["country-code"], &[]),
        (Fault::HomeCountryAlways, &["country-code"], &[]),
        (Fault::Reversed, &["order"], &[]),
        (Fault::NoDuplicates, &["duplicates"], &[]),
        (Fault::OtherKey, &["key"], &[]),
        (Fault::SpellingsApart, &["spellings"], &[]),
        (Fault::MapsGarbage, &["unknown-uid", "plain-number"], &[]),
        (Fault::BreaksHotlines, &["hotline"], &[]),
        (Fault::SmallBatches, &["batch"], &[]),
        (Fault::OneSpoilsAll, &["unknown-uid"], &[]),
        (Fault::Stalls, &["latency"], &[]),
        (Fault::Slow, &["latency"], &[]),
        (Fault::Closes, &["keep-alive"], &[]),
        (Fault::PlainHttpToo, &["plain-http"], &[]),
        (Fault::OldTls, &["old-tls"], &[]),
    ];
    let tls = ca.server(|_| {});
    thread::scope(|scope| {
        for (fault, bad, warnings) in faults {
            let (folder, tls) = (folder.path(), tls.clone());
            let run = move || {
                let endpoint = Endpoint::start(fault, Some(tls));
                let url = format!("https://{}/ccc?tenant=1", endpoint.address);
                // Shorter where nothing will come.
                let timeout = if fault == Fault::Stalls { "2s" } else { "30s" };
                check(folder, &url, &["--ca", "ca.pem", "--timeout", timeout], bad, warnings);
            };
            thread::Builder::new().name(format!("{fault:?}")).spawn_scoped(scope, run).unwrap();
        }
    });
}

#[test]
fn each_fault_of_a_certificate_is_one_cross() {
    let (folder, ca) = (tempfile::tempdir().unwrap(), Ca::new());
    ca.write(folder.path());
    let check = |tls: Arc<ServerConfig>, bad: &[&str], warnings: &[&str]| {
        let endpoint = Endpoint::start(Fault::None, Some(tls));
        check(folder.path(), &format!("https://{}/", endpoint.address), &["--ca", "ca.pem"], bad, warnings)
    };
    let report = check(ca.server(|params| params.not_after = date_time_ymd(2020, 1, 1)), &["expiry"], &[]);
    // Nothing that needs a password was tried.
    assert_eq!(names(&report, "not_applicable").len(), 15);
    check(ca.server(|params| params.not_before = date_time_ymd(3999, 1, 1)), &["expiry"], &[]);
    let other = CertificateParams::new(["elsewhere.example".to_owned()]).unwrap().subject_alt_names;
    check(ca.server(|params| params.subject_alt_names = other), &["name"], &[]);
    check(Ca::new().server(|_| {}), &["chain"], &[]);
    let soon = jiff::Zoned::now().checked_add(jiff::Span::new().days(20)).unwrap().date();
    let soon =
        date_time_ymd(soon.year().into(), u8::try_from(soon.month()).unwrap(), u8::try_from(soon.day()).unwrap());
    check(ca.server(|params| params.not_after = soon), &[], &["expiry"]);
}

#[test]
fn what_cannot_be_reached_or_is_plain() {
    let folder = tempfile::tempdir().unwrap();
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    check(folder.path(), &format!("https://{closed}/"), &[], &["address"], &[]);
    check(folder.path(), "https://nowhere.invalid/", &["--timeout", "2s"], &["address"], &[]);
    // Nothing is sent there.
    check(folder.path(), "http://192.0.2.1/", &[], &["tls"], &[]);
    let endpoint = Endpoint::start(Fault::None, None);
    check(folder.path(), &format!("http://{}/", endpoint.address), &[], &[], &[]);
    check(folder.path(), &format!("https://{}/", endpoint.address), &[], &["tls", "plain-http"], &[]);
}

#[test]
fn openssl_with_tls_1_1_is_found() {
    if !is_here("openssl") {
        return;
    }
    let (folder, ca) = (tempfile::tempdir().unwrap(), Ca::new());
    let (certificate, key) = ca.issue(|_| {});
    fs::write(folder.path().join("pair.pem"), certificate.pem() + &key.serialize_pem()).unwrap();
    for (version, found) in [("-tls1", "TLS 1.0 accepted"), ("-tls1_1", "TLS 1.1 accepted"), ("-tls1_2", "yes")] {
        // It finds a port by itself, and says which.
        let mut server = Command::new("openssl")
            .args(["s_server", "-accept", "127.0.0.1:0", "-cert", "pair.pem", version, "-cipher", "ALL:@SECLEVEL=0"])
            .current_dir(folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = std::io::BufRead::lines(std::io::BufReader::new(server.stdout.take().unwrap()));
        let accept =
            lines.by_ref().map_while(Result::ok).find_map(|line| Some(line.strip_prefix("ACCEPT ")?.to_owned()));
        // What else it has to say must not block it.
        let rest = thread::spawn(move || lines.map_while(Result::ok).count());
        let report = ask(folder.path(), &format!("https://{}/", accept.unwrap()), &["--json"]);
        server.kill().unwrap();
        server.wait().unwrap();
        rest.join().unwrap();
        let report: Value = serde_json::from_slice(&report.stdout).unwrap();
        let row = report["checks"].as_array().unwrap().iter().find(|row| row["check"] == "old-tls").unwrap();
        assert_eq!(row["found"], found, "{report:#}");
    }
}

#[test]
fn the_password_is_typed_or_read_and_never_an_argument() {
    let folder = tempfile::tempdir().unwrap();
    let endpoint = Endpoint::start(Fault::None, None);
    let url = format!("http://{}/", endpoint.address);
    fs::write(folder.path().join("password"), format!("{PASSWORD}\n")).unwrap();
    let read = ["doctor", &url, "--user", USER, "--password-file", "password"];
    assert!(run(folder.path(), &read).status.success());
    let wrong = ["doctor", &url, "--user", "nobody", "--password-file", "password", "--json"];
    let output = run(folder.path(), &wrong);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), names(&report, "bad")), (Some(1), owned(&["round-trip"])));
    let usage = |args: &[&str], says: &str| {
        let output = run(folder.path(), args);
        let err = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(2) && output.stdout.is_empty() && err.contains(says), "{err}");
    };
    usage(&["doctor", &url], "--user");
    usage(&["doctor", &format!("http://{USER}:hunter2@{}/", endpoint.address), "--user", USER], "no password");
    usage(&["doctor", "127.0.0.1:80", "--user", USER], "https://");
    usage(&["doctor", &url, "--user", "a:b", "--password-file", "password"], "no colon");
    usage(&["doctor", &url, "--user", USER, "--password-file", "gone"], "gone");
    usage(&["doctor", &url, "--user", USER, "--ca", "password"], "no certificate");
    usage(&["doctor", &url, "--user", USER, "--timeout", "1ms"], "100ms");
    if is_here("python3") {
        let mut command = Command::new("python3");
        command.arg(script("terminal.py")).args([
            PASSWORD,
            env!("CARGO_BIN_EXE_callveil"),
            "doctor",
            &url,
            "--user",
            USER,
        ]);
        let output = command.current_dir(folder.path()).output().unwrap();
        let screen = String::from_utf8_lossy(&output.stdout);
        check_log(&screen);
        assert!(output.status.success() && screen.contains("ready for CCC"), "{screen}");
    }
}
