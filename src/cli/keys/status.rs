//! `callveil keys rotate`, `enable`, `disable` and `destroy`: changes of one key.

use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::check_region;
use crate::{
    cli::{
        change::{ChangeArgs, LeadArgs, about_key},
        check,
        failure::Failure,
        say::{countdown, tell},
    },
    ids::KeyId,
    keyring::{
        KeyRing,
        rotation::{self, Export, Haste},
    },
    phone,
};

/// The shortest lead time that lets every replica get the file without a rush.
pub(super) const LEAD_WARN: SignedDuration = SignedDuration::from_mins(10);

pub(super) fn rotate(
    change: &ChangeArgs,
    region: Option<&str>,
    lead: &LeadArgs,
    export: Export,
) -> Result<(), Failure> {
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
        tell("warning: a replica that gets the file after that refuses the other replicas' new UIDs until it does");
    }
    Ok(())
}

pub(super) fn enable(change: &ChangeArgs, id: KeyId, lead: &LeadArgs) -> Result<(), Failure> {
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

pub(super) fn disable(change: &ChangeArgs, id: KeyId) -> Result<(), Failure> {
    let (ring, ()) =
        change.update("keys disable", |()| about_key(id), |ring, now| Ok(((), rotation::disable(ring, now, id)?)))?;
    let now = Timestamp::now();
    let left = ring.key(id).map(|key| key.activates.duration_since(now)).filter(|left| !left.is_negative());
    if left.is_some_and(|left| left < LEAD_WARN) {
        tell(
            "warning: a replica that gets the file after that key's activation makes UIDs with that key, \
             which the other replicas refuse",
        );
    }
    let text = format!("key {id} is disabled: its UIDs open no more, until it is enabled again");
    change.done(&ring, &text, json!({"key": id.to_string(), "status": "disabled"}))
}

pub(super) fn destroy(
    change: &ChangeArgs,
    id: KeyId,
    yes: bool,
    haste: Haste,
    fleet: &check::Fleet,
) -> Result<(), Failure> {
    fleet.last_used(id).iter().for_each(tell);
    if !yes {
        return Err(Failure::usage(format_args!(
            "no UID of key {id} can then ever be opened again, not even in CCC's call records. \
             Rewrap their exports first; say --yes if you mean it"
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
