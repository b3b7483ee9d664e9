//! The texts that people read: help, completions and man pages.
//!
//! The help of every command is a file in `tests/golden/help`. After a change of the command line, the following writes
//! them anew, and `git diff` shows what changes for people:
//!
//! ```sh
//! CALLVEIL_RENEW=1 cargo test --test it help::
//! ```

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use crate::{
    needs::is_here,
    rings,
    support::{callveil, run},
};

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/help");

/// Every command with its arguments, by the name of its man page.
fn commands() -> BTreeMap<String, Vec<String>> {
    let mut commands = BTreeMap::new();
    let mut left = vec![(callveil::cli::command(), Vec::new())];
    while let Some((command, path)) = left.pop() {
        for sub in command.get_subcommands() {
            left.push((sub.clone(), [&path[..], &[sub.get_name().to_owned()]].concat()));
        }
        commands.insert([&["callveil".to_owned()], &path[..]].concat().join("-"), path);
    }
    commands
}

fn names(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut names: Vec<_> = names.map(|name| name.file_stem().unwrap().to_str().unwrap().to_owned()).collect();
    names.sort();
    names
}

#[test]
fn the_help_of_every_command_is_what_was_agreed() {
    let renew = std::env::var_os("CALLVEIL_RENEW").is_some();
    if renew {
        let _ = fs::remove_dir_all(GOLDEN); // It may not be there.
        fs::create_dir_all(GOLDEN).unwrap();
    }
    let commands = commands();
    for (name, path) in &commands {
        let output = callveil().args(path).arg("--help").env_remove("COLUMNS").output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{name}");
        let help = String::from_utf8(output.stdout).unwrap();
        let golden = Path::new(GOLDEN).join(format!("{name}.txt"));
        if renew {
            fs::write(golden, help).unwrap();
        } else {
            let agreed = fs::read_to_string(&golden).unwrap_or_default();
            assert!(
                help == agreed,
                "{name}: see the head of tests/it/help.rs\n--- agreed:\n{agreed}\n--- now:\n{help}"
            );
        }
    }
    assert_eq!(names(Path::new(GOLDEN)), Vec::from_iter(commands.into_keys()), "see the head of tests/it/help.rs");
}

#[test]
fn every_command_has_a_man_page() {
    let folder = tempfile::tempdir().unwrap();
    let output = run(folder.path(), &["man", "man1"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let folder = folder.path().join("man1");
    assert_eq!(names(&folder), Vec::from_iter(commands().into_keys()));
    let rotate = fs::read_to_string(folder.join("callveil-keys-rotate.1")).unwrap();
    for line in [".SH NAME", ".SH SYNOPSIS", "\\-\\-activate\\-in", ".SH EXAMPLES", ".nf", "  callveil keys rotate"] {
        assert!(rotate.contains(line), "{line}:\n{rotate}");
    }
    let own = String::from_utf8(run(&folder, &["man"]).stdout).unwrap();
    assert_eq!(own.trim_end(), fs::read_to_string(folder.join("callveil.1")).unwrap().trim_end());
    for section in ["EXAMPLES", "EXIT CODES", "FILES", "ENVIRONMENT"] {
        assert!(
            own.contains(&format!(".SH \"{section}\"")) || own.contains(&format!(".SH {section}")),
            "{section}:\n{own}"
        );
    }
    if is_here("man") {
        let shown =
            Command::new("man").args(["--warnings", "-l"]).arg(folder.join("callveil-tokenize.1")).output().unwrap();
        assert!(shown.status.success() && shown.stderr.is_empty(), "{}", String::from_utf8_lossy(&shown.stderr));
        let shown = String::from_utf8(shown.stdout).unwrap();
        assert!(shown.contains("callveil tokenize --value 13988888888\n"), "{shown}");
    }
}

#[test]
fn shells_complete_commands_and_flags() {
    let folder = tempfile::tempdir().unwrap();
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let output = run(folder.path(), &["completions", shell]);
        let script = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success() && script.contains("on-error") && script.contains("rotate"), "{shell}");
        fs::write(folder.path().join(shell), script).unwrap();
    }
    // Ids of keys are those of the ring that the command line names.
    assert!(run(folder.path(), &["keys", "init", "--keyring", "other.json"]).status.success());
    let id = rings::read(&folder.path().join("other.json"))["keys"][0]["id"].as_str().unwrap().to_owned();
    let begun = format!("callveil keys disable --keyring other.json {}", &id[..2]);
    let program = Path::new(env!("CARGO_BIN_EXE_callveil")).parent().unwrap().display();
    let path = format!("{program}:{}", std::env::var("PATH").unwrap());
    for (words, wanted) in [
        ("callveil tok", "tokenize"),
        ("callveil keys ro", "rotate"),
        ("callveil rewrap --on-e", "--on-error"),
        (&begun, &id),
        ("callveil keys disable --keyring other.json 0000", ""),
    ] {
        let ask = format!(
            ". ./bash; COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); _callveil_with_ids callveil \"${{COMP_WORDS[-1]}}\" \"${{COMP_WORDS[-2]}}\"; echo \"${{COMPREPLY[*]}}\""
        );
        let output =
            Command::new("bash").args(["-c", &ask]).current_dir(folder.path()).env("PATH", &path).output().unwrap();
        assert_eq!(
            String::from_utf8_lossy(&output.stdout).trim(),
            wanted,
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    assert_eq!(run(folder.path(), &["completions", "tcsh"]).status.code(), Some(2));
}
