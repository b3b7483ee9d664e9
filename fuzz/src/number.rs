//! Numbers: the short ways agree with the long ones, and what goes through a UID comes back as the same number.

use std::sync::LazyLock;

use callveil::{
    ids::Context,
    item::{ItemError, Mode},
    keyring::KeyRing,
    mapped::Mapped,
    number::Number,
    phone::{NUMBERS_NEWEST, Numbering, TrunkZeroRegions},
    siv::Cipher,
    tokenizer::{self, Tokenizer},
};
use data_encoding::{BASE32_NOPAD, BASE64, HEXLOWER};
use jiff::Timestamp;
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::{pick, ring, stripped};

/// Regions whose numbers differ in what precedes them, in length, and in what is written but not dialled.
const REGIONS: [&str; 13] = ["CN", "US", "DE", "GB", "IT", "AR", "BR", "MX", "HU", "SG", "RU", "KZ", "HK"];

/// Items of one batch.
const ITEMS_MAX: usize = 12;

/// Items that the tokenizer seals or opens together.
const TOGETHER: usize = 64;

/// One of so many inputs is made a batch of more than these, which costs as much as hundreds of others.
const SELDOM: usize = 64;

/// A region, as a key reads it.
struct Region {
    numbering: Numbering,
    /// The same, with libphonenumber alone.
    obvious: Numbering,
    tokenizer: Tokenizer,
}

static SETTINGS: LazyLock<Vec<Region>> = LazyLock::new(|| REGIONS.iter().map(|region| Region::new(region)).collect());

static TRUNK_ZERO: LazyLock<[TrunkZeroRegions; 2]> = LazyLock::new(|| {
    let regions = |regions: &[&str]| TrunkZeroRegions::new(regions.iter().copied()).expect("regions");
    [regions(&["CN"]), regions(&REGIONS)]
});

/// Two keys: their ids, from the second they are active, their material over and over.
const KEYS: [([u8; 2], i64, u8); 2] = [([0x0b, 0x7e], 0, 0x5c), ([0x3f, 0xa1], 100, 0xc3)];

impl Region {
    fn new(region: &str) -> Self {
        let keys = KEYS.map(|(id, activates, material)| {
            let time = Timestamp::from_second(activates).expect("a small number of seconds").to_string();
            json!({
                "id": HEXLOWER.encode(&id), "status": "enabled", "created": time, "activates": time,
                "scheme": "aes256-siv", "numbers": NUMBERS_NEWEST, "region": region,
                "check": HEXLOWER.encode(&Sha256::digest([material; 64])[..8]),
                "material": BASE64.encode(&[material; 64]),
            })
        });
        let ring = ring::signed(json!({"generation": 1, "keys": keys}));
        let ring = KeyRing::from_note(&ring, tokenizer::supports, &[]).expect("a valid ring");
        let numbering = || Numbering::new(NUMBERS_NEWEST, region).expect("a known region");
        Self {
            numbering: numbering(),
            obvious: numbering().without_fast_path(),
            tokenizer: Tokenizer::new(ring, TRUNK_ZERO[1].clone()).expect("known rules"),
        }
    }
}

/// `data` is a region, and the lines of a batch.
pub fn check(data: &[u8]) {
    let Some((region, text)) = data.split_first() else { return };
    let Ok(text) = str::from_utf8(text) else { return };
    let region = &SETTINGS[usize::from(*region) % REGIONS.len()];
    let items: Vec<&str> = text.split('\n').take(ITEMS_MAX).collect();
    for item in &items {
        check_number(region, item);
    }
    let one_by_one = items.iter().map(|item| check_uid(region, item));
    let uids: Vec<Result<String, ItemError>> = one_by_one.collect();
    assert_eq!(region.map(Mode::PhoneToUid, &items), uids, "many at once are as one by one");
    let readable: Vec<&str> = uids.iter().flatten().map(String::as_str).collect();
    let back = region.map(Mode::UidToPhone, &readable);
    assert_eq!(back, readable.iter().flat_map(|uid| region.map(Mode::UidToPhone, &[uid])).collect::<Vec<_>>());
    // Texts that are no UIDs stand between those that are, and do not move them.
    let mixed: Vec<&str> = readable.iter().flat_map(|uid| [*uid, "no uid"]).collect();
    let alone = region.map(Mode::UidToPhone, &mixed).into_iter().step_by(2);
    assert!(alone.eq(back));
    match pick(data, SELDOM) {
        0..4 => {
            check_many(region, Mode::PhoneToUid, &items, TOGETHER + 7);
            check_many(region, Mode::PhoneToAliases, &items, TOGETHER + 7);
        }
        4 => {
            let aliases = region.map(Mode::PhoneToAliases, &items).into_iter().flatten();
            let mut uids: Vec<String> =
                aliases.flat_map(|uids| uids.split('\n').map(forged_after).collect::<Vec<_>>()).flatten().collect();
            uids.push("no uid".to_owned());
            let uids: Vec<&str> = uids.iter().map(String::as_str).collect();
            check_many(region, Mode::UidToPhone, &uids, TOGETHER + 7);
            check_many(region, Mode::RewrapUid, &uids, TOGETHER + 7);
        }
        _ => {}
    }
}

/// `uid`, and what is like it but for its last character.
fn forged_after(uid: &str) -> [String; 2] {
    let (begin, last) = uid.split_at(uid.len() - 1);
    [uid.to_owned(), format!("{begin}{}", if last == "a" { "b" } else { "a" })]
}

/// `items` over and over, `count` of them: more than are worked on together, under several keys in turn.
fn check_many(region: &Region, mode: Mode, items: &[&str], count: usize) {
    let alone: Vec<_> = items.iter().map(|item| region.one(mode, item)).collect();
    let many: Vec<&str> = items.iter().copied().cycle().take(count).collect();
    assert!(region.map(mode, &many).iter().eq(alone.iter().cycle().take(count)), "{count} are as one by one");
}

fn check_number(region: &Region, text: &str) {
    let number = region.numbering.normalize(text);
    assert!(number == region.obvious.normalize(text), "the short way to read {text:?}");
    assert_eq!(number.is_err(), stripped(text).is_none(), "{text:?}");
    let Ok(number) = number else { return };
    if let Number::Verbatim(text_of) = number {
        assert_eq!(Some(text_of.as_str()), stripped(text));
        return;
    }
    // Of ASCII, a number has digits and punctuation only, perhaps behind `tel:`.
    let ascii = stripped(text).filter(|text| text.is_ascii()).map(str::to_ascii_lowercase);
    if let Some(text) = ascii {
        let text = text.strip_prefix("tel:").unwrap_or(&text);
        assert!(text.chars().all(|c| c.is_ascii_digit() || " +-./()[]".contains(c)), "{text:?} is a number");
        assert!(!text.ends_with(".0"), "{text:?} is of a spreadsheet");
    }
    let canonical = match &number {
        Number::E164(number) => format!("+{}", number.digits()),
        Number::Hotline(hotline) => hotline.as_str().to_owned(),
        Number::Verbatim(_) => unreachable!("it was looked at"),
    };
    for trunk_zero in TRUNK_ZERO.iter() {
        let (mut dialled, mut obvious) = (String::new(), String::new());
        region.numbering.dial(&number, trunk_zero, &mut dialled);
        region.obvious.dial(&number, trunk_zero, &mut obvious);
        assert_eq!(dialled, obvious, "the short way to write it");
        assert!(dialled.starts_with("00") && dialled.bytes().all(|byte| byte.is_ascii_digit()));
        for again in [dialled.clone(), canonical.clone(), format!("\u{FEFF} {dialled}\u{2069}\t")] {
            assert!(region.numbering.normalize(&again) == Ok(number), "{again} of {text:?}");
        }
    }
}

/// The UID of `text`, which opens to the same number, and is that of the cipher from elsewhere.
fn check_uid(region: &Region, text: &str) -> Result<String, ItemError> {
    let uid = region.one(Mode::PhoneToUid, text);
    let aliases = region.one(Mode::PhoneToAliases, text);
    let Ok(number) = region.obvious.normalize(text) else {
        assert_eq!((&uid, &aliases), (&Err(ItemError::InvalidNumber), &Err(ItemError::InvalidNumber)));
        return uid;
    };
    let [old, new] = KEYS.map(|(id, _, material)| uid_of(&number, id, material));
    assert_eq!(uid.as_ref(), Ok(&new));
    assert_eq!(aliases, Ok(format!("{new}\n{old}")));
    for uid in [&new, &old, &new.to_uppercase()] {
        let back = region.one(Mode::UidToPhone, uid).expect("what was made opens");
        assert_eq!(region.one(Mode::PhoneToUid, &back).as_ref(), Ok(&new), "{text:?} came back as {back:?}");
        assert_eq!(region.one(Mode::RewrapUid, uid).as_ref(), Ok(&new));
        assert_eq!(region.one(Mode::PhoneToUid, uid), Ok(uid.to_lowercase()), "a UID stays one");
        if let Number::Verbatim(text) = &number {
            assert_eq!(back, text.as_str());
        }
    }
    uid
}

/// Section 3 of the specification, by the letter.
fn uid_of(number: &Number<'_>, id: [u8; 2], material: u8) -> String {
    let of_text = |text: &str| {
        let mut plaintext = [&[0x80], text.as_bytes()].concat();
        while plaintext.len() < 7 || !(plaintext.len() - 7).is_multiple_of(10) {
            plaintext.push(0);
        }
        plaintext
    };
    let plaintext = match number {
        Number::E164(number) => number.digits().to_be_bytes()[1..].to_vec(),
        Number::Hotline(hotline) => of_text(hotline.as_str()),
        Number::Verbatim(text) => of_text(text.as_str()),
    };
    let key_id = HEXLOWER.encode(&id).parse().expect("a key id");
    let sealed = Cipher::new(&[material; 64], key_id, &Context::default()).seal(&plaintext);
    BASE32_NOPAD.encode(&[&id, sealed.as_slice()].concat()).to_lowercase()
}

impl Region {
    fn map(&self, mode: Mode, items: &[&str]) -> Vec<Result<String, ItemError>> {
        let now = Timestamp::from_second(1000).expect("a small number of seconds");
        let mut mapped = Mapped::default();
        let context = Context::default();
        let mut batch = self.tokenizer.batch(&context, now);
        batch.map(mode, items, &mut mapped);
        assert_eq!(mapped.len(), items.len());
        // What the audit log counts.
        let (mut opened, mut sealed) = (0, 0);
        for (.., uses) in batch.uses() {
            (opened, sealed) = (opened + uses.opened, sealed + uses.sealed);
        }
        let good = mapped.iter().flatten().count() - batch.passed();
        let good = u64::try_from(good).expect("a small number");
        let expected = match mode {
            Mode::PhoneToUid => (0, good),
            Mode::UidToPhone => (good, 0),
            Mode::RewrapUid => (good, good),
            Mode::PhoneToAliases => (0, good * KEYS.len() as u64),
        };
        assert_eq!((opened, sealed), expected, "the keys' uses");
        mapped.iter().map(|item| item.map(str::to_owned)).collect()
    }

    fn one(&self, mode: Mode, item: &str) -> Result<String, ItemError> {
        self.map(mode, &[item]).pop().expect("each item has an outcome")
    }
}
