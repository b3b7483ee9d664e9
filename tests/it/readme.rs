//! Follows `README.md`: runs all of its callveil commands, from top to bottom, in one folder.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, Stdio},
    time::Instant,
};

use crate::support::{PATIENCE, Server, callveil, sha256_hex, write_secret};

const README: &str = include_str!("../../README.md");

/// If fewer commands are found, something is wrong with finding them.
const COMMANDS_MIN: usize = 13;

/// The file that the commands for whole exports read.
const EXPORT: &str = "name,phone\nWang Wei,13988888888\n\"Li, Na\",+86 139 8888 8889\n";

/// Texts between backquotes, or on a line of their own indented by four spaces, that begin with the program's name.
fn commands() -> Vec<&'static str> {
    let mut commands = Vec::new();
    for line in README.lines() {
        match line.strip_prefix("    ").filter(|line| line.starts_with("callveil ")) {
            Some(command) => commands.push(command),
            None => commands.extend(line.split('`').skip(1).step_by(2).filter(|code| code.starts_with("callveil "))),
        }
    }
    commands
}

/// The configuration in README, with the ring that was made, the hash of this password, and the audit log that README
/// explains later. Tests listen on free ports.
fn configuration(ring: &str, password: &str) -> String {
    let lines = README.lines().skip_while(|line| !line.contains("`callveil.toml`:")).skip(2);
    let lines = lines.map_while(|line| line.strip_prefix("        ")).map(|line| format!("{line}\n"));
    let text: String = lines.collect();
    assert!(text.contains("[tls]") && text.contains("[[clients]]"), "{text}");
    let text = text
        .replace("ring_id = \"<ring>\"", ring)
        .replace("<hash>", &sha256_hex(password))
        .replace(":8443", ":0")
        .replace(":9640", ":0");
    text + "[audit]\nto = \"LOG\"\nitems = \"hmac\"\nhmac_key = \"KEY\"\n"
}

/// Runs a command in a shell, and returns its output. It must succeed.
fn run(folder: &Path, command: &str) -> String {
    let tested = Path::new(env!("CARGO_BIN_EXE_callveil")).parent().unwrap();
    let path = format!("{}:{}", tested.display(), std::env::var("PATH").unwrap());
    let mut shell = Command::new("timeout");
    shell.args(["60", "bash", "-o", "pipefail", "-c", command]).current_dir(folder).env("PATH", path);
    let output = shell.env_remove("CALLVEIL_LOG").stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{command}\n{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The password that `callveil clients new-password` printed.
fn password(printed: &[String]) -> &str {
    let password = printed.iter().find_map(|output| output.strip_prefix("password: "));
    password.expect("a password was made before").lines().next().unwrap()
}

#[test]
fn every_command_of_the_readme_works() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
    fs::write(path.join("tls.crt"), certificate.pem()).unwrap();
    write_secret(path.join("tls.key"), key.serialize_pem());
    fs::write(path.join("crm.csv"), EXPORT).unwrap();
    fs::write(path.join("KEY"), [7; 32]).unwrap();
    fs::set_permissions(path.join("KEY"), fs::Permissions::from_mode(0o600)).unwrap();
    let commands = commands();
    assert!(commands.len() >= COMMANDS_MIN, "{commands:?}");
    let mut replica = None;
    let mut printed = Vec::new();
    for command in commands {
        let output = match command {
            "callveil serve --config callveil.toml" => {
                let made = printed
                    .iter()
                    .flat_map(|output: &String| output.lines())
                    .find(|line| line.starts_with("ring_id = "));
                fs::write(path.join("callveil.toml"), configuration(made.unwrap(), password(&printed))).unwrap();
                replica = Some(Server::spawn(callveil().current_dir(path).args(command.split(' ').skip(1))));
                String::new()
            }
            // These are named there without whom or what they ask.
            "callveil doctor https://… --user ccc" => {
                let replica = replica.as_ref().expect("a replica runs");
                let to = format!("https://localhost:{}/", replica.address.port());
                let command = command.replace("https://…", &to);
                run(path, &format!("CALLVEIL_PASSWORD={} {command} --ca tls.crt", password(&printed)))
            }
            "callveil keys check" => {
                let replica = replica.as_ref().expect("a replica runs");
                // The rotation before it: until then the replica is behind.
                let begun = Instant::now();
                while replica.admin_get("/keyring").json()["generation"] != 2 {
                    assert!(begun.elapsed() < PATIENCE);
                }
                run(path, &format!("{command} http://{}", replica.admin))
            }
            "callveil audit verify LOG --heads STDERR-LOG" => {
                let replica = replica.as_ref().expect("a replica runs");
                replica.wait_for("audit head");
                fs::write(path.join("STDERR-LOG"), replica.log()).unwrap();
                run(path, command)
            }
            "callveil inspect UID" => {
                let uid = run(path, "callveil tokenize --value 13988888888");
                run(path, &command.replace("UID", uid.trim_end()))
            }
            _ => run(path, command),
        };
        printed.push(output);
    }
    let back = printed.last().unwrap();
    assert_eq!(back, "name,phone\nWang Wei,008613988888888\n\"Li, Na\",008613988888889\n");
}
