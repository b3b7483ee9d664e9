//! A ring for a key of hardware: SoftHSM's token behind PKCS#11, by way of our plugin and age's plugin protocol.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use age::secrecy::ExposeSecret as _;

use crate::{
    clients::is_here,
    rings,
    support::{Folder, Server, callveil},
};

const PIN: &str = "471108150";

/// Where Debian and others put the library of SoftHSM.
const MODULES: [&str; 3] =
    ["/usr/lib/softhsm/libsofthsm2.so", "/usr/lib64/pkcs11/libsofthsm2.so", "/usr/local/lib/softhsm/libsofthsm2.so"];

/// A folder with a token, an identity for its key, and a ring for that and for Alice.
struct Fleet {
    folder: Folder,
    module: PathBuf,
    recipient: String,
}

impl Fleet {
    /// `None` where SoftHSM, or our plugin, is not there.
    fn new() -> Option<Self> {
        let module = std::env::var_os("SOFTHSM2_MODULE").map(PathBuf::from);
        let module = module.or_else(|| MODULES.iter().map(PathBuf::from).find(|path| path.exists()));
        let plugin = programs().join("age-plugin-pkcs11tag");
        if !is_here("softhsm2-util") || module.is_none() || !plugin.exists() {
            assert!(std::env::var_os("CI").is_none(), "SoftHSM, or {}, is not there", plugin.display());
            return None;
        }
        let alice = age::x25519::Identity::generate();
        let folder = Folder::new();
        let mut fleet = Self { folder, module: module?, recipient: String::new() };
        fs::create_dir(fleet.path("tokens")).unwrap();
        let tokens = fleet.path("tokens").display().to_string();
        fs::write(fleet.path("softhsm2.conf"), format!("directories.tokendir = {tokens}\nlog.level = ERROR\n"))
            .unwrap();
        fleet.keep("pin", &format!("{PIN}\n"));
        fleet.keep("alice", alice.to_string().expose_secret());
        let module = fleet.module.display().to_string();
        let made = fleet.run(
            "softhsm2-util",
            &["--module", &module, "--init-token", "--free", "--label", "ring", "--so-pin", "12345678", "--pin", PIN],
        );
        assert!(made.status.success(), "{}", said(&made));
        let key = ["--module", &module, "--token", "ring", "--key", "replicas", "--pin-file", "pin"];
        let identity = fleet.run("age-plugin-pkcs11tag", &[&["--generate"], &key[..]].concat());
        assert!(identity.status.success(), "{}", said(&identity));
        let again = fleet.run("age-plugin-pkcs11tag", &[&["--generate"], &key[..]].concat());
        assert!(!again.status.success() && said(&again).contains("there is one already"), "{}", said(&again));
        let text = String::from_utf8(identity.stdout).unwrap();
        assert_eq!(
            said(&fleet.run("age-plugin-pkcs11tag", &key)),
            text,
            "the identity of a key that is there is the same"
        );
        assert!(text.contains("AGE-PLUGIN-PKCS11TAG-1") && !text.contains(PIN) && !text.contains("SECRET"), "{text}");
        fleet.keep("identity", &text);
        fleet.recipient = text.lines().next().unwrap().strip_prefix("# public key: ").unwrap().to_owned();
        fs::remove_file(fleet.folder.ring()).unwrap();
        let alice = alice.to_public().to_string();
        fleet.keys(&["init", "--recipient", &fleet.recipient, "--recipient", &alice], 0, "made keys/keyring.json");
        Some(fleet)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Makes a file for its owner alone.
    fn keep(&self, name: &str, content: &str) {
        fs::write(self.path(name), content).unwrap();
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        let path = format!("{}:{}", programs().display(), std::env::var("PATH").unwrap());
        command.current_dir(self.folder.path()).env("SOFTHSM2_CONF", self.path("softhsm2.conf")).env("PATH", path);
        command.env_remove("CALLVEIL_LOG");
        command
    }

    fn run(&self, program: &str, args: &[&str]) -> Output {
        // By its path: a child's PATH does not find it.
        let ours = programs().join(program);
        let program = if ours.exists() { ours } else { program.into() };
        self.command(program).args(args).output().unwrap()
    }

    #[track_caller]
    fn keys(&self, args: &[&str], code: i32, says: &str) {
        let output = self.run("callveil", &[&["keys"], args].concat());
        let told = said(&output);
        assert!(output.status.code() == Some(code) && told.contains(says), "{args:?}: {told}");
        assert!(!told.contains(PIN));
    }

    fn serve(&self) -> Command {
        let config = self.folder.config("identity = \"identity\"", "");
        let mut command = self.command(callveil().get_program());
        command.args(["serve", "--config"]).arg(config);
        command
    }
}

fn programs() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_callveil")).parent().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// Children of a process that ended, and that it has not waited for.
fn zombies(pid: u32) -> usize {
    let stats =
        fs::read_dir("/proc").unwrap().filter_map(|entry| fs::read_to_string(entry.ok()?.path().join("stat")).ok());
    let is_one = |stat: &String| stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with(&format!("Z {pid} ")));
    stats.filter(is_one).count()
}

#[test]
fn a_fleet_whose_key_never_leaves_its_token() {
    let Some(fleet) = Fleet::new() else { return };
    let server = Server::spawn(&mut fleet.serve());
    let uid = server.values("PhoneToUID", &["13988888888"]).remove(0);
    fleet.keys(&["rotate", "--identity", "alice"], 0, "generation 2");
    assert_eq!(server.wait_for("key ring reloaded")["generation"], 2);
    // The token is taken away in the midst of the next change.
    let ring = rings_of(&fleet);
    let pending = ring["keys"][1]["id"].as_str().unwrap();
    fs::rename(fleet.path("tokens"), fleet.path("away")).unwrap();
    fleet.keys(&["disable", pending, "--identity", "alice"], 0, "generation 3");
    let reason = server.wait_for("keeping the key ring in use")["reason"].as_str().unwrap().to_owned();
    assert!(reason.contains("the token does not open it now"), "{reason}");
    let since = std::time::Instant::now();
    while since.elapsed().as_secs() < 4 {
        assert_eq!(server.values("UIDToPhone", &[&uid]), ["008613988888888"]);
        let ready = server.admin_get("/readyz");
        assert_eq!((ready.status, ready.json()["keyring_refused"].as_str()), (200, Some(&*reason)));
    }
    assert!(zombies(server.pid()) <= 2, "{} plugins were not waited for", zombies(server.pid()));
    let start = fleet.serve().output().unwrap();
    assert!(
        start.status.code() == Some(78) && said(&start).contains("the token does not open it now"),
        "{}",
        said(&start)
    );
    fs::rename(fleet.path("away"), fleet.path("tokens")).unwrap();
    assert_eq!(server.wait_for("key ring reloaded")["generation"], 3);
    assert_eq!(server.values("UIDToPhone", &[&uid]), ["008613988888888"]);
}

fn rings_of(fleet: &Fleet) -> serde_json::Value {
    let output = fleet.run("callveil", &["keys", "list", "--json", "--identity", "alice"]);
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn people_and_other_tools_open_it_with_the_token() {
    let Some(fleet) = Fleet::new() else { return };
    // A change wants the token twice: to open the ring, and to make sure that nobody locks themselves out.
    fleet.keys(&["rotate", "--identity", "identity"], 0, "generation 2");
    fleet.keys(&["verify", "--identity", "identity"], 0, "ok: ring");
    // A PIN that is wrong, or that others can read, is told of and not told.
    fleet.keep("pin", "0000");
    fleet.keys(&["verify", "--identity", "identity"], 78, "the token does not open it now");
    fleet.keep("pin", PIN);
    fs::set_permissions(fleet.path("pin"), fs::Permissions::from_mode(0o644)).unwrap();
    fleet.keys(&["verify", "--identity", "identity"], 78, "open to others");
    fleet.keep("pin", PIN);
    fleet.keep("elsewhere", "AGE-PLUGIN-NOWHERE-1QQQQQQ\n");
    fleet.keys(&["verify", "--identity", "elsewhere"], 78, "identity elsewhere");
    if is_here("age") {
        let opened = fleet.run("age", &["-d", "-i", "identity", "-o", "opened", "keys/keyring.json"]);
        assert!(opened.status.success(), "{}", said(&opened));
        assert_eq!(rings::read(&fleet.path("opened"))["recipients"][0], fleet.recipient);
    }
}
