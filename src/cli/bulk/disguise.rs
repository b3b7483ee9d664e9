//! How bytes go through UTF-8 that a conversion would lose: as characters of a private plane, or as what is no UTF-8.

use memchr::memchr;

/// The first of 256 characters of a private plane, each of which stands for a byte of a character that would be written
/// otherwise than it was read.
pub(super) const DISGUISE: u32 = 0x10_FF00;

/// The two bytes that begin the UTF-8 of those characters, and the least third one.
const DISGUISE_UTF8: ([u8; 2], u8) = ([0xF4, 0x8F], 0xBC);

/// What begins the two bytes, never in UTF-8, that stand for one which is part of no character. Its lowest bit is that
/// byte's highest.
pub(super) const NO_CHARACTER: u8 = 0xFE;

/// Adds a byte of a character that would be written otherwise than it was read.
pub(super) fn push_disguised(byte: u8, text: &mut Vec<u8>) {
    let disguise = char::from_u32(DISGUISE + u32::from(byte)).expect("the plane has 256 such characters");
    text.extend_from_slice(disguise.encode_utf8(&mut [0; 4]).as_bytes());
}

/// Adds a byte that is part of no character.
pub(super) fn push_no_character(byte: u8, text: &mut Vec<u8>) {
    text.extend_from_slice(&[NO_CHARACTER | byte >> 7, 0x80 | byte]);
}

/// Where the first character in `text` is that stands for a byte.
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
