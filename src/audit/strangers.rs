//! Requests without a client, as sums. A stranger can send as many of them as the network carries, and must not fill
//! the log with them.
//!
//! A stranger is a network of peers ([`peer::network`]) and the status of its answers. One line tells when the stranger
//! is first seen. Then one line every [`INTERVAL`] tells how many requests have come since, until an interval passes
//! without any.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap, hash_map::Entry},
    net::IpAddr,
    time::Duration,
};

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::event_line;
use crate::peer::{self, Network};

/// How often sums are written.
pub(super) const INTERVAL: Duration = Duration::from_secs(10);

/// Strangers that are counted separately. All others are counted together, by status.
const ROWS_MAX: usize = 4096;

/// Strangers that have lines of their own in one interval: the first that are seen, then those that sent the most.
/// Someone with a million addresses is reported in sums, too.
const LINES_MAX: usize = 256;

/// The strangers that were seen lately.
#[derive(Default)]
pub(super) struct Strangers {
    rows: HashMap<(Network, u16), Row>,
    /// Requests of strangers that have no row, or no line, of their own, by status.
    others: BTreeMap<u16, Row>,
    /// Lines that were written in this interval.
    lines: usize,
}

/// Requests that no line has reported yet, and when the first of them ended. (This is not an option: for as long as its
/// row exists, `None` would keep what was on the stack of the request that made it.)
#[derive(Default)]
struct Row {
    count: u64,
    since: Timestamp,
}

impl Row {
    fn add(&mut self, count: u64, since: Timestamp) {
        self.since = if self.count == 0 { since } else { self.since.min(since) };
        self.count += count;
    }
}

/// Requests that one line reports.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Sum {
    /// Where they came from; `None` means many networks.
    network: Option<Network>,
    status: u16,
    count: u64,
    since: Timestamp,
}

impl Strangers {
    /// Counts a request of `peer` that ended at `now` with `status`. Returns what is to be written at once.
    pub(super) fn count(&mut self, peer: IpAddr, status: u16, now: Timestamp) -> Option<Sum> {
        let (network, is_full) = (peer::network(peer), self.rows.len() >= ROWS_MAX);
        let row = match self.rows.entry((network, status)) {
            Entry::Occupied(row) => row.into_mut(),
            Entry::Vacant(_) if is_full => self.others.entry(status).or_default(),
            Entry::Vacant(place) if self.lines >= LINES_MAX => place.insert(Row::default()),
            Entry::Vacant(place) => {
                place.insert(Row::default());
                self.lines += 1;
                return Some(Sum { network: Some(network), status, count: 1, since: now });
            }
        };
        row.add(1, now);
        None
    }

    /// Ends an interval. Returns everything that no line has reported yet. Strangers that did nothing in the interval
    /// are forgotten.
    pub(super) fn tell(&mut self) -> Vec<Sum> {
        self.lines = 0;
        self.rows.retain(|_, row| row.count > 0);
        let mut sums: Vec<Sum> =
            self.rows.iter_mut().filter_map(|(key, row)| sum(Some(key.0), key.1, std::mem::take(row))).collect();
        sums.sort_unstable_by_key(|sum| Reverse(sum.count));
        for sum in sums.drain(sums.len().min(LINES_MAX)..) {
            self.others.entry(sum.status).or_default().add(sum.count, sum.since);
        }
        sums.extend(std::mem::take(&mut self.others).into_iter().filter_map(|(status, row)| sum(None, status, row)));
        sums
    }
}

fn sum(network: Option<Network>, status: u16, Row { count, since }: Row) -> Option<Sum> {
    (count > 0).then_some(Sum { network, status, count, since })
}

impl Sum {
    /// The line, written at `now`.
    pub(super) fn line(&self, now: Timestamp) -> Vec<u8> {
        let fields: [(&str, Value); 4] = [
            ("peer", self.network.map(|network| network.to_string()).into()),
            ("status", self.status.into()),
            ("count", self.count.into()),
            ("since", format!("{:.6}", self.since).into()),
        ];
        let fields: Map<_, _> = fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        event_line(now, "strangers", fields)
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    fn ipv4(bits: u32) -> IpAddr {
        Ipv4Addr::from_bits(bits).into()
    }

    #[test]
    fn the_first_is_told_of_at_once_and_the_others_later() {
        let mut strangers = Strangers::default();
        let (network, status) = (Some(peer::network(ipv4(1))), 401);
        assert_eq!(strangers.count(ipv4(1), 401, at(5)), Some(Sum { network, status, count: 1, since: at(5) }));
        for second in 6..106 {
            assert_eq!(strangers.count(ipv4(1), 401, at(second)), None);
        }
        assert!(strangers.count(ipv4(1), 404, at(7)).is_some(), "another status is another stranger");
        assert_eq!(strangers.tell(), [Sum { network, status, count: 100, since: at(6) }]);
        // A stranger that does nothing in an interval is forgotten, and is new when it comes back.
        assert_eq!(strangers.tell(), []);
        assert!(strangers.rows.is_empty());
        assert!(strangers.count(ipv4(1), 401, at(300)).is_some());
    }

    #[test]
    fn peers_of_one_network_are_one_stranger() {
        let mut strangers = Strangers::default();
        let peer = |bits: u128| IpAddr::from(Ipv6Addr::from_bits((0x2001_0db8 << 96) + bits));
        let first = strangers.count(peer(1), 404, at(0)).expect("it is new");
        let line: Value = serde_json::from_slice(&first.line(at(0))).expect("JSON");
        assert_eq!((&line["peer"], &line["event"]), (&"2001:db8::/64".into(), &"strangers".into()));
        assert_eq!(strangers.count(peer(u64::MAX.into()), 404, at(0)), None);
        assert!(strangers.count(peer(1 << 64), 404, at(0)).is_some());
    }

    #[test]
    fn a_crowd_is_counted_to_the_last_in_bounded_room_and_lines() {
        let (mut strangers, mut told, mut sent) = (Strangers::default(), 0, 0);
        for interval in 0..5 {
            let mut lines = 0;
            for peer in 0..20_000_u32 {
                for _ in 0..1 + 3 * u64::from(peer < 10) {
                    sent += 1;
                    let first = strangers.count(ipv4(peer), 404, at(interval));
                    told += first.as_ref().map_or(0, |sum| sum.count);
                    lines += first.iter().count();
                }
            }
            assert!(strangers.rows.len() <= ROWS_MAX);
            let sums = strangers.tell();
            // Those who send the most have lines of their own.
            assert!((0..10).all(|peer| sums.iter().any(|sum| sum.network == Some(peer::network(ipv4(peer))))));
            lines += sums.len();
            assert!(lines <= 2 * LINES_MAX + 1, "{lines}");
            told += sums.iter().map(|sum| sum.count).sum::<u64>();
        }
        assert_eq!((told, strangers.tell().len()), (sent, 0));
    }
}
