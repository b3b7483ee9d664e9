//! The parts of a batch, each measured alone and without HTTP, against the libraries of the obvious code.

#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark has no callers, and a panic is how it fails")]

use std::{borrow::Cow, hint::black_box};

use aes_siv::{KeyInit, siv::Aes256Siv};
use callveil::{
    ids::Context,
    item::Mode,
    keyring::{
        KeyRing,
        rotation::{self, Export},
    },
    mapped::Mapped,
    number::{E164, Number},
    phone::{self, Numbering, TrunkZeroRegions},
    siv::{Cipher, NumberCipher, SEALED_NUMBER_BYTES},
    tokenizer::{self, Tokenizer},
    uid::{Plaintext, Sealed, Uid},
    wire,
};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use jiff::{SignedDuration, Timestamp};
use rlibphonenumber::{PHONE_NUMBER_UTIL, PhoneNumberFormat, Region};

const BATCH: u64 = 1000;

const NUMBER: u64 = 8_613_988_888_888;

fn tokenizer() -> Tokenizer {
    let ring = rotation::init(Timestamp::UNIX_EPOCH, phone::NUMBERS_NEWEST, "CN", &[], Export::Never).unwrap();
    let ring = KeyRing::from_note(&ring, tokenizer::supports, &[]).unwrap();
    Tokenizer::new(ring, TrunkZeroRegions::new(["CN"]).unwrap()).unwrap()
}

fn parts(criterion: &mut Criterion) {
    let numbering = Numbering::new(phone::NUMBERS_NEWEST, "CN").unwrap();
    for text in ["13988888888", "+86 139-8888-8888", "0755 8601 3388", "8001"] {
        criterion.bench_function(&format!("normalize {text}"), |bencher| {
            bencher.iter(|| numbering.normalize(black_box(text)).is_ok());
        });
    }
    let (key_id, context) = ("3fa1".parse().unwrap(), Context::default());
    let Plaintext::Short(plaintext) = Plaintext::of(&Number::E164(E164::new(NUMBER).unwrap())) else { unreachable!() };
    let cipher = NumberCipher::new(&[7; 64], key_id);
    let prefix = cipher.prefix(&context);
    for count in [1, 64] {
        let plaintexts = vec![plaintext; count];
        let (mut sealed, mut opened) = (vec![[0; SEALED_NUMBER_BYTES]; count], vec![None; count]);
        criterion.bench_function(&format!("seal {count}"), |bencher| {
            bencher.iter(|| cipher.seal(&prefix, black_box(&plaintexts), &mut sealed));
        });
        criterion.bench_function(&format!("open {count}"), |bencher| {
            bencher.iter(|| cipher.open(&prefix, black_box(&sealed), &mut opened));
        });
    }
    let sealed = Cipher::new(&[7; 64], key_id, &context).seal(&plaintext).try_into().unwrap();
    let uid = Uid { key_id, sealed: Sealed::Short(sealed) };
    let (text, mut out) = (uid.to_string(), String::with_capacity(40));
    criterion.bench_function("encode", |bencher| {
        bencher.iter(|| {
            out.clear();
            black_box(&uid).push_to(&mut out);
        });
    });
    criterion.bench_function("decode", |bencher| bencher.iter(|| Uid::parse(black_box(&text)).is_ok()));
}

/// The work of the obvious code for each number.
fn elsewhere(criterion: &mut Criterion) {
    let parse = |text| PHONE_NUMBER_UTIL.parse(text, Some(Region::CN)).unwrap();
    let format = |number| PHONE_NUMBER_UTIL.format(&number, PhoneNumberFormat::E164).into_owned();
    let alphabet = base32::Alphabet::Rfc4648Lower { padding: false };
    criterion.bench_function("libphonenumber: parse", |bencher| bencher.iter(|| parse(black_box("13988888888"))));
    criterion.bench_function("libphonenumber: parse, format", |bencher| {
        bencher.iter(|| format(parse(black_box("13988888888"))));
    });
    criterion.bench_function("aes-siv: key, seal", |bencher| {
        let new = || Aes256Siv::new(black_box(&[7; 64]).into());
        bencher.iter(|| new().encrypt([b"callveil/1/3fa1/default"], black_box(&[7; 7])).unwrap());
    });
    criterion.bench_function("base32: encode", |bencher| {
        bencher.iter(|| base32::encode(alphabet, black_box(&[7; 25])));
    });
}

/// Batches whose numbers are all different: over few, a processor learns what comes next.
const BATCHES: u64 = 40;

/// A Chinese mobile number as it is posted, or, of 128 numbers, 38 in other spellings or of other kinds.
fn spelling(at: u64, is_mix: bool) -> String {
    let (digits, pick) =
        (format!("139{:08}", at * 61_803_399 % 100_000_000), at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 57);
    match pick {
        _ if !is_mix => digits,
        0..10 => format!("+86{digits}"),
        10..20 => format!("0086{digits}"),
        20..25 => format!("+86 {} {} {}", &digits[..3], &digits[3..7], &digits[7..]),
        25..30 => format!("{}-{}-{}", &digits[..3], &digits[3..7], &digits[7..]),
        30..34 => format!("07558{}", &digits[4..]),
        34..38 => format!("+447911{}", &digits[5..]),
        _ => digits,
    }
}

fn batches(criterion: &mut Criterion) {
    let (tokenizer, context, now) = (tokenizer(), Context::default(), Timestamp::UNIX_EPOCH);
    let map = |mode, items: &[Cow<'_, str>], mapped: &mut Mapped| {
        mapped.clear();
        tokenizer.batch(&context, now).map(mode, items, mapped);
    };
    let mut group = criterion.benchmark_group("batch of 1000");
    group.throughput(Throughput::Elements(BATCH));
    for (name, is_mix) in [("mobiles", false), ("mix", true)] {
        let phones: Vec<_> = (0..BATCHES * BATCH).map(|at| Cow::from(spelling(at, is_mix))).collect();
        let mut mapped = Mapped::default();
        map(Mode::PhoneToUid, &phones, &mut mapped);
        let uids: Vec<_> = mapped.iter().map(|uid| Cow::from(uid.unwrap().to_owned())).collect();
        for (mode, items) in [(Mode::PhoneToUid, &phones), (Mode::UidToPhone, &uids)] {
            let items: Vec<_> = items.chunks_exact(1000).collect();
            let body = |items: &&[_]| serde_json::json!({"Numbers": items, "Mode": mode.name()}).to_string();
            let bodies: Vec<_> = items.iter().map(body).collect();
            let mut bodies = bodies.iter().cycle();
            group.bench_function(format!("{name}, {}: parse", mode.name()), |bencher| {
                bencher.iter(|| wire::parse(bodies.next().unwrap().as_bytes(), 10_000).is_ok());
            });
            let mut turns = items.iter().cycle();
            group.bench_function(format!("{name}, {}: map", mode.name()), |bencher| {
                bencher.iter(|| map(mode, turns.next().unwrap(), &mut mapped));
            });
            let all: Vec<_> = items
                .iter()
                .map(|items| {
                    let mut mapped = Mapped::default();
                    map(mode, items, &mut mapped);
                    mapped
                })
                .collect();
            let mut turns = items.iter().zip(&all).cycle();
            group.bench_function(format!("{name}, {}: write", mode.name()), |bencher| {
                bencher.iter(|| {
                    let (items, mapped) = turns.next().unwrap();
                    wire::answer(0, mode, items, mapped)
                });
            });
        }
    }
    group.finish();
}

/// Numbers of each kind, as people write them.
fn kinds(criterion: &mut Criterion) {
    let (tokenizer, context, now) = (tokenizer(), Context::default(), Timestamp::UNIX_EPOCH);
    let digits = |at: u64, count: u32| format!("{:0count$}", at * 61_803 % 10_u64.pow(count), count = count as usize);
    let mobile = |at| format!("139{}", digits(at, 8));
    let landline = |at| format!("0755-86{}", digits(at, 6));
    let foreign = |at| match at % 4 {
        0 => format!("+44 20 79{}", digits(at, 6)),
        1 => format!("001415 55{}", digits(at, 5)),
        2 => format!("+49 30 90{}", digits(at, 6)),
        _ => format!("+81-90-12{}", digits(at, 6)),
    };
    let hotline = |at| format!("95{}", digits(at, 3));
    let kinds: [(_, &dyn Fn(u64) -> String); 4] =
        [("mobiles", &mobile), ("landlines", &landline), ("foreign", &foreign), ("hotlines", &hotline)];
    let mut group = criterion.benchmark_group("1000 of a kind");
    group.throughput(Throughput::Elements(BATCH));
    for (kind, number) in kinds {
        let phones: Vec<_> = (0..BATCH).map(number).collect();
        let mut mapped = Mapped::default();
        tokenizer.batch(&context, now).map(Mode::PhoneToUid, &phones, &mut mapped);
        let uids: Vec<_> = mapped.iter().map(|uid| uid.unwrap().to_owned()).collect();
        for (mode, items) in [(Mode::PhoneToUid, &phones), (Mode::UidToPhone, &uids)] {
            group.bench_function(format!("{kind}: {}", mode.name()), |bencher| {
                bencher.iter(|| {
                    mapped.clear();
                    tokenizer.batch(&context, now).map(mode, black_box(items), &mut mapped);
                });
            });
        }
    }
    group.finish();
}

/// UIDs of all keys of a large ring, in turn: the worst order for a cipher that processes many blocks of one key at
/// once.
fn keys(criterion: &mut Criterion) {
    let context = Context::default();
    let mut group = criterion.benchmark_group("open 1000 UIDs");
    group.throughput(Throughput::Elements(BATCH));
    for keys in [1, 10, 200] {
        let (mut tokenizer, mut now) = (tokenizer(), Timestamp::UNIX_EPOCH);
        for _ in 1..keys {
            now += SignedDuration::from_hours(1);
            let (_, revision) =
                rotation::rotate(tokenizer.ring(), now, now, phone::NUMBERS_NEWEST, "CN", Export::Never).unwrap();
            let ring = KeyRing::from_note(&revision.next, tokenizer::supports, &[]).unwrap();
            tokenizer = Tokenizer::new(ring, TrunkZeroRegions::new(["CN"]).unwrap()).unwrap();
        }
        let phones: Vec<_> = (0..BATCH / keys).map(|at| format!("139{:08}", at * 61_803 % 100_000_000)).collect();
        let (mut uids, mut numbers) = (Mapped::default(), Mapped::default());
        tokenizer.batch(&context, now).map(Mode::PhoneToAliases, &phones, &mut uids);
        let uids: Vec<_> = uids.iter().flat_map(|uids| uids.unwrap().split(Mapped::SEPARATOR)).collect();
        assert_eq!(uids.len() as u64, BATCH);
        group.bench_function(format!("of {keys} keys in turn"), |bencher| {
            bencher.iter(|| {
                numbers.clear();
                tokenizer.batch(&context, now).map(Mode::UidToPhone, black_box(&uids), &mut numbers);
            });
        });
    }
    group.finish();
}

criterion_group!(benches, parts, elsewhere, batches, kinds, keys);
criterion_main!(benches);
