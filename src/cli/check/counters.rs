//! Whether a key is still used: what replicas decoded with it, and how far back their counters reach.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

use super::Fleet;
use crate::{cli::say::countdown, ids::KeyId};

/// How long no replica may have decoded with a key before the key may be disabled.
#[derive(Clone, Copy)]
pub(super) enum Quiet {
    /// Since this time. A replica whose counters do not reach back that far is a problem.
    Since(Timestamp),
    /// For this long.
    For(SignedDuration),
}

impl Fleet {
    /// Checks which keys no replica decodes with any more: these may be disabled.
    pub(super) fn check_counters(&mut self, quiet: Quiet, disable: Option<KeyId>) {
        let Some(latest_start) = self.replicas.iter().map(|(_, replica)| replica.started).max() else { return };
        let from = match quiet {
            Quiet::Since(since) => since,
            Quiet::For(duration) => self.asked.checked_sub(duration).unwrap_or(Timestamp::MIN),
        };
        if matches!(quiet, Quiet::Since(_)) || disable.is_some() {
            self.tell_who_forgot(from);
        }
        let ids: BTreeSet<KeyId> = self.replicas.iter().flat_map(|(_, replica)| replica.retirable()).collect();
        if let Some(id) = disable.filter(|id| !ids.contains(id)) {
            self.problems
                .push(format!("key {id} may not be disabled: it is unknown, not enabled, pending, or the primary"));
        }
        for id in ids {
            let (is_in_use, told) = self.judge(id, from, latest_start);
            if is_in_use && disable == Some(id) { self.problems.push(told) } else { self.notes.push(told) }
        }
    }

    fn tell_who_forgot(&mut self, from: Timestamp) {
        for (url, replica) in self.replicas.iter().filter(|(_, replica)| replica.started > from) {
            self.problems
                .push(format!("{url} started {}, after {from}: its counters forgot what was before", replica.started));
        }
    }

    /// How many UIDs of the key `id` the replicas decoded since they started, and when the last of them was.
    pub(super) fn decoded(&self, id: KeyId) -> (u64, Option<Timestamp>) {
        let keys = self.replicas.iter().flat_map(|(_, replica)| &replica.keys).filter(|key| key.id == id);
        keys.fold((0, None), |(count, last), key| (count.saturating_add(key.decoded), key.last_decoded.max(last)))
    }

    /// Whether this key is in use, and the sentence that says so.
    fn judge(&self, id: KeyId, from: Timestamp, latest_start: Timestamp) -> (bool, String) {
        let (count, last) = self.decoded(id);
        let told = match last {
            Some(last) if last >= from => {
                return (
                    true,
                    format!("key {id} is in use: last decoded {last}, {count} UIDs since the replicas started"),
                );
            }
            _ if self.unasked > 0 => format!("key {id}: those that answered did not decode with it since {from}"),
            _ if latest_start > from => {
                let known = countdown(latest_start, self.asked);
                let wanted = countdown(from, self.asked);
                format!(
                    "key {id}: no replica decoded with it, but they have all been running for only {known}; \
                     {wanted} is required"
                )
            }
            _ => format!("key {id} may be disabled: no replica decoded with it since {from}"),
        };
        (false, told)
    }
}
