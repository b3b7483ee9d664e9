//! Numbers as people write them, and as CCC dials them.

use proptest::prelude::*;

use super::*;

proptest! {
    #[test]
    fn what_stands_between_the_digits_of_explicit_numbers_says_nothing(
        text in r"\+[- ]{0,2}(8[- ]?6|44|1|3-9|852|54 9)?([- ]{0,2}[0-9]){0,14}[- ]{0,2}",
    ) {
        let numbering = Numbering::new(NUMBERS_NEWEST, "CN").expect("known");
        let joined: String = text.chars().filter(|c| *c == '+' || c.is_ascii_digit()).collect();
        let read = |text: &str| numbering.parse(text).map(|parsed| (parsed.e164.digits(), parsed.digits, parsed.number));
        prop_assert_eq!(read(&text), read(&joined));
    }
}

#[test]
fn what_is_known_of_a_region() {
    for (region, country_code, digits_min) in [("CN", 86, 10), ("US", 1, 9), ("SG", 65, 7)] {
        let numbering = Numbering::new(NUMBERS_NEWEST, region).expect("known");
        assert_eq!((numbering.country_code(), numbering.digits_min()), (country_code, digits_min), "{region}");
    }
}

#[test]
fn regions_are_two_upper_case_letters() {
    for code in ["", "C", "cn", "Cn", "CHN", "001", "ZZ", "CN "] {
        assert_eq!(TrunkZeroRegions::new([code]).err(), Some(UnknownRegion), "{code:?}");
    }
    let words = "a region is two upper-case letters (ISO 3166-1), such as CN, that libphonenumber knows";
    assert_eq!(UnknownRegion.to_string(), words);
}

/// What `text` means to a key of `region`, and what CCC dials. China's numbers have their trunk 0.
fn read(region: &str, text: &str) -> (String, String) {
    let numbering = Numbering::new(NUMBERS_NEWEST, region).expect("known");
    let trunk_zero = TrunkZeroRegions::new(["CN"]).expect("known");
    let (mut canonical, mut dialled) = (String::new(), String::new());
    let number = numbering.normalize(text).expect("a text");
    number.push_canonical(&mut canonical);
    numbering.dial(&number, &trunk_zero, &mut dialled);
    let (mut slowly, numbering) = (String::new(), numbering.without_fast_path());
    assert!(!numbering.is_common(text) && numbering.normalize(text) == Ok(number), "{text:?} in {region}");
    numbering.dial(&number, &trunk_zero, &mut slowly);
    assert_eq!(dialled, slowly, "{text:?} in {region}");
    (canonical, dialled)
}

#[test]
fn what_people_write_and_what_is_dialled() {
    for (region, text, canonical, dialled) in [
        ("CN", "13988888888", "+8613988888888", "008613988888888"),
        ("CN", "139-8888 8888", "+8613988888888", "008613988888888"),
        ("CN", "(+86) 139 8888 8888", "+8613988888888", "008613988888888"),
        ("CN", "(0086)139-8888-8888", "+8613988888888", "008613988888888"),
        ("CN", "[00 86] 13988888888", "+8613988888888", "008613988888888"),
        ("CN", "TEL:+86-139-8888-8888", "+8613988888888", "008613988888888"),
        ("CN", "\u{FF0B}\u{FF18}\u{FF16}\u{3000}\u{0661}3988888888", "+8613988888888", "008613988888888"),
        ("CN", "139\u{2010}8888/8888", "+8613988888888", "008613988888888"),
        ("CN", "\u{FF08}139\u{FF09}88888888", "+8613988888888", "008613988888888"),
        ("CN", "0755-86013388", "+8675586013388", "0086075586013388"),
        ("CN", "+86 755 86013388", "+8675586013388", "0086075586013388"),
        ("CN", "010 1234-5678", "+861012345678", "008601012345678"),
        ("CN", "400-830-6868", "+864008306868", "00864008306868"),
        ("CN", "14412345678", "+8614412345678", "008614412345678"),
        ("CN", "10086", "10086", "008610086"),
        ("CN", "+86 10086", "10086", "008610086"),
        ("CN", "+1 650 253 0000", "+16502530000", "0016502530000"),
        ("CN", "+39 06 69812345", "+390669812345", "00390669812345"),
        ("CN", "+852 10086", "+85210086", "0085210086"),
        ("CN", "+86 0755+86013388", "+86 0755+86013388", "+86 0755+86013388"),
        ("CN", "86013388", "86013388", "86013388"),
        ("CN", "13988888888.0", "13988888888.0", "13988888888.0"),
        ("CN", "13988888888\u{FF0E}0", "13988888888\u{FF0E}0", "13988888888\u{FF0E}0"),
        ("CN", "13988888888x1", "13988888888x1", "13988888888x1"),
        ("US", "(650) 253-0000", "+16502530000", "0016502530000"),
        ("US", "911", "911", "001911"),
        ("DE", "030 123456", "+4930123456", "004930123456"),
        ("IT", "06 69812345", "+390669812345", "00390669812345"),
    ] {
        assert_eq!(read(region, text), (canonical.to_owned(), dialled.to_owned()), "{text:?} in {region}");
    }
}

#[test]
fn usual_spellings_need_no_libphonenumber() {
    let fast_path =
        |region: &str| Numbering::new(NUMBERS_NEWEST, region).expect("known").fast_path.expect("it has one");
    let spaced = "1  3  9  8  8  8  8  8  8  88";
    for (region, text, is_valid, is_behind_zero) in [
        ("CN", "13988888888", true, false),
        ("CN", "139-8888 8888", true, false),
        ("CN", spaced, true, false),
        ("CN", "+86 139 8888 8888", true, false),
        ("CN", "0086-13988888888", true, false),
        ("CN", "0755-86013388", true, true),
        ("CN", "075586013388", true, true),
        ("CN", "+86 755 86013388", true, true),
        ("CN", "+1 201 200 0000", true, false),
        ("CN", "+39 06 69812345", true, false),
        ("CN", "+1 398 888 8888", false, false),
        ("US", "2012000000", true, false),
        ("US", "+1-201-200-0000", true, false),
        ("DE", "030 123456", true, true),
        ("DE", "+86 755 86013388", true, true),
    ] {
        let path = fast_path(region);
        let number = path.read(text).unwrap_or_else(|| panic!("{text} in {region}"));
        let written = path.written(number, number.digits().to_string().len());
        let expected = if is_behind_zero { Written::BehindZero } else { Written::Plain };
        assert!(written == Some(expected) && path.is_valid(text) == is_valid, "{text} in {region}");
    }
    let too_long = spaced.replacen(' ', "  ", 4);
    for other in [
        "",
        "+",
        "00",
        "-",
        " 13988888888",
        "13988888888-",
        "(139)88888888",
        "139/8888 8888",
        "1398888888",
        "10086",
        "+86 10086",
        "+86 1398888888",
        &too_long,
    ] {
        assert!(fast_path("CN").read(other).is_none(), "{other:?}");
    }
}
