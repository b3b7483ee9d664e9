//! Twenty-five wrong endpoints, and more: the doctor's first remedy fits the cause.

use std::{fs, net::TcpListener, path::Path, process::Stdio, sync::Arc, thread};

use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};
use serde_json::Value;

use super::{
    Ca,
    faulty::{Endpoint, Fault},
};
use crate::support::{Folder, PASSWORD, Server, USER, callveil, check_log};

/// The first remedy for `url`, and its check.
fn first_remedy(folder: &Path, url: &str, password: &str, args: &[&str]) -> (String, String) {
    let mut command = callveil();
    command.args(["doctor", url, "--user", USER, "--json"]).args(args).current_dir(folder).stdin(Stdio::null());
    let output = command.env("CALLVEIL_PASSWORD", password).output().unwrap();
    check_log(&String::from_utf8_lossy(&output.stdout));
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let rows = report["checks"].as_array().unwrap();
    let row = rows.iter().find(|row| row["remedy"].is_string()).unwrap_or_else(|| panic!("{report:#}"));
    (row["check"].as_str().unwrap().to_owned(), row["remedy"].as_str().unwrap().to_owned())
}

const HTML: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 20\r\n\r\n<html>welcome</html>";
const JSON: &str = "HTTP/1.1 200 OK\r\nContent-Length: 17\r\n\r\n{\"status\": \"UP!\"}";
const NGINX: &str = "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 26\r\n\r\n<html>502 Bad Gateway</ht>";

/// Answers given to everything, and the text of the remedy.
const ANSWERS: &[(&str, &str)] = &[
    ("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "the URL's path with `path`"),
    ("HTTP/1.1 301 Moved\r\nLocation: https://www.example.com/\r\nContent-Length: 0\r\n\r\n", "CCC follows none"),
    ("HTTP/1.1 307 Temporary\r\nLocation: /login\r\nContent-Length: 0\r\n\r\n", "CCC follows none"),
    (NGINX, "look at the proxy's log"),
    ("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 2\r\n\r\nno", "the proxy's health checks"),
    ("HTTP/1.1 504 Gateway Timeout\r\nContent-Length: 2\r\n\r\nno", "between it and the proxy"),
    ("HTTP/1.1 500 Internal Server Error\r\nContent-Length: 2\r\n\r\nno", "look at its log"),
    ("HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 0\r\n\r\n", "something else answers"),
    ("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno", "let CCC's requests through"),
    ("HTTP/1.1 429 Too Many Requests\r\nContent-Length: 2\r\n\r\nno", "raise the limits"),
    (HTML, "a web site"),
    (JSON, "is that another service?"),
    ("SSH-2.0-OpenSSH_9.2\r\n", "something else listens there"),
];

#[test]
fn the_first_remedy_is_that_of_the_cause() {
    let (folder, ca) = (tempfile::tempdir().unwrap(), Ca::new());
    ca.write(folder.path());
    let tls = ca.server(|_| {});
    let trust = ["--ca", "ca.pem", "--timeout", "20s"];
    let check = |endpoint: &Endpoint, scheme: &str, password: &str, args: &[&str], remedy: &str| {
        let found = first_remedy(folder.path(), &format!("{scheme}://{}/", endpoint.address), password, args);
        assert!(found.1.contains(remedy), "{remedy}: {found:?}");
    };
    thread::scope(|scope| {
        for (answer, remedy) in ANSWERS {
            scope.spawn(move || check(&Endpoint::start(Fault::Always(answer), None), "http", PASSWORD, &[], remedy));
        }
        for (fault, remedy) in [
            (Fault::Swapped, "swap them"),
            (Fault::OneMode, "grant this user both modes"),
            (Fault::OtherNumber, "one key ring"),
            (Fault::TakesNoPassword, "answer 401"),
            (Fault::NotJson, "a web site"),
        ] {
            let (tls, trust) = (tls.clone(), &trust);
            scope.spawn(move || check(&Endpoint::start(fault, Some(tls)), "https", PASSWORD, trust, remedy));
        }
        scope.spawn(|| {
            let silent = Endpoint::start(Fault::Silent, None);
            check(&silent, "http", PASSWORD, &["--timeout", "300ms"], "does not answer");
        });
    });
    let good = Endpoint::start(Fault::None, Some(tls.clone()));
    check(&good, "https", "another", &trust, "compare both with the endpoint's");
    check(&good, "http", PASSWORD, &[], "say https://");
    let plain = Endpoint::start(Fault::None, None);
    check(&plain, "https", PASSWORD, &[], "give the endpoint [tls]");
    let expired = Endpoint::start(Fault::None, Some(ca.server(|params| params.not_after = date_time_ymd(2020, 1, 1))));
    check(&expired, "https", PASSWORD, &trust, "renew it");
    let other = CertificateParams::new(["elsewhere.example".to_owned()]).unwrap().subject_alt_names;
    let named = Endpoint::start(Fault::None, Some(ca.server(|params| params.subject_alt_names = other)));
    check(&named, "https", PASSWORD, &trust, "subject alternative names");
    check(&good, "https", PASSWORD, &[], "--ca FILE trusts a private one");
    check(&Endpoint::start(Fault::None, Some(self_signed())), "https", PASSWORD, &trust, "public CA (such as by ACME)");
}

/// A self-signed certificate, as people make them.
fn self_signed() -> Arc<ServerConfig> {
    let mut params = CertificateParams::new(["localhost", "127.0.0.1"].map(str::to_owned)).unwrap();
    params.not_after = date_time_ymd(4000, 1, 1);
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let builder = ServerConfig::builder_with_provider(aws_lc_rs::default_provider().into());
    let builder = builder.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    Arc::new(builder.with_single_cert(vec![certificate.der().clone()], key).unwrap())
}

#[test]
fn an_endpoint_that_is_not_there_has_its_own_remedies() {
    let folder = Folder::new();
    let path = folder.path();
    let remedy = |url: &str, args: &[&str]| first_remedy(path, url, PASSWORD, args).1;
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    assert!(remedy(&format!("http://{closed}/"), &[]).contains("nothing listens there"));
    assert!(remedy("https://nowhere.invalid/", &["--timeout", "2s"]).contains("DNS"));
    assert!(remedy("http://192.0.2.1/", &[]).contains("https://"));
    // Our own server: its admin listener, with a token and without; another path; a client with one mode.
    let server = Server::start(&folder, "path = \"/ccc\"", "modes = [\"PhoneToUID\"]");
    assert!(remedy(&format!("http://{}/", server.admin), &[]).contains("not that of [admin]"));
    assert!(remedy(&format!("http://{}/keyring", server.admin), &[]).contains("not that of [admin]"));
    assert!(remedy(&format!("http://{}/", server.address), &[]).contains("the URL's path with `path`"));
    assert!(remedy(&format!("http://{}/ccc", server.address), &[]).contains("grant this user both modes"));
}

#[test]
fn plain_http_on_the_port_of_tls_is_told_of_once() {
    let (folder, ca) = (Folder::new(), Ca::new());
    let (certificate, key) = ca.issue(|_| {});
    fs::write(folder.path().join("tls.crt"), certificate.pem()).unwrap();
    crate::support::write_secret(folder.path().join("tls.key"), key.serialize_pem());
    let server = Server::start(&folder, "[tls]\ncertificate = \"tls.crt\"\nprivate_key = \"tls.key\"", "");
    let url = format!("http://{}/", server.address);
    for _ in 0..3 {
        assert!(first_remedy(folder.path(), &url, PASSWORD, &[]).1.contains("say https://"));
    }
    let told = "plain HTTP arrived on the TLS port: its clients must use https:// (logged at most once a minute)";
    server.wait_for(told);
    assert_eq!(server.log().matches(told).count(), 1);
}
