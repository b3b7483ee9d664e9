//! Random digits, through a UID and back: by libphonenumber, they ring the same number as before, or they come back
//! unchanged.
//!
//! `CALLVEIL_STRINGS=10000000 cargo test --test it dialled::` tries more of them.

use callveil::{
    ids::Context,
    item::Mode,
    keyring::{KeyRing, rotation},
    mapped::Mapped,
    phone::{NUMBERS_NEWEST, TrunkZeroRegions},
    tokenizer::{self, Tokenizer},
};
use jiff::Timestamp;
use rlibphonenumber::{PHONE_NUMBER_UTIL, PhoneNumber, PhoneNumberFormat, PhoneNumberType, Region};

use crate::random::Random;

const REGIONS: [&str; 9] = ["CN", "HK", "US", "GB", "DE", "IT", "IN", "BR", "FR"];

const KINDS: [PhoneNumberType; 3] = [PhoneNumberType::Mobile, PhoneNumberType::FixedLine, PhoneNumberType::TollFree];

/// Strings in all regions together, unless the environment variable says otherwise.
const STRINGS: usize = 100_000;

/// Items in one batch.
const BATCH: usize = 500;

#[test]
fn what_is_dialled_rings_what_was_meant() {
    let strings = std::env::var("CALLVEIL_STRINGS").map_or(STRINGS, |count| count.parse().unwrap());
    let mut random = Random::new(20_261_126);
    let (mut numbers, mut unchanged) = (0, 0);
    for region in REGIONS {
        let ring = rotation::init(Timestamp::UNIX_EPOCH, NUMBERS_NEWEST, region, &[], rotation::Export::Never).unwrap();
        let ring = KeyRing::from_note(&ring, tokenizer::supports, &[]).unwrap();
        let tokenizer = Tokenizer::new(ring, TrunkZeroRegions::new(["CN"]).unwrap()).unwrap();
        let of = Region::from_code(region).unwrap();
        let code = PHONE_NUMBER_UTIL.get_country_code_for_region(of).unwrap();
        for _ in 0..strings.div_ceil(REGIONS.len() * BATCH) {
            let texts: Vec<String> = (0..BATCH).map(|_| text(&mut random, of)).collect();
            let uids = map(&tokenizer, Mode::PhoneToUid, &texts);
            let dialled = map(&tokenizer, Mode::UidToPhone, &uids);
            assert_eq!(map(&tokenizer, Mode::PhoneToUid, &dialled), uids, "{region}: what comes back has the same UID");
            for (text, dialled) in texts.iter().zip(&dialled) {
                if is_unchanged(text, dialled, code) {
                    unchanged += 1;
                } else {
                    assert!(rings_the_same(text, dialled, region), "{region}: {text:?} dials {dialled}");
                    numbers += 1;
                }
            }
        }
    }
    assert!(numbers > strings / 25 && unchanged > strings / 2, "{numbers} numbers, {unchanged} unchanged");
}

/// 3 to 16 digits with punctuation and dialling prefixes. Some begin like numbers of the region.
fn text(random: &mut Random, region: Region) -> String {
    const BEFORE: [&str; 12] = ["", "", "", "", "0", "00", "+", "1", "17951", "12593", "125831", "("];
    const BETWEEN: [&str; 8] = [" ", "-", ".", "/", ")", "\u{2010}", "\u{A0}", "+"];
    let mut text = BEFORE[random.below(BEFORE.len())].to_owned();
    if random.percent(20) {
        text += &PHONE_NUMBER_UTIL.get_country_code_for_region(region).unwrap().to_string();
    }
    let mut length = 3 + random.below(14);
    let example = PHONE_NUMBER_UTIL.get_example_number_for_type_and_region(region, KINDS[random.below(KINDS.len())]);
    if random.percent(60)
        && let Ok(example) = example
    {
        let national = example.national_number.to_string();
        let begun = &national[..1 + random.below(national.len())];
        length = national.len() - begun.len() + random.below(8) / 7;
        text += begun;
    }
    for _ in 0..length {
        if random.percent(10) {
            // A plus sign inside is rare.
            let of = if random.percent(5) { 8 } else { 7 };
            text += BETWEEN[random.below(of)];
        }
        text.push(char::from(b"0123456789"[random.below(10)]));
    }
    if random.percent(3) {
        text += [".0", "-12", "/8", "+", " "][random.below(5)];
    }
    text
}

fn digits(text: &str) -> String {
    text.chars().filter(char::is_ascii_digit).collect()
}

fn map(tokenizer: &Tokenizer, mode: Mode, items: &[String]) -> Vec<String> {
    let mut mapped = Mapped::default();
    tokenizer.batch(&Context::default(), Timestamp::UNIX_EPOCH).map(mode, items, &mut mapped);
    mapped.iter().map(|item| item.unwrap().to_owned()).collect()
}

/// Whether the digits are those of `text`, perhaps with `00` or `00` and the country code before them.
fn is_unchanged(text: &str, dialled: &str, code: i32) -> bool {
    let digits = digits(text);
    dialled == text.trim() || [format!("00{digits}"), format!("00{code}{digits}"), digits].contains(&dialled.to_owned())
}

/// Whether both are one valid number, as libphonenumber reads them.
fn rings_the_same(text: &str, dialled: &str, region: &str) -> bool {
    let parse = |text: &str| PHONE_NUMBER_UTIL.parse(text, Some(Region::from_code(region).unwrap())).ok();
    let valid = |number: &PhoneNumber| PHONE_NUMBER_UTIL.is_valid_number(number);
    let again = |number: PhoneNumber| {
        if valid(&number) { Some(number) } else { parse(&PHONE_NUMBER_UTIL.format(&number, PhoneNumberFormat::E164)) }
    };
    let explicit = text.trim_start_matches(['(', ' ', '\u{A0}']).strip_prefix("00").map(|rest| format!("+{rest}"));
    let readings = [explicit.as_deref(), Some(text)].into_iter().flatten();
    let meant: Vec<_> = readings.filter_map(|text| parse(text).and_then(again)).filter(valid).collect();
    dialled.strip_prefix("00").and_then(|rest| parse(&format!("+{rest}"))).is_some_and(|rung| meant.contains(&rung))
}
