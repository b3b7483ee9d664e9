//! The audit log: one JSON line for each request of a client, start, reload and command that changes or exports
//! something, and never a number or a UID in it. Requests without a client are summed up.
//!
//! A request takes a place in the log before anything is mapped for it, and what became of it is noted when it ends, in
//! whatever way. A thread of its own writes the lines, so that no request waits for a disk, as long as there are places:
//!
//! ```text
//! client known, body read -> place -> mapped -> record -> line -> queue -> writer -> stdout, or a file that may be moved away
//!             no client -> strangers: sums -> a line now and then ---^
//! ```
//!
//! The events are `request`, `strangers`, `start`, `stop`, `reload`, `dropped`, and `command` of those who run callveil.
//! A line of `strangers` has `peer` (an address or a /64 network; null for many), `status` (0 where there was no answer),
//! `count`, and `since` when. A request with more hashes than fit in a line has several, `part` 1 to `parts`, of which the
//! first has the counts. The lines of a start are a [`chain`], whose first line is the `start`.

pub mod chain;
mod items;
pub mod journal;
mod record;
mod strangers;
pub mod verify;
mod writer;

use std::{
    cell::RefCell,
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

use self::{
    chain::Head,
    record::{Recent, lines_of},
    strangers::Strangers,
};
pub use self::{
    items::{ItemHash, ItemKey, ItemKeyId, KEY_BYTES},
    record::{Record, RequestId, event_line},
    writer::{Destination, Writer, open},
};
use crate::{lock::lock, metrics::Metrics};

/// Places of lines that are not written yet. That of a request is about 400 bytes.
pub const PLACES: usize = 8192;

/// Places up to which a request that was broken off before it had one is still noted. Nothing was mapped for it, and it
/// can no longer wait.
const PLACES_AT_THE_END: usize = 2 * PLACES;

/// How long the writer may be in one system call.
const STUCK_AFTER: Duration = Duration::from_secs(1);

/// Hashed items that take up about as much room as a line without.
const ITEMS_A_PLACE: usize = 4;

/// Bytes of a buffer that is kept for the next lines; a larger one is given back.
const KEPT_BYTES: usize = 1024 * 1024;

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
    /// Lines of which the log on stderr tells.
    told: AtomicU64,
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
    /// Lines that are not written yet.
    unwritten: AtomicUsize,
    dropped: AtomicU64,
    /// Whether the last write failed.
    failed: AtomicBool,
    /// Since when the writer is in a system call, where it is in one.
    busy_since: Mutex<Option<Instant>>,
    strangers: Mutex<Strangers>,
    /// Requests that went into sums.
    summed: AtomicU64,
    /// The last line that is written.
    head: Mutex<Head>,
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

    /// The record of a request of `peer`. It is noted when the entry is dropped.
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

    /// Notes something else than a request. It waits for nothing, and such events are rare enough to need no bound.
    pub fn event(&self, event: &str, fields: Map<String, Value>) {
        self.shared.taken.fetch_add(1, Ordering::Relaxed);
        self.shared.push(&event_line(Timestamp::now(), event, fields), 1, 1);
    }

    /// Has the writer open its file anew, after it was moved away.
    pub fn reopen(&self) {
        lock(&self.shared.queue).reopen = true;
        self.shared.wake.notify_one();
    }

    /// Notes the end, and has the writer write what there is, and end.
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

    /// What became of the requests, in numbers.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Requests that went unrecorded, since the start.
    pub fn dropped(&self) -> u64 {
        self.shared.dropped.load(Ordering::Relaxed)
    }

    /// The last line that is written.
    pub fn head(&self) -> Head {
        *lock(&self.shared.head)
    }

    /// Tells in the log on stderr of the last line that is written, where it does not yet: another place than the log's, so
    /// that whoever makes the chain anew has to write both.
    pub fn tell_head(&self) {
        let Head { lines, hash } = self.head();
        if self.told.swap(lines, Ordering::Relaxed) != lines {
            info!(instance = self.instance(), lines, %hash, "audit head");
        }
    }

    /// Lines of which the log on stderr tells.
    pub fn told(&self) -> u64 {
        self.told.load(Ordering::Relaxed)
    }

    /// Which key items are hashed under, where they are.
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

    /// Whether requests wait, or will, since nothing can be written: those who balance the load have the time that the places
    /// last to turn away.
    pub fn lacks_room(&self) -> bool {
        self.on_full == OnFull::Block && (self.is_stuck() || self.queued() >= PLACES)
    }

    /// Takes `places` once there are any; `false` where the request is to go unrecorded.
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
                // There may be room for more than one of those who wait.
                self.shared.room.notify_one();
                return true;
            }
            room.await;
        }
    }
}

impl Shared {
    /// Queues `text`, which is so many `lines`.
    fn push(&self, text: &[u8], lines: usize, places: usize) {
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

    /// Sums up a request of `peer`, who is no client. No place is taken, since the lines of sums are few.
    fn count_stranger(&self, peer: IpAddr, status: u16) {
        let now = Timestamp::now();
        self.summed.fetch_add(1, Ordering::Relaxed);
        let first = lock(&self.strangers).count(peer, status, now);
        if let Some(sum) = first {
            self.push(&sum.line(now), 1, 0);
        }
    }

    /// Queues the sums of all requests of strangers that no line tells of yet.
    fn tell_strangers(&self) {
        let (sums, now) = (lock(&self.strangers).tell(), Timestamp::now());
        sums.iter().for_each(|sum| self.push(&sum.line(now), 1, 0));
    }

    /// Takes `places`, where fewer than `max` are taken so far.
    fn take(&self, places: usize, max: usize) -> bool {
        let take = |taken: usize| (taken < max).then_some(taken + places);
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
    room: Room,
    /// What is known so far.
    pub record: Record<'a>,
}

/// What a request has in the log.
#[derive(Clone, Copy)]
enum Room {
    /// Nothing yet: a stranger never has more.
    Wanted,
    /// So many places.
    Places(usize),
    /// Nothing: it goes on unrecorded.
    Refused,
}

impl Entry<'_> {
    /// Waits for a place in the log, with room for so many `hashes` where items are hashed. All is taken at once: requests
    /// that had some of it, and waited for the rest, could wait for each other.
    pub async fn make_room(&mut self, hashes: usize) {
        if !self.is_settled() {
            let hashes = self.audit.item_key.as_ref().map_or(0, |_| hashes);
            let places = lines_of(hashes, 0) + hashes / ITEMS_A_PLACE;
            self.room = if self.audit.take(places).await { Room::Places(places) } else { Room::Refused };
        }
    }

    /// Whether places were taken, or are refused, so that there is nothing to wait for.
    pub fn is_settled(&self) -> bool {
        !matches!(self.room, Room::Wanted)
    }

    /// The key of the items' hashes, where items are to be hashed and there is room for that.
    pub fn item_key(&self) -> Option<&ItemKey> {
        self.audit.item_key.as_ref().filter(|_| matches!(self.room, Room::Places(_)))
    }

    /// The places for its line; `None` where there are none even now.
    fn places_at_the_end(&self) -> Option<usize> {
        match self.room {
            Room::Places(places) => Some(places),
            Room::Refused => None,
            Room::Wanted => self.audit.shared.take(1, PLACES_AT_THE_END).then_some(1),
        }
    }

    fn note(&self, places: usize, Scratch { line, recent }: &mut Scratch) {
        let lines = self.record.write(line, recent);
        self.audit.shared.push(line, lines, places);
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
        if self.record.client.is_none() {
            return self.audit.shared.count_stranger(self.record.peer, self.record.status);
        }
        let Some(places) = self.places_at_the_end() else {
            self.audit.shared.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        };
        self.record.time.get_or_insert_with(Timestamp::now);
        self.record.microseconds = microseconds;
        if SCRATCH.try_with(|scratch| self.note(places, &mut scratch.borrow_mut())).is_err() {
            // This thread is about to end.
            self.note(places, &mut Scratch::default());
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
    use std::{io, sync::mpsc};

    use super::*;
    use crate::auth::Username;

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

    /// A request of a client, up to where it is to be mapped.
    async fn call<'a>(audit: &'a Audit, client: &'a Username) -> Entry<'a> {
        let mut entry = audit.begin(IpAddr::from([192, 0, 2, 1]));
        entry.record.client = Some(client);
        entry.make_room(0).await;
        entry
    }

    fn client() -> Username {
        Username::new("ccc").expect("a username")
    }

    #[tokio::test]
    async fn blocked_requests_wait_for_room_and_all_are_written() {
        let (audit, valve, written, thread) = full(OnFull::Block);
        let client = client();
        assert!(!audit.lacks_room());
        for _ in 0..PLACES {
            drop(call(&audit, &client).await);
        }
        let waiting: Vec<_> = (0..100)
            .map(|_| {
                let (audit, client) = (audit.clone(), client.clone());
                tokio::spawn(async move { drop(call(&audit, &client).await) })
            })
            .collect();
        for _ in 0..1000 {
            tokio::task::yield_now().await;
        }
        assert!(waiting.iter().all(|task| !task.is_finished()), "there was no room");
        while !audit.lacks_room() {
            tokio::task::yield_now().await;
        }
        // Strangers wait for nothing, and take nothing that others wait for.
        for _ in 0..100 {
            drop(audit.begin(IpAddr::from([192, 0, 2, 1])));
        }
        assert_eq!((audit.queued(), audit.unwritten(), audit.summed()), (PLACES, PLACES + 1, 100));
        valve.store(false, Ordering::SeqCst);
        for task in waiting {
            task.await.expect("it does not panic");
        }
        audit.stop();
        assert_eq!(thread.join().expect("it does not panic"), 0);
        assert!(!audit.lacks_room() && audit.unwritten() == 0);
        drop(audit);
        // Two lines of the strangers, and that of the end.
        assert_eq!(lines(&written), PLACES + 100 + 3);
    }

    #[tokio::test]
    async fn dropped_requests_are_counted_and_the_others_are_written() {
        let (audit, valve, written, thread) = full(OnFull::Drop);
        let client = client();
        for _ in 0..PLACES + 100 {
            drop(call(&audit, &client).await);
        }
        assert_eq!((audit.dropped(), audit.queued(), audit.lacks_room()), (100, PLACES, false));
        valve.store(false, Ordering::SeqCst);
        audit.stop();
        assert_eq!(thread.join().expect("it does not panic"), 0);
        drop(audit);
        // One more line tells how many were dropped, and one of the end.
        assert_eq!(lines(&written), PLACES + 2);
    }

    #[tokio::test]
    async fn a_request_that_is_broken_off_is_noted() {
        let (audit, valve, written, thread) = full(OnFull::Block);
        let client = client();
        valve.store(false, Ordering::SeqCst);
        let handled = async {
            let mut entry = call(&audit, &client).await;
            entry.record.items = 7;
            std::future::pending::<()>().await;
        };
        let _ = tokio::time::timeout(Duration::from_millis(1), handled).await;
        audit.stop();
        assert_eq!(thread.join().expect("it does not panic"), 0);
        let line: Vec<u8> = written.try_iter().flatten().take_while(|byte| *byte != b'\n').collect();
        let line: Value = serde_json::from_slice(&line).expect("it is JSON");
        assert_eq!((&line["items"], &line["peer"], &line["status"]), (&7.into(), &"192.0.2.1".into(), &0.into()));
        assert!(line["id"].as_str().is_some_and(|id| id.starts_with(audit.instance())));
    }

    /// One that waits for room, or for its body, while nothing is written.
    #[test]
    fn requests_broken_off_before_they_had_room_are_noted_within_a_bound() {
        let (audit, valve, written, thread) = full(OnFull::Block);
        let client = client();
        for _ in 0..PLACES_AT_THE_END + 7 {
            audit.begin(IpAddr::from([192, 0, 2, 1])).record.client = Some(&client);
        }
        assert_eq!((audit.queued(), audit.dropped()), (PLACES_AT_THE_END, 7));
        valve.store(false, Ordering::SeqCst);
        audit.stop();
        assert_eq!(thread.join().expect("it does not panic"), 0);
        drop(audit);
        assert_eq!(lines(&written), PLACES_AT_THE_END + 2);
    }

    #[test]
    fn a_write_that_does_not_return_is_stuck() {
        struct Pipe(mpsc::Receiver<()>);
        impl io::Write for Pipe {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                let _ = self.0.recv();
                Ok(bytes.len())
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (read, pipe) = mpsc::channel();
        let (audit, writer) = Audit::new(Destination::Other(Box::new(Pipe(pipe))), OnFull::Block, None, 1);
        let thread = std::thread::spawn(move || writer.run());
        audit.event("start", Map::new());
        let since = Instant::now();
        while !audit.is_stuck() {
            assert!(since.elapsed() < 30 * STUCK_AFTER);
            std::thread::yield_now();
        }
        assert!(since.elapsed() >= STUCK_AFTER / 2 && audit.unwritten() == 1);
        drop(read);
        audit.stop();
        assert_eq!(thread.join().expect("it does not panic"), 0);
        assert!(!audit.is_stuck());
    }
}
