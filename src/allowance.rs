//! How much a client may have mapped in a minute, and how often a peer may guess a password.
//!
//! A token bucket would either let twice the limit through in its first minute, or, with a small burst, refuse a live
//! call after any large batch, with most of the minute's numbers still unused. So this counts what was admitted in the
//! last minute, up to the limit.

use std::{
    collections::{HashMap, VecDeque},
    net::IpAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use crate::{
    lock::lock,
    peer::{self, Network},
};

/// What limits are counted over.
const MINUTE: Duration = Duration::from_secs(60);

/// Admissions this close to the first of them are remembered as one, which bounds what is remembered to some 600.
const GRAIN: Duration = Duration::from_millis(100);

/// Items a minute.
pub struct Allowance {
    per_minute: Option<u64>,
    spent: Arc<Mutex<Spent>>,
}

#[derive(Default)]
struct Spent {
    /// Earliest first.
    admitted: VecDeque<Admitted>,
    total: u64,
}

/// Items that were admitted together, or nearly so. They all count until the last of them is a minute old.
struct Admitted {
    first: Instant,
    last: Instant,
    count: u64,
}

/// Why items were not admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// They are more than a whole minute admits.
    Ever,
    /// They fit after this time, if nothing else is admitted before.
    For(Duration),
}

impl Allowance {
    /// So many items a minute; any number where it is `None`.
    pub fn new(per_minute: Option<u64>) -> Self {
        Self { per_minute, spent: Arc::default() }
    }

    /// Items a minute; any number where it is `None`.
    pub fn per_minute(&self) -> Option<u64> {
        self.per_minute
    }

    /// The same limit for whoever had `before`: what was spent of that, and still is by requests under way, counts.
    #[must_use]
    pub fn continuing(&self, before: &Self) -> Self {
        Self { per_minute: self.per_minute, spent: before.spent.clone() }
    }

    /// Whether anything that was admitted still counts at `now`.
    pub fn is_spent(&self, now: Instant) -> bool {
        lock(&self.spent).admitted.back().is_some_and(|past| now.saturating_duration_since(past.last) < MINUTE)
    }

    /// Admits `items` at `now`, all or none.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn admit(&self, items: u64, now: Instant) -> Result<(), Refused> {
        let Some(per_minute) = self.per_minute else { return Ok(()) };
        if items > per_minute {
            return Err(Refused::Ever);
        }
        let mut spent = lock(&self.spent);
        let Spent { admitted, total } = &mut *spent;
        let is_over = |past: &&Admitted| now.saturating_duration_since(past.last) >= MINUTE;
        let over = admitted.iter().take_while(is_over).count();
        *total -= admitted.drain(..over).map(|past| past.count).sum::<u64>();
        if *total + items > per_minute {
            // What must be forgotten first, from the earliest on.
            let mut excess = *total + items - per_minute;
            let last = admitted.iter().find(|past| {
                let enough = past.count >= excess;
                excess = excess.saturating_sub(past.count);
                enough
            });
            let until = last.map_or(now, |past| past.last + MINUTE);
            return Err(Refused::For(until.saturating_duration_since(now)));
        }
        *total += items;
        match admitted.back_mut() {
            Some(past) if now.saturating_duration_since(past.first) < GRAIN => {
                past.last = now;
                past.count += items;
            }
            _ => admitted.push_back(Admitted { first: now, last: now, count: items }),
        }
        Ok(())
    }

    /// Gives back `items` that were admitted just now, for a call that is refused after all.
    pub fn give_back(&self, mut items: u64) {
        let mut spent = lock(&self.spent);
        let Spent { admitted, total } = &mut *spent;
        for past in admitted.iter_mut().rev() {
            let some = past.count.min(items);
            past.count -= some;
            *total -= some;
            items -= some;
        }
    }
}

/// Guesses a minute that one address has.
const FAILURES_PER_MINUTE: u32 = 100;

/// Addresses that are remembered.
const ADDRESSES_MAX: usize = 10_000;

/// Failed logins, by address.
#[derive(Default)]
pub struct Failures(Mutex<HashMap<Network, (Instant, u32)>>);

impl Failures {
    /// Counts a failed login of `peer` at `now`, and gives how many there were since the first, at most a minute ago.
    ///
    /// # Errors
    /// How long `peer` is to wait, where it has failed too often.
    pub fn count(&self, peer: IpAddr, now: Instant) -> Result<u32, Duration> {
        let mut failures = lock(&self.0);
        let peer = peer::network(peer);
        if failures.len() >= ADDRESSES_MAX && !failures.contains_key(&peer) {
            failures.retain(|_, (since, _)| now.saturating_duration_since(*since) < MINUTE);
            // Whoever has so many addresses loses us one of them; guessing 256 random bits stays hopeless.
            let any = failures.keys().next().copied().filter(|_| failures.len() >= ADDRESSES_MAX);
            any.map(|any| failures.remove(&any));
        }
        let (since, count) = failures.entry(peer).or_insert((now, 0));
        if now.saturating_duration_since(*since) >= MINUTE {
            (*since, *count) = (now, 0);
        }
        *count = count.saturating_add(1);
        if *count > FAILURES_PER_MINUTE { Err((*since + MINUTE).saturating_duration_since(now)) } else { Ok(*count) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_minute_admits_more_than_the_limit_and_five_admit_it_all() {
        let (allowance, start) = (Allowance::new(Some(1000)), Instant::now());
        let mut admitted = Vec::new();
        for millis in 0..300_000_u64 {
            let now = start + Duration::from_millis(millis);
            let items = 1 + millis * 7919 % 3;
            if allowance.admit(items, now).is_ok() {
                admitted.push((millis, items));
            }
        }
        for from in (0..240_000).step_by(777) {
            let within = admitted.iter().filter(|(at, _)| (from..from + 60_000).contains(at));
            let total: u64 = within.map(|(_, items)| items).sum();
            assert!(total <= 1000, "{total} from {from} ms on");
        }
        let total: u64 = admitted.iter().map(|(_, items)| items).sum();
        assert!(total >= 4950, "{total} in five minutes");
    }

    #[test]
    fn the_end_of_a_burst_counts_as_long_as_its_beginning() {
        let (allowance, start) = (Allowance::new(Some(1000)), Instant::now());
        let at = |millis| start + Duration::from_millis(millis);
        assert_eq!(allowance.admit(1, at(0)), Ok(()));
        assert_eq!(allowance.admit(999, at(99)), Ok(()));
        assert_eq!(allowance.admit(1, at(60_050)), Err(Refused::For(Duration::from_millis(49))));
        assert_eq!(allowance.admit(1000, at(60_099)), Ok(()));
    }

    #[test]
    fn what_is_given_back_can_be_had_again() {
        let (allowance, start) = (Allowance::new(Some(10)), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(allowance.admit(4, start), Ok(()));
        assert_eq!(allowance.admit(6, at(20)), Ok(()));
        allowance.give_back(6);
        assert_eq!(allowance.admit(7, at(21)), Err(Refused::For(Duration::from_secs(39))));
        assert_eq!(allowance.admit(6, at(21)), Ok(()));
        assert_eq!(allowance.admit(4, at(60)), Ok(()));
    }

    #[test]
    fn a_refusal_tells_how_long() {
        let (allowance, start) = (Allowance::new(Some(10)), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(allowance.admit(11, start), Err(Refused::Ever));
        assert_eq!(allowance.admit(4, start), Ok(()));
        assert_eq!(allowance.admit(4, at(20)), Ok(()));
        assert_eq!(allowance.admit(3, at(30)), Err(Refused::For(Duration::from_secs(30))));
        assert_eq!(allowance.admit(7, at(30)), Err(Refused::For(Duration::from_secs(50))));
        assert_eq!(allowance.admit(2, at(30)), Ok(()));
        assert_eq!(allowance.admit(4, at(59)), Err(Refused::For(Duration::from_secs(1))));
        assert_eq!(allowance.admit(4, at(60)), Ok(()));
        assert_eq!(Allowance::new(None).admit(u64::MAX, start), Ok(()));
    }

    #[test]
    fn another_limit_counts_what_was_spent() {
        let (before, start) = (Allowance::new(Some(10)), Instant::now());
        assert_eq!(before.admit(10, start), Ok(()));
        let lower = Allowance::new(Some(5)).continuing(&before);
        assert_eq!(lower.admit(1, start), Err(Refused::For(MINUTE)));
        let higher = Allowance::new(Some(12)).continuing(&lower);
        assert_eq!((higher.admit(3, start), higher.admit(2, start)), (Err(Refused::For(MINUTE)), Ok(())));
        assert!(before.is_spent(start) && !before.is_spent(start + MINUTE));
        assert_eq!(lower.admit(5, start + MINUTE), Ok(()));
    }

    #[test]
    fn guesses_are_counted_by_address_within_a_bound() {
        let (failures, start) = (Failures::default(), Instant::now());
        let peer: IpAddr = "2001:db8::1".parse().expect("an address");
        let neighbour: IpAddr = "2001:db8::2".parse().expect("an address");
        assert!((0..100).all(|_| failures.count(peer, start).is_ok()));
        assert_eq!(failures.count(neighbour, start), Err(MINUTE));
        assert_eq!(failures.count("192.0.2.1".parse().expect("an address"), start), Ok(1));
        assert_eq!(failures.count(peer, start + MINUTE), Ok(1));
        for bits in 0..20_000 {
            let _ = failures.count(std::net::Ipv4Addr::from_bits(bits).into(), start);
        }
        assert!(failures.0.lock().expect("no thread panicked").len() <= ADDRESSES_MAX);
    }
}
