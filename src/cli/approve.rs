//! `callveil keys approver` and `keys approve`: a change that two people must agree to.

use std::{
    io,
    path::{Path, PathBuf},
};

use age::secrecy::{ExposeSecret as _, SecretString};
use clap::{Args, Subcommand};
use http::Uri;
use jiff::Timestamp;
use serde_json::json;
use zeroize::Zeroizing;

use super::{
    change::with_ring,
    check,
    connector::AdminArgs,
    failure::Failure,
    ring::RingArgs,
    say::{print, tell},
};
use crate::{
    config::KeyringConfig,
    disk::{
        Disk as _, RealDisk,
        exposure::{AtRest, FileMode},
        with_suffix,
        writing::{self, make_folder_of},
    },
    keyring::{
        KeyRing, RING_NAME,
        difference::{Outline, difference},
        file::RingFile,
        note::{KEY_BYTES, Name, Signer},
        sealed::{at_rest, open_with_passphrase, seal_with_passphrase},
    },
};

#[derive(Args)]
pub(super) struct ApproverArgs {
    #[command(subcommand)]
    command: ApproverCommand,
}

#[derive(Subcommand)]
enum ApproverCommand {
    /// Make a key, encrypted with a passphrase, and print the line for `approvers` in the configuration
    New {
        /// Whose it is: 1 to 64 printable characters without spaces or a plus
        #[arg(value_parser = name)]
        name: Name,
        /// The file to make
        #[arg(long, value_name = "FILE")]
        output: PathBuf,
    },
}

#[derive(Args)]
pub(super) struct ApproveArgs {
    #[command(flatten)]
    ring: RingArgs,
    /// The approver's key
    #[arg(long, value_name = "FILE")]
    approver: PathBuf,
    /// Show what changes against the ring that this replica uses: its admin listener
    #[arg(long, value_name = "URL")]
    replica: Option<Uri>,
    #[command(flatten)]
    admin: AdminArgs,
    /// Show what changes against this ring file [default: the generation before, where it is whole and approved]
    #[arg(long, value_name = "FILE", conflicts_with = "replica")]
    against: Option<PathBuf>,
    /// Yes, sign it
    #[arg(long)]
    yes: bool,
    /// What was done, as JSON
    #[arg(long)]
    json: bool,
}

fn name(text: &str) -> Result<Name, String> {
    let name =
        Name::new(text).ok_or("a name is 1 to 64 printable ASCII characters, without spaces or a plus".to_owned())?;
    if name.as_str() == RING_NAME {
        Err("a name is 1 to 64 printable ASCII characters, and not that of the ring itself".to_owned())
    } else {
        Ok(name)
    }
}

pub(super) fn make(args: &ApproverArgs) -> Result<(), Failure> {
    let ApproverCommand::New { name, output } = &args.command;
    if RealDisk.exists(output) {
        return Err(Failure::failed(format_args!("{} exists already", output.display())));
    }
    let passphrase = new_passphrase()?;
    let mut seed = Zeroizing::new([0; KEY_BYTES]);
    getrandom::fill(&mut *seed).map_err(Failure::failed)?;
    let signer = Signer::new(name.clone(), &seed);
    let sealed = seal_with_passphrase(signer.expose().as_bytes(), passphrase).map_err(Failure::failed)?;
    make_folder_of(output).map_err(Failure::failed)?;
    writing::create(output, &sealed)
        .map_err(|error| Failure::failed(format_args!("cannot write {}: {error}", output.display())))?;
    print(signer.verifier())?;
    tell("that line goes into `approvers` of every replica's configuration, by somebody who cannot write the ring");
    Ok(())
}

fn new_passphrase() -> Result<SecretString, Failure> {
    let ask = |prompt| rpassword::prompt_password(prompt).map(SecretString::from);
    let failed = |_: io::Error| Failure::usage("a passphrase is wanted, and there is no terminal to ask for it");
    let first = ask("Passphrase for the approver's key: ").map_err(failed)?;
    if first.expose_secret().is_empty() {
        return Err(Failure::usage("an empty passphrase protects nothing"));
    }
    let again = ask("The same passphrase again: ").map_err(failed)?;
    if first.expose_secret() != again.expose_secret() {
        return Err(Failure::usage("the two passphrases differ"));
    }
    Ok(first)
}

pub(super) fn approve(args: &ApproveArgs) -> Result<(), Failure> {
    let (file, config) = args.ring.file()?;
    let ring = file.read()?;
    config.check_pins(&ring)?;
    show(args, &file, &ring)?;
    if !args.yes {
        return Err(Failure::usage("nothing is signed yet: say --yes if all of that is meant"));
    }
    // The key is read only now, so that nobody signs a change that they have not been shown.
    let signer = read_approver(&args.approver, config.mode)?;
    let is_known = config.approval.approvers().iter().any(|approver| approver == signer.verifier());
    if !is_known && config.approval.needed() > 0 {
        return Err(Failure::failed(format_args!("{} is none of the configuration's `approvers`", signer.verifier())));
    }
    let name = signer.verifier().name().to_string();
    let about = |signed: &KeyRing| with_ring(signed, json!({"approver": name}));
    let signed = args
        .ring
        .journal("keys approve")?
        .around(|| file.approve(&signer, ring.hash()).map_err(Failure::from), about)?;
    done(args, &config, &signed, &name)
}

/// Shows on stderr what the ring changes, for the person who signs.
fn show(args: &ApproveArgs, file: &RingFile, ring: &KeyRing) -> Result<(), Failure> {
    let (against, before) = before(args, file, ring)?;
    if before.as_ref().is_some_and(|before| before.ring != ring.id().to_string()) {
        return Err(Failure::failed(format_args!("{against} is of another ring")));
    }
    tell(format_args!("ring {}  generation {}  hash {}", ring.id(), ring.generation(), ring.hash()));
    match &before {
        Some(before) => tell(format_args!("against generation {}, of {against}:", before.generation)),
        None => tell("the first generation:"),
    }
    let changes = difference(before.as_ref(), ring);
    changes.iter().for_each(|change| tell(format_args!("  {change}")));
    if changes.is_empty() {
        tell("  nothing of its keys or recipients changes");
    }
    Ok(())
}

/// The ring that is to be replaced, and where it was read from. `None` for the first generation.
fn before(args: &ApproveArgs, file: &RingFile, ring: &KeyRing) -> Result<(String, Option<Outline>), Failure> {
    if let Some(url) = &args.replica {
        return Ok((url.to_string(), Some(check::outline(url, &args.admin)?)));
    }
    if let Some(path) = &args.against {
        let kept = file.read_other(path)?;
        warn(file, &kept, ring, path);
        return Ok((path.display().to_string(), Some(Outline::from(&kept))));
    }
    if ring.generation() == 1 {
        return Ok((String::new(), None));
    }
    let previous = with_suffix(&RealDisk.resolve(file.path()), ".previous");
    // A file that was rewritten without the destroyed keys would hide their destruction. A file that was not approved
    // itself would hide what its author added to it.
    let is_in_use = |kept: &KeyRing| ring.parent() == Some(kept.hash()) && file.approval().check(kept).is_ok();
    match file.read_other(&previous).ok().filter(is_in_use) {
        Some(kept) => {
            warn(file, &kept, ring, &previous);
            Ok((previous.display().to_string(), Some(Outline::from(&kept))))
        }
        None => Err(Failure::usage(
            "the previous generation is missing, changed or not approved: use --replica URL \
             or --against FILE to see what changes",
        )),
    }
}

/// Warns of what the difference between the two rings does not show.
fn warn(file: &RingFile, kept: &KeyRing, ring: &KeyRing, path: &Path) {
    if let Err(awaited) = file.approval().check(kept) {
        tell(format_args!("warning: no replica used {}: {awaited}", path.display()));
    }
    if let Err(reason) = kept.check_successor(ring, Timestamp::now()) {
        tell(format_args!("warning: a replica that uses {} refuses this ring: {reason}", path.display()));
    }
}

fn done(args: &ApproveArgs, config: &KeyringConfig, ring: &KeyRing, name: &str) -> Result<(), Failure> {
    let awaited = config.approval.check(ring).err().map(|awaited| awaited.to_string());
    if args.json {
        let (generation, hash) = (ring.generation(), ring.hash().to_string());
        return print(json!({"approver": name, "generation": generation, "ring_hash": hash, "awaits": awaited}));
    }
    print(format_args!("signed as {name}"))?;
    match awaited {
        Some(awaited) => tell(awaited),
        None => tell(format_args!("generation {}: hand the file to every replica", ring.generation())),
    }
    Ok(())
}

/// An approver's private key.
fn read_approver(path: &Path, mode: FileMode) -> Result<Signer, Failure> {
    let failed =
        |reason: &dyn std::fmt::Display| Failure::config(format_args!("approver {}: {reason}", path.display()));
    let (file, access) = RealDisk.read(path).map_err(|error| failed(&error))?;
    let at_rest = at_rest(&file);
    if let Some(how) = mode.exposure(access, at_rest) {
        return Err(failed(&format_args!("it {how}")));
    }
    let ask = || rpassword::prompt_password("Passphrase of the approver: ").map(SecretString::from);
    let plain = match at_rest {
        AtRest::Sealed => open_with_passphrase(&file, Some(&ask)).map_err(|error| failed(&error))?,
        AtRest::Plain => file,
    };
    let signer = str::from_utf8(&plain).ok().and_then(Signer::parse);
    let signer = signer.filter(|signer| signer.verifier().name().as_str() != RING_NAME);
    signer.ok_or_else(|| failed(&"it holds no approver's key (PRIVATE+KEY+…)"))
}
