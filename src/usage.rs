//! Counts of what was mapped for a client since the start, and of what it opened lately.

use std::sync::{
    Mutex,
    atomic::{AtomicU64, Ordering},
};

use jiff::Timestamp;

use crate::{
    ids::KeyId,
    item::Mode,
    lately::{Lately, Opened},
    lock::lock,
};

/// The outcome of an item, as the client's metrics name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It became a number or a UID.
    Mapped,
    /// It already was what was asked for.
    Passed,
    /// It failed on its own, not because of a limit.
    Failed,
    /// A limit of the client refused it.
    Limited,
}

impl Outcome {
    /// Every outcome, in the order of their declaration.
    pub const ALL: [Self; 4] = [Self::Mapped, Self::Passed, Self::Failed, Self::Limited];

    /// The outcome as metrics name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mapped => "mapped",
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Limited => "limited",
        }
    }
}

/// The limit of a client that something counts towards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// The limit on numbers that become UIDs.
    Tokenize,
    /// The limit on UIDs that become numbers.
    Detokenize,
}

impl Limit {
    /// Both, in the order of their declaration.
    pub const ALL: [Self; 2] = [Self::Tokenize, Self::Detokenize];

    /// The limit as settings and metrics name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tokenize => "tokenize",
            Self::Detokenize => "detokenize",
        }
    }

    /// The limit that `mode` counts towards. Rewrapping reveals no number, and counts as making UIDs.
    pub fn of(mode: Mode) -> Self {
        match mode {
            Mode::UidToPhone => Self::Detokenize,
            Mode::PhoneToUid | Mode::PhoneToAliases | Mode::RewrapUid => Self::Tokenize,
        }
    }
}

/// Keys that are counted separately for one client. Few rings have as many enabled keys.
const KEYS_MAX: usize = 32;

/// Counts for one client: items by mode and outcome, and values that counted towards its limits.
#[derive(Debug, Default)]
pub struct Usage {
    items: [[AtomicU64; Outcome::ALL.len()]; Mode::ALL.len()],
    charged: [AtomicU64; Limit::ALL.len()],
    opened: Mutex<Opened<KEYS_MAX>>,
}

impl Usage {
    /// Counts `items` more.
    pub fn count(&self, mode: Mode, outcome: Outcome, items: usize) {
        if items > 0 {
            self.items[mode as usize][outcome as usize].fetch_add(items as u64, Ordering::Relaxed);
        }
    }

    /// Items so far.
    pub fn items(&self, mode: Mode, outcome: Outcome) -> u64 {
        self.items[mode as usize][outcome as usize].load(Ordering::Relaxed)
    }

    /// Counts UIDs that were opened at `now`, as [`Opened::add`] does.
    pub fn count_opened(&self, uids: impl Iterator<Item = (usize, KeyId, u64)>, now: Timestamp) {
        lock(&self.opened).add(uids, now);
    }

    /// UIDs that were opened in the last hour and the last day before `now`: in all, and by key.
    pub fn opened(&self, now: Timestamp) -> (Lately, Vec<(KeyId, Lately)>) {
        let mut opened = lock(&self.opened);
        (opened.all(now), opened.by_key(now))
    }

    /// Counts `values` more towards a limit.
    pub fn charge(&self, limit: Limit, values: u64) {
        self.charged[limit as usize].fetch_add(values, Ordering::Relaxed);
    }

    /// Values so far that counted towards a limit.
    pub fn charged(&self, limit: Limit) -> u64 {
        self.charged[limit as usize].load(Ordering::Relaxed)
    }
}
