//! What a client has had mapped since the start, in numbers.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::tokenizer::Mode;

/// What becomes of an item, as the client's metrics tell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It became a number or a UID.
    Mapped,
    /// It was what was asked for already.
    Passed,
    /// It failed by itself.
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

/// Items of one client, by mode and outcome.
#[derive(Debug, Default)]
pub struct Usage([[AtomicU64; Outcome::ALL.len()]; Mode::ALL.len()]);

impl Usage {
    /// Counts so many items more.
    pub fn count(&self, mode: Mode, outcome: Outcome, items: usize) {
        if items > 0 {
            self.0[mode as usize][outcome as usize].fetch_add(items as u64, Ordering::Relaxed);
        }
    }

    /// Items so far.
    pub fn items(&self, mode: Mode, outcome: Outcome) -> u64 {
        self.0[mode as usize][outcome as usize].load(Ordering::Relaxed)
    }
}
