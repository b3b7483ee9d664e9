//! Whether one ring may replace another.

use std::fmt;

use jiff::Timestamp;

use super::KeyRing;
use crate::ids::KeyId;

impl KeyRing {
    /// Whether `next` may replace this ring in a running replica or on disk.
    ///
    /// # Errors
    /// The first reason why it may not.
    pub fn check_successor(&self, next: &Self, now: Timestamp) -> Result<(), NotASuccessor> {
        if next.id() != self.id() {
            return Err(NotASuccessor::OtherRing);
        }
        if next.generation < self.generation {
            return Err(NotASuccessor::LowerGeneration { ours: self.generation, theirs: next.generation });
        }
        if next.generation == self.generation && next.hash != self.hash {
            return Err(NotASuccessor::SameGeneration(self.generation));
        }
        for key in &self.keys {
            let Some(later) = next.key(key.id) else { return Err(NotASuccessor::Vanished(key.id)) };
            if !key.may_become(later, now) {
                return Err(NotASuccessor::Altered(key.id));
            }
        }
        Ok(())
    }
}

/// Why one ring may not replace another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NotASuccessor {
    /// It has another ring id.
    OtherRing,
    /// It is older.
    LowerGeneration {
        /// The generation of the ring in place.
        ours: u64,
        /// The generation of the ring that would replace it.
        theirs: u64,
    },
    /// It has the same generation as ours, but other content.
    SameGeneration(u64),
    /// A key of ours is not in it.
    Vanished(KeyId),
    /// A key of ours is in it with a forbidden change.
    Altered(KeyId),
}

impl fmt::Display for NotASuccessor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OtherRing => f.write_str("it is another ring"),
            Self::LowerGeneration { ours, theirs } => write!(f, "its generation is {theirs}, lower than {ours}"),
            Self::SameGeneration(generation) => {
                write!(f, "it has the same generation {generation} with other content; `keys merge` joins the two")
            }
            Self::Vanished(id) => write!(f, "key {id} vanished from it"),
            Self::Altered(id) => write!(f, "key {id} was altered in it"),
        }
    }
}

impl std::error::Error for NotASuccessor {}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            RING_NAME,
            key::{Key, Status},
            samples::{at, id, key, ring, signer},
        },
        *,
    };

    #[test]
    fn successors_keep_every_key() {
        use Status::{Destroyed, Disabled, Enabled};
        let now = at(100);
        let before =
            [key("0001", Enabled, 0), key("0002", Disabled, 0), key("0003", Destroyed, 0), key("0004", Enabled, 200)];
        let old = ring(5, &before);
        let check = |generation, change: &dyn Fn(&mut Vec<Key>), expected| {
            let mut keys = before.to_vec();
            change(&mut keys);
            assert_eq!(old.check_successor(&ring(generation, &keys), now), expected);
        };
        check(6, &|_| {}, Ok(()));
        check(5, &|_| {}, Ok(()));
        check(9, &|keys| keys.push(key("0005", Enabled, 300)), Ok(()));
        check(6, &|keys| keys[0] = key("0001", Disabled, 0), Ok(()));
        check(6, &|keys| keys[1] = key("0002", Enabled, 0), Ok(()));
        check(6, &|keys| keys[1] = key("0002", Destroyed, 0), Ok(()));
        check(6, &|keys| keys[3] = key("0004", Enabled, 900), Ok(()));
        check(6, &|keys| keys[1] = key("0002", Disabled, 900), Ok(()));
        check(6, &|keys| keys[0].disable(now), Ok(()));
        check(6, &|keys| keys[0].disabled = Some(now), Ok(()));
        check(4, &|_| {}, Err(NotASuccessor::LowerGeneration { ours: 5, theirs: 4 }));
        check(5, &|keys| keys.truncate(4 - 1), Err(NotASuccessor::SameGeneration(5)));
        check(6, &|keys| keys.truncate(3), Err(NotASuccessor::Vanished(id("0004"))));
        check(6, &|keys| keys[2] = key("0003", Enabled, 0), Err(NotASuccessor::Altered(id("0003"))));
        check(6, &|keys| keys[0] = key("0001", Enabled, 1), Err(NotASuccessor::Altered(id("0001"))));
        let at_once = [key("0001", Enabled, 0), key("0004", Enabled, 100)];
        let moved = ring(6, &[at_once[0].clone(), key("0004", Enabled, 900)]);
        assert_eq!(ring(5, &at_once).check_successor(&moved, now), Err(NotASuccessor::Altered(id("0004"))));
        check(6, &|keys| keys[0].region = "US".into(), Err(NotASuccessor::Altered(id("0001"))));
        check(6, &|keys| keys[0].exportable = true, Err(NotASuccessor::Altered(id("0001"))));
        let mut times = before.to_vec();
        times[1].disabled = Some(now);
        let forgotten = ring(4, &times).check_successor(&old, now);
        assert_eq!(forgotten, Err(NotASuccessor::Altered(id("0002"))));
        let other = KeyRing { signer: signer(RING_NAME, 2), ..ring(6, &before) };
        assert_eq!(old.check_successor(&other, now), Err(NotASuccessor::OtherRing));
    }
}
