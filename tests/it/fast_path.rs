//! The table of numbers in their usual spellings (`src/phone/fast-path-9.0.42.bin`). It is derived here from the
//! metadata, and compared with libphonenumber.
//!
//! `CALLVEIL_RENEW=1 cargo test --test it fast_path::` writes the table anew, for another release of the metadata.

mod derived;
mod patterns;

use std::fs;

use callveil::{
    number::{E164, Number},
    phone::{NUMBERS_NEWEST, Numbering, TrunkZeroRegions},
};

use self::derived::Derived;
use crate::random::Random;

const TABLE: &[u8] = include_bytes!("../../src/phone/fast-path-9.0.42.bin");

/// How many numbers of each region are tried.
const NUMBERS: usize = 400;

#[test]
fn the_table_is_what_the_metadata_say() {
    let table = Derived::new().table();
    if std::env::var_os("CALLVEIL_RENEW").is_some() {
        fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/src/phone/fast-path-9.0.42.bin"), &table).unwrap();
    }
    assert!(table == TABLE, "the table is not what the metadata say");
}

/// Numbers of every region and of all countries, some with another digit, as the fast path and libphonenumber alone read
/// and write them.
#[test]
fn the_fast_path_is_libphonenumbers() {
    let (derived, mut random) = (Derived::new(), Random::new(20_261_124));
    let (mut compared, mut numbers) = (0, 0);
    for region in &derived.regions {
        let numbering = Numbering::new(NUMBERS_NEWEST, &region.code).unwrap();
        let alone = Numbering::new(NUMBERS_NEWEST, &region.code).unwrap().without_fast_path();
        let trunk_zero = TrunkZeroRegions::new([&*region.code, "CN", "GB"]).unwrap();
        for _ in 0..NUMBERS {
            let spelling = spelling(&derived, region, &mut random);
            let (found, expected) = (numbering.normalize(&spelling), alone.normalize(&spelling));
            assert!(found == expected, "{} {spelling}", region.code);
            compared += 1;
            let Ok(number @ Number::E164(e164)) = found else { continue };
            numbers += 1;
            for number in [number, Number::E164(E164::new(e164.digits() / 10).unwrap())] {
                let (mut dialled, mut expected) = (String::new(), String::new());
                numbering.dial(&number, &trunk_zero, &mut dialled);
                alone.dial(&number, &trunk_zero, &mut expected);
                assert_eq!(dialled, expected, "{}", region.code);
            }
        }
    }
    assert!(compared > 240 * NUMBERS && numbers > compared / 2, "{numbers} of {compared}");
}

/// libphonenumber treats zeros before a number in ways of their own.
#[test]
fn zeros_before_a_number_are_libphonenumbers() {
    let numbering = Numbering::new(NUMBERS_NEWEST, "CN").unwrap();
    let alone = Numbering::new(NUMBERS_NEWEST, "CN").unwrap().without_fast_path();
    for code in Derived::new().regions.iter().map(|region| region.country_code).chain([800, 870, 878, 882, 883]) {
        for (zeros, rest) in
            (0..=14).flat_map(|zeros| ["", "1", "9", "61", "123456", "20123456"].map(|rest| (zeros, rest)))
        {
            let text = format!("+{code}{:0<zeros$}{rest}", "");
            assert!(numbering.normalize(&text) == alone.normalize(&text), "{text}");
        }
    }
}

fn spelling(derived: &Derived, region: &derived::Region, random: &mut Random) -> String {
    let of = random.percent(60).then_some(region);
    let mut digits = derived.pick(of, random).unwrap_or_default().into_bytes();
    let code = region.country_code.to_string();
    if of.is_some() && random.percent(40) {
        let national = if digits.first() == Some(&b'0') { &digits[1..] } else { &digits };
        digits = [code.as_bytes(), national].concat();
    }
    if random.percent(8) {
        // Few of these are valid, many are possible.
        let of = &derived.regions[random.below(derived.regions.len())];
        let zeros = [0, 0, random.below(14)][random.below(3)];
        let national = (0..4 + random.below(9)).map(|_| b"0123456789"[random.below(10)]);
        let national = std::iter::repeat_n(b'0', zeros).chain(national);
        digits = of.country_code.to_string().bytes().chain(national).take(16).collect();
    }
    if random.percent(25) && !digits.is_empty() {
        let at = random.below(digits.len());
        digits[at] = b"0123456789"[random.below(10)];
    }
    let mut text = ["", "", "", "+", "+", "00", "0"][random.below(7)].to_owned();
    for digit in digits {
        if random.percent(5) {
            text.push([' ', '-'][random.below(2)]);
        }
        text.push(digit.into());
    }
    text
}
