//! HTTP clients by others, in the languages that CRMs are written in.

use std::process::Command;

use serde_json::Value;

use crate::{
    needs::is_here,
    support::{Folder, PASSWORD, Server, USER, callveil},
};

const PHONES: &str = "008613988888888 008613788888888";

/// Runs a client, which must map a number there and back.
#[track_caller]
pub fn check(command: &mut Command) {
    let output = command.output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && out.trim_end() == PHONES, "{out}\n{err}");
}

pub fn script(name: &str) -> String {
    format!("{}/tests/clients/{name}", env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn python_node_and_java() {
    let server = Server::start(&Folder::new(), "", "");
    let url = format!("http://{}/", server.address);
    for (program, file) in [("python3", "map.py"), ("node", "map.mjs"), ("java", "Map.java")] {
        if is_here(program) {
            check(Command::new(program).args([&script(file), &url, USER, PASSWORD]));
        }
    }
}

/// README's first command, and what it tells a newcomer to do next.
#[test]
fn the_printed_curl_command_works() {
    if !is_here("curl") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let dev =
        || Server::spawn(callveil().args(["serve", "--dev", "--listen", "127.0.0.1:0"]).current_dir(folder.path()));
    let server = dev();
    let curl = |command: &str| -> Value {
        let output = Command::new("sh").args(["-c", command]).output().unwrap();
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let log = server.log();
    let printed = log.lines().find(|line| line.trim_start().starts_with("curl ")).expect("a curl command");
    let tokenized = curl(printed);
    assert_eq!(tokenized["Code"], 0);
    let uids: Vec<&str> = (0..2).map(|at| tokenized["Results"][at]["Value"].as_str().unwrap()).collect();
    let back =
        printed.replace("PhoneToUID", "UIDToPhone").replace("13988888888", uids[0]).replace("13788888888", uids[1]);
    let phones = |answer: &Value| {
        format!("{} {}", answer["Results"][0]["Value"], answer["Results"][1]["Value"]).replace('"', "")
    };
    assert_eq!(phones(&curl(&back)), PHONES);
    // The ring was made on first use, and is used again.
    let address = server.address.to_string();
    drop(server);
    let again = dev();
    assert_eq!(phones(&curl(&back.replace(&address, &again.address.to_string()))), PHONES);
}
