//! `callveil keys init`: a new ring.

use std::path::Path;

use jiff::Timestamp;
use serde_json::json;

use super::check_region;
use crate::{
    audit::journal,
    cli::{
        change::{about_key, with_ring},
        failure::Failure,
        ring::RingArgs,
        say::{print, tell},
    },
    disk::{with_suffix, writing::make_folder_of},
    keyring::{
        KeyRing,
        recipient::Recipient,
        rotation::{self, Export},
    },
    phone,
};

pub(super) fn init(
    ring: &RingArgs,
    region: &str,
    recipients: &[Recipient],
    export: Export,
    json: bool,
) -> Result<(), Failure> {
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
        return print(json!({"key": key.to_string(), "ring": made.id().to_string(), "generation": 1}));
    }
    print(format_args!("made {} with the key {key}, which is active", file.path().display()))?;
    print(format_args!("ring_id = \"{}\"", made.id()))?;
    tell("that line in the configuration has replicas take this ring, and no other");
    tell("keep a copy where it cannot be lost: without it no UID can be opened");
    Ok(())
}

/// Refuses to make a ring beside the record of another one: that record would seem to continue with this ring.
fn refuse_beside_another(path: &Path) -> Result<(), Failure> {
    // If that ring is still there, the file's own refusal says so.
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
