//! The audit log: one JSON line for each request of a client, each start, each reload, and each command that changes or
//! exports something. No line ever contains a number or a UID. Requests without a client are summed up.
//!
//! A request takes a place in the log before anything is mapped for it, and its outcome is noted when it ends, in
//! whatever way. A separate thread writes the lines, so that no request waits for a disk as long as there are places:
//!
//! ```text
//! client known, body read -> place -> mapped -> record -> line -> queue -> writer -> stdout, or a file that may be moved away
//!             no client -> strangers: sums -> a line now and then ---^
//! ```
//!
//! The events are `request`, `strangers`, `start`, `stop`, `reload`, `dropped`, and `command` for a command of an
//! operator. A line of `strangers` has `peer` (an address or a /64 network; null for many), `status` (0 if there was no
//! answer), `count`, and `since`, the time when the first of these requests ended. A request with more hashes than fit
//! in a line has several lines, `part` 1 to `parts`, of which the first has the counts. The lines of a start are a
//! [`chain`], whose first line is the `start`.

pub mod chain;
mod entry;
mod items;
pub mod journal;
mod queue;
mod record;
mod strangers;
#[cfg(test)]
mod tests;
pub mod verify;
mod writer;

use std::{
    net::IpAddr,
    path::PathBuf,
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use data_encoding::HEXLOWER;
use jiff::Timestamp;
use serde_json::{Map, Value};
use tokio::sync::Notify;
use tracing::info;

use self::chain::Head;
pub use self::{
    entry::Entry,
    items::{ItemHash, ItemKey, ItemKeyId, KEY_BYTES},
    record::{Record, RequestId, event_line},
    writer::{Destination, Writer, open},
};
use self::{entry::Room, queue::Shared};
use crate::{lock::lock, metrics::Metrics};

/// Places for lines that are not written yet. The line of a request is about 400 bytes.
pub const PLACES: usize = 8192;

/// How long the writer may be in one system call before it counts as stuck.
const STUCK_AFTER: Duration = Duration::from_secs(1);

/// How the log is kept: `[audit]` of the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditConfig {
    /// A file; stdout where there is none.
    pub to: Option<PathBuf>,
    /// The file with the key of the items' hashes; items are not logged where there is none.
    pub hmac_key: Option<PathBuf>,
    /// What happens while records cannot be written.
    pub on_full: OnFull,
}

/// What happens while all places are taken because the log cannot be written, or not fast enough.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFull {
    /// Requests wait, so that nothing is mapped that is not recorded.
    #[default]
    Block,
    /// Requests go on unrecorded and are counted.
    Drop,
}

/// The log of a running replica.
pub struct Audit {
    on_full: OnFull,
    item_key: Option<ItemKey>,
    shared: Arc<Shared>,
    /// Every request ends here, so that it is counted here too.
    metrics: Metrics,
    /// Random, made at this start: the first half of each request's id, in hex.
    instance: [u8; 16],
    requests: AtomicU64,
    /// The number of the last line that the log on stderr reports.
    told: AtomicU64,
}

impl Audit {
    /// A log that nothing writes yet, and its writer, which is to run on a thread of its own.
    pub fn new(destination: Destination, on_full: OnFull, item_key: Option<ItemKey>, instance: u64) -> (Self, Writer) {
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            wake: Condvar::new(),
            room: Notify::new(),
            taken: AtomicUsize::new(0),
            unwritten: AtomicUsize::new(0),
            dropped: AtomicU64::new(0),
            failed: AtomicBool::new(false),
            busy_since: Mutex::default(),
            strangers: Mutex::default(),
            summed: AtomicU64::new(0),
            head: Mutex::default(),
        });
        let mut hex = [0; 16];
        HEXLOWER.encode_mut(&instance.to_be_bytes(), &mut hex);
        let writer = Writer::new(destination, shared.clone(), hex);
        let (metrics, requests, told) = (Metrics::default(), AtomicU64::new(0), AtomicU64::new(0));
        (Self { on_full, item_key, shared, metrics, instance: hex, requests, told }, writer)
    }

    /// Begins the record of a request of `peer`, which is noted when the entry is dropped.
    pub fn begin(&self, peer: IpAddr) -> Entry<'_> {
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        let mut record = Record::new(RequestId { instance: self.instance, number }, peer);
        record.item_key = self.item_key.as_ref().map(ItemKey::id);
        Entry { audit: self, started: Instant::now(), room: Room::Wanted, record }
    }

    /// Random, made at this start: the first half of each request's id.
    pub fn instance(&self) -> &str {
        str::from_utf8(&self.instance).expect("hex digits are text")
    }

    /// Notes an event that is not a request. It waits for nothing. Such events are so rare that they need no bound.
    pub fn event(&self, event: &str, fields: Map<String, Value>) {
        self.shared.taken.fetch_add(1, Ordering::Relaxed);
        self.shared.push(&event_line(Timestamp::now(), event, fields), 1, 1);
    }

    /// Makes the writer open its file anew, after the file was moved away.
    pub fn reopen(&self) {
        lock(&self.shared.queue).reopen = true;
        self.shared.wake.notify_one();
    }

    /// Notes the end, and makes the writer write what is left and then stop.
    pub fn stop(&self) {
        self.shared.tell_strangers();
        self.event("stop", Map::new());
        lock(&self.shared.queue).stop = true;
        self.shared.wake.notify_one();
    }

    /// Lines that are not written yet.
    pub fn unwritten(&self) -> usize {
        self.shared.unwritten.load(Ordering::Relaxed)
    }

    /// Requests without a client, which have no lines of their own, since the start.
    pub fn summed(&self) -> u64 {
        self.shared.summed.load(Ordering::Relaxed)
    }

    /// Counts of the requests and their outcomes.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Requests that went unrecorded, since the start.
    pub fn dropped(&self) -> u64 {
        self.shared.dropped.load(Ordering::Relaxed)
    }

    /// The last line that was written.
    pub fn head(&self) -> Head {
        *lock(&self.shared.head)
    }

    /// Reports the last written line in the log on stderr, unless that was already done. That goes to another place
    /// than the audit log, so anyone who rebuilds the chain has to change both.
    pub fn tell_head(&self) {
        let Head { lines, hash } = self.head();
        if self.told.swap(lines, Ordering::Relaxed) != lines {
            info!(instance = self.instance(), lines, %hash, "audit head");
        }
    }

    /// The number of the last line that the log on stderr reports.
    pub fn told(&self) -> u64 {
        self.told.load(Ordering::Relaxed)
    }

    /// The id of the key that items are hashed under, if they are hashed.
    pub fn item_key_id(&self) -> Option<ItemKeyId> {
        self.item_key.as_ref().map(ItemKey::id)
    }

    /// Places that are taken now.
    pub fn queued(&self) -> usize {
        self.shared.taken.load(Ordering::Relaxed)
    }

    /// Whether the last write failed, or has not returned for a while, so that records wait.
    pub fn is_stuck(&self) -> bool {
        let is_busy = lock(&self.shared.busy_since).is_some_and(|since| since.elapsed() >= STUCK_AFTER);
        is_busy || self.shared.failed.load(Ordering::Relaxed)
    }

    /// Whether requests wait, or soon will, because nothing can be written. Load balancers then have the time until the
    /// places run out to turn away.
    pub fn lacks_room(&self) -> bool {
        self.on_full == OnFull::Block && (self.is_stuck() || self.queued() >= PLACES)
    }

    /// Takes `places` once there are any; `false` if the request is to go unrecorded.
    async fn take(&self, places: usize) -> bool {
        if self.shared.take(places, PLACES) {
            return true;
        }
        if self.on_full == OnFull::Drop {
            return false;
        }
        loop {
            let room = self.shared.room.notified();
            if self.shared.take(places, PLACES) {
                // There may be room for another request that waits.
                self.shared.room.notify_one();
                return true;
            }
            room.await;
        }
    }
}
