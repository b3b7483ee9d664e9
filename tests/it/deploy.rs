//! `deploy/` agrees with the program: its configurations start it, and numbers that appear in two places are equal.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use callveil::config::{self, Config, Overrides};
use toml::Table;

use crate::support::{Folder, PASSWORD, Server, callveil, run, sha256_hex, write_secret};

const DEPLOYMENT: &str = include_str!("../../deploy/kubernetes/deployment.yaml");
const AUTOSCALER: &str = include_str!("../../deploy/kubernetes/horizontalpodautoscaler.yaml");
const POD_CONFIG: &str = include_str!("../../deploy/kubernetes/callveil.toml");
const UNIT: &str = include_str!("../../deploy/systemd/callveil.service");
const DOCKERFILE: &str = include_str!("../../deploy/Dockerfile");

/// The values after `key` in all lines that begin with it, ignoring indentation and a list's dash.
fn all<'t>(text: &'t str, key: &str) -> Vec<&'t str> {
    let line = |line: &'t str| line.trim_start().trim_start_matches("- ").strip_prefix(key).map(str::trim);
    text.lines().filter_map(line).collect()
}

#[track_caller]
fn one<'t>(text: &'t str, key: &str) -> &'t str {
    let found = all(text, key);
    assert_eq!(found.len(), 1, "{key} {found:?}");
    found[0]
}

#[track_caller]
fn seconds(text: &str, key: &str) -> i64 {
    one(text, key).parse().unwrap()
}

fn table(config: &str) -> Table {
    config.parse().unwrap()
}

/// The configuration of the packages and the unit: the example with their paths.
fn host_config() -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/systemd/callveil.sed");
    let folder = Folder::new();
    fs::write(folder.path().join("example"), config::example()).unwrap();
    let mut sed = Command::new("sed");
    let output =
        sed.arg("-f").arg(script).arg(folder.path().join("example")).stderr(Stdio::inherit()).output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

fn drain_seconds(config: &str) -> i64 {
    let limits = Config::from_toml(&filled_in(config), Path::new(""), Overrides::default()).unwrap().terms.limits;
    i64::try_from((limits.drain_delay + limits.drain).as_secs()).unwrap()
}

/// The ports of all listeners.
fn ports(config: &str) -> Vec<String> {
    let config = table(config);
    let port = |listen: &toml::Value| listen.as_str().unwrap().rsplit_once(':').unwrap().1.to_owned();
    vec![port(&config["listen"]), port(&config["admin"]["listen"])]
}

/// `config` with its placeholders filled in, and with free ports on the loopback device.
fn filled_in(config: &str) -> String {
    let hash = sha256_hex(PASSWORD);
    let line = |line: &str| match line.split_once(" = ") {
        Some(("listen", _)) => "listen = \"127.0.0.1:0\"".to_owned(),
        Some(("password_sha256", _)) => format!("password_sha256 = [\"{hash}\"]"),
        Some(("token_sha256", _)) => format!("token_sha256 = \"{hash}\""),
        _ => line.to_owned(),
    };
    config.lines().map(|text| line(text) + "\n").collect()
}

/// A folder with an identity, a ring for it, and a certificate.
fn material() -> (Folder, PathBuf) {
    use age::secrecy::ExposeSecret as _;
    let folder = Folder::new();
    let identity = age::x25519::Identity::generate();
    let path = folder.path().join("identity");
    fs::write(&path, identity.to_string().expose_secret()).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o440)).unwrap();
    let recipient = identity.to_public().to_string();
    let made = run(folder.path(), &["keys", "init", "--keyring", "keyring.json", "--recipient", &recipient]);
    assert!(made.status.success());
    let made = rcgen::generate_simple_self_signed(vec!["callveil.test".to_owned()]).unwrap();
    fs::write(folder.path().join("tls.crt"), made.cert.pem()).unwrap();
    write_secret(folder.path().join("tls.key"), made.signing_key.serialize_pem());
    (folder, path)
}

/// A volume at `path` as the kubelet makes it: its files are behind a link that is swapped when they change.
fn volume(path: &Path, files: &[PathBuf]) {
    fs::create_dir_all(path.join("..2026")).unwrap();
    symlink("..2026", path.join("..data")).unwrap();
    for file in files {
        let name = file.file_name().unwrap();
        fs::copy(file, path.join("..2026").join(name)).unwrap();
        fs::set_permissions(path.join("..2026").join(name), fs::Permissions::from_mode(0o440)).unwrap();
        symlink(Path::new("..data").join(name), path.join(name)).unwrap();
    }
}

#[test]
fn no_pod_starts_with_what_is_left_to_fill_in() {
    let (folder, _) = material();
    fs::write(folder.path().join("callveil.toml"), POD_CONFIG).unwrap();
    let output = run(folder.path(), &["serve", "--config", "callveil.toml"]);
    assert_eq!(output.status.code(), Some(78));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("_sha256`: must be "), "{stderr}");
}

#[test]
fn a_pod_starts_and_its_probes_are_answered() {
    let (folder, identity) = material();
    let here = |name: &str| folder.path().join(name);
    volume(&here("keyring"), &[here("keyring.json")]);
    volume(&here("secret"), &[identity]);
    volume(&here("tls"), &[here("tls.crt"), here("tls.key")]);
    let config = filled_in(POD_CONFIG)
        .replace("/run/callveil/identity/", &format!("{}/", here("secret").display()))
        .replace("/run/callveil/", &format!("{}/", folder.path().display()));
    fs::write(here("callveil.toml"), config).unwrap();
    let args = one(DOCKERFILE, "CMD ").replace("/etc/callveil", folder.path().to_str().unwrap());
    let args: Vec<String> = serde_json::from_str(&args).unwrap();
    let server = Server::spawn(callveil().args(args));
    let probes = all(DEPLOYMENT, "path:");
    assert_eq!(probes, ["/readyz", "/readyz", "/healthz"]);
    for path in probes {
        assert_eq!(server.admin_get(path).status, 200, "{path}");
    }
    assert_eq!(server.admin_get("/keyring").status, 401);
    // Each volume that the configuration speaks of is mounted.
    for path in ["keyring", "identity", "tls"].map(|name| format!("/run/callveil/{name}")) {
        assert!(POD_CONFIG.contains(&format!("\"{path}/")), "{path}");
        assert!(all(DEPLOYMENT, "mountPath:").contains(&&*path), "{path}");
    }
}

#[test]
fn the_unit_starts_with_the_identity_of_systemd() {
    let (folder, identity) = material();
    let credentials = folder.path().join("credentials");
    fs::create_dir(&credentials).unwrap();
    let (name, _) = one(UNIT, "LoadCredential=").split_once(':').unwrap();
    fs::copy(identity, credentials.join(name)).unwrap();
    let config = filled_in(&host_config()).replace("/var/log/callveil", folder.path().to_str().unwrap());
    fs::write(folder.path().join("callveil.toml"), config).unwrap();
    let command = one(UNIT, "ExecStart=/usr/local/bin/callveil ");
    let command = command.replace("/etc/callveil", folder.path().to_str().unwrap());
    let server = Server::spawn(callveil().args(command.split(' ')).env("CREDENTIALS_DIRECTORY", &credentials));
    assert_eq!(server.admin_get("/readyz").status, 200);
}

/// What the packages bring is right as it is, differs from the example by two lines, and lacks a ring and a password.
#[test]
fn the_packages_configuration_is_the_example_and_serves_with_a_ring_and_a_password() {
    let folder = Folder::new();
    let here = |text: &str| text.replace("/var/log/callveil", folder.path().to_str().unwrap());
    let (example, config, path) = (config::example(), host_config(), folder.path().join("callveil.toml"));
    let changed: Vec<_> = config.lines().zip(example.lines()).filter(|(ours, theirs)| ours != theirs).collect();
    let keyring = ("keyring = \"keyring.json\"", "keyring = \"keys/keyring.json\"");
    let audit = ("to = \"/var/log/callveil/audit.log\"", "#to = \"stdout\"");
    assert_eq!((config.lines().count(), changed), (example.lines().count(), vec![keyring, audit]));
    fs::write(&path, here(&config)).unwrap();
    let checked = run(folder.path(), &["config", "check", "callveil.toml"]);
    assert!(checked.status.success());
    assert_eq!(run(folder.path(), &["serve", "--config", "callveil.toml"]).status.code(), Some(78));

    fs::rename(folder.ring(), folder.path().join("keyring.json")).unwrap();
    fs::write(&path, here(&filled_in(&config))).unwrap();
    let server = Server::spawn(callveil().args(["serve", "--config"]).arg(path));
    assert_eq!(server.admin_get("/readyz").status, 200);
    assert_eq!(server.values("PhoneToUID", &["13988888888"])[0].len(), 40);
}

#[test]
fn one_version_stands_everywhere() {
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(one(DOCKERFILE, "org.opencontainers.image.version="), format!("\"{version}\" \\"));
    assert_eq!(one(include_str!("../../deploy/kubernetes/kustomization.yaml"), "newTag:"), version);
    assert_eq!(all(include_str!("../../deploy/openapi.yaml"), "version:")[0], version);
    for manifest in [include_str!("../../plugin/Cargo.toml"), include_str!("../../python/Cargo.toml")] {
        assert_eq!(all(manifest, "version =")[0], format!("\"{version}\""));
    }
    assert!(include_str!("../../CHANGELOG.md").contains(&format!("\n## [{version}]\n")));
}

#[test]
fn numbers_that_stand_in_two_places_agree() {
    assert!(drain_seconds(POD_CONFIG) < seconds(DEPLOYMENT, "terminationGracePeriodSeconds:"));
    assert!(drain_seconds(&host_config()) < seconds(UNIT, "TimeoutStopSec="));
    assert_eq!(all(DEPLOYMENT, "containerPort:"), ports(POD_CONFIG));
    assert_eq!(one(DOCKERFILE, "EXPOSE ").split(' ').collect::<Vec<_>>(), ports(POD_CONFIG));
    assert_eq!(all(UNIT, "SocketBindAllow=tcp:"), ports(&host_config()));
    let user = one(DEPLOYMENT, "runAsUser:");
    assert_eq!(one(DOCKERFILE, "USER "), format!("{user}:{user}"));
    assert_eq!(one(DEPLOYMENT, "fsGroup:"), user);
    // What all replicas together let a client do is what the README promises for one.
    let replicas = seconds(AUTOSCALER, "maxReplicas:");
    let client = &table(POD_CONFIG)["clients"][0];
    for (key, together) in [
        ("tokenize_per_minute", 600_000),
        ("detokenize_per_minute", 60_000),
        ("tokenize_per_day", 12_000_000),
        ("detokenize_per_day", 1_200_000),
    ] {
        assert_eq!(client[key].as_integer().unwrap() * replicas, together, "{key}");
    }
}

/// Exit codes that a restart would not mend.
#[test]
fn systemd_does_not_restart_what_is_wrong() {
    let codes = one(UNIT, "RestartPreventExitStatus=");
    let (folder, _) = material();
    fs::write(folder.path().join("callveil.toml"), "nonsense").unwrap();
    for args in [&["serve", "--config", "callveil.toml"][..], &["serve", "--nonsense"]] {
        let code = run(folder.path(), args).status.code().unwrap();
        assert!(codes.split(' ').any(|listed| listed == code.to_string()), "{code}");
    }
}

/// The checks that need more than a test may take, at least hold together.
#[test]
fn scripts_are_bash() {
    let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy");
    for (folder, least) in [("", 3), ("checks", 5), ("helm", 1), ("package", 4)] {
        let files = fs::read_dir(deploy.join(folder)).unwrap().map(|file| file.unwrap().path());
        let is_script = |path: &PathBuf| path.is_file() && fs::read(path).unwrap().starts_with(b"#!/");
        let is_shell = |path: &PathBuf| is_script(path) && path.extension().is_none_or(|extension| extension != "py");
        let scripts: Vec<PathBuf> = files.filter(is_shell).collect();
        assert!(scripts.len() >= least, "{folder}: {scripts:?}");
        for script in scripts {
            assert!(Command::new("bash").arg("-n").arg(&script).status().unwrap().success(), "{script:?}");
        }
    }
}
