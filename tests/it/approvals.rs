//! Changes that need two of three approvers: what replicas wait for, and what the signers are shown.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread::scope,
    time::{Duration, Instant},
};

use callveil::keyring::note::{KEY_BYTES, Name, Signer, Verifier};
use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::{
    fleet::{
        caller::{Caller, Manner},
        haproxy::Balancer,
        replica::Replica,
    },
    needs::{is_here, python_has},
    rings,
    runbook::run_typing,
    support::{Answer, Folder, Http, PATIENCE, Server, run},
};

/// How long a replica may take for a new file, by section 4.4 of the specification.
const TAKEN_UP: Duration = Duration::from_secs(2);

/// The clients that call through HAProxy.
const MANNERS: [Manner; 3] = [Manner::KeepAlive, Manner::BodyApart, Manner::Reconnect];

/// The approvers. The files of their keys have these names.
const NAMES: [&str; 3] = ["alice", "bob", "carol.example/ring"];

/// Makes an unencrypted file with an approver's key, and returns the line for the configuration.
fn approver(folder: &Path, name: &str, seed: u8) -> String {
    let signer = Signer::new(Name::new(name).unwrap(), &[seed; KEY_BYTES]);
    let file = folder.join(name.split('.').next().unwrap());
    fs::write(&file, signer.expose().as_bytes()).unwrap();
    fs::set_permissions(file, fs::Permissions::from_mode(0o600)).unwrap();
    signer.verifier().to_string()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// Runs a command that must end with `code` and print all of `says`.
#[track_caller]
fn check(folder: &Folder, args: &[&str], code: i32, says: &[&str]) -> String {
    let output = run(folder.path(), args);
    let told = said(&output);
    assert!(output.status.code() == Some(code) && says.iter().all(|says| told.contains(says)), "{args:?}: {told}");
    told
}

/// The people who make the ring: their folder, and the settings of replicas about them.
struct People {
    folder: Folder,
    top: String,
    config: String,
}

impl People {
    fn new(recipients: &[&str]) -> Self {
        let folder = Folder::made_with(recipients);
        let approvers: Vec<_> = NAMES.iter().zip(1..).map(|(name, seed)| approver(folder.path(), name, seed)).collect();
        approver(folder.path(), "eve", 9);
        let top = format!("approvers = {}\napprovals = 2", json!(approvers));
        let config = folder.config(&top, "").display().to_string();
        Self { folder, top, config }
    }

    fn approve(&self, who: &str, more: &[&str], code: i32, says: &[&str]) -> String {
        let args = ["keys", "approve", "--config", &self.config, "--approver", who];
        check(&self.folder, &[&args[..], more].concat(), code, says)
    }

    fn keys(&self, args: &[&str]) {
        check(&self.folder, &[&["keys"], args, &["--config", &self.config]].concat(), 0, &[]);
    }
}

/// A running replica with its own copy of the ring.
struct Running {
    server: Server,
    known: Replica,
    ring: PathBuf,
}

impl Running {
    fn start(known: Replica, folder: &Folder, people: &People) -> Self {
        let server = known.set_up_with(folder, &people.folder, &people.top, "");
        Self { server, known, ring: folder.ring() }
    }

    fn admin_get(&self, path: &str) -> Answer {
        Http::connect(self.known.admin).send(format!("GET {path} HTTP/1.1\r\nhost: admin\r\n\r\n"))
    }

    fn keyring(&self) -> Value {
        self.known.keyring()
    }

    /// Polls the replica until its answer is as wanted. Returns how long that took.
    fn wait(&self, wanted: impl Fn(&Value) -> bool) -> Duration {
        let since = Instant::now();
        while !wanted(&self.keyring()) {
            assert!(since.elapsed() < PATIENCE, "{:#}\n{}", self.keyring(), self.server.log());
            std::thread::sleep(Duration::from_millis(10));
        }
        since.elapsed()
    }
}

fn hand_over(from: &Path, to: &Path) {
    let new = to.with_extension("published");
    fs::copy(from, &new).unwrap();
    fs::rename(new, to).unwrap();
}

fn wait_for_approval(replica: &Running, says: &str) {
    replica.wait(|keyring| keyring["awaits"].as_str().is_some_and(|awaits| awaits.contains(says)));
    let ready = replica.admin_get("/readyz");
    assert_eq!((ready.status, replica.keyring()["generation"].as_u64()), (200, Some(1)));
    assert!(ready.json()["keyring_awaits"].as_str().unwrap().contains(says), "{ready:?}");
    let metrics = replica.admin_get("/metrics").body;
    assert!(metrics.contains("callveil_keyring_awaits_approval 1"), "{metrics}");
}

#[test]
fn a_rotation_takes_effect_with_the_second_approval() {
    let people = People::new(&[]);
    let ring = people.folder.ring();
    // Nothing starts on a ring that nobody signed, or one of two.
    let serve = ["serve", "--config", &people.config];
    check(
        &people.folder,
        &serve,
        78,
        &["`approvers`", "0 of 2 have signed it; not yet alice, bob, carol.example/ring"],
    );
    people.approve("alice", &[], 2, &["the first generation", "is added, enabled", "nothing is signed yet"]);
    people.approve("alice", &["--yes"], 0, &["signed as alice", "1 of 2"]);
    check(&people.folder, &serve, 78, &["1 of 2 have signed it; not yet bob, carol.example/ring"]);
    check(&people.folder, &["keys", "verify", "--config", &people.config], 78, &["1 of 2"]);
    check(&people.folder, &["tokenize", "--value", "1", "--config", &people.config], 78, &["1 of 2"]);
    people.approve("alice", &["--yes"], 1, &["a signature of this approver already"]);
    people.approve("eve", &["--yes"], 1, &["is none of the configuration's `approvers`"]);
    people.approve("bob", &["--yes"], 0, &["hand the file to every replica"]);
    check(&people.folder, &["keys", "verify", "--config", &people.config], 0, &["ok: ring"]);
    // Through HAProxy, as CCC's calls come, and each replica directly.
    let folders = [Folder::new(), Folder::new(), Folder::new()];
    let known = [("a", 21), ("b", 22), ("c", 23)];
    let known = known.map(|(name, host)| Replica::new(name, SignedDuration::ZERO, [127, 0, 0, host]));
    let start = |(known, folder)| Running::start(known, folder, &people);
    let replicas: Vec<_> = known.into_iter().zip(&folders).map(start).collect();
    let balancer = is_here("haproxy").then(|| Balancer::start(replicas.iter().map(|replica| &replica.known)));
    let (over, calls) = (AtomicBool::new(false), AtomicU64::new(0));
    let slowest = scope(|scope| {
        let through = balancer.iter().flat_map(|balancer| MANNERS.map(|manner| (balancer.address, manner)));
        let directly = replicas.iter().map(|replica| (replica.known.address, Manner::KeepAlive));
        for (address, manner) in through.chain(directly) {
            let (over, calls) = (&over, &calls);
            scope.spawn(move || {
                let mut caller = Caller::new(address, manner);
                while !over.load(Ordering::Relaxed) {
                    let minted = caller.call("PhoneToUID", &["13988888888"]).unwrap();
                    let opened = caller.call("UIDToPhone", &[&minted.values[0]]).unwrap();
                    assert_eq!(opened.values, ["008613988888888"]);
                    calls.fetch_add(2, Ordering::Relaxed);
                }
            });
        }
        let _end = End(&over);
        people.keys(&["rotate"]);
        let everywhere = || replicas.iter().for_each(|replica| hand_over(&ring, &replica.ring));
        everywhere();
        replicas.iter().for_each(|replica| wait_for_approval(replica, "generation 2 waits for approval: 0 of 2"));
        people.approve("carol", &["--yes"], 0, &["against generation 1", "is added, enabled", "1 of 2"]);
        everywhere();
        replicas.iter().for_each(|replica| wait_for_approval(replica, "1 of 2 have signed it; not yet alice, bob"));
        let urls: Vec<_> = replicas.iter().map(|replica| format!("http://{}", replica.known.admin)).collect();
        let ask: Vec<&str> = ["keys", "check"].into_iter().chain(urls.iter().map(String::as_str)).collect();
        check(&people.folder, &ask, 1, &["the file that", "is not in use: generation 2 waits for approval"]);
        let listed = ["keys", "list", "--config", &people.config];
        check(&people.folder, &listed, 0, &["approved by carol.example/ring", "1 of 2"]);
        people.approve("alice", &["--yes", "--replica", &urls[0]], 0, &["against generation 1", "is added, enabled"]);
        everywhere();
        let taken = replicas.iter().map(|replica| replica.wait(|keyring| keyring["generation"] == 2)).max().unwrap();
        check(&people.folder, &ask, 0, &[]);
        taken
    });
    assert!(slowest <= TAKEN_UP, "{slowest:?}");
    assert!(calls.load(Ordering::Relaxed) > 30, "{calls:?}");
    println!("taken up {slowest:?} after the second approval, beside {calls:?} calls");
    if let Some(balancer) = balancer {
        let stats = balancer.stats();
        let all = |name: &str| stats["BACKEND"][name].clone();
        assert_eq!((all("wretr"), all("eresp"), all("hrsp_5xx")), ("0".into(), "0".into(), "0".into()), "{stats:?}");
        println!("HAProxy: {} calls", all("stot"));
    }
    let metrics = replicas[0].admin_get("/metrics").body;
    assert!(metrics.contains("callveil_keyring_awaits_approval 0"), "{metrics}");
    // The approvals of the ring in use, taken away from its file, are missed, though the ring goes on.
    let stripped = rings::signed_text(rings::text(&fs::read(&ring).unwrap()));
    fs::write(&replicas[0].ring, stripped).unwrap();
    replicas[0].wait(|keyring| keyring["awaits"].is_string() && keyring["generation"] == 2);
}

/// Ends the load, even if the test panics.
struct End<'o>(&'o AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn approvers_are_shown_what_they_sign() {
    let people = People::new(&[]);
    people.approve("alice", &["--yes"], 0, &[]);
    people.approve("bob", &["--yes"], 0, &[]);
    let before = people.folder.path().join("before.json");
    hand_over(&people.folder.ring(), &before);
    let old = rings::read(&before)["keys"][0]["id"].as_str().unwrap().to_owned();
    people.keys(&["rotate", "--activate-in", "0s"]);
    let disable = ["keys", "disable", &old, "--config", &people.config];
    let since = Instant::now();
    while !run(people.folder.path(), &disable).status.success() {
        assert!(since.elapsed() < PATIENCE, "the new key never becomes the primary");
        std::thread::sleep(Duration::from_millis(50));
    }
    // The generation before was approved by nobody, and would show less than what changes for replicas.
    people.approve("alice", &["--yes"], 2, &["not approved: use --replica URL or --against FILE"]);
    let previous = ["--against", "keys/keyring.json.previous"];
    people.approve(
        "alice",
        &previous,
        2,
        &["warning: no replica used keys/keyring.json.previous", "against generation 2"],
    );
    let shown = people.approve("alice", &["--against", "before.json"], 2, &[&format!("key {old} is disabled")]);
    assert!(shown.contains("is added, enabled: it becomes the primary at"), "{shown}");
    // A destruction is wiped from the generation before, too: that shows nothing, and is not shown.
    people.keys(&["destroy", &old, "--yes", "--early"]);
    people.approve("alice", &["--yes"], 2, &["use --replica URL or --against FILE"]);
    people.approve("alice", &["--against", "before.json"], 2, &[&format!("key {old} is DESTROYED")]);
    // What no replica lets happen is told, also where it is none of the changes.
    let altered = people.folder.path().join("altered.json");
    let mut ring = rings::read(&before);
    ring["keys"][0]["exportable"] = true.into();
    fs::write(&altered, rings::signed(&ring)).unwrap();
    fs::set_permissions(&altered, fs::Permissions::from_mode(0o600)).unwrap();
    people.approve(
        "alice",
        &["--against", "altered.json"],
        2,
        &[&format!("refuses this ring: key {old} was altered in it")],
    );
    let stranger = Folder::new();
    hand_over(&stranger.ring(), &people.folder.path().join("stranger.json"));
    people.approve("alice", &["--yes", "--against", "stranger.json"], 1, &["stranger.json is of another ring"]);
    // A change voids all approvals: they were of another text.
    let signed = ["--yes", "--against", "before.json"];
    people.approve("alice", &signed, 0, &["1 of 2"]);
    people.approve("bob", &signed, 0, &["hand the file"]);
    people.keys(&["rotate"]);
    check(&people.folder, &["keys", "verify", "--config", &people.config], 78, &["0 of 2"]);
    let records = fs::read_to_string(people.folder.path().join("keys/keyring.json.audit"));
    let records = records.unwrap_or_default();
    let approvals = records.lines().filter(|line| line.contains("\"keys approve\"")).count();
    assert!(records.is_empty() || approvals >= 4, "{records}");
}

#[test]
fn recipients_are_shown_by_name() {
    use age::secrecy::ExposeSecret as _;
    let identities: Vec<_> = (0..2).map(|_| age::x25519::Identity::generate()).collect();
    let recipients: Vec<_> = identities.iter().map(|identity| identity.to_public().to_string()).collect();
    let people = People::new(&["--recipient", &recipients[0]]);
    let identity = people.folder.path().join("identity");
    fs::write(&identity, identities[0].to_string().expose_secret()).unwrap();
    fs::set_permissions(identity, fs::Permissions::from_mode(0o600)).unwrap();
    hand_over(&people.folder.ring(), &people.folder.path().join("before.json"));
    people.keys(&["recipients", "--identity", "identity", "--set", &recipients[0], &recipients[1]]);
    let added = format!("{} is a recipient from now on, and can open every key", recipients[1]);
    let more = ["--identity", "identity", "--against", "before.json", "--yes"];
    people.approve("alice", &more, 0, &[&added, "1 of 2"]);
    // It is still encrypted, and for both.
    assert!(fs::read(people.folder.ring()).unwrap().starts_with(b"age-encryption.org/v1"));
    check(&people.folder, &["keys", "list", "--identity", "identity"], 0, &["signed as alice, which nothing here can"]);
}

#[test]
fn an_approvers_key_is_made_with_a_passphrase_and_signs_with_it() {
    if !is_here("script") {
        return;
    }
    let folder = Folder::new();
    let binary = env!("CARGO_BIN_EXE_callveil");
    let typed = |args: &str| {
        let mut command = Command::new("script");
        command.args(["-qec", &format!("{binary} {args}"), "/dev/null"]).env("SHELL", "/bin/sh");
        run_typing(command.current_dir(folder.path()).stdout(std::process::Stdio::piped()))
    };
    let (done, told) = typed("keys approver new alice --output alice.key");
    assert!(done, "{told}");
    let line = told.lines().find(|line| line.starts_with("alice+")).unwrap_or_else(|| panic!("{told}")).trim();
    assert!(Verifier::parse(line).is_some(), "{line}");
    let file = fs::read(folder.path().join("alice.key")).unwrap();
    assert!(file.starts_with(b"age-encryption.org/v1"));
    let (again, told) = typed("keys approver new alice --output alice.key");
    assert!(!again && told.contains("exists already"), "{told}");
    let (done, told) = typed("keys approve --approver alice.key --yes");
    assert!(done && told.contains("signed as alice"), "{told}");
    let top = format!("approvers = [\"{line}\"]");
    let config = folder.config(&top, "").display().to_string();
    check(&folder, &["keys", "verify", "--config", &config], 0, &["ok: ring"]);
    check(&folder, &["keys", "approver", "new", "bob", "--output", "bob.key"], 2, &["no terminal"]);
    check(&folder, &["keys", "approver", "new", "callveil-ring", "--output", "bob.key"], 2, &["a name is 1 to 64"]);
    assert!(!folder.path().join("bob.key").exists());
}

/// Notes that `keys` makes verify with OpenSSL's Ed25519 and a second implementation of the format, and the other way round.
#[test]
fn signed_notes_are_those_of_another_implementation() {
    if !python_has("cryptography") {
        return;
    }
    let people = People::new(&[]);
    let notes = format!("{}/tests/oracle/notes.py", env!("CARGO_MANIFEST_DIR"));
    let python = |args: &[&str]| {
        let output = Command::new("python3").arg(&notes).args(args).current_dir(people.folder.path()).output().unwrap();
        assert!(output.status.success(), "{}", said(&output));
        String::from_utf8(output.stdout).unwrap()
    };
    people.approve("alice", &["--yes"], 0, &["1 of 2"]);
    let seed = |byte: u8| data_encoding::HEXLOWER.encode(&[byte; KEY_BYTES]);
    let key = |name: &str, byte: u8| python(&["key", name, &seed(byte)]).trim().to_owned();
    for (name, byte) in NAMES.iter().zip(1..) {
        assert!(people.top.contains(&key(name, byte)), "{name}");
    }
    let verified = python(&["verify", "keys/keyring.json", &key("alice", 1)]);
    assert_eq!(verified, "signed by callveil-ring alice\n");
    let signed = python(&["sign", "keys/keyring.json", "bob", &seed(2)]);
    fs::write(people.folder.ring(), signed).unwrap();
    check(&people.folder, &["keys", "verify", "--config", &people.config], 0, &["ok: ring"]);
    // Somebody else of the same name is a name.
    let wrong = python(&["sign", "keys/keyring.json", "carol.example/ring", &seed(4)]);
    fs::write(people.folder.ring(), wrong).unwrap();
    check(&people.folder, &["keys", "list", "--config", &people.config], 0, &["signed as carol.example/ring, which"]);
}
