//! The open connections, bounded in total, by peer, and for strangers.
//!
//! A connection is a stranger until one of its requests is granted. Strangers hold at most half of the places, so that
//! nobody without a password can keep a client out. A newcomer always gets a turn. If strangers hold all the places
//! that they may, one of them is closed: the oldest stranger of the peer that has the most. Clients leave some places
//! free. If they hold every place all the same, because all were busy at once, the client that has been idle the
//! longest is closed.

use std::{
    cmp::Reverse,
    collections::{BTreeSet, HashMap},
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
};

use super::{
    ConnectionCounts,
    activity::{Activity, Order},
};
use crate::{
    lock::lock,
    peer::{self, Network},
};

/// One in this many places is left for strangers, however many clients there are.
const PLACES_A_FREE_ONE: usize = 8;

/// The open connections of a listener.
pub(super) struct Connections {
    max: usize,
    per_peer_max: usize,
    counts: Arc<ConnectionCounts>,
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    open: HashMap<u64, Open>,
    per_peer: HashMap<Network, Peer>,
    /// The peers that have strangers. The one that loses a stranger first comes last.
    ranks: BTreeSet<Rank>,
    strangers: usize,
    next: u64,
    /// Whether every answer is its connection's last.
    closing: bool,
}

struct Open {
    /// `None` for a proxy, which connects for many peers.
    peer: Option<Network>,
    is_stranger: bool,
    activity: Arc<Activity>,
}

#[derive(Default)]
struct Peer {
    open: usize,
    /// In the order in which they came.
    strangers: BTreeSet<u64>,
}

/// How many strangers a peer has, which of them has been there longest, and who it is.
type Rank = (usize, Reverse<u64>, Network);

impl Connections {
    pub(super) fn new(max: usize, per_peer_max: usize, counts: Arc<ConnectionCounts>) -> Self {
        Self { max, per_peer_max, counts, table: Mutex::default() }
    }

    /// A place for a connection of `peer`, which is `None` for one of our proxies. Returns `None` if that peer has too
    /// many connections, or if busy clients have every place.
    pub(super) fn admit(self: &Arc<Self>, peer: Option<IpAddr>) -> Option<Admission> {
        let peer = peer.map(peer::network);
        let mut table = self.lock();
        if let Some(of_peer) = peer.and_then(|peer| table.per_peer.get(&peer))
            && of_peer.open >= self.per_peer_max
        {
            // A peer that shares an address with silent strangers gets a turn, too.
            let oldest = *of_peer.strangers.first()?;
            table.evict(oldest)?;
        }
        let is_full = table.open.len() >= self.max;
        if is_full || (peer.is_some() && table.strangers >= self.strangers_max()) {
            table.evict_stranger().or_else(|| table.retire_idle_client())?;
        }
        let (id, activity) = (table.next, Activity::new(if table.closing { Order::LastAnswer } else { Order::GoOn }));
        table.next += 1;
        table.open.insert(id, Open { peer, is_stranger: false, activity: activity.clone() });
        if let Some(peer) = peer {
            table.per_peer.entry(peer).or_default().open += 1;
            table.set_stranger(id, true);
        }
        self.counts.open.fetch_add(1, Ordering::Relaxed);
        let is_stranger = AtomicBool::new(peer.is_some());
        Some(Admission { id, is_stranger, activity, connections: self.clone() })
    }

    /// Ends a connection that can be spared, if there is one, because the system has no room for another.
    pub(super) fn spare_one(&self) {
        let mut table = self.lock();
        if table.evict_stranger().is_none() {
            let _ = table.retire_idle_client();
        }
    }

    /// Makes the next answer of every connection its last, also for connections that are still to come.
    pub(super) fn answer_last(&self) {
        let mut table = self.lock();
        table.closing = true;
        table.open.values().for_each(|open| open.activity.tell(Order::LastAnswer));
    }

    /// Tells every connection to end after what it is doing.
    pub(super) fn drain(&self) {
        self.lock().open.values().for_each(|open| open.activity.tell(Order::Drain));
    }

    /// How many connections are open.
    pub(super) fn open(&self) -> usize {
        self.lock().open.len()
    }

    fn strangers_max(&self) -> usize {
        self.max.div_ceil(2)
    }

    fn clients_max(&self) -> usize {
        self.max - self.max.div_ceil(PLACES_A_FREE_ONE)
    }

    /// Notes that the connection `id` is no longer a stranger.
    fn prove(&self, id: u64) {
        let mut table = self.lock();
        table.set_stranger(id, false);
        if table.open.len() - table.strangers > self.clients_max() {
            let _ = table.retire_idle_client();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        lock(&self.table)
    }
}

impl Table {
    /// Closes the stranger that is first in line, whatever it is doing, and frees its place at once.
    fn evict_stranger(&mut self) -> Option<()> {
        let (_, Reverse(id), _) = *self.ranks.last()?;
        self.evict(id)
    }

    fn evict(&mut self, id: u64) -> Option<()> {
        self.open.get(&id)?.activity.tell(Order::Close);
        self.remove(id);
        Some(())
    }

    /// Ends the client's connection that has been idle the longest, if there is one. No request is lost, as a client
    /// would expect.
    fn retire_idle_client(&mut self) -> Option<()> {
        let idle = self.open.iter().filter(|(_, open)| !open.is_stranger);
        let idle = idle.filter_map(|(id, open)| Some((open.activity.idle_since()?, *id)));
        let (_, id) = idle.min()?;
        self.open.get(&id)?.activity.tell(Order::Drain);
        self.remove(id);
        Some(())
    }

    fn set_stranger(&mut self, id: u64, is_stranger: bool) {
        let Some(open) = self.open.get_mut(&id).filter(|open| open.is_stranger != is_stranger) else { return };
        open.is_stranger = is_stranger;
        let Some((address, peer)) = open.peer.and_then(|address| Some((address, self.per_peer.get_mut(&address)?)))
        else {
            return;
        };
        self.ranks.remove(&peer.rank(address));
        if is_stranger {
            peer.strangers.insert(id);
            self.strangers += 1;
        } else {
            peer.strangers.remove(&id);
            self.strangers -= 1;
        }
        if !peer.strangers.is_empty() {
            self.ranks.insert(peer.rank(address));
        }
    }

    fn remove(&mut self, id: u64) {
        self.set_stranger(id, false);
        let Some(Open { peer: Some(address), .. }) = self.open.remove(&id) else { return };
        if let Some(peer) = self.per_peer.get_mut(&address) {
            peer.open -= 1;
            if peer.open == 0 {
                self.per_peer.remove(&address);
            }
        }
    }
}

impl Peer {
    fn rank(&self, address: Network) -> Rank {
        (self.strangers.len(), Reverse(self.strangers.first().copied().unwrap_or_default()), address)
    }
}

/// The place of one connection. Dropping it frees the place.
pub(super) struct Admission {
    id: u64,
    is_stranger: AtomicBool,
    activity: Arc<Activity>,
    connections: Arc<Connections>,
}

impl Admission {
    pub(super) fn activity(&self) -> &Arc<Activity> {
        &self.activity
    }

    /// Whether no request of this connection has been granted yet.
    pub(super) fn is_stranger(&self) -> bool {
        self.is_stranger.load(Ordering::Relaxed)
    }

    /// Notes that a request of this connection was granted.
    pub(super) fn prove(&self) {
        if self.is_stranger.swap(false, Ordering::Relaxed) {
            self.connections.prove(self.id);
        }
    }

    /// Counts that TLS could not be established.
    pub(super) fn count_tls_failure(&self) {
        self.connections.counts.tls_failed.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.connections.lock().remove(self.id);
        self.connections.counts.open.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connections(max: usize) -> Arc<Connections> {
        Arc::new(Connections::new(max, max, Arc::default()))
    }

    fn peer(last: u8) -> Option<IpAddr> {
        Some(IpAddr::from([192, 0, 2, last]))
    }

    fn admit(connections: &Arc<Connections>, last: u8) -> Admission {
        connections.admit(peer(last)).expect("a newcomer gets its turn")
    }

    fn orders(admissions: &[Admission]) -> Vec<Order> {
        admissions.iter().map(|admission| admission.activity.order()).collect()
    }

    #[test]
    fn strangers_hold_half_and_the_one_there_longest_goes() {
        let connections = connections(8);
        let strangers: Vec<_> = (0..6).map(|last| admit(&connections, last)).collect();
        assert_eq!(orders(&strangers[..3]), [Order::Close, Order::Close, Order::GoOn]);
        assert_eq!(connections.open(), 4);
        drop(strangers);
        assert_eq!((connections.open(), connections.counts.open.load(Ordering::Relaxed)), (0, 0));
        assert!(connections.lock().ranks.is_empty() && connections.lock().per_peer.is_empty());
    }

    #[test]
    fn the_peer_with_most_strangers_loses_one_first() {
        let connections = connections(8);
        let newcomer = admit(&connections, 1);
        let flood: Vec<_> = (0..100).map(|_| admit(&connections, 2)).collect();
        assert_eq!(newcomer.activity.order(), Order::GoOn);
        assert_eq!(orders(&flood[96..]), [Order::Close, Order::GoOn, Order::GoOn, Order::GoOn]);
    }

    #[test]
    fn a_client_never_yields_to_a_stranger_but_to_a_client() {
        let connections = connections(8);
        let clients: Vec<_> = (0..7)
            .map(|last| {
                let client = admit(&connections, last);
                client.prove();
                client
            })
            .collect();
        let strangers: Vec<_> = (0..50).map(|last| admit(&connections, last)).collect();
        assert!(orders(&clients).iter().all(|order| *order == Order::GoOn));
        assert_eq!(strangers[49].activity.order(), Order::GoOn);
        clients[0].activity.enter(super::super::activity::Phase::Request);
        strangers[49].prove();
        assert_eq!(orders(&clients[..3]), [Order::GoOn, Order::Drain, Order::GoOn], "the busy one stays");
    }

    #[test]
    fn a_proxy_is_no_stranger_and_has_no_limit_of_its_own() {
        let connections = Arc::new(Connections::new(8, 1, Arc::default()));
        let proxies: Vec<_> = (0..8).map(|_| connections.admit(None)).collect();
        assert!(proxies.iter().all(Option::is_some));
        for proxy in proxies.iter().flatten() {
            proxy.activity.enter(super::super::activity::Phase::Request);
        }
        assert!(connections.admit(peer(1)).is_none(), "every place is that of a busy proxy");
        proxies[0].as_ref().expect("it was admitted").activity.enter(super::super::activity::Phase::Idle);
        let one = connections.admit(peer(1));
        assert!(one.is_some(), "an idle one gives way");
        drop(proxies);
        assert!(connections.admit(peer(1)).is_some(), "of one peer, a stranger gives way to the next");
        one.expect("it was admitted").prove();
    }
}
