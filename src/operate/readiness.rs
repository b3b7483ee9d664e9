//! Whether this replica wants requests, as its probes are told.

use std::sync::atomic::{AtomicBool, Ordering};

/// Whether this replica wants requests, as its probes are told.
#[derive(Default)]
pub struct Readiness {
    /// It has done the work that the first requests would otherwise wait for.
    pub warm: AtomicBool,
    /// It is about to end.
    pub draining: AtomicBool,
}

impl Readiness {
    /// Why this replica wants no requests now, if it wants none.
    pub(super) fn lack(&self) -> Option<&'static str> {
        if self.draining.load(Ordering::Relaxed) {
            Some("draining")
        } else if !self.warm.load(Ordering::Relaxed) {
            Some("warming up")
        } else {
            None
        }
    }
}
