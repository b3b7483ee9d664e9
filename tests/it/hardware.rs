//! A ring for a hardware key: SoftHSM's token behind PKCS#11, through our plugin and age's plugin protocol.

mod known_key;

use std::{
    fs,
    net::SocketAddr,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread::scope,
    time::Instant,
};

use age::secrecy::ExposeSecret as _;
use data_encoding::HEXLOWER;
use serde_json::json;

use self::known_key::{KnownKey, MODULE_VARIABLE, POINT_VARIABLE, SCALAR_VARIABLE};
use crate::{
    needs::{is_here, miss},
    rings,
    support::{Folder, Http, Server, callveil, run, write_secret},
};

const PIN: &str = "471108150";

/// Paths of SoftHSM's library on Debian and others.
const MODULES: [&str; 3] =
    ["/usr/lib/softhsm/libsofthsm2.so", "/usr/lib64/pkcs11/libsofthsm2.so", "/usr/local/lib/softhsm/libsofthsm2.so"];

/// A folder with a token, an identity for its key, and a ring for this key and for Alice.
struct Fleet {
    folder: Folder,
    module: PathBuf,
    recipient: String,
}

impl Fleet {
    /// `None` if SoftHSM or our plugin is missing.
    fn new() -> Option<Self> {
        Self::with(None)
    }

    /// The same with the key `known`. Without one, the token makes its own.
    fn with(known: Option<&KnownKey>) -> Option<Self> {
        let module = std::env::var_os("SOFTHSM2_MODULE").map(PathBuf::from);
        let module = module.or_else(|| MODULES.iter().map(PathBuf::from).find(|path| path.exists()));
        let plugin = programs().join("age-plugin-pkcs11tag");
        if !is_here("softhsm2-util") || module.is_none() || !plugin.exists() {
            miss("module of SoftHSM, or age-plugin-pkcs11tag,", ".ci/run");
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
        let identity = match known {
            None => fleet.run("age-plugin-pkcs11tag", &[&["--generate"], &key[..]].concat()),
            Some(known) => {
                fleet.import(known);
                fleet.run("age-plugin-pkcs11tag", &key)
            }
        };
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
        fs::remove_file(fleet.path("keys/keyring.json.audit")).unwrap();
        let alice = alice.to_public().to_string();
        fleet.keys(&["init", "--recipient", &fleet.recipient, "--recipient", &alice], 0, "made keys/keyring.json");
        Some(fleet)
    }

    /// Puts a key into the token. This takes another process, since SoftHSM finds its settings in the environment.
    fn import(&self, known: &KnownKey) {
        let mut command = self.command(std::env::current_exe().unwrap());
        command.args(["--ignored", "--exact", "hardware::known_key::a_known_key_is_put_into_a_token"]);
        command.env(MODULE_VARIABLE, &self.module).env(SCALAR_VARIABLE, HEXLOWER.encode(&known.scalar));
        let done = command.env(POINT_VARIABLE, HEXLOWER.encode(&known.point)).output().unwrap();
        assert!(done.status.success() && said(&done).contains("1 passed"), "{}", said(&done));
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Makes a file that only its owner can access.
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
        let unlimited = "tokenize_per_minute = \"unlimited\"\ndetokenize_per_minute = \"unlimited\"";
        let config = self.folder.config("identity = \"identity\"", unlimited);
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

/// The ended child processes that a process has not waited for.
fn zombies(pid: u32) -> usize {
    let stats =
        fs::read_dir("/proc").unwrap().filter_map(|entry| fs::read_to_string(entry.ok()?.path().join("stat")).ok());
    let is_one = |stat: &String| stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with(&format!("Z {pid} ")));
    stats.filter(is_one).count()
}

/// Ends the load, even if the test panics.
struct End<'o>(&'o AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Maps there and back until it is over. Every call must succeed.
fn call_until(over: &AtomicBool, replica: SocketAddr, calls: &AtomicU64) {
    let mut http = Http::connect(replica);
    let mut call = |mode: &str, item: &str| {
        let answer = http.post(&json!({"Numbers": [item], "Mode": mode}).to_string()).json();
        assert_eq!(answer["Code"], 0, "{answer}");
        calls.fetch_add(1, Ordering::Relaxed);
        answer["Results"][0]["Value"].as_str().unwrap().to_owned()
    };
    while !over.load(Ordering::Relaxed) {
        let uid = call("PhoneToUID", "13988888888");
        assert_eq!(call("UIDToPhone", &uid), "008613988888888");
    }
}

#[test]
fn a_fleet_whose_key_never_leaves_its_token() {
    let Some(fleet) = Fleet::new() else { return };
    let servers = [(); 3].map(|()| Server::spawn(&mut fleet.serve()));
    let uid = servers[0].values("PhoneToUID", &["13988888888"]).remove(0);
    let (over, calls) = (AtomicBool::new(false), AtomicU64::new(0));
    scope(|scope| {
        let _end = End(&over);
        for server in &servers {
            let (replica, over, calls) = (server.address, &over, &calls);
            scope.spawn(move || call_until(over, replica, calls));
        }
        fleet.keys(&["rotate", "--identity", "alice"], 0, "generation 2");
        servers.iter().for_each(|server| assert_eq!(server.wait_for("key ring reloaded")["generation"], 2));
        // The token is taken away in the midst of the next change.
        let ring = rings_of(&fleet);
        let pending = ring["keys"][1]["id"].as_str().unwrap();
        fs::rename(fleet.path("tokens"), fleet.path("away")).unwrap();
        fleet.keys(&["disable", pending, "--identity", "alice"], 0, "generation 3");
        for server in &servers {
            let reason = server.wait_for("keeping the key ring in use")["reason"].as_str().unwrap().to_owned();
            assert!(reason.contains("the token does not open it now"), "{reason}");
            let since = Instant::now();
            while since.elapsed().as_secs() < 2 {
                assert_eq!(server.values("UIDToPhone", &[&uid]), ["008613988888888"]);
                let ready = server.admin_get("/readyz");
                assert_eq!((ready.status, ready.json()["keyring_refused"].as_str()), (200, Some(&*reason)));
            }
            assert!(zombies(server.pid()) <= 2, "{} plugins were not waited for", zombies(server.pid()));
        }
        let start = fleet.serve().output().unwrap();
        let told = said(&start);
        assert!(start.status.code() == Some(78) && told.contains("the token does not open it now"), "{told}");
        fs::rename(fleet.path("away"), fleet.path("tokens")).unwrap();
        servers.iter().for_each(|server| assert_eq!(server.wait_for("key ring reloaded")["generation"], 3));
        assert_eq!(servers[0].values("UIDToPhone", &[&uid]), ["008613988888888"]);
    });
    assert!(calls.load(Ordering::Relaxed) > 100, "{calls:?}");
    println!("no call of {calls:?} failed");
}

/// `cargo install --locked age-plugin-xwing rage`: somebody else's plugin, and the other age.
#[test]
#[ignore = "wants age-plugin-xwing and rage of crates.io"]
fn a_plugin_of_others_works_as_ours_does() {
    let folder = Folder::new();
    let made = Command::new("age-plugin-xwing").output().expect("age-plugin-xwing is on the PATH");
    let text = String::from_utf8(made.stdout).unwrap();
    let recipient = text.lines().find_map(|line| line.strip_prefix("# recipient: ")).unwrap();
    write_secret(folder.path().join("identity"), &text);
    fs::remove_file(folder.ring()).unwrap();
    let keys = |args: &[&str]| {
        let output = run(folder.path(), &[&["keys"], args].concat());
        assert!(output.status.success(), "{args:?}: {}", said(&output));
    };
    keys(&["init", "--recipient", recipient]);
    let server = Server::start(&folder, "identity = \"identity\"", "");
    let uid = server.values("PhoneToUID", &["13988888888"]).remove(0);
    keys(&["rotate", "--identity", "identity"]);
    assert_eq!(server.wait_for("key ring reloaded")["generation"], 2);
    assert_eq!(server.values("UIDToPhone", &[&uid]), ["008613988888888"]);
    for program in ["age", "rage"] {
        let mut command = Command::new(program);
        command.args(["-d", "-i", "identity", "-o", program, "keys/keyring.json"]).current_dir(folder.path());
        let opened = command.output().unwrap_or_else(|error| panic!("{program}: {error}"));
        assert!(opened.status.success(), "{program}: {}", said(&opened));
        assert_eq!(rings::read(&folder.path().join(program))["recipients"][0], recipient);
    }
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
    // What would have a PIN and file keys printed is told of, and nothing is said to a plugin.
    let overheard = fleet
        .command(callveil().get_program())
        .args(["keys", "verify", "--identity", "identity"])
        .env("AGEDEBUG", "plugin")
        .output()
        .unwrap();
    let told = said(&overheard);
    assert!(overheard.status.code() == Some(78) && told.contains("AGEDEBUG=plugin") && !told.contains(PIN), "{told}");
    if is_here("age") {
        check_opens(&fleet, "age");
    }
}

/// Checks that another implementation of age opens the ring with the token.
#[track_caller]
fn check_opens(fleet: &Fleet, program: &str) {
    let opened = fleet.run(program, &["-d", "-i", "identity", "-o", program, "keys/keyring.json"]);
    assert!(opened.status.success(), "{program}: {}", said(&opened));
    assert_eq!(rings::read(&fleet.path(program))["recipients"][0], fleet.recipient);
}

#[test]
#[ignore = "wants rage of crates.io"]
fn rage_and_callveil_open_each_others_files_with_the_token() {
    let Some(fleet) = Fleet::new() else { return };
    check_opens(&fleet, "rage");
    let sealed = fleet.run("rage", &["-r", &fleet.recipient, "-o", "theirs.age", "rage"]);
    assert!(sealed.status.success(), "{}", said(&sealed));
    fleet.keys(&["verify", "--keyring", "theirs.age", "--identity", "identity"], 0, "ok: ring");
}
