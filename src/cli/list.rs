//! `callveil keys list`: the keys of a ring.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::json;

use super::{
    failure::Failure,
    say::{countdown, print},
    table::print_table,
};
use crate::{
    config::KeyringConfig,
    keyring::{
        KeyRing,
        key::{Key, KeyState},
        note::Name,
    },
};

pub(super) fn run(ring: &KeyRing, config: &KeyringConfig, now: Timestamp, json: bool) -> Result<(), Failure> {
    let primary = ring.primary(now).id;
    let state = |key: &Key| match ring.state(key, now) {
        KeyState::Pending => format!("pending, in {}", countdown(now, key.activates)),
        state => state.name().to_owned(),
    };
    if json {
        let keys = ring.keys().iter().map(|key| {
            json!({
                "id": key.id.to_string(), "status": key.status, "primary": key.id == primary,
                "pending": key.is_pending(now), "created": key.created.to_string(),
                "activates": key.activates.to_string(), "numbers": key.numbers, "region": key.region,
                "check": key.check.to_string(), "disabled": key.disabled.map(|time| time.to_string()),
                "exportable": key.exportable,
            })
        });
        let names = |names: &[Name]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        return print(json!({
            "ring": ring.id().to_string(), "generation": ring.generation(), "ring_hash": ring.hash().to_string(),
            "recipients": ring.recipients(), "approvals": names(ring.approvals()),
            "unverified": names(ring.claims()), "keys": keys.collect::<Vec<_>>(),
        }));
    }
    print(format_args!("ring {}  generation {}  hash {}", ring.id(), ring.generation(), ring.hash()))?;
    let approvals = ring.approvals().iter().map(|name| format!("approved by {name}"));
    let claims = ring.claims().iter().map(|name| format!("signed as {name}, which nothing here can verify"));
    approvals.chain(claims).try_for_each(print)?;
    if let Err(awaited) = config.approval.check(ring) {
        print(awaited)?;
    }
    let row = |key: &Key| {
        let [created, activates] = [key.created, key.activates].map(|time| time.to_string());
        [key.id.to_string(), state(key), created, activates, key.region.to_string()]
    };
    let rows: Vec<_> = ring.keys().iter().map(row).collect();
    print_table(["KEY", "STATE", "CREATED", "ACTIVATES", "REGION"], &rows)?;
    // Most rings have only one kind, so a column would waste width.
    let mut kinds: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for key in ring.keys() {
        kinds.entry(&key.numbers).or_default().push(key.id.to_string());
    }
    kinds.iter().try_for_each(|(numbers, keys)| match kinds.len() {
        1 => print(format_args!("numbers by {numbers}")),
        _ => print(format_args!("numbers by {numbers}: {}", keys.join(", "))),
    })
}
