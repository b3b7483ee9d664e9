//! How bytes that a conversion would lose are carried in UTF-8: as characters of a private-use plane, or as bytes that
//! are invalid in UTF-8.

use memchr::memchr;

/// The first of 256 private-use characters. Each stands for one byte of a character that would not be written back as
/// it was read.
pub(super) const DISGUISE: u32 = 0x10_FF00;

/// The first two bytes of these characters in UTF-8, and the smallest third byte.
const DISGUISE_UTF8: ([u8; 2], u8) = ([0xF4, 0x8F], 0xBC);

/// The first of the two bytes that stand for a byte outside any character. It never occurs in UTF-8. Its lowest bit is
/// the highest bit of that byte.
pub(super) const NO_CHARACTER: u8 = 0xFE;

/// Adds a byte of a character that would not be written back as it was read.
pub(super) fn push_disguised(byte: u8, text: &mut Vec<u8>) {
    let disguise = char::from_u32(DISGUISE + u32::from(byte)).expect("the plane has 256 such characters");
    text.extend_from_slice(disguise.encode_utf8(&mut [0; 4]).as_bytes());
}

/// Adds a byte that belongs to no character.
pub(super) fn push_no_character(byte: u8, text: &mut Vec<u8>) {
    text.extend_from_slice(&[NO_CHARACTER | byte >> 7, 0x80 | byte]);
}

/// The index of the first character in `text` that stands for a byte.
pub(super) fn find_disguise(text: &[u8]) -> Option<usize> {
    let (start, third) = DISGUISE_UTF8;
    let mut from = 0;
    while let Some(at) = memchr(start[0], &text[from..]) {
        let at = from + at;
        if text[at..].starts_with(&start) && text.get(at + 2).is_some_and(|byte| *byte >= third) {
            return Some(at);
        }
        from = at + 1;
    }
    None
}
