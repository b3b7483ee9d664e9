//! `callveil keys merge`: join two copies of a ring.

use std::path::Path;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::status::LEAD_WARN;
use crate::{
    cli::{
        change::ChangeArgs,
        failure::Failure,
        say::{countdown, tell},
    },
    ids::KeyId,
    keyring::{
        KeyRing,
        rotation::{self, ChangeError, Merged, StatusChange},
    },
};

/// The changes of a merge, for the result and for the record.
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

pub(super) fn merge(change: &ChangeArgs, other: &Path, yes: bool) -> Result<(), Failure> {
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
