//! Events that are logged at most once in a while, however often they happen: strangers must not fill the log.

use std::{
    sync::Mutex,
    time::{Duration, Instant},
};

use crate::lock::lock;

/// When something was last logged, and for how long it is not logged again.
pub(super) struct Seldom {
    told: Mutex<Option<Instant>>,
    quiet: Duration,
}

impl Seldom {
    pub(super) const fn new(quiet: Duration) -> Self {
        Self { told: Mutex::new(None), quiet }
    }

    /// Whether it is to be logged at `now`. If so, it is not due again for a while.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        let mut told = lock(&self.told);
        let is_due = told.is_none_or(|told| now.saturating_duration_since(told) >= self.quiet);
        if is_due {
            *told = Some(now);
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_due_once_in_a_while() {
        let (seldom, start) = (Seldom::new(Duration::from_secs(10)), Instant::now());
        let due = [0, 1, 9, 10, 19, 21].map(|second| seldom.is_due(start + Duration::from_secs(second)));
        assert_eq!(due, [true, false, false, true, false, true]);
    }
}
