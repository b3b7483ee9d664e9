//! The record of one request under way.

use std::{cell::RefCell, sync::atomic::Ordering, time::Instant};

use jiff::Timestamp;

use super::{
    Audit, PLACES,
    items::ItemKey,
    queue::empty,
    record::{Recent, Record, lines_of},
};

/// A request that was broken off before it had a place is still noted while fewer places than this are taken. Nothing
/// was mapped for it, and it can no longer wait.
pub(super) const PLACES_AT_THE_END: usize = 2 * PLACES;

/// Hashed items that take about as much room as a line without any.
const ITEMS_A_PLACE: usize = 4;

/// The record of one request under way. Dropping it notes the request, so that none goes unnoted, however it ends.
pub struct Entry<'a> {
    pub(super) audit: &'a Audit,
    pub(super) started: Instant,
    pub(super) room: Room,
    /// What is known so far.
    pub record: Record<'a>,
}

/// The room that a request has in the log.
#[derive(Clone, Copy)]
pub(super) enum Room {
    /// None yet. A stranger never gets any.
    Wanted,
    /// This many places.
    Places(usize),
    /// None. The request goes on unrecorded.
    Refused,
}

impl Entry<'_> {
    /// Waits for places in the log, with room for `hashes` if items are hashed. All places are taken at once: requests
    /// that had some of them and waited for the rest could wait for each other.
    pub async fn make_room(&mut self, hashes: usize) {
        if !self.is_settled() {
            let hashes = self.audit.item_key.as_ref().map_or(0, |_| hashes);
            let places = lines_of(hashes, 0) + hashes / ITEMS_A_PLACE;
            self.room = if self.audit.take(places).await { Room::Places(places) } else { Room::Refused };
        }
    }

    /// Whether places were taken or refused, so that there is nothing to wait for.
    pub fn is_settled(&self) -> bool {
        !matches!(self.room, Room::Wanted)
    }

    /// The key for the hashes of the items, if items are hashed and there is room for the hashes.
    pub fn item_key(&self) -> Option<&ItemKey> {
        self.audit.item_key.as_ref().filter(|_| matches!(self.room, Room::Places(_)))
    }

    /// The places for its line; `None` if there are none even now.
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

/// The buffer in which a thread writes its lines. If many requests shared one, they would wait for each other.
#[derive(Default)]
struct Scratch {
    line: Vec<u8>,
    recent: Recent,
}
