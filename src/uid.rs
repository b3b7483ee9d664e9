//! The UID: its text form, its bytes, and the plaintext inside. This module needs no key and no phone metadata.
//!
//! ```text
//! uid       = base32_lower_nopad( key id (2 bytes) || V (16 bytes) || C )     RFC 4648 section 6
//! plaintext = the digits of an E.164 number as a 7-byte big-endian integer    -> 40 characters
//!           | 0x80 || UTF-8 of any other text || zeros up to 7 + 10 n bytes   -> 40 + 16 n characters
//! ```
//!
//! Both forms are canonical: every string has at most one reading, and decoding refuses everything that encoding does
//! not write.

use std::fmt;

use zeroize::Zeroizing;

use crate::{
    ids::KeyId,
    number::{E164, NUMBER_BYTES, Number, Text},
};

/// Characters of the shortest UID. Every E.164 number has a UID of this length.
pub const CHARS_MIN: usize = 40;

/// Characters of the longest UID, which a text of [`TEXT_BYTES_MAX`](crate::number::TEXT_BYTES_MAX) bytes has.
pub const CHARS_MAX: usize = 248;

/// UIDs grow in steps of this many characters.
const CHARS_STEP: usize = 16;

/// Bytes of `V || C` of a number.
const SEALED_NUMBER_BYTES: usize = 16 + NUMBER_BYTES;

/// Plaintexts grow in steps of this many bytes. The steps hide the length of a text, and leave base32 without spare
/// bits.
const PLAINTEXT_BYTES_STEP: usize = 10;

/// First byte of a verbatim plaintext. No E.164 number begins with it: 10^15 is far below 2^55.
const VERBATIM: u8 = 0x80;

const BASE32: base32::Alphabet = base32::Alphabet::Rfc4648Lower { padding: false };

/// The plaintext of a UID. Numbers and short texts share one length; other texts are longer.
pub enum Plaintext {
    /// For a UID of [`CHARS_MIN`] characters.
    Short([u8; NUMBER_BYTES]),
    /// For a longer UID.
    Long(Zeroizing<Vec<u8>>),
}

impl Plaintext {
    /// The plaintext that goes into the UID of `number`.
    #[inline]
    pub fn of(number: &Number<'_>) -> Self {
        match number {
            Number::E164(number) => {
                let [_, low @ ..] = number.digits().to_be_bytes();
                Self::Short(low)
            }
            Number::Hotline(hotline) => Self::of_text(hotline.as_str()),
            Number::Verbatim(text) => Self::of_text(text.as_str()),
        }
    }

    fn of_text(text: &str) -> Self {
        let bytes = plaintext_bytes_for(text.len());
        let mut plaintext = Zeroizing::new(Vec::with_capacity(bytes));
        plaintext.push(VERBATIM);
        plaintext.extend_from_slice(text.as_bytes());
        plaintext.resize(bytes, 0);
        match plaintext.as_slice().try_into() {
            Ok(short) => Self::Short(short),
            Err(_) => Self::Long(plaintext),
        }
    }
}

/// The number in `plaintext`. A hotline comes back as the text of its digits.
///
/// # Errors
/// [`MalformedUid`] for every plaintext that [`Plaintext::of`] does not write.
#[inline]
pub fn from_plaintext(plaintext: &[u8]) -> Result<Number<'_>, MalformedUid> {
    match *plaintext {
        [first, a, b, c, d, e, f] if first != VERBATIM => {
            let digits = u64::from_be_bytes([0, first, a, b, c, d, e, f]);
            match E164::new(digits) {
                Some(number) => Ok(Number::E164(number)),
                None => Err(MalformedUid),
            }
        }
        _ => from_plaintext_of_text(plaintext),
    }
}

#[cold]
fn from_plaintext_of_text(plaintext: &[u8]) -> Result<Number<'_>, MalformedUid> {
    let Some((&VERBATIM, padded)) = plaintext.split_first() else { return Err(MalformedUid) };
    let text_bytes = padded.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let text = str::from_utf8(&padded[..text_bytes]).map_err(|_| MalformedUid)?;
    let canonical = plaintext.len() == plaintext_bytes_for(text_bytes);
    Text::exact(text).filter(|_| canonical).map(Number::Verbatim).ok_or(MalformedUid)
}

/// Bytes of the plaintext of a verbatim text of `text_bytes`: the least 7 + 10 n that holds the mark and the text.
fn plaintext_bytes_for(text_bytes: usize) -> usize {
    let steps = (1 + text_bytes).saturating_sub(NUMBER_BYTES).div_ceil(PLAINTEXT_BYTES_STEP);
    NUMBER_BYTES + steps * PLAINTEXT_BYTES_STEP
}

/// A UID whose text is well-formed: the id of its key, and what that key sealed, `V || C`.
pub struct Uid {
    /// The key that made this UID.
    pub key_id: KeyId,
    /// What that key sealed.
    pub sealed: Sealed,
}

/// `V || C`, for the cipher of a key.
#[derive(Clone, PartialEq, Eq)]
pub enum Sealed {
    /// `V || C` of a [`Plaintext::Short`].
    Short([u8; SEALED_NUMBER_BYTES]),
    /// `V || C` of a [`Plaintext::Long`].
    Long(Vec<u8>),
}

impl Uid {
    /// Reads a UID in either letter case, with or without white space around it.
    ///
    /// # Errors
    /// [`MalformedUid`] for any other text, including one with the key id `0000`, which encoding never writes.
    pub fn parse(text: &str) -> Result<Self, MalformedUid> {
        // A text of this length that has white space around it is not a UID.
        let text = if text.len() == CHARS_MIN { text } else { text.trim() };
        if text.len() == CHARS_MIN {
            let mut sealed = [0; SEALED_NUMBER_BYTES];
            let key_id = read_short(text, &mut sealed).ok_or(MalformedUid)?;
            return Ok(Self { key_id, sealed: Sealed::Short(sealed) });
        }
        let fits = (CHARS_MIN..=CHARS_MAX).contains(&text.len())
            && (text.len() - CHARS_MIN).is_multiple_of(CHARS_STEP)
            && text.bytes().all(|c| c.is_ascii_alphabetic() || (b'2'..=b'7').contains(&c));
        if !fits {
            return Err(MalformedUid);
        }
        let bytes = base32::decode(BASE32, &text.to_ascii_lowercase()).ok_or(MalformedUid)?;
        let key_id = KeyId::from_bytes([bytes[0], bytes[1]]).ok_or(MalformedUid)?;
        Ok(Self { key_id, sealed: Sealed::Long(bytes[2..].to_vec()) })
    }

    /// Adds the text of this UID to `text`.
    pub fn push_to(&self, text: &mut String) {
        match &self.sealed {
            Sealed::Short(sealed) => push_short(self.key_id, &[*sealed], text),
            Sealed::Long(sealed) => {
                let [first, second] = self.key_id.to_bytes();
                text.push_str(&base32::encode(BASE32, &[&[first, second], sealed.as_slice()].concat()));
            }
        }
    }
}

/// Reads a UID of [`CHARS_MIN`] characters with nothing around it. Returns the id of its key, and writes to `sealed`
/// what that key sealed. Callers fill several of these before they read the first, since reading bytes just written in
/// pieces stalls.
#[inline]
pub fn read_short(text: &str, sealed: &mut [u8; SEALED_NUMBER_BYTES]) -> Option<KeyId> {
    decode_short(text.as_bytes().try_into().ok()?, sealed).and_then(KeyId::from_bytes)
}

/// UIDs whose text is assembled before it is copied. Copying bytes just written in pieces stalls.
const AT_ONCE: usize = 8;

/// Appends the UIDs that `key_id` made, one for each of `sealed`. All have [`CHARS_MIN`] characters.
pub fn push_short(key_id: KeyId, sealed: &[[u8; SEALED_NUMBER_BYTES]], text: &mut String) {
    let mut bytes = [0; SHORT_BYTES];
    bytes[..2].copy_from_slice(&key_id.to_bytes());
    for sealed in sealed.chunks(AT_ONCE) {
        let mut chars = [[0; CHARS_MIN]; AT_ONCE];
        for (chars, sealed) in chars.iter_mut().zip(sealed) {
            bytes[2..].copy_from_slice(sealed);
            *chars = encode_short(bytes);
        }
        text.push_str(str::from_utf8(chars[..sealed.len()].as_flattened()).expect("base32 is ASCII"));
    }
}

impl fmt::Display for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        self.push_to(&mut text);
        f.write_str(&text)
    }
}

/// Bytes of the shortest UID: its key id, and `V || C` of a number.
const SHORT_BYTES: usize = 2 + SEALED_NUMBER_BYTES;

/// `byte` in each of the eight places of a word.
const fn eight(byte: u8) -> u64 {
    u64::from_ne_bytes([byte; 8])
}

/// Base32 (RFC 4648 section 6) of five groups of five bytes. The eight characters of a group are computed together.
fn encode_short(bytes: [u8; SHORT_BYTES]) -> [u8; CHARS_MIN] {
    let mut chars = [0; CHARS_MIN];
    for (chars, bytes) in chars.as_chunks_mut::<8>().0.iter_mut().zip(bytes.as_chunks::<5>().0) {
        let [a, b, c, d, e] = bytes.map(u64::from);
        let bits = a << 32 | b << 24 | c << 16 | d << 8 | e;
        // Splits 40 bits into two times 20, then four times 10, then eight times 5.
        let bits = (bits >> 20) << 32 | (bits & 0xF_FFFF);
        let bits = (bits & 0x000F_FC00_000F_FC00) << 6 | (bits & 0x0000_03FF_0000_03FF);
        let values = (bits & 0x03E0_03E0_03E0_03E0) << 3 | (bits & 0x001F_001F_001F_001F);
        // 0 to 25 are letters, 26 to 31 the digits from 2 on. Adding 102 sets the top bit for the digits.
        let is_digit = (values + eight(128 - 26)) >> 7 & eight(1);
        *chars = (values + eight(b'a') - is_digit * u64::from(b'a' + 26 - b'2')).to_be_bytes();
    }
    chars
}

/// The reverse, in either letter case. Returns the key id, and writes to `sealed` what was sealed; `None` if a
/// character is not in base32.
#[inline]
fn decode_short(chars: &[u8; CHARS_MIN], sealed: &mut [u8; SEALED_NUMBER_BYTES]) -> Option<[u8; 2]> {
    let mut groups = [0; CHARS_MIN / 8];
    let mut all_good = eight(0x80);
    for (group, chars) in groups.iter_mut().zip(chars.as_chunks::<8>().0) {
        let chars = u64::from_be_bytes(*chars);
        let lower = (chars & eight(0x7F)) | eight(0x20);
        // The top bit of each place says whether its character in `lower`, which is below 128, is at least `least`.
        let at_least = |least: u8| lower + eight(128 - least);
        let is_letter = at_least(b'a') & !at_least(b'z' + 1);
        // The bit for lower case makes digits of some control characters, which do not count.
        let is_digit = at_least(b'2') & !at_least(b'7' + 1) & (chars << 2);
        all_good &= (is_letter | is_digit) & !chars;
        let values = lower - (is_letter >> 7 & eight(1)) * u64::from(b'a' + 26 - b'2') - eight(b'2' - 26);
        let bits = (values & 0x1F00_1F00_1F00_1F00) >> 3 | (values & 0x001F_001F_001F_001F);
        let bits = (bits & 0x03FF_0000_03FF_0000) >> 6 | (bits & 0x0000_03FF_0000_03FF);
        *group = (bits >> 32) << 20 | (bits & 0xF_FFFF);
    }
    // Five times 40 bits hold 16 of the key id, 128 of V and 56 of C.
    let [a, b, c, d, e] = groups;
    let v = u128::from(a) << 104 | u128::from(b) << 64 | u128::from(c << 24) | u128::from(d >> 16);
    let (v_bytes, c_bytes) = sealed.split_at_mut(SEALED_NUMBER_BYTES - NUMBER_BYTES);
    v_bytes.copy_from_slice(&v.to_be_bytes());
    c_bytes.copy_from_slice(&((d & 0xFFFF) << 40 | e).to_be_bytes()[1..]);
    let [.., first, second] = (a >> 24).to_be_bytes();
    (all_good == eight(0x80)).then_some([first, second])
}

/// A text that is not a UID, or a plaintext that no UID has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MalformedUid;

impl fmt::Display for MalformedUid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "a UID is {CHARS_MIN} letters a-z and digits 2-7, or {CHARS_STEP} more for each step in length, at most {CHARS_MAX}"
        )
    }
}

impl std::error::Error for MalformedUid {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::number::TEXT_BYTES_MAX;
    use crate::random;

    fn verbatim(text: &str) -> Number<'_> {
        Number::Verbatim(Text::exact(text).expect("a text without marks"))
    }

    fn plaintext(number: &Number<'_>) -> Vec<u8> {
        match Plaintext::of(number) {
            Plaintext::Short(short) => short.to_vec(),
            Plaintext::Long(long) => long.to_vec(),
        }
    }

    #[track_caller]
    fn check_length(text_bytes: usize, uid_chars: usize) {
        let plaintext = plaintext(&verbatim(&"x".repeat(text_bytes)));
        let sealed = [&[0; 16][..], &plaintext].concat();
        let sealed = sealed.as_slice().try_into().map_or(Sealed::Long(sealed), Sealed::Short);
        let uid = Uid { key_id: "3fa1".parse().expect("a key id"), sealed: sealed.clone() }.to_string();
        assert_eq!(uid.len(), uid_chars);
        let again = Uid::parse(&uid.to_uppercase()).unwrap_or_else(|_| panic!("{uid} is well-formed"));
        assert!(again.sealed == sealed && again.to_string() == uid);
    }

    #[test]
    fn lengths_grow_in_steps() {
        for (text, uid) in [(1, 40), (6, 40), (7, 56), (16, 56), (17, 72), (126, 232), (127, 248), (128, 248)] {
            check_length(text, uid);
        }
        assert_eq!(2 + 16 + plaintext_bytes_for(TEXT_BYTES_MAX), CHARS_MAX * 5 / 8);
    }

    #[test]
    fn plaintexts_come_back() {
        for digits in [1, 8_613_988_888_888, 999_999_999_999_999] {
            let number = Number::E164(E164::new(digits).expect("at most 15 digits"));
            assert!(from_plaintext(&plaintext(&number)) == Ok(number));
        }
        for text in ["8", "8001", "sechs.", "sieben.", "😀", &"x".repeat(TEXT_BYTES_MAX)] {
            assert!(from_plaintext(&plaintext(&verbatim(text))) == Ok(verbatim(text)), "{text}");
        }
    }

    #[test]
    fn plaintexts_have_one_form() {
        let padded = |text: &[u8], bytes: usize| {
            let mut plaintext = [&[VERBATIM], text].concat();
            plaintext.resize(bytes, 0);
            plaintext
        };
        for plaintext in [
            vec![],
            vec![0; 7],                                            // the number 0
            1_000_000_000_000_000_u64.to_be_bytes()[1..].to_vec(), // 16 digits
            vec![0x7f; 7],
            vec![0x81, 0, 0, 0, 0, 0, 1],
            vec![0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            padded(b"", 7),
            padded(b"x", 6),
            padded(b"x", 17),
            padded(b"x\0y", 7),
            padded(b" x", 7),
            padded(b"x\xff", 7),
            padded("\u{202A}x".as_bytes(), 7),
            padded(&[b'x'; 129], 137),
        ] {
            assert!(from_plaintext(&plaintext) == Err(MalformedUid), "{plaintext:x?}");
        }
    }

    fn decoded(chars: [u8; CHARS_MIN]) -> Option<[u8; SHORT_BYTES]> {
        let mut bytes = [0; SHORT_BYTES];
        let (id, sealed) = bytes.split_first_chunk_mut::<2>().expect("it is longer");
        *id = decode_short(&chars, sealed.try_into().expect("that is the rest"))?;
        Some(bytes)
    }

    #[test]
    fn eight_characters_at_once_are_base32() {
        let mut next = random::values(1);
        for _ in 0..20_000 {
            let bytes = std::array::from_fn(|_| next().to_be_bytes()[0]);
            let chars = encode_short(bytes);
            assert_eq!(str::from_utf8(&chars), Ok(base32::encode(BASE32, &bytes).as_str()));
            assert_eq!(decoded(chars), Some(bytes));
            assert_eq!(decoded(chars.map(|c| c.to_ascii_uppercase())), Some(bytes));
        }
        // Every byte in every place: only bytes of the alphabet are accepted.
        for (place, byte) in (0..CHARS_MIN).flat_map(|place| (0..=255_u8).map(move |byte| (place, byte))) {
            let mut chars = [b'a'; CHARS_MIN];
            chars[place] = byte;
            let is_base32 = byte.is_ascii_alphabetic() || (b'2'..=b'7').contains(&byte);
            assert_eq!(decoded(chars).is_some(), is_base32, "{byte:#x}");
        }
    }

    #[test]
    fn texts_that_are_no_uid() {
        let uid = "h6qqaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
        assert!(Uid::parse(&format!("\t {uid} \n")).is_ok());
        let words = "a UID is 40 letters a-z and digits 2-7, or 16 more for each step in length, at most 248";
        assert_eq!(MalformedUid.to_string(), words);
        for text in [
            "",
            "h6qq",
            &uid[1..],
            &format!("{uid}a"),
            &format!("{uid}{uid}"),
            &uid.replace('q', "1"),
            &uid.replace('6', "="),
            &uid.replace('6', " "),
            &uid.replace("qqa", "ｑ"),
            &uid.replace("h6qq", "aaaa"), // the key id 0000
            &"a".repeat(CHARS_MAX + CHARS_STEP),
        ] {
            assert!(Uid::parse(text).is_err(), "{text}");
        }
    }
}
