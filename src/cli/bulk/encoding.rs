//! Files that are not UTF-8. They are converted to UTF-8 on the way in and back on the way out, byte for byte. Bytes
//! that a conversion would lose are carried along in two disguises (`disguise.rs`).

use std::{
    fmt,
    io::{self, Read},
    str::FromStr,
};

use zeroize::Zeroizing;

use super::{
    block::ROW_BYTES_MAX,
    disguise::{DISGUISE, NO_CHARACTER, find_disguise, push_disguised, push_no_character},
};

/// The character encoding of a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Encoding {
    /// UTF-8. A row that is not valid UTF-8 fails on its own.
    #[default]
    Utf8,
    /// UTF-16 in the byte order of its mark; little-endian without one.
    Utf16,
    Utf16Le,
    Utf16Be,
    /// An encoding of the WHATWG's standard.
    Other(&'static encoding_rs::Encoding),
}

/// Encodings that are refused: one whose state outlasts a line end, and one that decodes nothing.
const REFUSED: [&encoding_rs::Encoding; 2] = [encoding_rs::ISO_2022_JP, encoding_rs::REPLACEMENT];

impl FromStr for Encoding {
    type Err = NotAnEncoding;

    fn from_str(name: &str) -> Result<Self, NotAnEncoding> {
        let name = name.trim().to_ascii_lowercase();
        match name.as_str() {
            "utf-16" | "utf16" => return Ok(Self::Utf16),
            "utf-16le" | "utf16le" => return Ok(Self::Utf16Le),
            "utf-16be" | "utf16be" => return Ok(Self::Utf16Be),
            _ => {}
        }
        // People write latin-1, big-5 and cp936 for what the WHATWG calls latin1, big5 and gbk.
        let without_hyphens = name.replace('-', "");
        let label = if without_hyphens == "cp936" { "gbk" } else { &without_hyphens };
        let known = |label: &str| encoding_rs::Encoding::for_label(label.as_bytes());
        match known(&name).or_else(|| known(label)).filter(|encoding| !REFUSED.contains(encoding)) {
            Some(encoding) if encoding == encoding_rs::UTF_8 => Ok(Self::Utf8),
            Some(encoding) => Ok(Self::Other(encoding)),
            None => Err(NotAnEncoding),
        }
    }
}

impl fmt::Display for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Utf8 => "UTF-8",
            Self::Utf16 | Self::Utf16Le | Self::Utf16Be => "UTF-16",
            Self::Other(encoding) => encoding.name(),
        })
    }
}

/// A name that is no encoding's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotAnEncoding;

impl fmt::Display for NotAnEncoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an encoding is utf-8, gb18030, gbk, big5, utf-16, utf-16be, latin-1, shift_jis, windows-1252 …")
    }
}

impl std::error::Error for NotAnEncoding {}

/// The second, third or fourth byte of a character is never below this, so a text can be cut after any such byte.
const TRAIL_MIN: u8 = 0x30;

/// This many UTF-16 units in a row from U+3000 and U+3100 to U+3900 never occur in text. They are digits, shifted by a
/// lost byte.
const SHIFTED_DIGITS_MIN: usize = 4;

impl Encoding {
    /// This encoding, with the byte order that the first bytes of a file show.
    pub(super) fn told_by(self, head: &[u8]) -> Self {
        match self {
            Self::Utf16 if head.starts_with(b"\xfe\xff") => Self::Utf16Be,
            Self::Utf16 => Self::Utf16Le,
            other => other,
        }
    }

    /// Whether results in this encoding also begin with a byte order mark.
    pub(super) fn wants_mark(self) -> bool {
        matches!(self, Self::Utf16 | Self::Utf16Le | Self::Utf16Be)
    }

    /// Decodes these bytes and adds them to `text`, as UTF-8 and disguises.
    fn decode(self, bytes: &[u8], text: &mut Vec<u8>) {
        match self {
            Self::Utf8 => text.extend_from_slice(bytes),
            Self::Utf16 | Self::Utf16Le => decode_utf16(bytes, u16::from_le_bytes, text),
            Self::Utf16Be => decode_utf16(bytes, u16::from_be_bytes, text),
            Self::Other(encoding) => {
                if decode_whole(encoding, bytes, text) {
                    return;
                }
                for line in bytes.split_inclusive(|byte| b"\r\n".contains(byte)) {
                    if !decode_whole(encoding, line, text) {
                        decode_by_character(encoding, line, text);
                    }
                }
            }
        }
    }

    /// How many of these bytes can be decoded regardless of what follows.
    fn whole(self, bytes: &[u8]) -> usize {
        let is_high = |unit: &[u8], at: usize| unit.get(at).is_some_and(|byte| (0xD8..0xDC).contains(byte));
        let even = bytes.len() & !1;
        let last = &bytes[even.saturating_sub(2)..even];
        match self {
            Self::Utf8 => bytes.len(),
            Self::Utf16 | Self::Utf16Le => even - if is_high(last, 1) { 2 } else { 0 },
            Self::Utf16Be => even - if is_high(last, 0) { 2 } else { 0 },
            Self::Other(_) => bytes.iter().rposition(|byte| *byte < TRAIL_MIN).map_or(0, |last| last + 1),
        }
    }

    /// Encodes `text` and adds it to `bytes`.
    fn encode(self, text: &str, bytes: &mut Vec<u8>) -> Result<(), Unwritable> {
        match self {
            Self::Utf8 => bytes.extend_from_slice(text.as_bytes()),
            Self::Utf16 | Self::Utf16Le => bytes.extend(text.encode_utf16().flat_map(u16::to_le_bytes)),
            Self::Utf16Be => bytes.extend(text.encode_utf16().flat_map(u16::to_be_bytes)),
            Self::Other(encoding) => match encoding.encode(text) {
                (encoded, _, false) => bytes.extend_from_slice(&encoded),
                (_, _, true) => return Err(Unwritable(self)),
            },
        }
        Ok(())
    }
}

/// Adds `bytes` if they are text that would be encoded to the same bytes again. Returns whether they are.
fn decode_whole(encoding: &'static encoding_rs::Encoding, bytes: &[u8], text: &mut Vec<u8>) -> bool {
    let Some(decoded) = encoding.decode_without_bom_handling_and_without_replacement(bytes) else { return false };
    let (again, _, has_errors) = encoding.encode(&decoded);
    let is_whole = !has_errors && *again == *bytes && find_disguise(decoded.as_bytes()).is_none();
    if is_whole {
        text.extend_from_slice(decoded.as_bytes());
    }
    is_whole
}

/// Adds `bytes` character by character. Bytes that belong to no character, or would not be written back as they were
/// read, are disguised.
fn decode_by_character(encoding: &'static encoding_rs::Encoding, bytes: &[u8], text: &mut Vec<u8>) {
    const CHARACTER_BYTES_MAX: usize = 4;
    let mut rest = bytes;
    while let Some(first) = rest.first() {
        let lengths = 1..=rest.len().min(CHARACTER_BYTES_MAX);
        let is_character =
            |length: &usize| encoding.decode_without_bom_handling_and_without_replacement(&rest[..*length]).is_some();
        let Some(length) = lengths.into_iter().find(is_character) else {
            push_no_character(*first, text);
            rest = &rest[1..];
            continue;
        };
        let (character, behind) = rest.split_at(length);
        if !decode_whole(encoding, character, text) {
            character.iter().for_each(|byte| push_disguised(*byte, text));
        }
        rest = behind;
    }
}

fn decode_utf16(bytes: &[u8], read: fn([u8; 2]) -> u16, text: &mut Vec<u8>) {
    let is_little = read([1, 0]) == 1;
    let raw = |unit: u16| if is_little { unit.to_le_bytes() } else { unit.to_be_bytes() };
    let (pairs, odd) = bytes.as_chunks::<2>();
    let is_shifted =
        |pair: &[u8; 2]| read(*pair).to_be_bytes()[1] == 0 && read(*pair).to_be_bytes()[0].is_ascii_digit();
    for run in pairs.chunk_by(|one, other| is_shifted(one) == is_shifted(other)) {
        if run.len() >= SHIFTED_DIGITS_MIN && is_shifted(&run[0]) {
            run.as_flattened().iter().for_each(|byte| push_no_character(*byte, text));
        } else {
            decode_units(run.iter().map(|pair| read(*pair)), raw, text);
        }
    }
    odd.iter().for_each(|byte| push_no_character(*byte, text));
}

fn decode_units(units: impl Iterator<Item = u16>, raw: impl Fn(u16) -> [u8; 2] + Copy, text: &mut Vec<u8>) {
    for character in char::decode_utf16(units) {
        match character {
            Ok(character) if u32::from(character) >= DISGUISE => {
                let mut units = [0; 2];
                character.encode_utf16(&mut units);
                units.into_iter().flat_map(raw).for_each(|byte| push_disguised(byte, text));
            }
            Ok(character) => text.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
            Err(half) => raw(half.unpaired_surrogate()).into_iter().for_each(|byte| push_no_character(byte, text)),
        }
    }
}

/// Reads a file in another encoding as UTF-8 and disguises.
pub(super) struct Decoder<R> {
    input: R,
    encoding: Encoding,
    /// Bytes that were read but not yet decoded.
    bytes: Zeroizing<Vec<u8>>,
    /// The decoded text. The reader has taken its first `given` bytes.
    text: Zeroizing<Vec<u8>>,
    given: usize,
    ended: bool,
}

/// Bytes of one read.
const READ_BYTES: usize = 64 * 1024;

impl<R: Read> Decoder<R> {
    pub(super) fn new(input: R, encoding: Encoding) -> Self {
        Self { input, encoding, bytes: Zeroizing::default(), text: Zeroizing::default(), given: 0, ended: false }
    }

    fn fill(&mut self) -> io::Result<()> {
        let before = self.bytes.len();
        self.bytes.resize(before + READ_BYTES, 0);
        let read = self.input.read(&mut self.bytes[before..]);
        self.bytes.truncate(before + *read.as_ref().unwrap_or(&0));
        self.ended = read? == 0;
        // A text that cannot be cut anywhere belongs to a row that is too long.
        let is_whole = self.ended || self.bytes.len() > ROW_BYTES_MAX;
        let end = if is_whole { self.bytes.len() } else { self.encoding.whole(&self.bytes) };
        self.text.clear();
        self.given = 0;
        self.encoding.decode(&self.bytes[..end], &mut self.text);
        self.bytes.drain(..end);
        Ok(())
    }
}

impl<R: Read> Read for Decoder<R> {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        while self.given == self.text.len() && !self.ended {
            self.fill()?;
        }
        let read = (&self.text[self.given..]).read(room)?;
        self.given += read;
        Ok(read)
    }
}

/// Writes UTF-8 and disguises in the original encoding.
pub(super) struct Encoder {
    encoding: Encoding,
    /// The beginning of a character whose rest is still to come.
    held: Zeroizing<Vec<u8>>,
    bytes: Zeroizing<Vec<u8>>,
}

/// A text with characters that an encoding lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unwritable(Encoding);

impl fmt::Display for Unwritable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a text has characters that {} lacks", self.0)
    }
}

impl std::error::Error for Unwritable {}

impl Encoder {
    pub(super) fn new(encoding: Encoding) -> Self {
        Self { encoding, held: Zeroizing::default(), bytes: Zeroizing::default() }
    }

    /// Encodes these bytes. An incomplete character at the end is held back.
    pub(super) fn encode<'a>(&'a mut self, text: &'a [u8]) -> Result<&'a [u8], Unwritable> {
        if self.encoding == Encoding::Utf8 {
            return Ok(text);
        }
        self.bytes.clear();
        let mut joined = std::mem::take(&mut self.held);
        joined.extend_from_slice(text);
        let mut rest = joined.as_slice();
        loop {
            let (valid, behind) = match str::from_utf8(rest) {
                Ok(valid) => (valid, &b""[..]),
                Err(error) => {
                    let (valid, behind) = rest.split_at(error.valid_up_to());
                    (str::from_utf8(valid).unwrap_or_default(), behind)
                }
            };
            self.encode_text(valid)?;
            rest = match behind {
                [] => return Ok(&self.bytes),
                [first @ NO_CHARACTER..=0xFF, second, behind @ ..] => {
                    self.bytes.push((first & 1) << 7 | second & 0x7F);
                    behind
                }
                half => {
                    self.held.extend_from_slice(half);
                    return Ok(&self.bytes);
                }
            }
        }
    }

    fn encode_text(&mut self, mut text: &str) -> Result<(), Unwritable> {
        while let Some(at) = find_disguise(text.as_bytes()) {
            self.encoding.encode(&text[..at], &mut self.bytes)?;
            let mut behind = text[at..].chars();
            let byte = behind.next().and_then(|disguise| u8::try_from(u32::from(disguise) - DISGUISE).ok());
            self.bytes.extend(byte);
            text = behind.as_str();
        }
        self.encoding.encode(text, &mut self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn there_and_back(encoding: Encoding, bytes: &[u8], piece: usize) -> Vec<u8> {
        let mut text = Vec::new();
        Decoder::new(bytes, encoding).read_to_end(&mut text).expect("a slice can be read");
        let mut encoder = Encoder::new(encoding);
        let pieces = text.chunks(piece);
        pieces.flat_map(|piece| encoder.encode(piece).expect("it was that encoding").to_vec()).collect()
    }

    proptest! {
        #[test]
        fn any_bytes_come_back_as_they_were(bytes: Vec<u8>, piece in 1_usize..9) {
            for name in ["gb18030", "gbk", "big5", "utf-16", "utf-16be", "latin-1", "shift_jis", "euc-kr", "euc-jp"] {
                let encoding = name.parse().expect("an encoding");
                prop_assert_eq!(there_and_back(encoding, &bytes, piece), &bytes[..]);
            }
        }

        #[test]
        fn texts_are_what_they_say(text in "[ -~ -鿿\u{20000}-\u{2FA1F}]{0,40}") {
            let mut utf16 = Vec::new();
            Decoder::new(&*text.encode_utf16().flat_map(u16::to_be_bytes).collect::<Vec<_>>(), Encoding::Utf16Be)
                .read_to_end(&mut utf16).expect("a slice can be read");
            prop_assert_eq!(utf16, text.as_bytes());
            let mut gb = Vec::new();
            let encoding = "GB18030".parse().expect("an encoding");
            Decoder::new(&*encoding_rs::GB18030.encode(&text).0, encoding).read_to_end(&mut gb).expect("a slice");
            prop_assert_eq!(gb, text.as_bytes());
        }
    }

    #[test]
    fn what_is_no_character_is_no_utf8_and_what_is_hides_no_delimiter() {
        let mut text = Vec::new();
        let big5 = Encoding::Other(encoding_rs::BIG5);
        Decoder::new(&b"\xa5\x7c|\xb3\x5c|\xff|"[..], big5).read_to_end(&mut text).expect("a slice can be read");
        assert_eq!(text.iter().filter(|byte| **byte == b'|').count(), 3);
        assert!(str::from_utf8(&text).is_err());
        assert!(Encoder::new(big5).encode("\u{1F600}".as_bytes()).is_err());
        assert_eq!("iso-2022-jp".parse::<Encoding>(), Err(NotAnEncoding));
    }
}
