//! ASCII digits, eight at once.

/// 1, 10, 100 and so on, for all numbers of digits that are read here.
pub(super) const POWERS_OF_TEN: [u64; 17] = {
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

/// The integer that the first three of these ASCII digits are.
#[inline]
pub(super) fn first_three(digits: &[u8]) -> Option<usize> {
    let [one, two, three] = digits.first_chunk()?.map(|digit| usize::from(value(digit)));
    Some(100 * one + 10 * two + three)
}

/// The integer that `digits` are, at most 16; `None` where they are none, more, or anything but ASCII digits.
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

/// The integer that the last `count` of eight ASCII digits are.
#[inline]
fn last_of_eight(chars: [u8; 8], count: usize) -> Option<u64> {
    const ZEROS: u64 = u64::from_ne_bytes([b'0'; 8]);
    let wanted = u32::try_from(count).map_or(0, |count| u64::MAX.unbounded_shl(64 - 8 * count));
    // The first digit is the lowest byte.
    let values = (u64::from_le_bytes(chars) ^ ZEROS) & wanted;
    // Adding 118 brings all that is above 9 to the top bit.
    if (values | values.wrapping_add(u64::from_ne_bytes([118; 8]))) & u64::from_ne_bytes([0x80; 8]) != 0 {
        return None;
    }
    // Eight digits to four times two, two times four, one time eight.
    let values = values.wrapping_mul(10 << 8 | 1) >> 8 & 0x00FF_00FF_00FF_00FF;
    let values = values.wrapping_mul(100 << 16 | 1) >> 16 & 0x0000_FFFF_0000_FFFF;
    Some(values.wrapping_mul(10_000 << 32 | 1) >> 32)
}

#[cfg(test)]
mod tests {
    use super::*;

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
