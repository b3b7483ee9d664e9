//! `callveil keys`: make, rotate and look after the keys.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use http::Uri;
use jiff::{SignedDuration, Span, SpanRelativeTo, Timestamp};
use serde_json::{Value, json};

use super::{
    approve, check,
    connector::AdminArgs,
    export,
    failure::Failure,
    list,
    recipients::{self, recipients_of},
    ring::RingArgs,
    say::{countdown, print, tell},
};
use crate::{
    audit::journal,
    config::KeyringConfig,
    disk::{with_suffix, writing::make_folder_of},
    ids::KeyId,
    keyring::{
        KeyRing,
        file::{RingFile, RingFileError},
        recipient::Recipient,
        rotation::{self, ChangeError, Export, Haste, Merged, Revision, StatusChange},
    },
    phone,
};

/// The least lead that lets every replica have the file in time without anybody hurrying.
const LEAD_WARN: SignedDuration = SignedDuration::from_mins(10);

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
    /// Add a key that becomes the primary at a time ahead, on all replicas by themselves
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
    /// Show for whom the ring is encrypted, or encrypt it for others
    Recipients(recipients::RecipientsArgs),
    /// Join another copy of the ring, in which other things were changed
    Merge {
        /// The other copy
        file: PathBuf,
        #[command(flatten)]
        change: ChangeArgs,
        /// Yes, disable and destroy what was disabled and destroyed in the other copy
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

#[derive(Args)]
pub(super) struct ChangeArgs {
    #[command(flatten)]
    pub(super) ring: RingArgs,
    /// What was done, as JSON
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Args)]
pub(super) struct LeadArgs {
    /// How long until it activates: time enough to hand the file to every replica
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = lead, allow_hyphen_values = true)]
    activate_in: SignedDuration,
    /// When it activates, instead (RFC 3339)
    #[arg(long, value_name = "TIME", conflicts_with = "activate_in")]
    activate_at: Option<Timestamp>,
}

impl LeadArgs {
    fn activates(&self, now: Timestamp) -> Result<Timestamp, ChangeError> {
        let in_a_while = || now.checked_add(self.activate_in);
        self.activate_at.map_or_else(in_a_while, Ok).map_err(|_| ChangeError::TooFar)
    }
}

pub(super) fn lead(text: &str) -> Result<SignedDuration, String> {
    let days = SpanRelativeTo::days_are_24_hours();
    let lead = text.parse::<Span>().and_then(|span| span.to_duration(days));
    match lead.map_err(|_| "a duration is such as 24h, 90m or 2d".to_owned())? {
        lead if lead.is_negative() => Err("it must not be negative".to_owned()),
        lead => Ok(lead),
    }
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

impl ChangeArgs {
    /// Changes the ring on disk, which must be one that the configuration allows, and records that: `about` tells what
    /// was changed.
    fn update<T>(
        &self,
        command: &'static str,
        about: impl FnOnce(&T) -> Value,
        change: impl FnOnce(&KeyRing, Timestamp) -> Result<(T, Revision), ChangeError>,
    ) -> Result<(KeyRing, T), Failure> {
        let (file, config) = self.ring.file()?;
        self.update_file(&file, &config, command, about, change)
    }

    /// The same with a file of one's own making.
    pub(super) fn update_file<T>(
        &self,
        file: &RingFile,
        config: &KeyringConfig,
        command: &'static str,
        about: impl FnOnce(&T) -> Value,
        change: impl FnOnce(&KeyRing, Timestamp) -> Result<(T, Revision), ChangeError>,
    ) -> Result<(KeyRing, T), Failure> {
        let checked = file.read()?;
        config.check_pins(&checked)?;
        // The ring that is changed is the one that was checked, however much later the lock is free.
        let change = |ring: &KeyRing, now| match ring.ring() == checked.ring() {
            true => change(ring, now),
            false => Err(ChangeError::OtherRing),
        };
        let act = || Ok(file.update(Timestamp::now, change)?);
        self.ring.journal(command)?.around(act, |(ring, made)| with_ring(ring, about(made)))
    }

    /// Tells what was done, as the result of the command.
    pub(super) fn done(&self, ring: &KeyRing, text: &str, mut fields: Value) -> Result<(), Failure> {
        if !self.json {
            print(text)?;
            let next = match self.ring.locate()?.0.approval.check(ring) {
                Ok(()) => format!("generation {}: hand the file to every replica", ring.generation()),
                Err(awaited) => format!("{awaited} (`keys approve`)"),
            };
            tell(next);
            return Ok(());
        }
        fields["generation"] = ring.generation().into();
        fields["ring_hash"] = ring.hash().to_string().into();
        print(fields)
    }
}

/// What is recorded of every change, beside what it was about.
pub(super) fn with_ring(ring: &KeyRing, mut about: Value) -> Value {
    about["ring"] = ring.ring().to_string().into();
    about["generation"] = ring.generation().into();
    about["ring_hash"] = ring.hash().to_string().into();
    about
}

fn about_key(id: KeyId) -> Value {
    json!({"key": id.to_string()})
}

fn export_of(exportable: bool) -> Export {
    if exportable { Export::Allowed } else { Export::Never }
}

fn init(ring: &RingArgs, region: &str, recipients: &[Recipient], export: Export, json: bool) -> Result<(), Failure> {
    let now = Timestamp::now();
    check_region(region)?;
    let (file, _) = ring.file()?;
    if file.wants_sealed() && recipients.is_empty() {
        return Err(Failure::usage(
            "an identity is given, so the ring must be encrypted: say for whom with --recipient",
        ));
    }
    if ring.config.is_none() {
        refuse_beside_another(file.path())?;
    }
    make_folder_of(file.path()).map_err(Failure::failed)?;
    let recipients: Vec<_> = recipients.iter().map(ToString::to_string).collect();
    let plain = rotation::init(now, phone::NUMBERS_NEWEST, region, &recipients, export).map_err(Failure::failed)?;
    let about = |made: &KeyRing| with_ring(made, about_key(made.primary(now).id));
    let made = ring.journal("keys init")?.around(|| file.create(&plain).map_err(Failure::from), about)?;
    let key = made.primary(now).id;
    if json {
        return print(json!({"key": key.to_string(), "ring": made.ring().to_string(), "generation": 1}));
    }
    print(format_args!("made {} with the key {key}, which is active", file.path().display()))?;
    print(format_args!("ring_id = \"{}\"", made.ring()))?;
    tell("that line in the configuration has replicas take this ring, and no other");
    tell("keep a copy where it cannot be lost: without it no UID can be opened");
    Ok(())
}

/// Refuses to make a ring where the record of another one is: it would go on as if it were of this one.
fn refuse_beside_another(path: &Path) -> Result<(), Failure> {
    // Of a ring that is still there, its file's own refusal tells.
    if path.exists() || with_suffix(path, ".previous").exists() {
        return Ok(());
    }
    match journal::ring_beside(path) {
        None => Ok(()),
        Some((record, ring)) => Err(Failure::failed(format_args!(
            "{} is the record of another ring, {ring}: restore that one, or move its record away",
            record.display()
        ))),
    }
}

fn rotate(change: &ChangeArgs, region: Option<&str>, lead: &LeadArgs, export: Export) -> Result<(), Failure> {
    region.map_or(Ok(()), check_region)?;
    let (ring, id) = change.update(
        "keys rotate",
        |id| about_key(*id),
        |ring, now| {
            let same = &ring.primary(now).region;
            let region = region.unwrap_or(same);
            rotation::rotate(ring, now, lead.activates(now)?, phone::NUMBERS_NEWEST, region, export)
        },
    )?;
    tell_activation(change, &ring, id)
}

fn tell_activation(change: &ChangeArgs, ring: &KeyRing, id: KeyId) -> Result<(), Failure> {
    let now = Timestamp::now();
    let activates = ring.key(id).expect("the change was about this key").activates;
    let region = &ring.key(id).expect("the change was about this key").region;
    let text =
        format!("key {id} (region {region}) becomes the primary at {activates} (in {})", countdown(now, activates));
    change.done(ring, &text, json!({"key": id.to_string(), "activates": activates.to_string(), "region": region}))?;
    if activates.duration_since(now) < LEAD_WARN {
        tell("warning: a replica that gets the file later than that refuses the UIDs of the others until it does");
    }
    Ok(())
}

fn enable(change: &ChangeArgs, id: KeyId, lead: &LeadArgs) -> Result<(), Failure> {
    let (ring, ()) = change.update(
        "keys enable",
        |()| about_key(id),
        |ring, now| Ok(((), rotation::enable(ring, now, id, lead.activates(now)?)?)),
    )?;
    if ring.key(id).is_some_and(|key| key.is_pending(Timestamp::now())) {
        return tell_activation(change, &ring, id);
    }
    change.done(
        &ring,
        &format!("key {id} is enabled: its UIDs open again"),
        json!({"key": id.to_string(), "status": "enabled"}),
    )
}

fn disable(change: &ChangeArgs, id: KeyId) -> Result<(), Failure> {
    let (ring, ()) =
        change.update("keys disable", |()| about_key(id), |ring, now| Ok(((), rotation::disable(ring, now, id)?)))?;
    let now = Timestamp::now();
    let left = ring.key(id).map(|key| key.activates.duration_since(now)).filter(|left| !left.is_negative());
    if left.is_some_and(|left| left < LEAD_WARN) {
        tell(
            "warning: a replica that gets the file after that key's activation makes UIDs of it that the others refuse",
        );
    }
    let text = format!("key {id} is disabled: its UIDs open no more, until it is enabled again");
    change.done(&ring, &text, json!({"key": id.to_string(), "status": "disabled"}))
}

fn destroy(change: &ChangeArgs, id: KeyId, yes: bool, haste: Haste, fleet: &check::Fleet) -> Result<(), Failure> {
    fleet.last_used(id).iter().for_each(tell);
    if !yes {
        return Err(Failure::usage(format_args!(
            "no UID of key {id} can ever be opened again, in CCC's call records neither: rewrap exports of them first, and say --yes if that is meant"
        )));
    }
    let (ring, ()) = change.update(
        "keys destroy",
        |()| json!({"key": id.to_string(), "early": haste == Haste::Early}),
        |ring, now| Ok(((), rotation::destroy(ring, now, id, haste)?)),
    )?;
    let text = format!("key {id} is destroyed, here and in the ring before");
    change.done(&ring, &text, json!({"key": id.to_string(), "status": "destroyed"}))?;
    tell(
        "not reached: backups, other copies of the file, old versions of a Kubernetes Secret, exported keys, and what",
    );
    tell("the disk keeps of deleted files");
    Ok(())
}

/// What a merge did, for those who ran it and for the record.
struct Joined {
    now: Timestamp,
    was_primary: KeyId,
    added: Vec<String>,
    changes: Vec<StatusChange>,
}

impl Joined {
    fn fields(&self) -> Value {
        let changed = self.changes.iter().map(
            |change| json!({"key": change.id.to_string(), "from": change.from.to_string(), "to": change.to.to_string()}),
        );
        json!({"added": self.added, "changed": changed.collect::<Vec<_>>()})
    }
}

fn merge(change: &ChangeArgs, other: &Path, yes: bool) -> Result<(), Failure> {
    let (file, config) = change.ring.file()?;
    let theirs = file.read_other(other)?;
    let join = |ring: &KeyRing, now| {
        let was_primary = ring.primary(now).id;
        let Merged { revision, added, changes } = rotation::merge(ring, &theirs, now)?;
        if !yes && changes.iter().any(StatusChange::closes) {
            return Err(ChangeError::Unconfirmed(changes));
        }
        let added = added.iter().map(ToString::to_string).collect();
        Ok((Joined { now, was_primary, added, changes }, revision))
    };
    let (ring, joined) = change.update_file(&file, &config, "keys merge", Joined::fields, join)?;
    let Joined { now, was_primary, added, changes } = &joined;
    let (now, was_primary) = (*now, *was_primary);
    let mut text = format!("joined: {} keys, of them {} from the other copy", ring.keys().len(), added.len());
    changes.iter().for_each(|change| text += &format!("\n{change}"));
    change.done(&ring, &text, joined.fields())?;
    if theirs.recipients() != ring.recipients() {
        tell(
            "the two copies are for different recipients: those of ours were kept (`keys recipients --set` changes them)",
        );
    }
    if ring.primary(now).id != was_primary {
        tell(format_args!(
            "warning: key {} is the primary from now on: hand the file out at once, above all to replicas of our copy",
            ring.primary(now).id
        ));
    }
    for key in ring.pending(now).filter(|key| key.activates.duration_since(now) < LEAD_WARN) {
        tell(format_args!("warning: key {} becomes the primary in {}", key.id, countdown(now, key.activates)));
    }
    Ok(())
}

fn export_tink(args: &export::ExportArgs) -> Result<(), Failure> {
    args.check()?;
    let ring = args.ring.ring()?;
    let export = args.prepare(&ring)?;
    let about = with_ring(&ring, args.about());
    let mut journal = args.ring.journal("keys export-tink")?;
    // A key that is out cannot be called back, so its record lasts before anybody has it.
    journal.announce(about.clone())?;
    journal.around(|| export.hand_over(), |()| about)?;
    args.warn();
    Ok(())
}

fn check_region(region: &str) -> Result<(), Failure> {
    phone::TrunkZeroRegions::new([region]).map(|_| ()).map_err(Failure::usage)
}

fn verify(ring: &RingArgs, json: bool) -> Result<(), Failure> {
    let (file, config) = ring.file()?;
    let error = match file.read() {
        Ok(ring) => {
            config.check_pins(&ring)?;
            config.check_approval(&ring)?;
            let (id, generation, keys) = (ring.ring().to_string(), ring.generation(), ring.keys().len());
            if json {
                return print(json!({"ok": true, "ring": id, "generation": generation, "keys": keys}));
            }
            return print(format_args!("ok: ring {id}, generation {generation}, {keys} keys"));
        }
        Err(error) => error,
    };
    let faults = match &error {
        RingFileError::Refused { faults, .. } => faults.0.iter().map(ToString::to_string).collect(),
        other => vec![other.to_string()],
    };
    if json {
        print(json!({"ok": false, "faults": faults}))?;
    } else {
        faults.iter().try_for_each(print)?;
    }
    Err(Failure::config(format_args!("{} is refused", file.path().display())))
}
