//! Programs that tests need besides the toolchain: they are asked for by name, and counted if they are missing.
//!
//! A test whose program is missing says so and is skipped; in CI that is an error. `tests/skipped.rs` runs last and
//! sums up what was skipped. README and `.ci/run` have the list of [`PACKAGES`].

use std::{
    collections::BTreeSet,
    fs::{self, OpenOptions},
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
    thread,
};

/// Programs, and their Debian packages.
const PACKAGES: [(&str, &str); 18] = [
    ("/lib/systemd/systemd-journal-remote", "systemd-journal-remote"),
    ("age", "age"),
    ("age-keygen", "age"),
    ("curl", "curl"),
    ("haproxy", "haproxy"),
    ("java", "default-jdk-headless"),
    ("journalctl", "systemd"),
    ("jq", "jq"),
    ("man", "man-db"),
    ("nginx", "nginx"),
    ("node", "nodejs"),
    ("openssl", "openssl"),
    ("prometheus", "prometheus"),
    ("promtool", "prometheus"),
    ("python3", "python3-venv"),
    ("script", "bsdutils"),
    ("softhsm2-util", "softhsm2"),
    ("sslscan", "sslscan"),
];

/// Programs that only load tests need, which nobody runs casually.
const OF_LOAD: [(&str, &str); 4] =
    [("faketime", "faketime"), ("ip", "iproute2"), ("slowhttptest", "slowhttptest"), ("unshare", "util-linux")];

/// Whether `program` is on this machine.
pub fn is_here(program: &str) -> bool {
    let mut command = Command::new(program);
    let found = command.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    found.is_ok() || {
        let known = PACKAGES.iter().chain(&OF_LOAD).find(|(name, _)| *name == program);
        miss(program, known.map_or(".ci/run", |(_, package)| package));
        false
    }
}

/// Whether `python3` has these modules from PyPI.
pub fn python_has(modules: &str) -> bool {
    let found = Command::new("python3").args(["-c", &format!("import {modules}")]).output();
    found.is_ok_and(|output| output.status.success()) || {
        miss(&format!("{modules} for python3"), ".ci/run");
        false
    }
}

/// Notes that the running test lacks `what`. `source` provides it: a Debian package, `.ci/run`, or words in brackets.
pub fn miss(what: &str, source: &str) {
    assert!(std::env::var_os("CI").is_none(), "{what} is not there");
    let this = thread::current();
    let line = format!("{}\t{what}\t{source}\n", this.name().unwrap_or("a thread"));
    // Past the capture of output, since this test is going to pass.
    let _ = write!(std::io::stderr(), "skipped, or a part of it: {}", line.replace('\t', ", no "));
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("skipped");
    let _ = fs::create_dir_all(&folder);
    // Cargo runs both this program and the one that adds up.
    let file = folder.join(std::os::unix::process::parent_id().to_string());
    let written = OpenOptions::new().create(true).append(true).open(file);
    let _ = written.and_then(|mut file| file.write_all(line.as_bytes()));
}

/// The words of `text` between `begin` and `end`.
fn words<'t>(text: &'t str, begin: &str, end: &str) -> BTreeSet<&'t str> {
    let (_, rest) = text.split_once(begin).expect("the list begins");
    rest.split_once(end).expect("the list ends").0.split_whitespace().filter(|word| *word != "\\").collect()
}

#[test]
fn readme_and_ci_name_what_tests_speak_with() {
    let packages: BTreeSet<&str> = PACKAGES.iter().map(|(_, package)| *package).collect();
    let readme = include_str!("../../README.md");
    assert_eq!(words(readme, "apt-get install --no-install-recommends ", "\n\n"), packages, "README.md");
    // It has npm, too, for a package of its own, and the C compiler that everybody needs.
    let ci = include_str!("../../.ci/run");
    let named = words(ci, "declare -A package=(", "\n)");
    let named: BTreeSet<&str> = named.iter().map(|pair| pair.split_once("]=").expect("a package").1).collect();
    assert_eq!(named, packages.into_iter().chain(["gcc", "npm"]).collect(), ".ci/run");
}
