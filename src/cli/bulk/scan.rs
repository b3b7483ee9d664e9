//! Looks outside the mapped columns for cells that hold something like a phone number of the key's region.
//!
//! Looking at every byte would cost too much. A number with its separators takes at least `digits_min` bytes in a row,
//! so looking at one byte in every `digits_min` is enough to find it.

use std::{collections::BTreeMap, ops::Range};

use memchr::memchr3;
use zeroize::Zeroizing;

use crate::phone::{Numbering, digits::digit_value};

/// Labels that are counted separately; all others are counted together.
const LABELS_MAX: usize = 64;

/// Maximum bytes of a stretch: a longer one is no phone number.
const STRETCH_BYTES_MAX: usize = 64;

/// Where in a row something was found.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Label {
    /// In this cell of CSV, counted from 0.
    Cell(usize),
    /// After this key of JSON.
    Key(String),
    /// Somewhere else.
    Elsewhere,
}

/// How far the labels of a row are known.
#[derive(Default)]
pub(super) struct Labelled {
    /// The place of the last find, or the beginning of its cell.
    pub(super) from: usize,
    /// The label of the last find, if there was one.
    pub(super) label: Option<Label>,
}

/// How many cells look like numbers, by label.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Left(BTreeMap<Label, u64>);

impl Left {
    pub(super) fn count(&mut self, label: Label, cells: u64) {
        let is_known = self.0.contains_key(&label);
        let label = if is_known || self.0.len() < LABELS_MAX { label } else { Label::Elsewhere };
        *self.0.entry(label).or_default() += cells;
    }

    pub(super) fn add(&mut self, other: &Self) {
        other.0.iter().for_each(|(label, cells)| self.count(label.clone(), *cells));
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Label, u64)> {
        self.0.iter().map(|(label, cells)| (label, *cells))
    }

    pub(super) fn total(&self) -> u64 {
        self.0.values().sum()
    }
}

/// The scan for numbers.
pub(super) struct Scan<'t> {
    numbering: &'t Numbering,
    /// The bytes that phone numbers are written with.
    parts: [bool; 256],
    digits_min: usize,
}

impl<'t> Scan<'t> {
    /// A scan of rows whose cells are separated by `delimiter`, if that is given.
    pub(super) fn new(numbering: &'t Numbering, delimiter: Option<u8>) -> Self {
        let mut parts = [false; 256];
        b"0123456789 +-./()[]".iter().for_each(|part| parts[usize::from(*part)] = true);
        if let Some(delimiter) = delimiter {
            parts[usize::from(delimiter)] = false;
        }
        Self { numbering, parts, digits_min: numbering.digits_min() }
    }

    /// Whether `bytes` may have digits outside ASCII: full-width, Arabic or Persian ones.
    pub(super) fn may_have_wide_digits(bytes: &[u8]) -> bool {
        let [full_width, arabic, persian] = WIDE_DIGITS;
        memchr3(full_width, arabic, persian, bytes).is_some()
    }

    /// Like [`Scan::look`], for digits that may be outside ASCII.
    pub(super) fn look_wide(&self, row: &[u8], place: Range<usize>, mut hit: impl FnMut(usize)) {
        let text = match str::from_utf8(&row[place.clone()]) {
            Ok(text) if Self::may_have_wide_digits(text.as_bytes()) => text,
            _ => return self.look(row, place, hit),
        };
        let folded = Zeroizing::new(text.chars().map(folded).collect::<Vec<u8>>());
        let places: Vec<usize> = text.char_indices().map(|(at, _)| place.start + at).collect();
        self.look(&folded, 0..folded.len(), |at| hit(places[at]));
    }

    /// Calls `hit` with the place of each number in these bytes of a row.
    pub(super) fn look(&self, row: &[u8], place: Range<usize>, mut hit: impl FnMut(usize)) {
        let is_part = |at: usize| self.parts[usize::from(row[at])];
        let (mut floor, mut at) = (place.start, place.start + self.digits_min - 1);
        while at < place.end {
            if !is_part(at) {
                floor = at + 1;
                at += self.digits_min;
                continue;
            }
            let start = (floor..at).rev().take_while(|at| is_part(*at)).last().unwrap_or(at);
            let end = (at..place.end).find(|at| !is_part(*at)).unwrap_or(place.end);
            if self.has_number(&row[start..end]) {
                hit(start);
            }
            floor = end;
            at = end + self.digits_min;
        }
    }

    /// Whether a stretch of digits and separators contains a number.
    fn has_number(&self, text: &[u8]) -> bool {
        if text.len() > STRETCH_BYTES_MAX || count_digits(text) < self.digits_min {
            return false;
        }
        let mut pieces = text.split(|byte| *byte == b' ').filter(|piece| !piece.is_empty());
        let has_date = pieces.clone().any(is_date);
        (!has_date && self.reads(text)) || pieces.any(|piece| !is_date(piece) && self.reads(piece))
    }

    fn reads(&self, text: &[u8]) -> bool {
        if count_digits(text) < self.digits_min || is_fraction(text) || is_address(text) {
            return false;
        }
        let digits: Vec<u8> = text.iter().copied().filter(|byte| byte.is_ascii_digit() || *byte == b'+').collect();
        str::from_utf8(&digits).is_ok_and(|digits| self.numbering.is_common(digits))
    }
}

/// The first bytes in UTF-8 of full-width (from U+FF10), Arabic (from U+0660) and Persian (from U+06F0) digits.
const WIDE_DIGITS: [u8; 3] = [0xEF, 0xD9, 0xDB];

/// The ASCII form of a character that numbers are written with. For others: NUL, which no number contains.
fn folded(c: char) -> u8 {
    let ascii = match c {
        '\u{3000}' => ' ',
        '\u{FF08}' => '(',
        '\u{FF09}' => ')',
        '\u{FF0B}' => '+',
        '\u{2010}'..='\u{2015}' | '\u{2212}' | '\u{30FC}' | '\u{FF0D}' => '-',
        c => c,
    };
    digit_value(ascii).map_or_else(|| u8::try_from(ascii).ok().filter(u8::is_ascii).unwrap_or(0), |value| b'0' + value)
}

fn count_digits(text: &[u8]) -> usize {
    text.iter().filter(|byte| byte.is_ascii_digit()).count()
}

/// Whether a piece is a date or part of one: groups of 4, 2 and 2 digits in some order.
fn is_date(piece: &[u8]) -> bool {
    let mut groups: [usize; 3] = [0; 3];
    let mut count = 0;
    for group in piece.split(|byte| b"-/.".contains(byte)) {
        if count == 3 || !group.iter().all(u8::is_ascii_digit) {
            return false;
        }
        groups[count] = group.len();
        count += 1;
    }
    count == 3 && matches!(groups, [4, 1..=2, 1..=2] | [1..=2, 1..=2, 4 | 2])
}

/// Whether a piece is digits, one point, and digits.
fn is_fraction(piece: &[u8]) -> bool {
    let points = piece.iter().filter(|byte| **byte == b'.').count();
    points == 1 && piece.iter().all(|byte| byte.is_ascii_digit() || *byte == b'.')
}

/// Whether a piece is an IPv4 address.
fn is_address(piece: &[u8]) -> bool {
    let groups = piece.split(|byte| *byte == b'.');
    groups.clone().count() == 4 && groups.into_iter().all(|group| matches!(group.len(), 1..=3))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::phone::NUMBERS_NEWEST;

    #[track_caller]
    fn check(region: &str, row: &str, places: &[usize]) {
        let numbering = Numbering::new(NUMBERS_NEWEST, region).expect("known");
        let mut found = Vec::new();
        Scan::new(&numbering, Some(b',')).look_wide(row.as_bytes(), 0..row.len(), |at| found.push(at));
        assert_eq!(found, places, "{row:?}");
    }

    #[test]
    fn numbers_are_found_wherever_they_stand() {
        for before in 0..24 {
            for number in ["13988888888", "+86 139 8888 8888", "(0755) 8601-3388", "0755-86013388", "008613988888888"] {
                let row = format!("{}{number},b", "x,".repeat(before));
                check("CN", &row, &[2 * before]);
                let row = format!("{}：{number}；", "注".repeat(before));
                check("CN", &row, &[3 * before + 3]);
            }
        }
        check("CN", "13988888888,13788888888", &[0, 12]);
        check("CN", "2026-11-26 13988888888", &[0]);
        check("CN", "Ann13988888888", &[3]);
        check("HK", "a,51234567,b", &[2]);
        for before in 0..24 {
            let begin = "注,".repeat(before);
            for number in [
                "１３９８８８８８８８８",
                "＋８６　１３９－８８８８－８８８８",
                "٠٧٥٥٨٦٠١٣٣٨٨",
                "۱۳۹۸۸۸۸۸۸۸۸",
                "1３9８８８８８８88",
                "（０７５５）８６０１－３３８８",
            ] {
                check("CN", &format!("{begin}{number},b"), &[begin.len()]);
            }
        }
    }

    #[test]
    fn what_is_no_number_is_not_taken_for_one() {
        for row in [
            "2026-11-26 10:11:12",
            "192.168.100.200",
            "1234567.13988888",
            "6222021234567890123",
            "110101199003072316",
            "550e8400-e29b-41d4-a716-446655440000",
            "1767225600000",
            "２０２６－１１－２６",
            "１２３４５６７，８９０",
            "",
            "139",
        ] {
            check("CN", row, &[]);
        }
    }
}
