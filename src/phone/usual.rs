//! Numbers in their usual spellings, read without libphonenumber, and yet as it reads them.
//!
//! A national number of so many digits that begins with certain three is *usual* where none of libphonenumber's patterns
//! for its region, be it a way of dialling abroad, a national prefix or a carrier's, can match at its beginning,
//! whatever digits follow. Then parsing is nothing but putting the country code before it. Which digits these are is a
//! table, derived from the metadata by walking the automata of those patterns (`tests/it/usual.rs`), for every region
//! that is the main one of its country code.

use super::POWERS_OF_TEN;
use crate::number::E164;

/// Characters of the longest spelling that is looked at.
const CHARS_MAX: usize = 32;

/// Digits of the longest number, with `00` before it.
const DIGITS_MAX: usize = 17;

/// Digits by which usual numbers are told.
const PREFIX_DIGITS: usize = 3;

/// A set of the numbers from 000 to 999.
type Prefixes = [u64; 16];

/// The usual numbers of one region.
pub(super) struct Usual {
    /// The country code, such as 86.
    pub(super) country_code: u64,
    code_digits: usize,
    /// By the number of digits of the national number.
    by_length: [Option<Box<OfLength>>; 16],
}

struct OfLength {
    /// Those that are read as they stand.
    read: Prefixes,
    /// Those whose national format has no other digits than they have.
    plain: Prefixes,
}

impl Usual {
    /// What `table` says of `region`. Each of its lines is a region, its country code, a number of digits, and the
    /// prefixes of national numbers that are read as they stand, and of those that are written so, as ranges.
    pub(super) fn of_region(table: &str, region: &str) -> Option<Self> {
        let mut usual = None;
        for line in table.lines().filter(|line| line.split('\t').next() == Some(region)) {
            let mut fields = line.split('\t').skip(1);
            let mut field = || fields.next().expect("the table is a file of this repository");
            let (code, digits) = (field(), field().parse::<usize>().expect("a number of digits"));
            let of_length = OfLength { read: prefixes(field()), plain: prefixes(field()) };
            let usual = usual.get_or_insert_with(|| Self {
                country_code: code.parse().expect("a country code"),
                code_digits: code.len(),
                by_length: Default::default(),
            });
            usual.by_length[digits] = Some(Box::new(of_length));
        }
        usual
    }

    /// The number that `text` is, where it is a usual one: digits, perhaps with spaces and dashes between them, bare or
    /// with `+` or `00` and the country code.
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
        let national = match (is_after_plus, rest.starts_with(b"00")) {
            (true, _) => self.after_country_code(digits)?,
            (false, true) => self.after_country_code(&digits[2..])?,
            (false, false) => digits,
        };
        let of_length = self.by_length.get(national.len())?.as_ref()?;
        if national[0] == 0 || !contains(&of_length.read, national) {
            return None;
        }
        let value = national.iter().fold(self.country_code, |value, digit| value * 10 + u64::from(*digit));
        E164::new(value)
    }

    /// Whether the digits of `number` are all that is dialled after `00`.
    pub(super) fn is_plain(&self, number: E164) -> bool {
        let value = number.digits();
        let length = POWERS_OF_TEN.partition_point(|power| *power <= value).saturating_sub(self.code_digits);
        let Some(Some(of_length)) = self.by_length.get(length) else { return false };
        let (code, national) = (value / POWERS_OF_TEN[length], value % POWERS_OF_TEN[length]);
        let prefix = national / POWERS_OF_TEN[length - PREFIX_DIGITS];
        let (read, plain) = (has(&of_length.read, prefix), has(&of_length.plain, prefix));
        code == self.country_code && read && plain
    }

    fn after_country_code<'d>(&self, digits: &'d [u8]) -> Option<&'d [u8]> {
        let (code, national) = digits.split_at_checked(self.code_digits)?;
        let code = code.iter().fold(0, |value, digit| value * 10 + u64::from(*digit));
        (code == self.country_code).then_some(national)
    }
}

fn contains(prefixes: &Prefixes, national: &[u8]) -> bool {
    let prefix = national[..PREFIX_DIGITS].iter().fold(0, |value, digit| value * 10 + u64::from(*digit));
    has(prefixes, prefix)
}

fn has(prefixes: &Prefixes, prefix: u64) -> bool {
    prefixes.get(usize::try_from(prefix / 64).unwrap_or(usize::MAX)).is_some_and(|bits| bits >> (prefix % 64) & 1 == 1)
}

/// The set of these ranges, such as `130-178,180`.
fn prefixes(ranges: &str) -> Prefixes {
    let mut set = [0; 16];
    for range in ranges.split(',').filter(|range| !range.is_empty()) {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let number = |text: &str| text.parse::<usize>().expect("a prefix");
        for prefix in number(first)..=number(last) {
            set[prefix / 64] |= 1_u64 << (prefix % 64);
        }
    }
    set
}
