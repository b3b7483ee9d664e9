//! Follows `keys/README.md`: runs all of its commands, from top to bottom, beside two running replicas. Tests of other
//! pages work the same way.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

use crate::{
    needs::is_here,
    support::{PASSWORD, PATIENCE, Server, USER, callveil, read, sha256_hex},
};

const RUNBOOK: &str = include_str!("../../keys/README.md");
const NAME: &str = "keys/README.md";

/// The runbook's names of the replicas: folders in its commands, hosts in its URLs.
const REPLICAS: [&str; 2] = ["replica-1", "replica-2"];

/// The lead time of every rotation here, instead of hours. It leaves just enough time to roll out and check.
const LEAD: &str = "5s";

/// The time limit of one block, as an argument of `timeout`.
const BLOCK_TIMEOUT: &str = "60";

/// If fewer commands are found, something is wrong with finding them.
const COMMANDS_MIN: usize = 25;

/// Makes all blocks behave as one terminal: variables, functions and the umask carry over. A command after `!` must
/// fail. bash alone would ignore its success, or accept a mistyped command.
const PRELUDE: &str = r#"
exec 2>&1
trap '{ export -p; declare -f; umask -p; } >"$STATE"' EXIT
if [ -e "$STATE" ]; then . "$STATE"; fi
fails() {
  local code=0
  "$@" || code=$?
  case $code in 1 | 78) ;; *) echo "exit code $code: $*"; return 1 ;; esac
}
set -ea
"#;

/// One step, in the order of the page.
#[derive(Debug, PartialEq)]
pub enum Step {
    /// Run these commands, which come after this line.
    Run(usize, String),
    /// Do what a comment says: it is not a command, or takes long in real life.
    Do(&'static str),
}

#[test]
fn every_command_of_the_runbook_works() {
    if !["age", "age-keygen", "jq", "script"].into_iter().all(is_here) {
        return;
    }
    let steps = steps(RUNBOOK);
    let blocks: Vec<&str> = steps.iter().filter_map(Step::block).collect();
    let commands = blocks.iter().map(|block| block.matches("callveil ").count()).sum::<usize>();
    assert!(commands >= COMMANDS_MIN, "only {commands} commands");
    // No fence was missed, whatever it is indented by or called.
    assert_eq!(RUNBOOK.matches("```").count(), 2 * blocks.len());

    let mut rehearsal = Rehearsal::new(NAME);
    let mut ran = 0;
    let mut steps = steps.iter();
    while let Some(step) = steps.next() {
        match step {
            Step::Run(line, block) => {
                rehearsal.run(*line, block, Terminal::None);
                ran += 1;
            }
            Step::Do("passphrases are typed") => {
                let Some(Step::Run(line, block)) = steps.next() else { panic!("no block to type into") };
                rehearsal.run(*line, block, Terminal::Typing);
                ran += 1;
            }
            Step::Do("replicas start" | "replicas restart") => rehearsal.start_replicas(),
            Step::Do("wait: the new key is the primary") => rehearsal.wait_for_activation(),
            Step::Do("an agent dials a UID of records.txt") => rehearsal.dial_a_record(),
            Step::Do(unknown) => panic!("the runbook wants something that this test cannot do: {unknown}"),
        }
    }
    assert_eq!(ran, blocks.len());
    assert!(include_str!("../../README.md").contains("(keys/README.md)"), "nobody would find the runbook");
}

/// The blocks and comments of a page, as steps.
pub fn steps(page: &'static str) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut lines = page.lines().enumerate();
    while let Some((at, line)) = lines.next() {
        if line == "```sh" {
            let block = lines.by_ref().map(|(_, line)| line).take_while(|line| *line != "```");
            steps.push(Step::Run(at + 1, block.map(|line| format!("{line}\n")).collect()));
        } else if let Some(comment) = line.strip_prefix("<!-- ") {
            steps.push(Step::Do(comment.strip_suffix(" -->").expect("a comment is one line")));
        }
    }
    steps
}

impl Step {
    fn block(&self) -> Option<&str> {
        match self {
            Self::Run(_, block) => Some(block),
            Self::Do(_) => None,
        }
    }
}

/// Whether a block can ask somebody for passphrases.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Terminal {
    None,
    Typing,
}

/// An empty folder in which a page is followed.
pub struct Rehearsal {
    page: &'static str,
    folder: TempDir,
    /// Things that a person's folder would not contain.
    behind: TempDir,
    replicas: Vec<Server>,
    /// The page's names with their replacements here.
    names: Vec<(String, String)>,
}

impl Rehearsal {
    pub fn new(page: &'static str) -> Self {
        let (folder, behind) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        Self { page, folder, behind, replicas: Vec::new(), names: Vec::new() }
    }

    /// From now on, replaces the page's `theirs` by `ours`.
    pub fn rename(&mut self, theirs: &str, ours: &str) {
        self.names.push((theirs.to_owned(), ours.to_owned()));
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The path of something that a person's folder would not contain.
    pub fn behind(&self, name: &str) -> PathBuf {
        self.behind.path().join(name)
    }

    /// Installs a substitute for a program that the page's commands call.
    pub fn program(&self, name: &str, script: &str) {
        fs::create_dir_all(self.behind("bin")).unwrap();
        let path = self.behind("bin").join(name);
        fs::write(&path, script).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Runs one block to its end, and waits for what it rolls out.
    pub fn run(&mut self, line: usize, block: &str, terminal: Terminal) {
        let script = self.behind("block");
        fs::write(&script, format!("{PRELUDE}{}", self.in_this_world(block))).unwrap();
        let mut command = Command::new("timeout");
        command.arg(BLOCK_TIMEOUT);
        match terminal {
            Terminal::None => command.arg("bash").arg(&script),
            Terminal::Typing => command.args(["script", "-qec", &format!("bash {}", script.display()), "/dev/null"]),
        };
        let tested = Path::new(env!("CARGO_BIN_EXE_callveil")).parent().unwrap();
        let (bin, path) = (self.behind("bin"), std::env::var("PATH").unwrap());
        command.env("PATH", format!("{}:{}:{path}", bin.display(), tested.display()));
        command.env("STATE", self.behind("state")).env("SHELL", "/bin/sh");
        ["BASH_ENV", "CALLVEIL_LOG", "CREDENTIALS_DIRECTORY"].iter().for_each(|name| _ = command.env_remove(name));
        command.current_dir(self.folder.path()).stdout(Stdio::piped());
        let (succeeded, output) = match terminal {
            Terminal::None => {
                let output = command.stdin(Stdio::null()).output().unwrap();
                (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
            }
            Terminal::Typing => run_typing(&mut command),
        };
        let page = self.page;
        assert!(succeeded, "{page}:{line} failed:\n{block}\n--- it printed:\n{output}");
        // The status of a pipe or a substitution may hide a failure; what callveil printed does not.
        let failures = output.lines().filter(|line| line.starts_with("callveil: ")).count();
        let expected =
            block.lines().filter(|line| line.starts_with("! callveil ") && !line.contains("keys check")).count();
        assert_eq!(failures, expected, "{page}:{line}:\n{block}\n--- it printed:\n{output}");
        if block.lines().any(|line| line == "roll_out") {
            self.wait_for_the_file();
        }
    }

    /// The block with the replicas' real addresses, a short lead time, and checked failures.
    fn in_this_world(&self, block: &str) -> String {
        let mut block = format!("\n{block}").replace("\n! ", "\nfails ");
        for (name, replica) in REPLICAS.iter().zip(&self.replicas) {
            block = block.replace(&format!("http://{name}:9640"), &format!("http://{}", replica.admin));
        }
        assert!(!block.contains("http://replica-"), "no replica runs yet");
        for (theirs, ours) in &self.names {
            block = block.replace(theirs, ours);
        }
        let mut parts = block.split("--activate-in ");
        let first = parts.next().unwrap_or_default().to_owned();
        parts.fold(first, |done, part| {
            let after = part.find(char::is_whitespace).expect("a lead ends");
            done + "--activate-in " + LEAD + &part[after..]
        })
    }

    /// Starts the replicas. Each has its own copy of the ring, and gets its identity as from systemd.
    fn start_replicas(&mut self) {
        self.replicas.clear();
        let pins = fs::read_to_string(self.path("pins.toml")).unwrap();
        assert!(pins.contains("ring_id = \"") && pins.contains("min_generation = "), "{pins}");
        let hash = sha256_hex(PASSWORD);
        for name in REPLICAS {
            let config = format!(
                "listen = \"127.0.0.1:0\"\nkeyring = \"keyring.json\"\n{pins}\n[admin]\nlisten = \"127.0.0.1:0\"\n[[clients]]\nusername = \"{USER}\"\npassword_sha256 = [\"{hash}\"]\n"
            );
            let path = self.path(name).join("callveil.toml");
            fs::write(&path, config).unwrap();
            self.replicas.push(Server::spawn(self.as_replica().arg("serve").arg("--config").arg(path)));
        }
        self.wait_for_the_file();
    }

    fn as_replica(&self) -> Command {
        let mut command = callveil();
        command.env("CREDENTIALS_DIRECTORY", self.path("credentials")).current_dir(self.folder.path());
        command
    }

    /// Waits until each replica uses the file that it was given. The first is told to reload; the others look by
    /// themselves.
    fn wait_for_the_file(&self) {
        for (at, (name, replica)) in REPLICAS.iter().zip(&self.replicas).enumerate() {
            if at == 0 {
                replica.signal("HUP");
            }
            let config = self.path(name).join("callveil.toml");
            let listed = self.as_replica().args(["keys", "list", "--json", "--config"]).arg(config).output().unwrap();
            let file: Value = serde_json::from_slice(&listed.stdout).unwrap();
            wait(replica, |keyring| keyring["ring_hash"] == file["ring_hash"]);
        }
    }

    /// Waits until each replica makes UIDs with the last activated key.
    fn wait_for_activation(&self) {
        for replica in &self.replicas {
            wait(replica, |keyring| {
                let keys = keyring["keys"].as_array().unwrap();
                let enabled = keys.iter().filter(|key| key["status"] == "enabled");
                let newest =
                    enabled.max_by_key(|key| key["activates"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap());
                newest.is_some_and(|key| key["primary"] == true)
            });
        }
    }

    fn dial_a_record(&self) {
        let records = fs::read_to_string(self.path("records.txt")).unwrap();
        let uid = records.lines().next().unwrap();
        assert_eq!(self.replicas[1].values("UIDToPhone", &[uid]), ["008613988888888"]);
    }
}

/// Polls `/keyring` until it is as `wanted`.
fn wait(replica: &Server, wanted: impl Fn(&Value) -> bool) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let keyring = replica.admin_get("/keyring").json();
        if wanted(&keyring) {
            return;
        }
        assert!(Instant::now() < deadline, "{keyring:#}\n{}", replica.log());
        std::thread::sleep(Duration::from_millis(10)); // Other tests want the processor too.
    }
}

/// Runs a command in a terminal where somebody types a passphrase whenever one is asked for.
pub fn run_typing(command: &mut Command) -> (bool, String) {
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    let (mut keyboard, mut screen) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let (mut output, mut answered) = (Vec::new(), 0);
    let mut buffer = [0; 4096];
    while let Ok(read @ 1..) = read(&mut screen, &mut buffer) {
        output.extend_from_slice(&buffer[..read]);
        let question = String::from_utf8_lossy(&output[answered..]);
        if question.to_lowercase().contains("passphrase") && question.trim_end().ends_with(':') {
            keyboard.write_all(b"correct horse battery staple\n").unwrap();
            answered = output.len();
        }
    }
    (child.wait().unwrap().success(), String::from_utf8_lossy(&output).into_owned())
}
