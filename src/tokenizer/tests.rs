//! The results of items, single and in batches.

use super::{batch::KeyUse, *};
use crate::{
    item::{Mode, PlainNumbers},
    keyring::rotation::{self, Export},
    mapped::Mapped,
    phone::NUMBERS_NEWEST,
};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("a small number of seconds")
}

fn read(note: &[u8]) -> KeyRing {
    KeyRing::from_note(note, supports, &[]).expect("a valid ring")
}

/// A ring with one key for each of `regions`. Each key activates 10 seconds after the one before.
fn ring(regions: &[&str]) -> KeyRing {
    let first = rotation::init(at(0), NUMBERS_NEWEST, regions[0], &[], Export::Never).expect("random bytes");
    let mut ring = read(&first);
    for (region, second) in regions[1..].iter().zip((10..).step_by(10)) {
        let rotated = rotation::rotate(&ring, at(second), at(second), NUMBERS_NEWEST, region, Export::Never);
        ring = read(&rotated.expect("no key is pending").1.next);
    }
    ring
}

fn tokenizer(ring: KeyRing) -> Tokenizer {
    Tokenizer::new(ring, TrunkZeroRegions::new(["CN"]).expect("a region")).expect("the rules are known")
}

/// The results of `items` at `second`: the text of each, or the name of its error.
fn map(tokenizer: &Tokenizer, second: i64, mode: Mode, items: &[impl AsRef<str>]) -> Vec<String> {
    let (context, mut mapped) = (Context::default(), Mapped::default());
    tokenizer.batch(&context, at(second)).map(mode, items, &mut mapped);
    mapped.iter().map(|item| item.map_or_else(|error| error.code().to_owned(), str::to_owned)).collect()
}

#[test]
fn one_bad_item_does_not_spoil_the_others() {
    let tokenizer = tokenizer(ring(&["CN"]));
    let items = ["", "139 8888 8888", "a\u{7}b", "8001", "13988888888\n13988888888", "+1 650-253-0000"];
    let uids = map(&tokenizer, 0, Mode::PhoneToUid, &items);
    assert_eq!([&*uids[0], &*uids[2], &*uids[4]], ["invalid_number"; 3]);
    let items = [&*uids[1], "13988888888", "", &uids[3], &uids[5], &uids[1][1..], "0000000000"];
    let expected =
        ["008613988888888", "plain_number", "malformed_uid", "8001", "0016502530000", "malformed_uid", "malformed_uid"];
    assert_eq!(map(&tokenizer, 0, Mode::UidToPhone, &items), expected);
    // Every character of a UID matters.
    let forged = format!("{}{}", if uids[1].starts_with('a') { "b" } else { "a" }, &uids[1][1..]);
    let became = map(&tokenizer, 0, Mode::UidToPhone, &[forged]);
    assert!(matches!(&*became[0], "unknown_key" | "malformed_uid"), "{became:?}");
}

/// Long and short UIDs of several keys, and items that fail, over several windows: each result is in its place.
#[test]
fn many_items_keep_their_order() {
    let tokenizer = tokenizer(ring(&["CN", "CN"]));
    let items: Vec<String> = (0..1300)
        .map(|at| match at % 7 {
            0 => format!("extension {at}"),
            3 => String::new(),
            _ => format!("1398888{at:04}"),
        })
        .collect();
    let (old, new) = (map(&tokenizer, 9, Mode::PhoneToUid, &items), map(&tokenizer, 10, Mode::PhoneToUid, &items));
    assert!(old.iter().zip(&new).zip(&items).all(|((old, new), item)| (old == new) == item.is_empty()));
    let mixed: Vec<&str> =
        old.iter().zip(&new).enumerate().map(|(at, (old, new))| [old, new][at % 2].as_str()).collect();
    let expected: Vec<String> = items
        .iter()
        .map(|item| match item.as_bytes().first() {
            None => "malformed_uid".to_owned(),
            Some(b'1') => format!("0086{item}"),
            Some(_) => item.clone(),
        })
        .collect();
    assert_eq!(map(&tokenizer, 10, Mode::UidToPhone, &mixed), expected);
    assert_eq!(map(&tokenizer, 10, Mode::RewrapUid, &mixed).iter().filter(|uid| new.contains(uid)).count(), 1300 - 186);
}

#[test]
fn a_uid_where_a_number_is_wanted_stays_as_it_is() {
    let tokenizer = tokenizer(ring(&["CN"]));
    let (context, mut mapped) = (Context::default(), Mapped::default());
    let uid = map(&tokenizer, 0, Mode::PhoneToUid, &["13988888888"]).remove(0);
    let mut batch = tokenizer.batch(&context, at(0)).with_plain_numbers(PlainNumbers::Pass);
    batch.map(Mode::PhoneToUid, &[&*uid, &uid.to_uppercase()], &mut mapped);
    // A number where a UID is expected passes, if that is allowed.
    batch.map(Mode::UidToPhone, &["13988888888", "10086", "8001"], &mut mapped);
    let became: Vec<_> = mapped.iter().collect();
    let phone = ["008613988888888", "008610086"];
    assert_eq!(became, [Ok(&*uid), Ok(&*uid), Ok(phone[0]), Ok(phone[1]), Err(ItemError::MalformedUid)]);
    assert_eq!((batch.passed(), batch.uses().count()), (4, 0));
    // In another context, it is a text like any other.
    let other = "other".parse().expect("a context");
    let mut mapped = Mapped::default();
    tokenizer.batch(&other, at(0)).map(Mode::PhoneToUid, &[&uid], &mut mapped);
    assert!(mapped.iter().all(|item| item.is_ok_and(|other| other != uid)));
}

#[test]
fn aliases_are_under_every_enabled_key_the_primary_first() {
    let ring = ring(&["CN", "CN", "CN"]);
    let oldest = ring.enabled_newest_first().last().expect("three keys").id;
    let ring = read(&rotation::disable(&ring, at(20), oldest).expect("it may be disabled").next);
    let tokenizer = tokenizer(ring);
    let aliases = map(&tokenizer, 15, Mode::PhoneToAliases, &["13988888888", ""]);
    let aliases: Vec<_> = aliases[0].split(Mapped::SEPARATOR).collect();
    let under = |second| map(&tokenizer, second, Mode::PhoneToUid, &["13988888888"]).remove(0);
    assert_eq!(aliases, [under(15), under(25)]);
}

#[test]
fn a_key_that_is_not_enabled_opens_nothing_and_says_why() {
    let ring = ring(&["CN", "CN"]);
    let first = ring.primary(at(0)).id;
    let uid = map(&tokenizer(ring.clone()), 0, Mode::PhoneToUid, &["13988888888"]);
    let disabled = read(&rotation::disable(&ring, at(20), first).expect("it may be disabled").next);
    let destroyed = rotation::destroy(&disabled, at(21), first, rotation::Haste::Early).expect("it is disabled");
    let destroyed = read(&destroyed.next);
    let other = self::ring(&["CN"]);
    for (ring, error) in [(disabled, "key_disabled"), (destroyed, "key_destroyed")] {
        assert_eq!(map(&tokenizer(ring), 21, Mode::UidToPhone, &uid), [error]);
    }
    let is_known = other.key(first).is_some();
    let error = if is_known { "not_authentic" } else { "unknown_key" };
    assert_eq!(map(&tokenizer(other), 21, Mode::UidToPhone, &uid), [error]);
}

#[test]
fn a_batch_counts_what_each_key_did() {
    let tokenizer = tokenizer(ring(&["CN", "CN"]));
    let [old, new] = [9, 10].map(|second| tokenizer.ring().primary(at(second)).id);
    let uids = map(&tokenizer, 9, Mode::PhoneToUid, &["13988888888", "8001"]);
    let (context, mut mapped) = (Context::default(), Mapped::default());
    let mut batch = tokenizer.batch(&context, at(10));
    batch.map(Mode::RewrapUid, &uids, &mut mapped);
    batch.map(Mode::UidToPhone, &[""], &mut mapped);
    let mut uses: Vec<_> = batch.uses().collect();
    uses.sort_by_key(|(.., uses)| uses.sealed);
    let index = |id| tokenizer.ring().index_of(id).expect("a key of the ring");
    let [opened, sealed] = [KeyUse { opened: 2, sealed: 0 }, KeyUse { opened: 0, sealed: 2 }];
    assert_eq!(uses, [(index(old), old, opened), (index(new), new, sealed)]);
    let failures: Vec<_> = mapped.failures().iter().collect();
    assert_eq!(failures, [(ItemError::MalformedUid, 1)]);
}

#[test]
fn a_text_is_read_by_the_rules_of_its_key() {
    let tokenizer = tokenizer(ring(&["CN", "US"]));
    assert!(!tokenizer.has_one_numbering());
    let readings = tokenizer.canonical("650-253-0000").expect("it is a text");
    assert!(readings.contains("+16502530000") && readings.len() == 2, "{readings:?}");
    assert!(tokenizer.canonical("").is_err());
}

#[test]
fn uids_of_many_keys_are_opened_as_each_alone() {
    let tokenizer = tokenizer(ring(&["CN", "US", "CN"]));
    let phones: Vec<_> = (0..70).map(|at| format!("+861398888{at:04}")).collect();
    let mut uids: Vec<_> = [0, 10, 20].map(|second| map(&tokenizer, second, Mode::PhoneToUid, &phones)).concat();
    // Each key's stand together, then they take turns.
    let in_turn: Vec<_> = (0..210).map(|at| uids[at % 3 * 70 + at / 3].clone()).collect();
    uids.extend(in_turn);
    for forged in [3, 130, 209, 300, 419] {
        let other = if uids[forged][10..].starts_with('a') { "b" } else { "a" };
        uids[forged].replace_range(10..11, other);
    }
    let opened = map(&tokenizer, 20, Mode::UidToPhone, &uids);
    let alone: Vec<_> = uids.iter().flat_map(|uid| map(&tokenizer, 20, Mode::UidToPhone, &[uid])).collect();
    assert_eq!(opened, alone);
    assert_eq!(opened.iter().filter(|opened| *opened == "not_authentic").count(), 5);
    assert!(opened[..3].iter().zip(&phones).all(|(opened, phone)| opened[2..] == phone[1..]));
}
