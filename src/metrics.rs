//! Counts of requests and their outcomes.
//!
//! Answering a request only adds to counters that exist from the start: it looks up no label and takes no lock.
//! `operate/exposition.rs` reports the counters to Prometheus.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::{
    item::{ItemError, Mode},
    mapped::Failures,
};

/// Statuses that answers have. 0 stands for a request whose connection ended before its answer.
pub(crate) const STATUSES: [u16; 12] = [0, 200, 400, 401, 403, 404, 405, 408, 413, 415, 429, 503];

/// Upper bounds of the buckets of durations, in microseconds. CCC waits for about 3 seconds.
pub(crate) const BOUNDS: [u64; 14] =
    [50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 500_000, 1_000_000, 3_000_000];

/// The number of modes, plus one place for requests whose mode was never read.
const MODES: usize = Mode::ALL.len() + 1;

/// The number of results of an item: mapped, passed, or one of the errors.
const RESULTS: usize = ItemError::ALL.len() + 2;

/// Counts of requests and their outcomes since the start.
#[derive(Default)]
pub struct Metrics {
    pub(crate) requests: [[AtomicU64; STATUSES.len()]; MODES],
    pub(crate) items: [[AtomicU64; RESULTS]; Mode::ALL.len()],
    pub(crate) limited: [AtomicU64; Mode::ALL.len()],
    /// Requests by how long they took.
    pub(crate) buckets: [AtomicU64; BOUNDS.len() + 1],
    pub(crate) microseconds: AtomicU64,
    pub(crate) auth_failures: AtomicU64,
    pub(crate) admin_auth_failures: AtomicU64,
}

impl Metrics {
    /// Counts a request that ended, in whatever way, after this time. `status` is 0 if it ended before its answer.
    pub fn count_request(&self, mode: Option<Mode>, status: u16, microseconds: u64) {
        let mode = mode.map_or(MODES - 1, |mode| mode as usize);
        let status = STATUSES.iter().position(|one| *one == status).unwrap_or(0);
        add(&self.requests[mode][status], 1);
        let bucket = BOUNDS.iter().position(|bound| microseconds <= *bound).unwrap_or(BOUNDS.len());
        add(&self.buckets[bucket], 1);
        add(&self.microseconds, microseconds);
    }

    /// Counts the outcomes of a request's items.
    pub fn count_items(&self, mode: Mode, mapped: usize, passed: usize, failures: &Failures) {
        let items = &self.items[mode as usize];
        add(&items[0], mapped as u64);
        add(&items[1], passed as u64);
        for (error, count) in failures.iter() {
            add(&items[2 + error as usize], count as u64);
        }
    }

    /// Counts items that were refused by their client's limit.
    pub fn count_limited(&self, mode: Mode, items: usize) {
        add(&self.limited[mode as usize], items as u64);
    }

    /// Counts a request without good credentials.
    pub fn count_auth_failure(&self) {
        add(&self.auth_failures, 1);
    }

    /// Counts a wrong token on the admin listener.
    pub fn count_admin_auth_failure(&self) {
        add(&self.admin_auth_failures, 1);
    }
}

fn add(counter: &AtomicU64, count: u64) {
    if count > 0 {
        counter.fetch_add(count, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_and_errors_have_the_places_of_their_numbers() {
        assert!(Mode::ALL.iter().enumerate().all(|(at, mode)| *mode as usize == at));
        assert!(ItemError::ALL.iter().enumerate().all(|(at, error)| *error as usize == at));
        assert!(BOUNDS.is_sorted());
    }
}
