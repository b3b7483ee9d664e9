//! The open connections, bounded: in all and of each peer. When all places are taken, the one idle for longest goes;
//! where none is idle, the one that has been sending a head for longest and never showed good credentials.

use std::{
    collections::{HashMap, VecDeque},
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, atomic::Ordering},
    time::Duration,
};

use super::{Counts, activity::Activity};
use crate::{lock::lock, peer};

/// Idle connections that one look through the table finds, so that not every newcomer costs a look.
const VICTIMS: usize = 64;

/// The open connections of a listener.
pub(super) struct Connections {
    max: usize,
    per_peer_max: usize,
    counts: Arc<Counts>,
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    open: HashMap<u64, Open>,
    per_peer: HashMap<IpAddr, usize>,
    /// The connections to give up first when last looked, with since when they are what they were.
    victims: VecDeque<(u64, Duration)>,
    next: u64,
    /// Whether every answer is its connection's last.
    closing: bool,
}

struct Open {
    peer: Option<IpAddr>,
    activity: Arc<Activity>,
}

impl Connections {
    pub(super) fn new(max: usize, per_peer_max: usize, counts: Arc<Counts>) -> Self {
        Self { max, per_peer_max, counts, table: Mutex::default() }
    }

    /// A place for a connection, counted among those of `peer`; `None` where it has too many, or every place is taken by
    /// one that is not idle.
    pub(super) fn admit(self: &Arc<Self>, peer: Option<IpAddr>) -> Option<Slot> {
        let peer = peer.map(peer::network);
        let mut table = self.lock();
        if peer.and_then(|peer| table.per_peer.get(&peer)).is_some_and(|open| *open >= self.per_peer_max) {
            return None;
        }
        if table.open.len() >= self.max {
            table.evict_one()?;
        }
        let (id, activity) = (table.next, Activity::new());
        if table.closing {
            activity.answer_last();
        }
        table.next += 1;
        table.open.insert(id, Open { peer, activity: activity.clone() });
        if let Some(peer) = peer {
            *table.per_peer.entry(peer).or_default() += 1;
        }
        self.counts.open.fetch_add(1, Ordering::Relaxed);
        Some(Slot { id, activity, connections: self.clone() })
    }

    /// Closes the connection that has been idle for longest, if there is one.
    pub(super) fn evict_idle(&self) {
        self.lock().evict_one();
    }

    /// Makes the next answer of every connection its last, of those to come too.
    pub(super) fn answer_last(&self) {
        let mut table = self.lock();
        table.closing = true;
        table.open.values().for_each(|open| open.activity.answer_last());
    }

    /// Asks every connection to end after what it is doing.
    pub(super) fn drain(&self) {
        self.lock().open.values().for_each(|open| open.activity.drain());
    }

    /// How many there are.
    pub(super) fn open(&self) -> usize {
        self.lock().open.len()
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        lock(&self.table)
    }
}

impl Table {
    /// Closes the connection that is the first to give up, and frees its place at once.
    fn evict_one(&mut self) -> Option<()> {
        let victim = self.next_victim().or_else(|| {
            self.find_victims();
            self.next_victim()
        })?;
        self.open.get(&victim)?.activity.close();
        self.remove(victim);
        Some(())
    }

    /// The first of the victims that is still what it was when they were looked for.
    fn next_victim(&mut self) -> Option<u64> {
        while let Some((id, since)) = self.victims.pop_front() {
            let still = |activity: &Activity| activity.idle_since().or_else(|| activity.dawdles_since()) == Some(since);
            if self.open.get(&id).is_some_and(|open| still(&open.activity)) {
                return Some(id);
            }
        }
        None
    }

    fn find_victims(&mut self) {
        let mut found = self.longest(Activity::idle_since);
        if found.is_empty() {
            found = self.longest(Activity::dawdles_since);
        }
        self.victims = found.into();
    }

    fn longest(&self, since: impl Fn(&Activity) -> Option<Duration>) -> Vec<(u64, Duration)> {
        let found = self.open.iter().filter_map(|(id, open)| since(&open.activity).map(|since| (*id, since)));
        let mut found: Vec<_> = found.collect();
        found.sort_unstable_by_key(|(id, since)| (*since, *id));
        found.truncate(VICTIMS);
        found
    }

    fn remove(&mut self, id: u64) {
        let Some(Open { peer: Some(peer), .. }) = self.open.remove(&id) else { return };
        if let Some(open) = self.per_peer.get_mut(&peer) {
            *open -= 1;
            if *open == 0 {
                self.per_peer.remove(&peer);
            }
        }
    }
}

/// The place of one connection, free again when this is dropped.
pub(super) struct Slot {
    id: u64,
    activity: Arc<Activity>,
    connections: Arc<Connections>,
}

impl Slot {
    pub(super) fn activity(&self) -> &Arc<Activity> {
        &self.activity
    }

    /// Notes that TLS did not come about.
    pub(super) fn count_tls_failure(&self) {
        self.connections.counts.tls_failed.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.connections.lock().remove(self.id);
        self.connections.counts.open.fetch_sub(1, Ordering::Relaxed);
    }
}
