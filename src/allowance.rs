//! How much a client may have mapped in a minute and in a day, and how often a peer may guess a password.
//!
//! A token bucket would either let twice the limit through in its first minute or, with a small burst, refuse a live
//! call after any large batch, although most of the minute's numbers are still unused. So this module counts what was
//! admitted in the last minute and in the last 24 hours, and admits items up to the limits.

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

/// The span of the limit a minute, and of the limit on guesses.
const MINUTE: Duration = Duration::from_secs(60);

/// The time over which a limit counts.
struct Span {
    length: Duration,
    /// Admissions this close to a first one are remembered together with it, which bounds the memory used.
    grain: Duration,
}

/// A minute in about 600 pieces, and a day in about 720.
const SPANS: [Span; 2] = [
    Span { length: MINUTE, grain: Duration::from_millis(100) },
    Span { length: Duration::from_secs(24 * 60 * 60), grain: Duration::from_secs(120) },
];

/// How many items are allowed in a minute, and in a day.
pub struct Allowance {
    /// One limit for each of [`SPANS`]; `None` means no limit.
    limits: [Option<u64>; SPANS.len()],
    spent: Arc<Mutex<[Spent; SPANS.len()]>>,
}

#[derive(Default)]
struct Spent {
    /// Earliest first.
    admitted: VecDeque<Admitted>,
    total: u64,
}

/// Items that were admitted together, or nearly so. They all count until the last of them is as old as the span.
struct Admitted {
    first: Instant,
    last: Instant,
    count: u64,
}

/// Why items were not admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// They are more than a whole minute ever admits.
    Ever,
    /// They are more than a whole day ever admits.
    EverToday,
    /// The minute's items are used up. These fit after this time, if nothing else is admitted before.
    For(Duration),
    /// The day's items are used up. These fit after this time, if nothing else is admitted before.
    ForToday(Duration),
}

impl Allowance {
    /// Allows this many items a minute; `None` means no limit.
    pub fn new(per_minute: Option<u64>) -> Self {
        Self { limits: [per_minute, None], spent: Arc::default() }
    }

    /// Also allows no more than this many items in any 24 hours; `None` means no limit.
    #[must_use]
    pub fn and_per_day(self, per_day: Option<u64>) -> Self {
        Self { limits: [self.limits[0], per_day], ..self }
    }

    /// Items a minute; `None` means no limit.
    pub fn per_minute(&self) -> Option<u64> {
        self.limits[0]
    }

    /// Items a day; `None` means no limit.
    pub fn per_day(&self) -> Option<u64> {
        self.limits[1]
    }

    /// The same limits for a client that had `before`. What was spent of `before`, and what requests under way still
    /// spend of it, counts here too.
    #[must_use]
    pub fn continuing(&self, before: &Self) -> Self {
        Self { limits: self.limits, spent: before.spent.clone() }
    }

    /// Whether anything that was admitted still counts at `now`.
    pub fn is_spent(&self, now: Instant) -> bool {
        let spent = lock(&self.spent);
        spent.iter().zip(&SPANS).any(|(spent, span)| spent.admitted.back().is_some_and(|past| past.counts(span, now)))
    }

    /// Items that count towards the day's limit at `now`.
    pub fn spent_today(&self, now: Instant) -> u64 {
        lock(&self.spent)[1].counted(&SPANS[1], now)
    }

    /// The items that count at `now` and the limit that they count towards: for the minute, and for the day. It is
    /// `None` if there is no limit.
    pub fn standing(&self, now: Instant) -> [Option<(u64, u64)>; SPANS.len()] {
        let spent = lock(&self.spent);
        std::array::from_fn(|at| Some((spent[at].counted(&SPANS[at], now), self.limits[at]?)))
    }

    /// Admits all of `items` at `now`, or none.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn admit(&self, items: u64, now: Instant) -> Result<(), Refused> {
        match self.limits.map(|limit| limit.is_some_and(|limit| items > limit)) {
            [true, _] => return Err(Refused::Ever),
            [false, true] => return Err(Refused::EverToday),
            [false, false] => {}
        }
        if self.limits == [None; SPANS.len()] {
            return Ok(());
        }
        let mut spent = lock(&self.spent);
        let mut waits = [None; SPANS.len()];
        for (at, span) in SPANS.iter().enumerate() {
            waits[at] = self.limits[at].and_then(|limit| spent[at].wait(span, limit, items, now));
        }
        match waits {
            [None, None] => {}
            [minute, Some(day)] if minute <= Some(day) => return Err(Refused::ForToday(day)),
            [minute, _] => return Err(Refused::For(minute.unwrap_or_default())),
        }
        for (at, span) in SPANS.iter().enumerate().filter(|(at, _)| self.limits[*at].is_some()) {
            spent[at].add(span, items, now);
        }
        Ok(())
    }

    /// Gives back `items` that were admitted just now, for a call that is refused after all.
    pub fn give_back(&self, items: u64) {
        lock(&self.spent).iter_mut().for_each(|spent| spent.give_back(items));
    }
}

impl Spent {
    /// Items that count at `now`.
    fn counted(&self, span: &Span, now: Instant) -> u64 {
        self.admitted.iter().filter(|past| past.counts(span, now)).map(|past| past.count).sum()
    }

    /// How long `items` must wait under `limit`; `None` if they need not wait.
    fn wait(&mut self, span: &Span, limit: u64, items: u64, now: Instant) -> Option<Duration> {
        while let Some(past) = self.admitted.front().filter(|past| !past.counts(span, now)) {
            self.total -= past.count;
            self.admitted.pop_front();
        }
        let mut excess = (self.total + items).checked_sub(limit).filter(|excess| *excess > 0)?;
        // The admission that must expire before there is room, counted from the earliest.
        let last = self.admitted.iter().find(|past| {
            let enough = past.count >= excess;
            excess = excess.saturating_sub(past.count);
            enough
        });
        let until = last.map_or(now, |past| past.last + span.length);
        Some(until.saturating_duration_since(now))
    }

    fn add(&mut self, span: &Span, items: u64, now: Instant) {
        self.total += items;
        match self.admitted.back_mut() {
            Some(past) if now.saturating_duration_since(past.first) < span.grain => {
                past.last = now;
                past.count += items;
            }
            _ => self.admitted.push_back(Admitted { first: now, last: now, count: items }),
        }
    }

    fn give_back(&mut self, mut items: u64) {
        for past in self.admitted.iter_mut().rev() {
            let some = past.count.min(items);
            past.count -= some;
            self.total -= some;
            items -= some;
        }
    }
}

impl Admitted {
    fn counts(&self, span: &Span, now: Instant) -> bool {
        now.saturating_duration_since(self.last) < span.length
    }
}

/// Guesses that one address may make in a minute.
const FAILURES_PER_MINUTE: u32 = 100;

/// Addresses that are remembered.
const ADDRESSES_MAX: usize = 10_000;

/// Failed logins, by address.
#[derive(Default)]
pub struct LoginThrottle(Mutex<HashMap<Network, (Instant, u32)>>);

impl LoginThrottle {
    /// Counts a failed login of `peer` at `now`. Returns how many there were since the first, which was at most a
    /// minute ago.
    ///
    /// # Errors
    /// How long `peer` must wait, if it has failed too often.
    pub fn count(&self, peer: IpAddr, now: Instant) -> Result<u32, Duration> {
        let mut failures = lock(&self.0);
        let peer = peer::network(peer);
        if failures.len() >= ADDRESSES_MAX && !failures.contains_key(&peer) {
            failures.retain(|_, (since, _)| now.saturating_duration_since(*since) < MINUTE);
            // Someone with so many addresses makes us forget one of them, but guessing 256 random bits stays hopeless.
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
        assert_eq!(allowance.standing(at(60)), [Some((10, 10)), None]);
        assert_eq!(allowance.admit(6, at(81)), Ok(()));
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

    /// The client may spread the day's items over the day as it likes, but cannot have them twice in any 24 hours.
    #[test]
    fn just_below_the_minutes_limit_the_day_ends_within_a_hundredth_of_its_own() {
        let (minute, day, start) = (60_000, 1_200_000, Instant::now());
        let allowance = Allowance::new(Some(minute)).and_per_day(Some(day));
        let (mut admitted, step) = (Vec::new(), minute * 99 / 100 / 60);
        let mut refused = None;
        for second in 0..5 * 86_400 {
            match allowance.admit(step, start + Duration::from_secs(second)) {
                Ok(()) => admitted.push(second),
                Err(why) => refused = refused.or(Some((second, why))),
            }
        }
        assert!(lock(&allowance.spent).iter().all(|spent| spent.admitted.len() <= 722), "more is kept than is bounded");
        // 20.2 minutes after the start, the day's items are used up until the 24 hours end.
        let (at, why) = refused.expect("a refusal");
        let first_day = admitted.iter().filter(|second| **second < 86_400).count() as u64 * step;
        assert!((day * 99 / 100..=day).contains(&first_day), "{first_day}");
        let Refused::ForToday(wait) = why else { panic!("{why:?}") };
        assert!((86_400..86_400 + 120).contains(&(at + wait.as_secs())), "{at} {wait:?}");
        for from in (0..4 * 86_400).step_by(1777) {
            let within = admitted.iter().filter(|second| (from..from + 86_400).contains(*second)).count() as u64;
            assert!(within * step <= day, "{} from {from} s on", within * step);
        }
        let total = admitted.len() as u64 * step;
        assert!(total >= 5 * day * 99 / 100, "{total} in five days");
    }

    #[test]
    fn the_day_and_the_minute_are_admitted_together() {
        let (allowance, start) = (Allowance::new(Some(10)).and_per_day(Some(15)), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(allowance.admit(16, start), Err(Refused::Ever));
        let for_a_day = Allowance::new(None).and_per_day(Some(15));
        assert_eq!(for_a_day.admit(16, start), Err(Refused::EverToday));
        assert_eq!(allowance.admit(10, start), Ok(()));
        assert_eq!(allowance.admit(1, at(1)), Err(Refused::For(Duration::from_secs(59))));
        assert_eq!(allowance.admit(5, at(300)), Ok(()));
        assert_eq!((allowance.spent_today(at(300)), allowance.spent_today(at(86_400))), (15, 5));
        assert_eq!(allowance.standing(at(301)), [Some((5, 10)), Some((15, 15))]);
        assert_eq!(for_a_day.standing(at(0)), [None, Some((0, 15))]);
        // Both are used up. The wait for the day is longer.
        assert_eq!(allowance.admit(6, at(301)), Err(Refused::ForToday(Duration::from_secs(86_099))));
        assert_eq!((allowance.per_minute(), allowance.per_day()), (Some(10), Some(15)));
        assert_eq!(allowance.admit(6, at(86_400)), Ok(()));
        allowance.give_back(6);
        assert!(allowance.is_spent(at(86_699)) && !allowance.is_spent(at(172_801)));
        // A reload keeps what was spent in the day, even under a lower limit.
        let lower = Allowance::new(None).and_per_day(Some(5)).continuing(&allowance);
        assert_eq!(lower.admit(1, at(86_401)), Err(Refused::ForToday(Duration::from_secs(299))));
    }

    #[test]
    fn both_are_used_up_and_the_wait_for_the_minute_is_longer() {
        let (allowance, start) = (Allowance::new(Some(10)).and_per_day(Some(15)), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(allowance.admit(10, start), Ok(()));
        assert_eq!(allowance.admit(5, at(86_390)), Ok(()));
        assert_eq!(allowance.admit(6, at(86_391)), Err(Refused::For(Duration::from_secs(59))));
    }

    #[test]
    fn guesses_are_counted_by_address_within_a_bound() {
        let (failures, start) = (LoginThrottle::default(), Instant::now());
        let peer: IpAddr = "2001:db8::1".parse().expect("an address");
        let neighbour: IpAddr = "2001:db8::2".parse().expect("an address");
        assert!((0..100).all(|_| failures.count(peer, start).is_ok()));
        assert_eq!(failures.count(neighbour, start), Err(MINUTE));
        assert_eq!(failures.count("192.0.2.1".parse().expect("an address"), start), Ok(1));
        assert_eq!(failures.count(peer, start + MINUTE), Ok(1));
        let remembered = || failures.0.lock().expect("no thread panicked").len();
        let stranger = |bits| std::net::Ipv4Addr::from_bits(bits).into();
        for bits in 0..20_000 {
            let _ = failures.count(stranger(bits), start);
        }
        assert_eq!(remembered(), ADDRESSES_MAX);
        // An address that is remembered needs no room. Those that last failed a minute ago make room.
        assert_eq!(failures.count(stranger(19_999), start), Ok(2));
        assert_eq!(remembered(), ADDRESSES_MAX);
        assert_eq!(failures.count(stranger(20_000), start + MINUTE), Ok(1));
        assert!(remembered() < 10, "{} addresses", remembered());
    }
}
