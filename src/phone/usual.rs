//! Valid numbers in their usual spellings, read and written without libphonenumber, and yet as it reads and writes them.
//!
//! A table, derived from the metadata by walking the automata of libphonenumber's patterns (`tests/it/usual/`), is itself an
//! automaton over digits. It takes the numbers that are valid, whose digits are read as they stand since nothing could be
//! taken off them, and says which of them are written with a trunk 0. A node is the place of the next one for each digit; a
//! leaf tells it all by how many digits are left, whatever they are.

use super::E164_DIGITS_MAX;
use crate::number::E164;

/// Characters of the longest spelling that is looked at.
const CHARS_MAX: usize = 32;

/// Digits of the longest number, with `00` before it.
const DIGITS_MAX: usize = 17;

/// Integers of 16 bits, little endian: how many leaves there are, how many leaves and nodes, how many regions, the root;
/// then leaves, nodes and regions.
#[derive(Clone, Copy)]
pub(super) struct Table(&'static [u8]);

/// Integers before the leaves.
const HEADER: usize = 4;

/// Integers of a leaf: sets of numbers of digits. Numbers with so many left are valid; written as they stand; behind a 0.
const LEAF: usize = 3;

/// Integers of a node.
const NODE: usize = 10;

/// Integers of a region: its code, its country code, the root of its national numbers, and whether a trunk 0 is taken off.
const REGION: usize = 4;

/// What is known of a number.
#[derive(Clone, Copy, Default)]
struct Facts {
    is_valid: bool,
    /// The national format has its digits, and no others.
    is_plain: bool,
    /// The national format has its digits behind a 0, which is taken off when read again.
    is_behind_zero: bool,
}

impl Table {
    pub(super) const fn new(table: &'static [u8]) -> Self {
        Self(table)
    }

    fn at(self, place: usize) -> u16 {
        u16::from_le_bytes([self.0[2 * place], self.0[2 * place + 1]])
    }

    /// What is known of the number of these digits, from `root` on.
    #[inline]
    fn look_up(self, root: u16, digits: &[u8]) -> Facts {
        if digits.len() > E164_DIGITS_MAX {
            return Facts::default();
        }
        let leaves = self.at(0);
        let (mut place, mut left) = (root, digits);
        while place >= leaves {
            let [first, rest @ ..] = left else { return Facts::default() };
            let node = HEADER + LEAF * usize::from(leaves) + NODE * usize::from(place - leaves);
            (place, left) = (self.at(node + usize::from(*first)), rest);
        }
        let leaf = HEADER + LEAF * usize::from(place);
        let has = |at: usize| self.at(leaf + at) >> left.len() & 1 == 1;
        Facts { is_valid: has(0), is_plain: has(1), is_behind_zero: has(2) }
    }
}

/// The usual numbers, as one region reads them.
pub(super) struct Usual {
    table: Table,
    country_code: u64,
    root: u16,
    strips_zero: bool,
}

/// How a number is written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Written {
    Plain,
    BehindZero,
}

impl Usual {
    /// Those of the region of this code, ISO 3166-1 alpha-2.
    pub(super) fn of_region(table: Table, region: &str) -> Option<Self> {
        let code = u16::from_le_bytes(region.as_bytes().try_into().ok()?);
        let (leaves, all) = (usize::from(table.at(0)), usize::from(table.at(1)));
        let regions = HEADER + LEAF * leaves + NODE * (all - leaves);
        let mut places = (0..usize::from(table.at(2))).map(|at| regions + REGION * at);
        let place = places.find(|place| table.at(*place) == code)?;
        let [country_code, root, strips_zero] = [1, 2, 3].map(|at| table.at(place + at));
        Some(Self { table, country_code: country_code.into(), root, strips_zero: strips_zero == 1 })
    }

    /// The number that `text` is, where it is a usual one: digits, perhaps with spaces and dashes between them, bare, behind
    /// a trunk 0, or with `+` or `00` and the country code.
    pub(super) fn read(&self, text: &str) -> Option<E164> {
        let bytes = text.as_bytes();
        if bytes.len() > CHARS_MAX {
            return None;
        }
        let (rest, is_after_plus) = match bytes.strip_prefix(b"+") {
            Some(rest) => (rest, true),
            None => (bytes, false),
        };
        let mut digits = [0; DIGITS_MAX];
        let mut count = 0;
        for byte in rest {
            let digit = byte.wrapping_sub(b'0');
            if digit <= 9 {
                *digits.get_mut(count)? = digit;
                count += 1;
            } else if count == 0 || !matches!(byte, b' ' | b'-') {
                return None;
            }
        }
        if !rest.last()?.is_ascii_digit() {
            return None;
        }
        let digits = &digits[..count];
        match (is_after_plus, rest.starts_with(b"00")) {
            (true, _) => self.explicit(digits),
            (false, true) => self.explicit(&digits[2..]),
            (false, false) => self.national(digits),
        }
    }

    fn explicit(&self, digits: &[u8]) -> Option<E164> {
        let facts = self.table.look_up(self.table.at(3), digits);
        facts.is_valid.then(|| E164::new(value(0, digits))).flatten()
    }

    #[inline]
    fn national(&self, digits: &[u8]) -> Option<E164> {
        let facts = self.table.look_up(self.root, digits);
        let national = match digits {
            [0, rest @ ..] if self.strips_zero => rest,
            _ => digits,
        };
        facts.is_valid.then(|| E164::new(value(self.country_code, national))).flatten()
    }

    /// How the national format of `number` is, where that is known: its digits are those of its E.164 form.
    pub(super) fn written(&self, number: &str) -> Option<Written> {
        let mut digits = [0; DIGITS_MAX];
        let digits = digits.get_mut(..number.len())?;
        digits.iter_mut().zip(number.bytes()).for_each(|(digit, byte)| *digit = byte - b'0');
        let facts = self.table.look_up(self.table.at(3), digits);
        match (facts.is_plain, facts.is_behind_zero) {
            (true, _) => Some(Written::Plain),
            (false, true) => Some(Written::BehindZero),
            (false, false) => None,
        }
    }
}

/// The integer that `digits` are behind those of `before`.
fn value(before: u64, digits: &[u8]) -> u64 {
    digits.iter().fold(before, |value, digit| value * 10 + u64::from(*digit))
}
