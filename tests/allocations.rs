//! The allocations for each number: none, beyond the buffers of its request. The test does not depend on a clock, so it
//! also works on noisy machines.

#![allow(missing_docs, clippy::unwrap_used, reason = "tests have no callers, and a panic is how they fail")]

use allocation_counter::measure;
use callveil::{
    ids::Context,
    item::Mode,
    keyring::{KeyRing, rotation},
    mapped::Mapped,
    phone::{NUMBERS_NEWEST, TrunkZeroRegions},
    tokenizer::{self, Tokenizer},
    wire,
};
use jiff::Timestamp;
use serde_json::json;

/// The number of allocations from a body to its answer, and that answer.
fn allocations(tokenizer: &Tokenizer, mode: Mode, items: &[String]) -> (u64, Vec<u8>) {
    let body = json!({"Numbers": items, "Mode": mode.name()}).to_string();
    let (context, mut answer) = (Context::default(), Vec::new());
    let counted = measure(|| {
        let call = wire::parse(body.as_bytes(), 10_000).unwrap();
        let mut mapped = Mapped::with_capacity(call.numbers.len());
        tokenizer.batch(&context, Timestamp::UNIX_EPOCH).map(call.mode, &call.numbers, &mut mapped);
        answer = wire::answer(0, call.mode, &call.numbers, &mapped);
    });
    (counted.count_total, answer)
}

#[test]
fn a_number_costs_no_allocation() {
    let ring = rotation::init(Timestamp::UNIX_EPOCH, NUMBERS_NEWEST, "CN", &[], rotation::Export::Never).unwrap();
    let ring = KeyRing::from_note(&ring, tokenizer::supports, &[]).unwrap();
    let tokenizer = Tokenizer::new(ring, TrunkZeroRegions::new(["CN"]).unwrap()).unwrap();
    let phones: Vec<_> = (0..10_000).map(|at| (13_000_000_000_u64 + at * 99_991).to_string()).collect();
    // The first of a context computes what all others use.
    let (_, answer) = allocations(&tokenizer, Mode::PhoneToUid, &phones);
    let answer: serde_json::Value = serde_json::from_slice(&answer).unwrap();
    let results = answer["Results"].as_array().unwrap();
    let uids: Vec<_> = results.iter().map(|result| result["Value"].as_str().unwrap().to_owned()).collect();
    for (mode, items) in [(Mode::PhoneToUid, &phones), (Mode::UidToPhone, &uids), (Mode::RewrapUid, &uids)] {
        let of = |count| allocations(&tokenizer, mode, &items[..count]).0;
        let counts = [100, 1_000, 10_000].map(of);
        assert!(counts.iter().all(|count| *count == counts[0]), "{}: {counts:?}", mode.name());
        assert!(counts[0] <= 16, "{}: the buffers of a request are few: {counts:?}", mode.name());
        assert!(of(1) <= 12, "{}: {}", mode.name(), of(1));
    }
}
