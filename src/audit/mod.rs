//! The audit log: one JSON line for each request, start, reload and command that changes or exports something, and never
//! a number or a UID in it.
//!
//! A request takes a place in the log before anything is mapped for it, and what became of it is noted when it ends, in
//! whatever way. A thread of its own writes the lines, so that no request waits for a disk, as long as there are places:
//!
//! ```text
//! request -> place -> mapped -> record -> line -> queue -> writer -> stdout, or a file that may be moved away
//! ```

mod items;
mod record;
mod writer;

use std::{
    cell::RefCell,
    net::IpAddr,
    path::PathBuf,
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Instant,
};

use data_encoding::HEXLOWER;
use jiff::Timestamp;
use serde_json::{Map, Value};
use tokio::sync::Notify;

use self::record::Recent;
pub use self::{
    items::{ItemHash, ItemKey, KEY_BYTES},
    record::{Record, RequestId, event_line},
    writer::{Destination, Writer, open},
};
use crate::{lock::lock, metrics::Metrics};

/// Places of lines that are not written yet. That of a request is about 300 bytes.
const PLACES: usize = 8192;

/// Hashed items that take up about as much room as a line without.
const ITEMS_A_PLACE: usize = 4;

/// Bytes of a buffer that is kept for the next lines; a larger one is given back.
const KEPT_BYTES: usize = 1024 * 1024;

/// How the log is kept: SPEC 6, `[audit]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditConfig {
    /// A file; stdout where there is none.
    pub to: Option<PathBuf>,
    /// The file with the key of the items' hashes; items are not logged where there is none.
    pub hmac_key: Option<PathBuf>,
    /// What happens while records cannot be written.
    pub on_full: OnFull,
}

/// What happens while all places are taken, because the log cannot be written, or not fast enough.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFull {
    /// Requests wait: nothing is mapped that is not recorded.
    #[default]
    Block,
    /// Requests go on unrecorded, and are counted.
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
}

/// What requests and the writer share.
struct Shared {
    queue: Mutex<Queue>,
    /// Tells the writer that there is something to write.
    wake: Condvar,
    /// Tells requests that there are places again.
    room: Notify,
    /// Places taken: by requests under way, in the queue, and by what the writer has not yet written.
    taken: AtomicUsize,
    dropped: AtomicU64,
    stuck: AtomicBool,
}

#[derive(Default)]
struct Queue {
    lines: Vec<u8>,
    /// Places that these lines hold.
    places: usize,
    reopen: bool,
    stop: bool,
    /// Whether the writer waits to be woken.
    idle: bool,
}

impl Audit {
    /// A log that nothing writes yet, and its writer, to be run on a thread of its own.
    pub fn new(destination: Destination, on_full: OnFull, item_key: Option<ItemKey>, instance: u64) -> (Self, Writer) {
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            wake: Condvar::new(),
            room: Notify::new(),
            taken: AtomicUsize::new(0),
            dropped: AtomicU64::new(0),
            stuck: AtomicBool::new(false),
        });
        let writer = Writer::new(destination, shared.clone());
        let (metrics, requests, mut hex) = (Metrics::default(), AtomicU64::new(0), [0; 16]);
        HEXLOWER.encode_mut(&instance.to_be_bytes(), &mut hex);
        (Self { on_full, item_key, shared, metrics, instance: hex, requests }, writer)
    }

    /// The record of a request of `peer`, for which there is a place. It is noted when the entry is dropped.
    pub async fn begin(&self, peer: IpAddr) -> Entry<'_> {
        // Waiting for a place is part of what the request takes.
        let started = Instant::now();
        let places = usize::from(self.take(1).await);
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        let record = Record::new(RequestId { instance: self.instance, number }, peer);
        Entry { audit: self, started, places, record }
    }

    /// Notes something else than a request. It waits for nothing, and such events are rare enough to need no bound.
    pub fn event(&self, event: &str, fields: Map<String, Value>) {
        self.shared.taken.fetch_add(1, Ordering::Relaxed);
        self.push(&event_line(Timestamp::now(), event, fields), 1);
    }

    /// Has the writer open its file anew, after it was moved away.
    pub fn reopen(&self) {
        lock(&self.shared.queue).reopen = true;
        self.shared.wake.notify_one();
    }

    /// Has the writer write what there is, and end.
    pub fn stop(&self) {
        lock(&self.shared.queue).stop = true;
        self.shared.wake.notify_one();
    }

    /// What became of the requests, in numbers.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Requests that went unrecorded, since the start.
    pub fn dropped(&self) -> u64 {
        self.shared.dropped.load(Ordering::Relaxed)
    }

    /// Places that are taken now.
    pub fn queued(&self) -> usize {
        self.shared.taken.load(Ordering::Relaxed)
    }

    /// Whether the last write failed, so that records wait.
    pub fn is_stuck(&self) -> bool {
        self.shared.stuck.load(Ordering::Relaxed)
    }

    /// Takes `places` once there are any; `false` where the request is to go unrecorded.
    async fn take(&self, places: usize) -> bool {
        if self.shared.take(places) {
            return true;
        }
        if self.on_full == OnFull::Drop {
            return false;
        }
        loop {
            let room = self.shared.room.notified();
            if self.shared.take(places) {
                // There may be room for more than one of those who wait.
                self.shared.room.notify_one();
                return true;
            }
            room.await;
        }
    }

    fn push(&self, line: &[u8], places: usize) {
        let mut queue = lock(&self.shared.queue);
        queue.lines.extend_from_slice(line);
        queue.places += places;
        if queue.idle {
            queue.idle = false;
            drop(queue);
            self.shared.wake.notify_one();
        }
    }
}

impl Shared {
    fn take(&self, places: usize) -> bool {
        let take = |taken: usize| (taken < PLACES).then_some(taken + places);
        self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }

    fn give_back(&self, places: usize) {
        let before = self.taken.fetch_sub(places, Ordering::Relaxed);
        if before >= PLACES && before - places < PLACES {
            self.room.notify_one();
        }
    }
}

/// Takes everything out of `buffer`, and gives a very large one back.
fn empty(buffer: &mut Vec<u8>) {
    buffer.clear();
    buffer.shrink_to(KEPT_BYTES);
}

/// The record of one request under way. Dropping it notes the request, so that none goes unnoted, however it ends.
pub struct Entry<'a> {
    audit: &'a Audit,
    started: Instant,
    /// Places that it has in the log; none where it goes unrecorded.
    places: usize,
    /// What is known so far.
    pub record: Record<'a>,
}

impl Entry<'_> {
    /// Waits for the room that the hashes of `count` items need, where items are hashed.
    pub async fn make_room_for(&mut self, count: usize) {
        let more = count / ITEMS_A_PLACE;
        if self.item_key().is_none() || more == 0 {
            return;
        }
        if self.audit.take(more).await {
            self.places += more;
        } else {
            self.audit.shared.give_back(std::mem::take(&mut self.places));
        }
    }

    /// The key of the items' hashes, where items are to be hashed and there is room for that.
    pub fn item_key(&self) -> Option<&ItemKey> {
        self.audit.item_key.as_ref().filter(|_| self.places > 0)
    }

    fn note(&self, Scratch { line, recent }: &mut Scratch) {
        self.record.write(line, recent);
        self.audit.push(line, self.places);
        empty(line);
    }
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        let microseconds = u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.audit.metrics.count_request(self.record.mode, self.record.status, microseconds);
        if let Some(mode) = self.record.mode {
            self.audit.metrics.count_items(mode, self.record.mapped, self.record.passed, &self.record.failures);
        }
        if self.places == 0 {
            self.audit.shared.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        self.record.time.get_or_insert_with(Timestamp::now);
        self.record.microseconds = microseconds;
        if SCRATCH.try_with(|scratch| self.note(&mut scratch.borrow_mut())).is_err() {
            // This thread is about to end.
            self.note(&mut Scratch::default());
        }
    }
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// Where a thread writes its lines: one that many requests share would have them wait for each other.
#[derive(Default)]
struct Scratch {
    line: Vec<u8>,
    recent: Recent,
}

#[cfg(test)]
mod tests {
    use std::{io, sync::mpsc, time::Duration};

    use super::*;

    /// A file that fails while it is full.
    struct Valve {
        full: Arc<AtomicBool>,
        written: mpsc::Sender<Vec<u8>>,
    }

    impl io::Write for Valve {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.full.load(Ordering::SeqCst) {
                return Err(io::ErrorKind::StorageFull.into());
            }
            let _ = self.written.send(bytes.to_vec());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn full(on_full: OnFull) -> (Arc<Audit>, Arc<AtomicBool>, mpsc::Receiver<Vec<u8>>, std::thread::JoinHandle<usize>) {
        let (written, lines) = mpsc::channel();
        let valve = Arc::new(AtomicBool::new(true));
        let destination = Destination::Other(Box::new(Valve { full: valve.clone(), written }));
        let (audit, writer) = Audit::new(destination, on_full, None, 1);
        (Arc::new(audit), valve, lines, std::thread::spawn(move || writer.run()))
    }

    /// How many lines were written, no piece of which ends in the midst of one.
    fn lines(written: &mpsc::Receiver<Vec<u8>>) -> usize {
        let pieces: Vec<_> = written.iter().collect();
        assert!(pieces.iter().all(|piece| piece.ends_with(b"\n")));
        writer::lines(&pieces.concat())
    }

    #[tokio::test]
    async fn blocked_requests_wait_for_room_and_all_are_written() {
        let (audit, valve, written, thread) = full(OnFull::Block);
        let peer = IpAddr::from([192, 0, 2, 1]);
        for _ in 0..PLACES {
            drop(audit.begin(peer).await);
        }
        let waiting: Vec<_> = (0..100)
            .map(|_| {
                let audit = audit.clone();
                tokio::spawn(async move { drop(audit.begin(peer).await) })
            })
            .collect();
        for _ in 0..1000 {
            tokio::task::yield_now().await;
        }
        assert!(waiting.iter().all(|task| !task.is_finished()), "there was no room");
        valve.store(false, Ordering::SeqCst);
        for task in waiting {
            task.await.expect("it does not panic");
        }
        audit.stop();
        assert_eq!(thread.join().expect("it does not panic"), 0);
        drop(audit);
        assert_eq!(lines(&written), PLACES + 100);
    }

    #[tokio::test]
    async fn dropped_requests_are_counted_and_the_others_are_written() {
        let (audit, valve, written, thread) = full(OnFull::Drop);
        for _ in 0..PLACES + 100 {
            drop(audit.begin(IpAddr::from([192, 0, 2, 1])).await);
        }
        assert_eq!((audit.dropped(), audit.queued()), (100, PLACES));
        valve.store(false, Ordering::SeqCst);
        audit.stop();
        assert_eq!(thread.join().expect("it does not panic"), 0);
        drop(audit);
        // One more line tells how many were dropped.
        assert_eq!(lines(&written), PLACES + 1);
    }

    #[tokio::test]
    async fn a_request_that_is_broken_off_is_noted() {
        let (audit, valve, written, thread) = full(OnFull::Block);
        valve.store(false, Ordering::SeqCst);
        let handled = async {
            let mut entry = audit.begin(IpAddr::from([192, 0, 2, 1])).await;
            entry.record.items = 7;
            std::future::pending::<()>().await;
        };
        let _ = tokio::time::timeout(Duration::from_millis(1), handled).await;
        audit.stop();
        assert_eq!(thread.join().expect("it does not panic"), 0);
        drop(audit);
        let line: Vec<u8> = written.iter().flatten().collect();
        let line: Value = serde_json::from_slice(&line).expect("it is JSON");
        assert_eq!((&line["items"], &line["peer"], &line["status"]), (&7.into(), &"192.0.2.1".into(), &0.into()));
    }
}
