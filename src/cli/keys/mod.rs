//! `callveil keys`: make, rotate and manage the keys.

mod init;
mod merge;
mod status;
mod verify;

use std::path::PathBuf;

use clap::Subcommand;
use http::Uri;
use jiff::Timestamp;

use self::{
    init::init,
    merge::merge,
    status::{destroy, disable, enable, rotate},
    verify::verify,
};
use super::{
    approve, check,
    connector::AdminArgs,
    export,
    failure::Failure,
    list,
    recipients::{self, recipients_of},
    ring::RingArgs,
};
use crate::{
    cli::change::{ChangeArgs, LeadArgs, with_ring},
    ids::KeyId,
    keyring::rotation::{Export, Haste},
    phone,
};

#[derive(Subcommand)]
pub(super) enum KeysCommand {
    /// Make a new key ring with one key
    Init {
        #[command(flatten)]
        ring: RingArgs,
        /// The region whose numbers need no country code (ISO 3166-1)
        #[arg(long, value_name = "CC", default_value = "CN")]
        region: String,
        /// Encrypt the ring for this age public key; may be repeated
        #[arg(long, value_name = "[NAME=]AGE1…")]
        recipient: Vec<String>,
        /// Let `keys export-tink` give the key away, now and for all time
        #[arg(long)]
        exportable: bool,
        /// What was done, as JSON
        #[arg(long)]
        json: bool,
    },
    /// Add a key that becomes the primary at a set time, on all replicas at once
    Rotate {
        #[command(flatten)]
        change: ChangeArgs,
        #[command(flatten)]
        lead: LeadArgs,
        /// The new key's region [default: the primary's]
        #[arg(long, value_name = "CC")]
        region: Option<String>,
        /// Let `keys export-tink` give the new key away, now and for all time
        #[arg(long)]
        exportable: bool,
    },
    /// Show the keys
    List {
        #[command(flatten)]
        ring: RingArgs,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Let a disabled key open UIDs again
    Enable {
        id: KeyId,
        #[command(flatten)]
        change: ChangeArgs,
        #[command(flatten)]
        lead: LeadArgs,
    },
    /// Let a key open no UID any more, until it is enabled again
    Disable {
        id: KeyId,
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// Wipe a disabled key, for good: its UIDs can never be opened again
    Destroy {
        id: KeyId,
        #[command(flatten)]
        change: ChangeArgs,
        /// Yes, for good
        #[arg(long)]
        yes: bool,
        /// Do not wait until it has been disabled for 7 days
        #[arg(long)]
        early: bool,
        /// The admin listener of a replica, to tell when it last used the key; may be repeated
        #[arg(long, value_name = "URL")]
        replica: Vec<Uri>,
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// Tell everything that is wrong with the key ring
    Verify {
        #[command(flatten)]
        ring: RingArgs,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Show or change the ring's recipients
    Recipients(recipients::RecipientsArgs),
    /// Join another copy of the ring, in which other things were changed
    Merge {
        /// The other copy
        file: PathBuf,
        #[command(flatten)]
        change: ChangeArgs,
        /// Confirm: also disable and destroy the keys that the other copy disabled or destroyed
        #[arg(long)]
        yes: bool,
    },
    /// Make the key with which an approver signs
    Approver(approve::ApproverArgs),
    /// Show what a new ring changes, and sign it
    Approve(approve::ApproveArgs),
    /// Ask replicas which ring they use, and what may be done next
    Check(check::CheckArgs),
    /// Give a key away as a Tink keyset, for tools that open UIDs without callveil
    ExportTink(export::ExportArgs),
}

pub(super) fn run(command: KeysCommand) -> Result<(), Failure> {
    match command {
        KeysCommand::Init { ring, region, recipient, exportable, json } => {
            init(&ring, &region, &recipients_of(&recipient)?, export_of(exportable), json)
        }
        KeysCommand::Rotate { change, lead, region, exportable } => {
            rotate(&change, region.as_deref(), &lead, export_of(exportable))
        }
        KeysCommand::List { ring, json } => list::run(&ring.ring()?, &ring.locate()?.0, Timestamp::now(), json),
        KeysCommand::Enable { id, change, lead } => enable(&change, id, &lead),
        KeysCommand::Disable { id, change } => disable(&change, id),
        KeysCommand::Destroy { id, change, yes, early, replica, admin } => {
            let haste = if early { Haste::Early } else { Haste::Wait };
            destroy(&change, id, yes, haste, &check::Fleet::ask(&replica, &admin)?)
        }
        KeysCommand::Verify { ring, json } => verify(&ring, json),
        KeysCommand::Recipients(args) => recipients::run(&args),
        KeysCommand::Merge { file, change, yes } => merge(&change, &file, yes),
        KeysCommand::Approver(args) => approve::make(&args),
        KeysCommand::Approve(args) => approve::approve(&args),
        KeysCommand::Check(args) => check::run(&args),
        KeysCommand::ExportTink(args) => export_tink(&args),
    }
}

fn export_of(exportable: bool) -> Export {
    if exportable { Export::Allowed } else { Export::Never }
}

fn export_tink(args: &export::ExportArgs) -> Result<(), Failure> {
    args.check()?;
    let ring = args.ring.ring()?;
    let export = args.prepare(&ring)?;
    let about = with_ring(&ring, args.about());
    let mut journal = args.ring.journal("keys export-tink")?;
    // An exported key cannot be called back, so its record must be durable before anybody has the key.
    journal.announce(about.clone())?;
    journal.around(|| export.hand_over(), |()| about)?;
    args.warn();
    Ok(())
}

/// Refuses an unknown region.
fn check_region(region: &str) -> Result<(), Failure> {
    phone::TrunkZeroRegions::new([region]).map(|_| ()).map_err(Failure::usage)
}
