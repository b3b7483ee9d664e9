//! `deploy/other-tools.md`, done as it says, with a callveil behind nginx and HAProxy, and keys in Python.

use std::{fs, net::TcpListener, path::PathBuf, process::Command};

use crate::{
    needs::{is_here, python_has},
    runbook::{Rehearsal, Step, Terminal, steps},
    support::{Server, callveil, send},
};

const PAGE: &str = include_str!("../../deploy/other-tools.md");
const NAME: &str = "deploy/other-tools.md";

/// Fewer blocks than this mean that they were not found.
const BLOCKS_MIN: usize = 10;

/// The address that a caller has, unlike anything else on this machine.
const CALLER: &str = "127.0.0.77";

/// Ends the proxies that a failed step left behind.
struct Proxies(PathBuf);

impl Drop for Proxies {
    fn drop(&mut self) {
        for name in ["nginx.pid", "haproxy.pid"] {
            let Ok(id) = fs::read_to_string(self.0.join(name)) else { continue };
            // What was stopped as the page says left no file, or the number of nobody.
            if fs::read_to_string(format!("/proc/{}/cmdline", id.trim())).is_ok_and(|line| line.contains(&name[..5])) {
                send(id.trim().parse().unwrap(), "TERM");
            }
        }
    }
}

/// A port that nobody has. Somebody may take it before a proxy does, which it then says.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[test]
fn every_command_of_the_page_works() {
    let programs = ["age", "age-keygen", "jq", "openssl", "curl", "nginx", "haproxy"];
    if !programs.into_iter().all(is_here) || !python_has("tink, cryptography") {
        return;
    }
    let steps = steps(PAGE);
    let blocks = steps.iter().filter(|step| matches!(step, Step::Run(..))).count();
    assert!(blocks >= BLOCKS_MIN, "only {blocks} blocks");
    assert_eq!(PAGE.matches("```").count(), 2 * (blocks + PAGE.matches("```sql").count()));
    let mut rehearsal = Rehearsal::new(NAME);
    let _proxies = Proxies(rehearsal.path(""));
    let mut server = None;
    let (nginx, haproxy) = (free_port(), free_port());
    rehearsal.rename("127.0.0.1:8443", &format!("127.0.0.1:{nginx}"));
    rehearsal.rename("localhost:8443", &format!("localhost:{nginx}"));
    rehearsal.rename("127.0.0.1:9443", &format!("127.0.0.1:{haproxy}"));
    rehearsal.rename("localhost:9443", &format!("localhost:{haproxy}"));
    for step in &steps {
        match step {
            Step::Run(line, block) => rehearsal.run(*line, block, Terminal::None),
            Step::Do("callveil starts") => server = Some(start(&mut rehearsal)),
            Step::Do("a caller's address is passed on by nginx") => check_address(&rehearsal, server.as_ref(), nginx),
            Step::Do("a caller's address is passed on by HAProxy") => {
                check_address(&rehearsal, server.as_ref(), haproxy);
            }
            Step::Do(unknown) => panic!("the page wants something that this test cannot do: {unknown}"),
        }
    }
    assert!(include_str!("../../README.md").contains("(deploy/other-tools.md)"), "nobody would find the page");
}

/// Serves the page's configuration, on free ports.
fn start(rehearsal: &mut Rehearsal) -> Server {
    let path = rehearsal.path("callveil.toml");
    let config = fs::read_to_string(&path).unwrap();
    assert!(config.contains("listen = \"127.0.0.1:8080\"") && config.contains("listen = \"127.0.0.1:9640\""));
    fs::write(&path, config.replace(":8080", ":0").replace(":9640", ":0")).unwrap();
    let server = Server::spawn(callveil().arg("serve").arg("--config").arg(path).env("CALLVEIL_LOG", "debug"));
    rehearsal.rename("127.0.0.1:8080", &server.address.to_string());
    rehearsal.rename("port 9640", &format!("port {}", server.admin.port()));
    server
}

/// A call through the proxy at `port`, from an address of its own, is seen by callveil as coming from there.
fn check_address(rehearsal: &Rehearsal, server: Option<&Server>, port: u16) {
    let server = server.expect("callveil runs");
    let password = fs::read_to_string(rehearsal.path("password")).unwrap();
    let output = Command::new("curl")
        .args(["-sS", "--max-time", "30", "--noproxy", "*", "--interface", CALLER, "--cacert", "tls.crt"])
        .args(["-H", "X-Forwarded-For: 203.0.113.9", "-u", &format!("ccc:{password}")])
        .args(["--resolve", &format!("localhost:{port}:127.0.0.1"), "-d", r#"{"Numbers":[],"Mode":"PhoneToUID"}"#])
        .arg(format!("https://localhost:{port}/"))
        .current_dir(rehearsal.path(""))
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), r#"{"Code":0,"Results":[]}"#, "{output:?}");
    loop {
        let record = server.wait_for("request");
        if record["peer"] == CALLER {
            return;
        }
    }
}
