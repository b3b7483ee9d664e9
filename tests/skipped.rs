//! Runs after `tests/it`, and reports which of its tests were skipped because a program is missing, and how to get
//! that.

#![allow(missing_docs, reason = "nobody calls it")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

fn main() {
    if std::env::args().any(|arg| arg == "--list") {
        return;
    }
    // Written by `tests/it/needs.rs`, which Cargo runs as well.
    let cargo = std::os::unix::process::parent_id().to_string();
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("skipped").join(cargo);
    let lines = fs::read_to_string(&file).unwrap_or_default();
    let _ = fs::remove_file(&file);
    let mut tests = BTreeMap::<&str, BTreeSet<&str>>::new();
    let mut sources = BTreeSet::new();
    for line in lines.lines() {
        let mut parts = line.split('\t');
        let (Some(test), Some(what), Some(source)) = (parts.next(), parts.next(), parts.next()) else { continue };
        tests.entry(test).or_default().insert(what);
        sources.insert(source);
    }
    println!("\nskipped: {} tests, or a part of each", tests.len());
    for (test, missing) in &tests {
        println!("    {test}: no {}", missing.iter().copied().collect::<Vec<_>>().join(", no "));
    }
    let packages = sources.iter().filter(|source| !source.starts_with('.') && !source.starts_with('('));
    let packages: Vec<&str> = packages.copied().collect();
    if !packages.is_empty() {
        println!("to run them, on Debian: apt-get install --no-install-recommends {}", packages.join(" "));
    }
    if sources.contains(".ci/run") {
        println!("what is PyPI's, npm's or built from here, .ci/run brings");
    }
    println!();
}
