//! Random values that a seed reproduces.

use std::ops::{Range, RangeInclusive};

use callveil::{ids::KeyId, keyring::KeyRing};

use crate::rings;

/// SplitMix64 (Steele, Lea and Flood, 2014).
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`, which must not be 0. A bias of 2^-40 does not matter here.
    pub fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(end).unwrap()).unwrap()
    }

    /// One of the numbers in `range`; the start if the range is empty.
    pub fn within(&mut self, range: RangeInclusive<i64>) -> i64 {
        let span = u64::try_from((range.end() - range.start()).max(0)).unwrap();
        range.start() + i64::try_from(self.next() % (span + 1)).unwrap()
    }

    /// True in this percentage of cases.
    pub fn percent(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// One of these, if there are any.
    pub fn pick<'t, T>(&mut self, things: &'t [T]) -> Option<&'t T> {
        if things.is_empty() { None } else { Some(&things[self.below(things.len())]) }
    }
}

/// The plain ring with a new id for its newest key, chosen by the seed instead of the system. The id matters: on a tie,
/// the key with the greater one is the primary. `before` is the ring's predecessor, if any.
pub fn with_seeded_id(plain: &[u8], before: Option<&KeyRing>, random: &mut Random) -> Vec<u8> {
    let mut text = rings::text(plain).to_owned();
    let at = text.rfind("\"id\": \"").unwrap() + "\"id\": \"".len();
    let id = loop {
        let number = u16::try_from(random.below(0x1_0000)).unwrap();
        let id = KeyId::from_bytes(number.to_be_bytes());
        if let Some(id) = id.filter(|id| before.is_none_or(|ring| ring.key(*id).is_none())) {
            break id.to_string();
        }
    };
    text.replace_range(at..at + id.len(), &id);
    rings::signed_text(&text)
}

/// The seeds of a test with `runs` runs. CALLVEIL_RUNS overrides the number; CALLVEIL_SEED selects a single seed.
pub fn seeds(runs: u64) -> Range<u64> {
    let number = |name| std::env::var(name).ok().map(|text: String| text.parse::<u64>().expect("a number"));
    match number("CALLVEIL_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("CALLVEIL_RUNS").unwrap_or(runs),
    }
}

/// Whether a person is looking at one seed, and wants all details.
pub fn is_replay() -> bool {
    std::env::var_os("CALLVEIL_SEED").is_some()
}

/// The seed of a run. It is printed if the run panics.
pub struct Run(pub u64);

impl Drop for Run {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("to see this run alone: CALLVEIL_SEED={}", self.0);
        }
    }
}
