//! Follows `docs/console.md`, with a test that calls as CCC does.

use std::{fs, process::Command};

use serde_json::{Value, json};

use crate::{
    needs::is_here,
    runbook::{Rehearsal, Step, Terminal, steps},
    support::{Server, callveil, write_secret},
};

const PAGE: &str = include_str!("../../docs/console.md");
const NAME: &str = "docs/console.md";

const NUMBER: &str = "008613988888888";

#[test]
fn every_command_of_the_consoles_page_works() {
    if !["curl", "jq"].into_iter().all(is_here) {
        return;
    }
    let steps = steps(PAGE);
    let blocks = steps.iter().filter(|step| matches!(step, Step::Run(..))).count();
    assert_eq!(PAGE.matches("```").count(), 2 * blocks);
    let mut rehearsal = Rehearsal::new(NAME);
    let mut server = None;
    for step in &steps {
        match step {
            Step::Run(line, block) => rehearsal.run(*line, block, Terminal::None),
            Step::Do("callveil starts") => server = Some(start(&mut rehearsal)),
            Step::Do("a customer calls in, and an agent calls back") => call(&mut rehearsal, server.as_ref()),
            Step::Do(unknown) => panic!("the page wants something that this test cannot do: {unknown}"),
        }
    }
    assert!(include_str!("../../README.md").contains("(docs/console.md)"), "nobody would find the page");
}

/// Serves the page's configuration on free ports, with a certificate for this machine.
fn start(rehearsal: &mut Rehearsal) -> Server {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
    fs::write(rehearsal.path("tls.crt"), certificate.pem()).unwrap();
    write_secret(rehearsal.path("tls.key"), key.serialize_pem());
    let path = rehearsal.path("callveil.toml");
    let config = fs::read_to_string(&path).unwrap();
    assert!(config.contains("listen = \"127.0.0.1:8443\""));
    fs::write(&path, config.replace(":8443", ":0") + "[admin]\nlisten = \"127.0.0.1:0\"\n").unwrap();
    let server = Server::spawn(callveil().arg("serve").arg("--config").arg(path));
    let here = format!("https://localhost:{}/ --ca tls.crt", server.address.port());
    rehearsal.rename("https://uid.example.com/", &here);
    server
}

/// Makes the two calls that CCC makes. The agent has noted the UID.
fn call(rehearsal: &mut Rehearsal, server: Option<&Server>) {
    let port = server.expect("callveil runs").address.port();
    let password = fs::read_to_string(rehearsal.path("password")).unwrap();
    let value = |mode: &str, item: &str| {
        let output = Command::new("curl")
            .args(["-sS", "--max-time", "30", "--noproxy", "*", "--cacert", "tls.crt"])
            .args(["--resolve", &format!("localhost:{port}:127.0.0.1"), "-u", &format!("ccc-pilot:{password}")])
            .args(["-d", &json!({"Numbers": [item], "Mode": mode}).to_string(), &format!("https://localhost:{port}/")])
            .current_dir(rehearsal.path(""))
            .output()
            .unwrap();
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(answer["Code"], 0, "{answer}");
        answer["Results"][0]["Value"].as_str().unwrap().to_owned()
    };
    let uid = value("PhoneToUID", "13988888888");
    assert_eq!(value("UIDToPhone", &uid), NUMBER);
    fs::write(rehearsal.path("uids.txt"), format!("{uid}\n")).unwrap();
    rehearsal.rename("inspect UID", &format!("inspect {uid}"));
}
