//! Properties of any text, number and UID.

use callveil::{
    ids::Context,
    item::{ItemError, Mode},
    keyring::{
        KeyRing,
        rotation::{self, Export},
    },
    mapped::Mapped,
    number::Number,
    phone::{NUMBERS_NEWEST, Numbering, TrunkZeroRegions},
    tokenizer::{self, Tokenizer},
};
use jiff::Timestamp;
use proptest::prelude::*;

const REGIONS: [&str; 8] = ["CN", "US", "IT", "DE", "AR", "MX", "HU", "SG"];

fn tokenizer(region: &str, trunk_zero: &[&str]) -> Tokenizer {
    let ring = rotation::init(Timestamp::UNIX_EPOCH, NUMBERS_NEWEST, region, &[], Export::Never).unwrap();
    let ring = KeyRing::from_note(&ring, tokenizer::supports, &[]).unwrap();
    Tokenizer::new(ring, TrunkZeroRegions::new(trunk_zero.iter().copied()).unwrap()).unwrap()
}

/// Any text. Texts that look like numbers are frequent.
fn text() -> impl Strategy<Value = String> {
    let digits = "[0-9]{0,17}";
    let dialled = "(\\+|00|0086|\\+86|tel:|17951|0)?[0-9٠-٩０-９ ()./\\-\u{2010}\u{FF0D}\u{A0}]{0,24}";
    let marked = "[\u{202A}\u{FEFF} \t]{0,2}[0-9+]{1,14}[\u{202C}\u{200E}\n ]{0,2}";
    prop_oneof![digits, dialled, marked, "\\PC{0,60}", any::<String>(), "(sip:|\\*|#)[a-z0-9@.]{1,40}"]
}

fn map(tokenizer: &Tokenizer, mode: Mode, item: &str) -> Result<String, ItemError> {
    let mut mapped = Mapped::default();
    tokenizer.batch(&Context::default(), Timestamp::UNIX_EPOCH).map(mode, &[item], &mut mapped);
    assert_eq!(mapped.len(), 1);
    mapped.iter().next().unwrap().map(str::to_owned)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_comes_back_is_the_same_again(text in text(), region in prop::sample::select(&REGIONS[..]), trunk in prop::bool::ANY) {
        let tokenizer = tokenizer(region, if trunk { &REGIONS } else { &["CN"] });
        match map(&tokenizer, Mode::PhoneToUid, &text) {
            Ok(uid) => {
                let Ok(back) = map(&tokenizer, Mode::UidToPhone, &uid) else { panic!("{uid} does not open") };
                prop_assert_eq!(map(&tokenizer, Mode::PhoneToUid, &back), Ok(uid.clone()));
                prop_assert_eq!(map(&tokenizer, Mode::RewrapUid, &uid), Ok(uid.clone()));
                prop_assert_eq!(map(&tokenizer, Mode::UidToPhone, &format!(" {}\n", uid.to_uppercase())), Ok(back));
                prop_assert!(uid.len() >= 40 && uid.len() <= 248 && uid.len() % 16 == 8);
            }
            outcome => prop_assert_eq!(outcome, Err(ItemError::InvalidNumber)),
        }
    }

    #[test]
    fn two_numbers_never_share_a_uid(one in text(), other in text()) {
        let (tokenizer, numbering) = (tokenizer("CN", &["CN"]), Numbering::new(NUMBERS_NEWEST, "CN").unwrap());
        if let (Ok(a), Ok(b)) = (numbering.normalize(&one), numbering.normalize(&other)) {
            let same_uid = map(&tokenizer, Mode::PhoneToUid, &one) == map(&tokenizer, Mode::PhoneToUid, &other);
            prop_assert_eq!(same_uid, a == b);
        }
    }

    #[test]
    fn a_changed_uid_never_opens(digits in 1_u64..999_999_999_999_999, long in prop::bool::ANY, at in any::<prop::sample::Index>(), to in any::<char>()) {
        let tokenizer = tokenizer("CN", &["CN"]);
        let text = if long { format!("+{digits} ext. one") } else { format!("+{digits}") };
        let Ok(uid) = map(&tokenizer, Mode::PhoneToUid, &text) else { panic!("{text} is a text") };
        let mut changed: Vec<char> = uid.chars().collect();
        let at = at.index(changed.len());
        for to in "abcdefghijklmnopqrstuvwxyz234567".chars().chain([to, '0', '=', ' ']) {
            if to.to_ascii_lowercase() != changed[at] && !to.is_whitespace() {
                let was = std::mem::replace(&mut changed[at], to);
                let outcome = map(&tokenizer, Mode::UidToPhone, &changed.iter().collect::<String>());
                prop_assert!(outcome.is_err(), "{to:?} at {at}");
                changed[at] = was;
            }
        }
    }

    #[test]
    fn any_text_is_a_uid_or_an_error(text in prop_oneof![any::<String>(), "[a-z2-7]{40}", "[a-zA-Z2-7]{56}", "[a-z2-7]{0,260}"]) {
        let outcome = map(&tokenizer("CN", &["CN"]), Mode::UidToPhone, &text);
        prop_assert!(matches!(outcome, Err(ItemError::MalformedUid | ItemError::UnknownKey | ItemError::NotAuthentic)));
    }
}

#[test]
fn normalising_is_settled_at_once() {
    // Every Chinese mobile and area prefix, bare, and behind each way of dialling it.
    let numbering = Numbering::new(NUMBERS_NEWEST, "CN").unwrap();
    for prefix in 100..200 {
        for way in ["", "+86", "0086", "86", "0", "17951", "+860"] {
            let text = format!("{way}{prefix}88888888");
            if let Ok(Number::E164(number)) = numbering.normalize(&text) {
                let again = format!("+{}", number.digits());
                assert!(numbering.normalize(&again) == Ok(Number::E164(number)), "{text}");
            }
        }
    }
}
