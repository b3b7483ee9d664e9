//! Reads and writes numbers in their usual spellings as libphonenumber does, but without it.
//!
//! The table is an automaton over digits. It is derived from the metadata by walking the automata of libphonenumber's
//! patterns (`tests/it/fast_path/`). It accepts the numbers whose digits are read as they are, with nothing removed. It
//! says which of them are valid, which are at least possible, and which are written with a trunk 0. A node holds the place of the next node for each digit.
//! At a leaf, only the number of remaining digits matters, not which digits they are.

use std::{array, ops::RangeInclusive, sync::OnceLock};

use super::{E164_DIGITS_MAX, ascii};
use crate::number::E164;

/// Maximum characters of a spelling.
const CHARS_MAX: usize = 32;

/// 16-bit integers, little endian. First the number of leaves, the number of leaves and nodes, the number of regions,
/// and the root; then the leaves, nodes and regions.
#[derive(Clone, Copy)]
struct Table(&'static [[u8; 2]]);

/// Integers before the leaves.
const HEADER: usize = 4;

/// Integers of a leaf: four sets of how many digits may remain. In the first, numbers are valid; in the second, they are
/// possible and not valid; in the third, UIDToPhone writes just their digits; in the fourth, it writes a 0 before the
/// national number.
const LEAF: usize = 4;

/// Integers of a node.
const NODE: usize = 10;

/// Integers of a region: its code, its country code, the root of its national numbers, and whether a trunk 0 is
/// removed.
const REGION: usize = 4;

impl Table {
    #[inline]
    fn at(self, place: usize) -> u16 {
        u16::from_le_bytes(self.0[place])
    }

    /// Walks from `place` to a leaf or to the end of the digits. Returns the place reached and the remaining digits.
    #[inline]
    fn walk(self, mut place: u16, mut digits: &[u8]) -> (u16, &[u8]) {
        let leaves = self.at(0);
        while place >= leaves
            && let [first, rest @ ..] = digits
        {
            let node = HEADER + LEAF * usize::from(leaves) + NODE * usize::from(place - leaves);
            (place, digits) = (self.at(node + usize::from(ascii::value(*first))), rest);
        }
        (place, digits)
    }
}

/// The numbers that begin at one root of the table.
struct Numbers {
    table: Table,
    /// Where the first three digits lead. This is one lookup. A walk is several, each waiting for the one before, and
    /// how many differs from number to number, which a processor cannot predict.
    begun: Box<[Begun; 1000]>,
}

#[derive(Clone, Copy)]
struct Begun {
    place: u16,
    /// How many of the three digits were used to get there.
    digits: u8,
}

/// What is known of a number: its leaf, and how many digits remain there.
#[derive(Clone, Copy)]
struct Facts {
    table: Table,
    leaf: usize,
    left: usize,
}

impl Numbers {
    fn new(table: Table, root: u16) -> Self {
        let begun = |three: usize| {
            let digits = [three / 100, three / 10 % 10, three % 10].map(|value| b"0123456789"[value]);
            let (mut place, mut behind) = (root, 0);
            for digit in digits.chunks(1) {
                let (next, left) = table.walk(place, digit);
                behind += u8::from(left.is_empty());
                place = next;
            }
            Begun { place, digits: behind }
        };
        Self { table, begun: Box::new(array::from_fn(begun)) }
    }

    /// What is known of the number with these ASCII digits.
    #[inline]
    fn find(&self, digits: &[u8]) -> Option<Facts> {
        let begun = self.begun.get(ascii::first_three(digits)?)?;
        let (place, left) = self.table.walk(begun.place, digits.get(usize::from(begun.digits)..)?);
        self.facts(place, left.len(), digits.len())
    }

    /// The same for a number of `count` digits: `value`, perhaps with leading zeros.
    #[inline]
    fn find_value(&self, value: u64, count: usize) -> Option<Facts> {
        let begun = self.begun.get(ascii::first_three_of(value, count)?)?;
        if begun.place < self.table.at(0) {
            return self.facts(begun.place, count - usize::from(begun.digits), count);
        }
        let digits = ascii::digits(value);
        self.find(&digits[digits.len().checked_sub(count)?..])
    }

    #[inline]
    fn facts(&self, place: u16, left: usize, count: usize) -> Option<Facts> {
        let is_leaf = place < self.table.at(0) && count <= E164_DIGITS_MAX;
        is_leaf.then(|| Facts { table: self.table, leaf: HEADER + LEAF * usize::from(place), left })
    }
}

impl Facts {
    #[inline]
    fn is_valid(self) -> bool {
        self.has(0)
    }

    /// Whether it is possible, and not valid.
    #[inline]
    fn is_possible(self) -> bool {
        self.has(1)
    }

    /// Whether the national format has just its digits. What is not valid is always written so.
    #[inline]
    fn is_plain(self) -> bool {
        self.has(2)
    }

    /// Whether the national format is a 0 and its digits. The 0 is removed when that is read again.
    #[inline]
    fn is_behind_zero(self) -> bool {
        self.has(3)
    }

    #[inline]
    fn has(self, at: usize) -> bool {
        self.table.at(self.leaf + at) >> self.left & 1 == 1
    }
}

/// The common numbers of all regions.
pub(super) struct FastPaths {
    table: Table,
    /// The numbers with country codes.
    explicit: Numbers,
    /// The regions that were asked for so far, in the table's order.
    of_regions: Box<[OnceLock<FastPath>]>,
}

/// The common numbers, as one region reads them.
pub(super) struct FastPath {
    explicit: &'static Numbers,
    /// The numbers after the region's own country code, which are most of the explicit ones. Their lookup by three
    /// digits starts after the code, so it gets further.
    behind_own_code: Numbers,
    national: Numbers,
    country_code: u64,
    code_digits: usize,
    /// The range of the first three digits of numbers with the region's own country code.
    own: RangeInclusive<usize>,
    strips_zero: bool,
}

/// How the national format of a number is written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Written {
    Plain,
    BehindZero,
}

impl FastPaths {
    /// The fast paths of `table`, the bytes of a file.
    pub(super) fn new(table: &'static [u8]) -> Self {
        let table = Table(table.as_chunks().0);
        let of_regions = (0..table.at(2)).map(|_| OnceLock::new()).collect();
        Self { table, explicit: Numbers::new(table, table.at(3)), of_regions }
    }

    /// The fast path of the region with this code (ISO 3166-1 alpha-2).
    pub(super) fn of_region(&'static self, region: &str) -> Option<&'static FastPath> {
        let code = u16::from_le_bytes(region.as_bytes().try_into().ok()?);
        let (table, leaves) = (self.table, usize::from(self.table.at(0)));
        let regions = HEADER + LEAF * leaves + NODE * (usize::from(table.at(1)) - leaves);
        let (path, place) =
            self.of_regions.iter().zip((regions..).step_by(REGION)).find(|(_, place)| table.at(*place) == code)?;
        let [country_code, root, strips_zero] = [1, 2, 3].map(|at| table.at(place + at));
        Some(path.get_or_init(|| {
            let code = country_code.to_string();
            let (behind_code, _) = table.walk(table.at(3), code.as_bytes());
            let more = [100, 10, 1][code.len() - 1];
            let first = usize::from(country_code) * more;
            FastPath {
                explicit: &self.explicit,
                behind_own_code: Numbers::new(table, behind_code),
                national: Numbers::new(table, root),
                country_code: country_code.into(),
                code_digits: code.len(),
                own: first..=first + more - 1,
                strips_zero: strips_zero == 1,
            }
        }))
    }
}

impl FastPath {
    /// Reads `text` if it is a common number: digits, perhaps with spaces and dashes between them; either bare, or
    /// after a trunk 0, or with `+` or `00` and the country code. Bare numbers are read only if they are valid.
    #[inline]
    pub(super) fn read(&self, text: &str) -> Option<E164> {
        self.find(text).map(|(number, _)| number)
    }

    /// Whether `text` is a common number, and valid.
    pub(super) fn is_valid(&self, text: &str) -> bool {
        self.find(text).is_some_and(|(_, facts)| facts.is_valid())
    }

    #[inline]
    fn find(&self, text: &str) -> Option<(E164, Facts)> {
        let (text, is_explicit) = match text.as_bytes() {
            [b'+', text @ ..] | [b'0', b'0', text @ ..] => (text, true),
            text @ [b'0'..=b'9', ..] => (text, false),
            _ => return None,
        };
        let mut joined = [0; CHARS_MAX];
        let (digits, value) = match ascii::integer(text) {
            Some(value) => (text, value),
            None => {
                let digits = join(text, &mut joined)?;
                (digits, ascii::integer(digits)?)
            }
        };
        if is_explicit { self.explicit(digits, value) } else { self.national(digits, value) }
    }

    #[inline]
    fn explicit(&self, digits: &[u8], value: u64) -> Option<(E164, Facts)> {
        let own = self.own.contains(&ascii::first_three(digits)?);
        let facts =
            if own { self.behind_own_code.find(&digits[self.code_digits..])? } else { self.explicit.find(digits)? };
        // At home, a number that is not valid may be a hotline.
        let is_read = facts.is_valid() || (!own && facts.is_possible());
        if is_read { E164::new(value).map(|number| (number, facts)) } else { None }
    }

    #[inline]
    fn national(&self, digits: &[u8], value: u64) -> Option<(E164, Facts)> {
        let facts = self.national.find(digits).filter(|facts| facts.is_valid())?;
        let is_behind_zero = self.strips_zero && digits.first() == Some(&b'0');
        let before = ascii::POWERS_OF_TEN.get(digits.len() - usize::from(is_behind_zero))?;
        E164::new(self.country_code * before + value).map(|number| (number, facts))
    }

    /// How the national format of `number`, which has `count` digits, is written, if known. Its digits are then those
    /// of the E.164 form.
    #[inline]
    pub(super) fn written(&self, number: E164, count: usize) -> Option<Written> {
        let (value, behind_code) = (number.digits(), count.checked_sub(self.code_digits)?);
        let end = ascii::POWERS_OF_TEN.get(behind_code)?;
        let national = value.checked_sub(self.country_code * end).filter(|national| national < end);
        let facts = match national {
            Some(national) => self.behind_own_code.find_value(national, behind_code)?,
            None => self.explicit.find_value(value, count)?,
        };
        match (facts.is_plain(), facts.is_behind_zero()) {
            (true, _) => Some(Written::Plain),
            (false, true) => Some(Written::BehindZero),
            (false, false) => None,
        }
    }
}

/// The digits of `text`, joined in `joined`, if there are only spaces and dashes between them.
fn join<'j>(text: &[u8], joined: &'j mut [u8; CHARS_MAX]) -> Option<&'j [u8]> {
    let (mut count, mut is_common) = (0, text.len() <= CHARS_MAX && text.last()?.is_ascii_digit());
    // This does not branch on the byte, since the places of dashes differ from number to number.
    for byte in text {
        joined[count % CHARS_MAX] = *byte;
        count += usize::from(byte.is_ascii_digit());
        is_common &= byte.is_ascii_digit() | matches!(byte, b' ' | b'-');
    }
    if is_common { joined.get(..count) } else { None }
}
