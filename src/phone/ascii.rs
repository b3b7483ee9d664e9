//! ASCII digits, processed eight at a time.

/// Maximum digits of an integer here.
pub(super) const INTEGER_DIGITS_MAX: usize = 16;

/// 1, 10, 100 and so on, for every number of digits up to the maximum.
pub(super) const POWERS_OF_TEN: [u64; INTEGER_DIGITS_MAX + 1] = {
    let mut powers = [1; 17];
    let mut at = 1;
    while at < powers.len() {
        powers[at] = 10 * powers[at - 1];
        at += 1;
    }
    powers
};

/// The value of an ASCII digit.
#[inline]
pub(super) fn value(digit: u8) -> u8 {
    digit & 0xF
}

/// The integer formed by the first three of these ASCII digits.
#[inline]
pub(super) fn first_three(digits: &[u8]) -> Option<usize> {
    let [one, two, three] = digits.first_chunk()?.map(|digit| usize::from(value(digit)));
    Some(100 * one + 10 * two + three)
}

/// The integer formed by `digits`, at most 16; `None` if there are none, or more, or other characters.
#[inline]
pub(super) fn integer(digits: &[u8]) -> Option<u64> {
    if let (Some(first), Some(last)) = (digits.first_chunk(), digits.last_chunk()) {
        let more = digits.len() - 8;
        let before = POWERS_OF_TEN.get(..=8)?.get(more)?;
        return Some(last_of_eight(*first, 8)? * before + last_of_eight(*last, more)?);
    }
    let next = |value, digit: &u8| digit.is_ascii_digit().then(|| 10 * value + u64::from(self::value(*digit)));
    digits.iter().try_fold(0, next).filter(|_| !digits.is_empty())
}

/// The integer formed by the last `count` of eight ASCII digits.
#[inline]
fn last_of_eight(chars: [u8; 8], count: usize) -> Option<u64> {
    const ZEROS: u64 = u64::from_ne_bytes([b'0'; 8]);
    let wanted = u32::try_from(count).map_or(0, |count| u64::MAX.unbounded_shl(64 - 8 * count));
    // The first digit is the lowest byte.
    let values = (u64::from_le_bytes(chars) ^ ZEROS) & wanted;
    // Adding 118 sets the top bit of every value above 9.
    if (values | values.wrapping_add(u64::from_ne_bytes([118; 8]))) & u64::from_ne_bytes([0x80; 8]) != 0 {
        return None;
    }
    // Combine eight digits to four times two, then two times four, then one time eight.
    let values = values.wrapping_mul(10 << 8 | 1) >> 8 & 0x00FF_00FF_00FF_00FF;
    let values = values.wrapping_mul(100 << 16 | 1) >> 16 & 0x0000_FFFF_0000_FFFF;
    Some(values.wrapping_mul(10_000 << 32 | 1) >> 32)
}

/// How many digits `value` has, and the integer formed by the first three; `None` if it has fewer than three, or 20.
#[inline]
pub(super) fn count_and_first_three(value: u64) -> Option<(usize, usize)> {
    let count = value.checked_ilog10()? as usize + 1;
    Some((count, first_three_of(value, count)?))
}

/// The integer formed by the first three of `count` digits. `count` includes any zeros before `value`.
#[inline]
pub(super) fn first_three_of(value: u64, count: usize) -> Option<usize> {
    usize::try_from(value / POWERS_OF_TEN.get(count.checked_sub(3)?)?).ok()
}

/// The ASCII digits of `value`, with leading zeros. All are written at once: reading digits that were just written two
/// by two would have to wait for those writes.
#[inline]
pub(super) fn digits(value: u64) -> [u8; INTEGER_DIGITS_MAX] {
    const EIGHT: u64 = POWERS_OF_TEN[8];
    let values = u128::from(eight_digits(value / EIGHT)) | u128::from(eight_digits(value % EIGHT)) << 64;
    (values | u128::from_ne_bytes([b'0'; INTEGER_DIGITS_MAX])).to_le_bytes()
}

/// The eight digits of `value`, one in each byte, the first in the lowest byte.
#[inline]
fn eight_digits(value: u64) -> u64 {
    // Split eight digits to two times four, then four times two, then eight times one. For values this small, 5243 /
    // 2^19 and 103 / 2^10 stand for 1 / 100 and 1 / 10.
    let fours = (value / 10_000) | ((value % 10_000) << 32);
    let hundreds = (fours * 5243) >> 19 & 0x0000_007F_0000_007F;
    let twos = hundreds | (fours - 100 * hundreds) << 16;
    let tens = (twos * 103) >> 10 & 0x000F_000F_000F_000F;
    tens | (twos - 10 * tens) << 8
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random;

    #[test]
    fn digits_are_those_that_integers_are_written_with() {
        let check = |value: u64| {
            let text = value.to_string();
            assert_eq!(str::from_utf8(&digits(value)), Ok(&*format!("{value:016}")));
            let three = text.get(..3).map(|three| (text.len(), three.parse().expect("three digits")));
            assert_eq!(count_and_first_three(value), three);
        };
        (0..20_000).for_each(check);
        for power in POWERS_OF_TEN.into_iter().skip(1) {
            [power - 1, power / 3, power / 7, power / 10 * 9].into_iter().for_each(check);
        }
        let mut next = random::values(1);
        for _ in 0..20_000 {
            check(next() % 10_000_000_000_000_000);
        }
    }

    #[track_caller]
    fn check(digits: &str) {
        let expected = digits.parse().ok().filter(|_| digits.len() <= 16 && !digits.starts_with('+'));
        assert_eq!(integer(digits.as_bytes()), expected, "{digits:?}");
    }

    #[test]
    fn digits_of_any_number() {
        for digits in ["1234567890123456", "9999999999999999", "0000000000000000", "0010000000000001"] {
            (0..=digits.len()).for_each(|count| check(&digits[..count]));
        }
        check("12345678901234567");
    }

    #[test]
    fn nothing_else_in_any_place() {
        for count in 1..=16 {
            for (place, byte) in (0..count).flat_map(|place| (0..=255).map(move |byte| (place, byte))) {
                let mut digits = vec![b'7'; count];
                digits[place] = byte;
                assert_eq!(integer(&digits).is_some(), byte.is_ascii_digit(), "{byte:#x} at {place} of {count}");
            }
        }
    }
}
