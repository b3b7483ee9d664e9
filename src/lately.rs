//! Counts of events in the last hour and the last day, in bounded memory.
//!
//! Metrics only grow, and need somebody who keeps them. These counts answer by themselves: "does anybody still open
//! UIDs of that key?"

use std::{collections::BTreeMap, mem};

use jiff::Timestamp;

use crate::ids::KeyId;

/// Pieces of an hour, a minute each.
const MINUTES: usize = 60;

/// Pieces of a day, a quarter of an hour each.
const QUARTERS: usize = 96;

/// Keys whose latest counts are kept apart: 10 KiB for a client.
const LATEST_MAX: usize = 256;

/// The counts of the last hour and the last day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lately {
    /// The count of the last 60 minutes, the latest of which may not be over.
    pub hour: u64,
    /// The count of the last 96 quarters of an hour, the latest of which may not be over.
    pub day: u64,
}

/// A sum over the last hour and one over the last day. Old counts drop out by themselves.
#[derive(Clone, Debug, Default)]
pub struct Window {
    minutes: Pieces<MINUTES>,
    quarters: Pieces<QUARTERS>,
}

impl Window {
    /// Counts `count` more at `now`.
    pub fn add(&mut self, count: u64, now: Timestamp) {
        let (minute, quarter) = pieces(now);
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        self.minutes.add(count, minute);
        self.quarters.add(count, quarter);
    }

    /// The counts as of `now`.
    pub fn at(&self, now: Timestamp) -> Lately {
        let (minute, quarter) = pieces(now);
        Lately { hour: self.minutes.sum(minute), day: self.quarters.sum(quarter) }
    }
}

/// The minute and the quarter of an hour that `now` is in, counted from 1970.
fn pieces(now: Timestamp) -> (i64, i64) {
    let minute = now.as_second().div_euclid(60);
    (minute, minute.div_euclid(15))
}

/// The last `N` pieces of time, as a ring of counts. A count stops at its greatest value.
#[derive(Clone, Debug)]
struct Pieces<const N: usize> {
    counts: [u32; N],
    /// The latest piece that has a count.
    newest: i64,
}

impl<const N: usize> Default for Pieces<N> {
    fn default() -> Self {
        Self { counts: [0; N], newest: 0 }
    }
}

impl<const N: usize> Pieces<N> {
    #[expect(clippy::cast_possible_wrap, reason = "a day has few pieces")]
    const LENGTH: i64 = N as i64;

    fn add(&mut self, count: u32, piece: i64) {
        let ahead = piece.saturating_sub(self.newest);
        if ahead.unsigned_abs() >= N as u64 {
            // All counts are too old, or the clock was set back so far that nobody knows their time.
            *self = Self { newest: piece, ..Self::default() };
        }
        for passed in self.newest + 1..=piece {
            self.counts[Self::place(passed)] = 0;
        }
        self.newest = self.newest.max(piece);
        let place = &mut self.counts[Self::place(piece)];
        *place = place.saturating_add(count);
    }

    fn sum(&self, piece: i64) -> u64 {
        let first = piece.max(self.newest).saturating_sub(Self::LENGTH - 1);
        let last = piece.min(self.newest);
        (first..=last).map(|piece| u64::from(self.counts[Self::place(piece)])).sum()
    }

    fn place(piece: i64) -> usize {
        usize::try_from(piece.rem_euclid(Self::LENGTH)).unwrap_or(0)
    }
}

/// UIDs that were opened, in all and by their key. If there are more than `KEYS_MAX` keys, those used last are known.
#[derive(Debug, Default)]
pub struct Opened<const KEYS_MAX: usize> {
    all: Window,
    keys: BTreeMap<KeyId, (Decoded, Window)>,
    /// What a minute has so far, which is in no other field yet. Windows of hundreds of keys are too large to be
    /// looked at for each batch: of the time of one with 1,000 UIDs of 200 keys, that was a tenth.
    latest: Vec<(KeyId, Decoded)>,
}

/// How much was decoded with one key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Decoded {
    /// UIDs that were decoded since the start.
    pub count: u64,
    /// When the last of them was decoded.
    pub last: Option<Timestamp>,
}

impl Decoded {
    fn add(&mut self, more: Self) {
        self.count += more.count;
        self.last = self.last.max(more.last);
    }
}

impl<const KEYS_MAX: usize> Opened<KEYS_MAX> {
    /// Counts UIDs that were opened at `now`, by key.
    pub fn add(&mut self, uids: impl Iterator<Item = (KeyId, u64)>, now: Timestamp) {
        let latest = self.latest.first().and_then(|(_, decoded)| decoded.last);
        if latest.is_some_and(|latest| pieces(latest) != pieces(now)) {
            self.settle();
        }
        let mut next = 0;
        for (id, count) in uids.filter(|(_, count)| *count > 0) {
            // Batches name keys in the order of the ring, so that few are passed over.
            let mut places = (next..self.latest.len()).chain(0..next);
            let place = match places.find(|place| self.latest[*place].0 == id) {
                Some(place) => place,
                None => {
                    if self.latest.len() >= LATEST_MAX {
                        self.settle();
                    }
                    self.latest.push((id, Decoded::default()));
                    self.latest.len() - 1
                }
            };
            self.latest[place].1.add(Decoded { count, last: Some(now) });
            next = place + 1;
        }
    }

    /// Adds the latest counts to the others.
    fn settle(&mut self) {
        let mut latest = mem::take(&mut self.latest);
        for (id, decoded) in latest.drain(..) {
            let then = decoded.last.unwrap_or_default();
            self.all.add(decoded.count, then);
            if self.keys.len() >= KEYS_MAX && !self.keys.contains_key(&id) {
                self.forget_oldest();
            }
            let (before, window) = self.keys.entry(id).or_default();
            before.add(decoded);
            window.add(decoded.count, then);
        }
        self.latest = latest;
    }

    /// Forgets the key that was used the longest ago.
    fn forget_oldest(&mut self) {
        let oldest = self.keys.iter().min_by_key(|(_, (decoded, _))| decoded.last).map(|(id, _)| *id);
        oldest.map(|id| self.keys.remove(&id));
    }

    /// The counts over all keys, as of `now`.
    pub fn all(&mut self, now: Timestamp) -> Lately {
        self.settle();
        self.all.at(now)
    }

    /// The counts of each key that was used in the last day, as of `now`.
    pub fn by_key(&mut self, now: Timestamp) -> Vec<(KeyId, Lately)> {
        self.settle();
        let keys = self.keys.iter().map(|(id, (_, window))| (*id, window.at(now)));
        keys.filter(|(_, lately)| lately.day > 0).collect()
    }

    /// What was opened of the key `id`: since the start, and as of `now`.
    pub fn of_key(&mut self, id: KeyId, now: Timestamp) -> (Decoded, Lately) {
        self.settle();
        self.keys.get(&id).map(|(decoded, window)| (*decoded, window.at(now))).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).expect("a time")
    }

    #[track_caller]
    fn check(window: &Window, second: i64, hour: u64, day: u64) {
        assert_eq!(window.at(at(second)), Lately { hour, day }, "at {second}");
    }

    #[test]
    fn an_hour_and_a_day_forget_what_is_over() {
        let mut window = Window::default();
        check(&window, 0, 0, 0);
        window.add(3, at(0));
        window.add(4, at(59));
        window.add(5, at(3540));
        check(&window, 3599, 12, 12);
        check(&window, 3600, 5, 12);
        check(&window, 86_399, 0, 12);
        check(&window, 86_400, 0, 5);
        check(&window, 90_000, 0, 0);
        // A later count finds nothing left over.
        window.add(1, at(200_000));
        check(&window, 200_000, 1, 1);
        window.add(u64::MAX, at(200_000));
        check(&window, 200_000, u64::from(u32::MAX), u64::from(u32::MAX));
    }

    #[test]
    fn it_is_what_a_list_of_all_would_say() {
        let (mut window, mut all, mut second) = (Window::default(), Vec::new(), 0_i64);
        for step in 0..4000_u64 {
            second += i64::try_from(step.wrapping_mul(2_654_435_761) % 307).expect("it is small");
            window.add(step % 5, at(second));
            all.push((second, step % 5));
            let since = |seconds: i64, piece: i64| -> u64 {
                let first = (1_800_000_000 + second).div_euclid(piece) - seconds / piece + 1;
                let counts = all.iter().filter(|(then, _)| (1_800_000_000 + then).div_euclid(piece) >= first);
                counts.map(|(_, count)| count).sum()
            };
            check(&window, second, since(3600, 60), since(86_400, 900));
        }
    }

    #[test]
    fn a_clock_that_is_put_back_does_not_stop_it() {
        let mut window = Window::default();
        window.add(7, at(0));
        // The clock is put back a little: the count keeps its time, and is seen once the clock reaches that time again.
        window.add(1, at(-120));
        check(&window, -120, 1, 1);
        check(&window, 0, 8, 8);
        // The clock is put back by a year: what the wrong clock counted is gone.
        window.add(2, at(-31_536_000));
        check(&window, -31_536_000, 2, 2);
    }

    #[test]
    fn counts_by_key_are_what_a_list_of_all_would_say() {
        let id = |number: u64| KeyId::from_bytes([1, u8::try_from(number).expect("small")]).expect("not 0");
        let (mut opened, mut all, mut random) = (Opened::<{ usize::MAX }>::default(), Vec::new(), 1_u64);
        let mut next = |below: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % below
        };
        let mut second = 0;
        for _ in 0..2000 {
            second += i64::try_from(next(50)).expect("it is small");
            // Any keys in any order, even twice, and some of which nothing was opened.
            let uids: Vec<_> = (0..next(6)).map(|_| (id(next(12)), next(4))).collect();
            opened.add(uids.iter().copied(), at(second));
            all.extend(uids.iter().filter(|(_, count)| *count > 0).map(|(id, count)| (*id, *count, second)));
            if next(8) > 0 {
                continue;
            }
            let now = at(second);
            let mut windows: BTreeMap<_, Window> = BTreeMap::new();
            for (id, count, then) in &all {
                windows.entry(*id).or_default().add(*count, at(*then));
            }
            for key in (0..12).map(id) {
                let mine: Vec<_> = all.iter().filter(|(id, ..)| *id == key).collect();
                let decoded = Decoded {
                    count: mine.iter().map(|(_, count, _)| count).sum(),
                    last: mine.iter().map(|(.., then)| at(*then)).max(),
                };
                let lately = windows.get(&key).map(|window| window.at(now)).unwrap_or_default();
                assert_eq!(opened.of_key(key, now), (decoded, lately), "{key} at {second}");
            }
            let by_key = windows.iter().map(|(id, window)| (*id, window.at(now)));
            assert_eq!(opened.by_key(now), by_key.filter(|(_, lately)| lately.day > 0).collect::<Vec<_>>());
            let sum = windows.values().map(|window| window.at(now));
            let sum = sum.fold((0, 0), |(hour, day), lately| (hour + lately.hour, day + lately.day));
            assert_eq!(opened.all(now), Lately { hour: sum.0, day: sum.1 });
        }
    }

    #[test]
    fn keys_of_a_client_are_bounded_and_its_sum_is_not() {
        let mut opened = Opened::<32>::default();
        let id = |number: u16| KeyId::from_bytes(number.to_be_bytes()).expect("not 0");
        for number in 1..=100_u16 {
            opened.add([(id(number), 1)].into_iter(), at(i64::from(number) * 60));
        }
        let now = at(6000);
        assert_eq!((opened.all(now), opened.keys.len()), (Lately { hour: 60, day: 100 }, 32));
        let by_key = opened.by_key(now);
        assert!((69..=100).all(|number| by_key.contains(&(id(number), Lately { hour: 1, day: 1 }))));
        assert!(opened.by_key(at(200_000)).is_empty());
        opened.add((1..=1000).map(|number| (id(number), 1)), at(200_000));
        assert!(opened.latest.len() <= LATEST_MAX);
        assert_eq!((opened.all(at(200_000)), opened.keys.len()), (Lately { hour: 1000, day: 1000 }, 32));
    }
}
