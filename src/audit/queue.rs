//! Lines that are not written yet: what requests and the writer share.

use std::{
    net::IpAddr,
    sync::{
        Condvar, Mutex,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Instant,
};

use jiff::Timestamp;
use tokio::sync::Notify;

use super::{PLACES, chain::Head, strangers::Strangers};
use crate::lock::lock;

/// Bytes of a buffer that is kept for the next lines; a larger one is given back.
const KEPT_BYTES: usize = 1024 * 1024;

/// What requests and the writer share.
pub(super) struct Shared {
    pub(super) queue: Mutex<Queue>,
    /// Tells the writer that there is something to write.
    pub(super) wake: Condvar,
    /// Tells requests that there are places again.
    pub(super) room: Notify,
    /// Places that are taken: by requests under way, by the queue, and by lines that the writer has not written yet.
    pub(super) taken: AtomicUsize,
    /// Lines that are not written yet.
    pub(super) unwritten: AtomicUsize,
    pub(super) dropped: AtomicU64,
    /// Whether the last write failed.
    pub(super) failed: AtomicBool,
    /// Since when the writer has been in a system call, if it is in one.
    pub(super) busy_since: Mutex<Option<Instant>>,
    pub(super) strangers: Mutex<Strangers>,
    /// Requests that were counted in sums.
    pub(super) summed: AtomicU64,
    /// The last line that was written.
    pub(super) head: Mutex<Head>,
}

#[derive(Default)]
pub(super) struct Queue {
    pub(super) lines: Vec<u8>,
    /// Places that these lines hold.
    pub(super) places: usize,
    pub(super) reopen: bool,
    pub(super) stop: bool,
    /// Whether the writer waits to be woken.
    pub(super) idle: bool,
}

impl Shared {
    /// Queues `text`, which has this many `lines`.
    pub(super) fn push(&self, text: &[u8], lines: usize, places: usize) {
        // Counted first: the writer may have written it before this returns.
        self.unwritten.fetch_add(lines, Ordering::Relaxed);
        let mut queue = lock(&self.queue);
        queue.lines.extend_from_slice(text);
        queue.places += places;
        if queue.idle {
            queue.idle = false;
            drop(queue);
            self.wake.notify_one();
        }
    }

    /// Counts a request of `peer`, who is not a client, in a sum. This takes no place, since sums need few lines.
    pub(super) fn count_stranger(&self, peer: IpAddr, status: u16) {
        let now = Timestamp::now();
        self.summed.fetch_add(1, Ordering::Relaxed);
        let first = lock(&self.strangers).count(peer, status, now);
        if let Some(sum) = first {
            self.push(&sum.line(now), 1, 0);
        }
    }

    /// Queues the sums of all strangers' requests that no line has reported yet.
    pub(super) fn tell_strangers(&self) {
        let (sums, now) = (lock(&self.strangers).tell(), Timestamp::now());
        sums.iter().for_each(|sum| self.push(&sum.line(now), 1, 0));
    }

    /// Takes `places`, if fewer than `max` are taken so far.
    pub(super) fn take(&self, places: usize, max: usize) -> bool {
        let take = |taken: usize| (taken < max).then_some(taken + places);
        self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }

    pub(super) fn give_back(&self, places: usize) {
        let before = self.taken.fetch_sub(places, Ordering::Relaxed);
        if before >= PLACES && before - places < PLACES {
            self.room.notify_one();
        }
    }
}

/// Empties `buffer`, and gives back the memory of a very large one.
pub(super) fn empty(buffer: &mut Vec<u8>) {
    buffer.clear();
    buffer.shrink_to(KEPT_BYTES);
}
