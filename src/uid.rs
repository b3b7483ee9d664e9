//! The UID: its text form, its bytes, and the plaintext inside. No key and no phone metadata is needed here.
//!
//! ```text
//! uid       = base32_lower_nopad( key id (2 bytes) || V (16 bytes) || C )     RFC 4648 section 6
//! plaintext = the digits of an E.164 number as a 7-byte big-endian integer    -> 40 characters
//!           | 0x80 || UTF-8 of any other text || zeros up to 7 + 10 n bytes   -> 40 + 16 n characters
//! ```
//!
//! Both forms are canonical: for every string there is at most one reading, and whatever encoding does not write,
//! decoding refuses.

use std::fmt;

use zeroize::Zeroizing;

use crate::{
    ids::KeyId,
    number::{E164, Number, Text},
};

/// Characters of the shortest UID, which every E.164 number has.
pub const CHARS_MIN: usize = 40;

/// Characters of the longest UID, that of a text of [`TEXT_BYTES_MAX`](crate::number::TEXT_BYTES_MAX) bytes.
pub const CHARS_MAX: usize = 248;

/// Characters by which UIDs grow.
const CHARS_STEP: usize = 16;

/// Bytes of the shortest plaintext, and of every E.164 number's.
const PLAINTEXT_BYTES_MIN: usize = 7;

/// Bytes by which plaintexts grow: they hide the length of a text, and leave base32 without spare bits.
const PLAINTEXT_BYTES_STEP: usize = 10;

/// First byte of a verbatim plaintext. No E.164 number begins so: 10^15 is far below 2^55.
const VERBATIM: u8 = 0x80;

const BASE32: base32::Alphabet = base32::Alphabet::Rfc4648Lower { padding: false };

/// The plaintext that goes into the UID of `number`.
pub fn to_plaintext(number: &Number<'_>) -> Zeroizing<Vec<u8>> {
    match number {
        Number::E164(number) => Zeroizing::new(number.digits().to_be_bytes()[1..].to_vec()),
        Number::Verbatim(text) => {
            let bytes = plaintext_bytes_for(text.as_str().len());
            let mut plaintext = Zeroizing::new(Vec::with_capacity(bytes));
            plaintext.push(VERBATIM);
            plaintext.extend_from_slice(text.as_str().as_bytes());
            plaintext.resize(bytes, 0);
            plaintext
        }
    }
}

/// The number in `plaintext`.
///
/// # Errors
/// [`MalformedUid`] for every plaintext that [`to_plaintext`] does not write.
pub fn from_plaintext(plaintext: &[u8]) -> Result<Number<'_>, MalformedUid> {
    if let Ok(low) = <[u8; PLAINTEXT_BYTES_MIN]>::try_from(plaintext)
        && low[0] != VERBATIM
    {
        let mut bytes = [0; 8];
        bytes[1..].copy_from_slice(&low);
        return E164::new(u64::from_be_bytes(bytes)).map(Number::E164).ok_or(MalformedUid);
    }
    let Some((&VERBATIM, padded)) = plaintext.split_first() else { return Err(MalformedUid) };
    let text_bytes = padded.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let text = str::from_utf8(&padded[..text_bytes]).map_err(|_| MalformedUid)?;
    let canonical = plaintext.len() == plaintext_bytes_for(text_bytes);
    Text::exact(text).filter(|_| canonical).map(Number::Verbatim).ok_or(MalformedUid)
}

/// Bytes of the plaintext of a verbatim text of `text_bytes`: the least 7 + 10 n that holds the mark and the text.
fn plaintext_bytes_for(text_bytes: usize) -> usize {
    let steps = (1 + text_bytes).saturating_sub(PLAINTEXT_BYTES_MIN).div_ceil(PLAINTEXT_BYTES_STEP);
    PLAINTEXT_BYTES_MIN + steps * PLAINTEXT_BYTES_STEP
}

/// A UID whose text is well-formed: the key that it names, and what that key sealed.
pub struct Uid {
    bytes: Vec<u8>,
    key_id: KeyId,
}

impl Uid {
    /// The UID of what `key_id` sealed, `V || C`.
    pub fn new(key_id: KeyId, sealed: &[u8]) -> Self {
        let mut bytes = Vec::with_capacity(2 + sealed.len());
        bytes.extend_from_slice(&key_id.to_bytes());
        bytes.extend_from_slice(sealed);
        Self { bytes, key_id }
    }

    /// Reads a UID in either letter case, with or without white space around it.
    ///
    /// # Errors
    /// [`MalformedUid`] for every other text, one with the key id `0000` included: encoding never writes it.
    pub fn parse(text: &str) -> Result<Self, MalformedUid> {
        let text = text.trim();
        let fits = (CHARS_MIN..=CHARS_MAX).contains(&text.len())
            && (text.len() - CHARS_MIN).is_multiple_of(CHARS_STEP)
            && text.bytes().all(|c| c.is_ascii_alphabetic() || (b'2'..=b'7').contains(&c));
        if !fits {
            return Err(MalformedUid);
        }
        let bytes = base32::decode(BASE32, &text.to_ascii_lowercase()).ok_or(MalformedUid)?;
        let key_id = KeyId::from_bytes([bytes[0], bytes[1]]).ok_or(MalformedUid)?;
        Ok(Self { bytes, key_id })
    }

    /// The key that made this UID.
    pub fn key_id(&self) -> KeyId {
        self.key_id
    }

    /// `V || C`, for the cipher of that key.
    pub fn sealed(&self) -> &[u8] {
        &self.bytes[2..]
    }
}

impl fmt::Display for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&base32::encode(BASE32, &self.bytes))
    }
}

/// A text that is no UID, or a plaintext that none has.
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

    fn verbatim(text: &str) -> Number<'_> {
        Number::Verbatim(Text::exact(text).expect("a text without marks"))
    }

    #[track_caller]
    fn check_length(text_bytes: usize, uid_chars: usize) {
        let plaintext = to_plaintext(&verbatim(&"x".repeat(text_bytes))).to_vec();
        let sealed = [&[0; 16][..], &plaintext].concat();
        let uid = Uid::new("3fa1".parse().expect("a key id"), &sealed).to_string();
        assert_eq!(uid.len(), uid_chars);
        let again = Uid::parse(&uid.to_uppercase()).unwrap_or_else(|_| panic!("{uid} is well-formed"));
        assert_eq!((again.sealed(), again.to_string()), (&*sealed, uid));
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
            assert!(from_plaintext(&to_plaintext(&number)) == Ok(number));
        }
        for text in ["8", "8001", "sechs.", "sieben.", "😀", &"x".repeat(TEXT_BYTES_MAX)] {
            assert!(from_plaintext(&to_plaintext(&verbatim(text))) == Ok(verbatim(text)), "{text}");
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

    #[test]
    fn texts_that_are_no_uid() {
        let uid = "h6qqaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
        assert!(Uid::parse(&format!("\t {uid} \n")).is_ok());
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
