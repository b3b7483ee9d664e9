//! Checks that a run overwrites neither its own input nor a file that is still needed: a key ring, an identity, a
//! configuration, an audit log. Files are compared by identity, not only by name.

use std::{
    fs::{self, File, Metadata},
    io,
    os::{fd::AsFd as _, unix::fs::MetadataExt as _},
    path::{Path, PathBuf},
};

use super::{BulkArgs, STDIN, output::unfinished_path};
use crate::{
    cli::{failure::Failure, ring::RingArgs},
    disk::{Disk as _, RealDisk, folder_of, with_suffix},
    keyring::file::COMPANIONS,
};

/// A file that a run must not touch.
struct Kept {
    path: PathBuf,
    what: &'static str,
}

/// Whether the output takes the place of the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum InPlace {
    Yes,
    No,
}

/// Checks the files that a run writes.
///
/// # Errors
/// [`Failure`] if one of them is a protected file, is written twice, or is the input. Only `--output` may be the input.
pub(super) fn check(args: &BulkArgs) -> Result<InPlace, Failure> {
    let written = [("--output", &args.output), ("--report", &args.report), ("--rejects", &args.rejects)];
    let written: Vec<(&str, &Path)> =
        written.into_iter().filter_map(|(flag, path)| Some((flag, path.as_deref()?))).collect();
    let kept = kept(&args.ring)?;
    for (at, (flag, path)) in written.iter().enumerate() {
        // The file is first written under another name.
        for path in [path.to_path_buf(), unfinished_path(&real(path))] {
            if let Some(kept) = kept.iter().find(|kept| is_same(&kept.path, &path)) {
                return Err(Failure::usage(format_args!("{flag} is {}: {}", kept.what, kept.path.display())));
            }
            if let Some((other, _)) = written[..at].iter().find(|(_, other)| is_same(other, &path)) {
                return Err(Failure::usage(format_args!("{flag} is the same file as {other}")));
            }
            let is_output = *flag == "--output" && path == args.output.as_deref().unwrap_or(Path::new(""));
            if !is_output && is_input(args, &path) {
                return Err(Failure::usage(format_args!("{flag} is the input")));
            }
        }
    }
    check_stdout(args, &kept)?;
    let is_in_place = args.output.as_deref().is_some_and(|output| is_input(args, output));
    Ok(if is_in_place { InPlace::Yes } else { InPlace::No })
}

/// Checks the file that the shell redirects stdout to.
fn check_stdout(args: &BulkArgs, kept: &[Kept]) -> Result<(), Failure> {
    let Some(stdout) = metadata_of(io::stdout().as_fd()).filter(Metadata::is_file) else { return Ok(()) };
    let is_stdout = |path: &Path| fs::metadata(path).is_ok_and(|there| identity(&there) == identity(&stdout));
    let stdin = metadata_of(io::stdin().as_fd()).filter(|_| args.reads_stdin());
    if args.file.as_deref().is_some_and(is_stdout) || stdin.is_some_and(|stdin| identity(&stdin) == identity(&stdout)) {
        return Err(Failure::usage("the results would go to the input: --output replaces it once all are there"));
    }
    match kept.iter().find(|kept| is_stdout(&kept.path)) {
        Some(kept) => Err(Failure::usage(format_args!("the results would go to {}", kept.what))),
        None => Ok(()),
    }
}

/// The protected files.
fn kept(ring: &RingArgs) -> Result<Vec<Kept>, Failure> {
    let mut kept = Vec::new();
    let mut keep = |path: &Path, what| kept.push(Kept { path: path.to_owned(), what });
    let (keyring, _) = ring.locate()?;
    for path in [keyring.path.clone(), RealDisk.resolve(&keyring.path)] {
        let of_ring = [""].into_iter().chain(COMPANIONS);
        of_ring.for_each(|suffix| keep(&with_suffix(&path, suffix), "the key ring, or belongs to it"));
    }
    keyring.identity.iter().chain(&ring.identity).for_each(|path| keep(path, "an identity"));
    ring.config.iter().for_each(|path| keep(path, "the configuration"));
    if let Some(config) = ring.configuration()? {
        config.audit.to.iter().for_each(|path| keep(path, "the audit log"));
    }
    Ok(kept)
}

fn is_input(args: &BulkArgs, path: &Path) -> bool {
    if args.reads_stdin() {
        let stdin = metadata_of(io::stdin().as_fd()).filter(Metadata::is_file);
        return stdin.is_some_and(|stdin| fs::metadata(path).is_ok_and(|there| identity(&there) == identity(&stdin)));
    }
    args.file.as_deref().filter(|file| *file != Path::new(STDIN)).is_some_and(|file| is_same(file, path))
}

/// Whether both paths lead, or would lead, to the same file.
fn is_same(one: &Path, other: &Path) -> bool {
    match (fs::metadata(one), fs::metadata(other)) {
        (Ok(one), Ok(other)) => identity(&one) == identity(&other),
        _ => real(one) == real(other),
    }
}

/// The path without links. If the file does not exist, the path of its folder without links, plus the name.
fn real(path: &Path) -> PathBuf {
    fs::canonicalize(path).unwrap_or_else(|_| {
        let folder = folder_of(path);
        let folder = fs::canonicalize(folder).unwrap_or_else(|_| folder.to_owned());
        path.file_name().map_or_else(|| folder.clone(), |name| folder.join(name))
    })
}

fn metadata_of(file: std::os::fd::BorrowedFd<'_>) -> Option<Metadata> {
    File::from(file.try_clone_to_owned().ok()?).metadata().ok()
}

fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}
