//! Decimal digits of every script (Unicode general category Nd), as Unicode 16.0 has them.
//!
//! The table is part of the rules `callveil-2/libphonenumber-9.0.42`: it decides what counts as a digit, so what is a
//! number, and so UIDs. A later Unicode may add digits, but these must not change UIDs. So the table is our own.

/// The zero of each run of ten digits, in ascending order.
#[rustfmt::skip]
const ZEROS: [u32; 76] = [
    0x0030, 0x0660, 0x06F0, 0x07C0, 0x0966, 0x09E6, 0x0A66, 0x0AE6, 0x0B66, 0x0BE6, 0x0C66, 0x0CE6, 0x0D66, 0x0DE6,
    0x0E50, 0x0ED0, 0x0F20, 0x1040, 0x1090, 0x17E0, 0x1810, 0x1946, 0x19D0, 0x1A80, 0x1A90, 0x1B50, 0x1BB0, 0x1C40,
    0x1C50, 0xA620, 0xA8D0, 0xA900, 0xA9D0, 0xA9F0, 0xAA50, 0xABF0, 0xFF10, 0x104A0, 0x10D30, 0x10D40, 0x11066,
    0x110F0, 0x11136, 0x111D0, 0x112F0, 0x11450, 0x114D0, 0x11650, 0x116C0, 0x116D0, 0x116DA, 0x11730, 0x118E0,
    0x11950, 0x11BF0, 0x11C50, 0x11D50, 0x11DA0, 0x11F50, 0x16130, 0x16A60, 0x16AC0, 0x16B50, 0x16D70, 0x1CCF0,
    0x1D7CE, 0x1D7D8, 0x1D7E2, 0x1D7EC, 0x1D7F6, 0x1E140, 0x1E2F0, 0x1E4F0, 0x1E5F1, 0x1E950, 0x1FBF0,
];

/// The value of a decimal digit of any script, 0 to 9; `None` for every other character.
pub(crate) fn digit_value(c: char) -> Option<u8> {
    let c = u32::from(c);
    let run = ZEROS.partition_point(|zero| *zero <= c).checked_sub(1)?;
    u8::try_from(c - ZEROS[run]).ok().filter(|value| *value <= 9)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_ascend_and_do_not_overlap() {
        assert!(ZEROS.windows(2).all(|pair| pair[0] + 10 <= pair[1]));
    }

    #[test]
    fn digits_of_any_script_have_their_value() {
        for (c, value) in [('0', 0), ('9', 9), ('٣', 3), ('७', 7), ('８', 8), ('𝟡', 9), ('🯹', 9)] {
            assert_eq!(digit_value(c), Some(value), "{c}");
        }
        for c in ['a', '²', '①', '十', 'Ⅷ', '/', ':', '\u{10FFFF}', '\0'] {
            assert_eq!(digit_value(c), None, "{c}");
        }
    }
}
