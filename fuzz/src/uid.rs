//! The UID: each form is read, and written, as section 3 of the specification says, and no other.

use callveil::{
    number::{E164, Number, Text},
    uid::{self, Plaintext, Sealed, Uid},
};
use data_encoding::BASE32_NOPAD;

use crate::stripped;

/// `data` is the text of a UID, its bytes, a plaintext, and a verbatim text.
pub fn check(data: &[u8]) {
    if let Ok(text) = str::from_utf8(data) {
        check_text(text);
        check_verbatim(text);
    }
    let text = BASE32_NOPAD.encode(data).to_lowercase();
    check_text(&text);
    check_text(&format!("\u{3000}{}\n", text.to_uppercase()));
    check_plaintext(data);
    check_plaintext(&[&[0x80], data].concat());
    if let Some(low) = data.first_chunk::<7>() {
        check_plaintext(low);
    }
}

fn check_text(text: &str) {
    let uid = Uid::parse(text).ok();
    let read = uid.as_ref().map(|uid| {
        let sealed = match &uid.sealed {
            Sealed::Short(sealed) => sealed.to_vec(),
            Sealed::Long(sealed) => sealed.clone(),
        };
        (uid.key_id.to_bytes(), sealed)
    });
    assert_eq!(read, obvious(text), "{text:?}");
    let Some(uid) = uid else { return };
    let again = uid.to_string();
    assert_eq!(again, text.trim().to_ascii_lowercase());
    assert!(Uid::parse(&again).is_ok_and(|other| other.key_id == uid.key_id && other.sealed == uid.sealed));
}

/// The key id and `V || C`.
fn obvious(text: &str) -> Option<([u8; 2], Vec<u8>)> {
    let text = text.trim();
    if !(0..=13).any(|n| text.len() == 40 + 16 * n) {
        return None;
    }
    let bytes = BASE32_NOPAD.decode(text.to_ascii_uppercase().as_bytes()).ok()?;
    let (key_id, sealed) = bytes.split_first_chunk::<2>()?;
    (*key_id != [0, 0]).then(|| (*key_id, sealed.to_vec()))
}

/// A number as its digits, or any other text.
#[derive(Debug, PartialEq)]
enum Meaning {
    Digits(u64),
    Text(String),
}

fn check_plaintext(plaintext: &[u8]) {
    let number = uid::from_plaintext(plaintext).ok();
    let meaning = number.as_ref().map(|number| match number {
        Number::E164(number) => Meaning::Digits(number.digits()),
        Number::Hotline(hotline) => Meaning::Text(hotline.as_str().to_owned()),
        Number::Verbatim(text) => Meaning::Text(text.as_str().to_owned()),
    });
    assert_eq!(meaning, obvious_meaning(plaintext), "{plaintext:?}");
    if let Some(number) = number {
        assert_eq!(bytes_of(&number), plaintext, "what is read is what would be written");
    }
}

fn obvious_meaning(plaintext: &[u8]) -> Option<Meaning> {
    if plaintext.len() == 7 && plaintext[0] != 0x80 {
        let digits = plaintext.iter().fold(0_u64, |digits, byte| digits * 256 + u64::from(*byte));
        return (digits != 0 && digits.to_string().len() <= 15).then_some(Meaning::Digits(digits));
    }
    let mut text = plaintext.strip_prefix(&[0x80])?.to_vec();
    while text.last() == Some(&0) {
        text.pop();
    }
    let text = String::from_utf8(text).ok()?;
    let fits = obvious_plaintext(&text) == plaintext && stripped(&text) == Some(&text);
    fits.then_some(Meaning::Text(text))
}

/// Section 3: `0x80`, the text, and zeros up to a length of 7 + 10 n.
fn obvious_plaintext(text: &str) -> Vec<u8> {
    let mut plaintext = [&[0x80], text.as_bytes()].concat();
    while plaintext.len() < 7 || !(plaintext.len() - 7).is_multiple_of(10) {
        plaintext.push(0);
    }
    plaintext
}

fn check_verbatim(text: &str) {
    assert_eq!(Text::strip(text).as_ref().map(Text::as_str), stripped(text));
    assert_eq!(Text::exact(text).is_some(), stripped(text) == Some(text));
    if let Some(text) = Text::strip(text) {
        assert_eq!(bytes_of(&Number::Verbatim(text)), obvious_plaintext(text.as_str()));
    }
    if let Some(number) = text.parse().ok().and_then(E164::new) {
        let bytes = number.digits().to_be_bytes();
        assert_eq!(bytes_of(&Number::E164(number)), bytes[1..]);
    }
}

fn bytes_of(number: &Number<'_>) -> Vec<u8> {
    match Plaintext::of(number) {
        Plaintext::Short(short) => short.to_vec(),
        Plaintext::Long(long) => long.to_vec(),
    }
}
