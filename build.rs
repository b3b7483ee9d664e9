//! Tells the program which commit it is built from, for `--version` and `/healthz`.
//!
//! It reads what Git has written beside the sources, without Git. Sources without `.git`, such as a tarball's, name their
//! commit in `CALLVEIL_COMMIT`, or none.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

/// As many digits of the commit as are shown.
const DIGITS: usize = 12;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=CALLVEIL_COMMIT");
    let given = env::var("CALLVEIL_COMMIT").ok().filter(|commit| !commit.is_empty());
    let commit = given.or_else(|| commit_of(Path::new(".git"))).filter(|commit| is_commit(commit));
    let (commit, version) = (commit.as_deref().and_then(|commit| commit.get(..DIGITS)), env!("CARGO_PKG_VERSION"));
    println!("cargo::rustc-env=CALLVEIL_COMMIT={}", commit.unwrap_or_default());
    let long = commit.map_or_else(|| version.to_owned(), |commit| format!("{version} ({commit})"));
    println!("cargo::rustc-env=CALLVEIL_VERSION={long}");
}

/// Whether this is a name that Git gives, in SHA-1 or SHA-256.
fn is_commit(text: &str) -> bool {
    text.len() >= DIGITS && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The commit that is checked out, and Cargo told to look again where another is. `git` is a folder, or in a worktree a
/// file that names one.
fn commit_of(git: &Path) -> Option<String> {
    let folder = match fs::read_to_string(git) {
        Ok(link) => PathBuf::from(link.strip_prefix("gitdir:")?.trim()),
        Err(_) => git.to_owned(),
    };
    // A worktree has a HEAD of its own; branches are where all worktrees find them.
    let common =
        fs::read_to_string(folder.join("commondir")).map_or_else(|_| folder.clone(), |to| folder.join(to.trim()));
    let head = read(&folder.join("HEAD"))?;
    // A commit writes its branch, but a branch may not be a file yet; the log of HEAD is written by both.
    watch(&folder.join("logs/HEAD"));
    let Some(branch) = head.strip_prefix("ref:").map(str::trim) else { return Some(head.trim().to_owned()) };
    if let Some(commit) = read(&common.join(branch)) {
        return Some(commit.trim().to_owned());
    }
    let packed = read(&common.join("packed-refs"))?;
    let commit = packed.lines().find_map(|line| line.split_once(' ').filter(|(_, name)| *name == branch))?.0;
    Some(commit.to_owned())
}

fn read(path: &Path) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    watch(path);
    Some(text)
}

/// Has Cargo run this again when the file changes. One that is not there would have it run each time.
fn watch(path: &Path) {
    if path.exists() {
        println!("cargo::rerun-if-changed={}", path.display());
    }
}
