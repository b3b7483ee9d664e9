//! The parts of a batch, each by itself and without HTTP, and what they are made from elsewhere.

#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark has no callers, and a panic is how it fails")]

use std::{borrow::Cow, hint::black_box};

use aes_siv::{KeyInit, siv::Aes256Siv};
use callveil::{
    ids::Context,
    keyring::{KeyRing, rotation},
    number::{E164, Number},
    phone::{self, Numbering, TrunkZeroRegions},
    siv::Cipher,
    tokenizer::{self, Mode, Outcome, Tokenizer},
    uid::{self, Uid},
    wire::{self, Answer},
};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use jiff::Timestamp;
use rlibphonenumber::{PHONE_NUMBER_UTIL, PhoneNumberFormat, Region};

const BATCH: u64 = 1000;

const NUMBER: u64 = 8_613_988_888_888;

fn tokenizer() -> Tokenizer {
    let ring = rotation::init(Timestamp::UNIX_EPOCH, phone::NUMBERS_NEWEST, "CN", &[]).unwrap();
    let ring = KeyRing::from_json(&ring, tokenizer::knows).unwrap();
    Tokenizer::new(ring, TrunkZeroRegions::new(["CN"]).unwrap())
}

fn parts(criterion: &mut Criterion) {
    let numbering = Numbering::new(phone::NUMBERS_NEWEST, "CN").unwrap();
    for text in ["13988888888", "+86 139-8888-8888", "0755 8601 3388", "8001"] {
        criterion.bench_function(&format!("normalize {text}"), |bencher| {
            bencher.iter(|| numbering.normalize(black_box(text)).is_ok());
        });
    }
    let (id, context) = ("3fa1".parse().unwrap(), Context::default());
    let mut cipher = Cipher::new(&[7; 64], id, &context);
    let plaintext = uid::to_plaintext(&Number::E164(E164::new(NUMBER).unwrap()));
    let sealed = cipher.seal(&plaintext);
    let text = Uid::new(id, &sealed).to_string();
    criterion.bench_function("seal", |bencher| bencher.iter(|| cipher.seal(black_box(&plaintext))));
    criterion.bench_function("open", |bencher| bencher.iter(|| cipher.open(black_box(&sealed)).is_ok()));
    criterion.bench_function("encode", |bencher| bencher.iter(|| Uid::new(id, black_box(&sealed)).to_string()));
    criterion.bench_function("decode", |bencher| bencher.iter(|| Uid::parse(black_box(&text)).is_ok()));
}

/// What the obvious code does for each number.
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

fn batches(criterion: &mut Criterion) {
    let (tokenizer, context, now) = (tokenizer(), Context::default(), Timestamp::UNIX_EPOCH);
    let phones: Vec<_> = (0..BATCH).map(|at| format!("139{:08}", at * 61_803 % 100_000_000)).collect();
    let map = |mode, items: &[String]| -> Vec<(Cow<'static, str>, Outcome)> {
        let mut batch = tokenizer.batch(&context, now);
        items.iter().map(|item| (item.clone().into(), batch.map(mode, item))).collect()
    };
    let uids = map(Mode::PhoneToUid, &phones).into_iter().map(|(_, outcome)| match outcome {
        Outcome::Value(uid) => uid,
        other => panic!("{other:?}"),
    });
    let uids: Vec<_> = uids.collect();
    let mut group = criterion.benchmark_group("batch of 1000");
    group.throughput(Throughput::Elements(BATCH));
    for (mode, items) in [(Mode::PhoneToUid, &phones), (Mode::UidToPhone, &uids)] {
        let body = serde_json::json!({"Numbers": items, "Mode": mode.name()}).to_string();
        let results = map(mode, items);
        group.bench_function(format!("{}: parse", mode.name()), |bencher| {
            bencher.iter(|| wire::parse(black_box(body.as_bytes()), 10_000).is_ok());
        });
        group.bench_function(format!("{}: map", mode.name()), |bencher| {
            bencher.iter(|| map(mode, black_box(items)));
        });
        group.bench_function(format!("{}: write", mode.name()), |bencher| {
            bencher.iter(|| Answer { code: 0, results: black_box(&results) }.to_json());
        });
    }
    group.finish();
}

criterion_group!(benches, parts, elsewhere, batches);
criterion_main!(benches);
