//! Counts of UIDs that were opened: in the last hour and the last day, and since the start.
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

/// Keys of a ring whose latest counts are kept apart, in at most 20 KiB.
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
struct Window {
    minutes: Pieces<MINUTES>,
    quarters: Pieces<QUARTERS>,
}

impl Window {
    /// Counts `count` more at `now`.
    fn add(&mut self, count: u64, now: Timestamp) {
        let (minute, quarter) = pieces(now);
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        self.minutes.add(count, minute);
        self.quarters.add(count, quarter);
    }

    /// The counts as of `now`.
    fn at(&self, now: Timestamp) -> Lately {
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

/// How much was decoded with one key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Decoded {
    /// UIDs that were decoded since the start.
    pub count: u64,
    /// When the last of them was decoded.
    pub last: Option<Timestamp>,
}

/// UIDs that were opened, in all and by their key. Of more than `KEYS_MAX` keys it knows those that were used last.
#[derive(Debug, Default)]
pub struct Opened<const KEYS_MAX: usize> {
    all: Window,
    keys: BTreeMap<KeyId, Box<(Decoded, Window)>>,
    /// What was opened in the minute of `now` and is in no other field yet, by the index of the key in its ring. To look
    /// at the windows of 200 keys for each batch took a tenth of the time of one with 1,000 UIDs.
    latest: Vec<Option<OfKey>>,
    /// When something was last added.
    now: Timestamp,
}

/// UIDs of one key that were opened in one minute.
#[derive(Clone, Copy, Debug)]
struct OfKey {
    id: KeyId,
    count: u64,
    last: Timestamp,
}

impl<const KEYS_MAX: usize> Opened<KEYS_MAX> {
    /// Counts UIDs that were opened at `now`. `uids` has the index of each key in its ring, its id, and their number.
    pub fn add(&mut self, uids: impl Iterator<Item = (usize, KeyId, u64)>, now: Timestamp) {
        if pieces(self.now) != pieces(now) {
            self.settle();
        }
        self.now = now;
        for (index, id, count) in uids.filter(|(.., count)| *count > 0) {
            let more = OfKey { id, count, last: now };
            if index >= LATEST_MAX {
                self.settle_key(more);
                continue;
            }
            if index >= self.latest.len() {
                self.latest.resize(index + 1, None);
            }
            match &mut self.latest[index] {
                Some(known) if known.id == id => {
                    known.count += count;
                    known.last = known.last.max(now);
                }
                place => {
                    // After a reload, another key may have had this index.
                    if let Some(other) = place.replace(more) {
                        self.settle_key(other);
                    }
                }
            }
        }
    }

    /// Adds the latest counts to the others.
    fn settle(&mut self) {
        let mut latest = mem::take(&mut self.latest);
        // Known keys come first: no new key may take the place of one that was used in this minute as well.
        let (known, new): (Vec<_>, Vec<_>) =
            latest.drain(..).flatten().partition(|latest| self.keys.contains_key(&latest.id));
        known.into_iter().chain(new).for_each(|latest| self.settle_key(latest));
        self.latest = latest;
    }

    /// Adds what was opened with one key. Of too many keys, the one that was used the longest ago is forgotten.
    fn settle_key(&mut self, OfKey { id, count, last }: OfKey) {
        self.all.add(count, last);
        let (decoded, window) = &mut **self.keys.entry(id).or_default();
        decoded.count += count;
        decoded.last = decoded.last.max(Some(last));
        window.add(count, last);
        if self.keys.len() > KEYS_MAX {
            let oldest = self.keys.iter().min_by_key(|(_, of_key)| of_key.0.last).map(|(id, _)| *id);
            oldest.map(|id| self.keys.remove(&id));
        }
    }

    /// The counts over all keys, as of `now`.
    pub fn all(&mut self, now: Timestamp) -> Lately {
        self.settle();
        self.all.at(now)
    }

    /// The counts of each known key that was used in the last day, as of `now`.
    pub fn by_key(&mut self, now: Timestamp) -> Vec<(KeyId, Lately)> {
        self.settle();
        let keys = self.keys.iter().map(|(id, of_key)| (*id, of_key.1.at(now)));
        keys.filter(|(_, lately)| lately.day > 0).collect()
    }

    /// What was opened of the key `id`, if it is known: since the start, and as of `now`.
    pub fn of_key(&mut self, id: KeyId, now: Timestamp) -> (Decoded, Lately) {
        self.settle();
        self.keys.get(&id).map(|of_key| (of_key.0, of_key.1.at(now))).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random;

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

    fn id(number: usize) -> KeyId {
        KeyId::from_bytes(u16::try_from(number).expect("small").to_be_bytes()).expect("not 0")
    }

    #[test]
    fn counts_by_key_are_what_a_list_of_all_would_say() {
        let (mut opened, mut all, mut random) = (Opened::<{ usize::MAX }>::default(), Vec::new(), random::values(1));
        let mut next = |below: u64| usize::try_from((random() >> 33) % below).expect("it is small");
        let mut second = 0;
        for _ in 0..3000 {
            second += match next(40) {
                0 => 5 * 3600,
                1..=4 => -100,
                _ => i64::try_from(next(50)).expect("it is small"),
            };
            // Any keys in any order, even twice, and some of which nothing was opened. Reloads change their indexes.
            let ring = next(2) * 250;
            let uids: Vec<_> = (0..next(6)).map(|_| (next(12), next(4) as u64)).collect();
            opened.add(uids.iter().map(|(key, count)| (ring + key, id(1 + key), *count)), at(second));
            all.extend(uids.iter().filter(|(_, count)| *count > 0).map(|(key, count)| (id(1 + key), *count, second)));
            if next(8) > 0 {
                continue;
            }
            let now = at(second);
            let (mut windows, mut sum) = (BTreeMap::<_, Window>::new(), Window::default());
            for (id, count, then) in &all {
                windows.entry(*id).or_default().add(*count, at(*then));
                sum.add(*count, at(*then));
            }
            let by_key = windows.iter().map(|(id, window)| (*id, window.at(now)));
            let by_key: Vec<_> = by_key.filter(|(_, lately)| lately.day > 0).collect();
            // Each of these has to take the latest counts into account by itself.
            match next(3) {
                0 => assert_eq!(opened.by_key(now), by_key, "at {second}"),
                1 => assert_eq!(opened.all(now), sum.at(now), "at {second}"),
                _ => {
                    let key = id(1 + next(12));
                    let mine = || all.iter().filter(|(id, ..)| *id == key);
                    let count = mine().map(|(_, count, _)| count).sum();
                    let decoded = Decoded { count, last: mine().map(|(.., then)| at(*then)).max() };
                    let lately = windows.get(&key).map(|window| window.at(now)).unwrap_or_default();
                    assert_eq!(opened.of_key(key, now), (decoded, lately), "{key} at {second}");
                }
            }
        }
    }

    #[test]
    fn batches_of_one_minute_share_a_short_list() {
        let mut opened = Opened::<32>::default();
        for second in [0, 59, 31] {
            opened.add([5, 3, 4].into_iter().map(|key| (key - 3, id(key), 1)), at(second));
            assert_eq!((opened.latest.len(), opened.keys.len()), (3, 0));
        }
        opened.add([(0, id(3), 1)].into_iter(), at(60));
        assert_eq!((opened.latest.len(), opened.keys.len()), (1, 3));
        let decoded = Decoded { count: 3, last: Some(at(59)) };
        assert_eq!(opened.of_key(id(5), at(60)), (decoded, Lately { hour: 3, day: 3 }));
        // Rings may have more keys than the list has room for.
        opened.add((0..1000).map(|index| (index, id(1 + index), 1)), at(60));
        assert_eq!((opened.latest.len(), opened.keys.len()), (LATEST_MAX, 32));
        assert_eq!(opened.all(at(60)).day, 1010);
    }

    #[test]
    fn the_keys_used_last_are_known() {
        let mut opened = Opened::<3>::default();
        let mut add = |keys: &[usize], second| {
            opened.add(keys.iter().map(|key| (*key, id(*key), 1)), at(second));
            opened.by_key(at(second)).iter().map(|(id, lately)| (id.to_bytes()[1], lately.hour)).collect::<Vec<_>>()
        };
        assert_eq!(add(&[9, 8, 7], 0), [(7, 1), (8, 1), (9, 1)]);
        assert_eq!(add(&[9, 8], 60), [(7, 1), (8, 2), (9, 2)]);
        // A new key takes the place of the one that was used the longest ago.
        assert_eq!(add(&[1], 70), [(1, 1), (8, 2), (9, 2)]);
        assert_eq!(add(&[9], 80), [(1, 1), (8, 2), (9, 3)]);
        // All known keys are used again together with a new one: one of them is forgotten.
        let known = add(&[2, 1, 8, 9], 120);
        assert!(known.len() == 3 && known.iter().filter(|(_, hour)| *hour > 1).count() >= 2, "{known:?}");
        // In a minute, the order of use counts.
        opened.add([(1, id(1), 1)].into_iter(), at(239));
        for (key, second) in [(2, 230), (3, 231), (4, 232), (5, 233)] {
            opened.add([(key, id(key), 1)].into_iter(), at(second));
        }
        let known: Vec<_> = opened.by_key(at(239)).into_iter().map(|(id, _)| id).collect();
        assert_eq!(known, [id(1), id(4), id(5)]);
    }

    #[test]
    fn keys_of_a_client_are_bounded_and_its_sum_is_not() {
        let mut opened = Opened::<32>::default();
        for number in 1..=100 {
            opened.add([(number, id(number), 1)].into_iter(), at(60 * i64::try_from(number).expect("it is small")));
        }
        let now = at(6000);
        assert_eq!((opened.all(now), opened.keys.len()), (Lately { hour: 60, day: 100 }, 32));
        let by_key = opened.by_key(now);
        assert!((69..=100).all(|number| by_key.contains(&(id(number), Lately { hour: 1, day: 1 }))));
        assert!(opened.by_key(at(200_000)).is_empty());
    }
}
