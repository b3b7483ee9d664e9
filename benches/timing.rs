//! Whether time tells secrets: Welch's t-test of two classes of inputs, as dudect does it (Reparaz, Balasch and
//! Verbauwhede, "Dude, is my code constant time?", 2017).
//!
//! Each row has two classes of inputs, timed in random order. An attacker can tell them apart if their means differ by
//! more than chance allows: |t| above 4.5 deserves a look, and above 10 is a leak. The last row is a comparison that does
//! leak, which shows that this can find one.
//!
//! ```text
//! cargo bench --bench timing                    # some seconds
//! cargo bench --bench timing -- --samples 2000000
//! ```

#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark has no callers, and a panic is how it fails")]

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use callveil::{
    allowance::Allowance,
    auth::{Client, Clients, OnPartial, Username},
    ids::Context,
    item::{Mode, PlainNumbers},
    number::{E164, Number},
    siv::{NumberCipher, SEALED_NUMBER_BYTES},
    uid::Plaintext,
};
use data_encoding::BASE64;
use sha2::{Digest as _, Sha256};

/// Times of each row.
const SAMPLES: usize = 200_000;

/// Inputs of a class.
const INPUTS: usize = 512;

/// How often a sample does what is measured: a clock is read in some 30 ns.
const REPEATS: usize = 8;

/// Of a hundred times, how many are looked at: what interrupts a thread is slow, and says nothing.
const SHARES: [usize; 4] = [50, 80, 95, 100];

/// |t| above this is a leak.
const LEAK: f64 = 10.0;

fn main() {
    let arguments: Vec<_> = std::env::args().collect();
    let given = arguments.iter().position(|argument| argument == "--samples").map(|at| arguments[at + 1].parse());
    let samples = given.map_or(SAMPLES, Result::unwrap);
    println!("{:<64} {:>8} {:>10} {:>10}", "two classes", "max |t|", "A, ns", "B, ns");
    let secret = [opening(samples), passwords(samples)].concat();
    let equal = |bytes: &[u8; 64]| bytes.iter().zip(&[7; 64]).all(|(one, other)| one == black_box(other));
    let (mut early, mut late) = ([7; 64], [7; 64]);
    (early[0], late[63]) = (8, 8);
    let control =
        row("control, which leaks: differs in byte 0; in byte 63", samples, &[early; INPUTS], &[late; INPUTS], equal);
    assert!(control > LEAK, "this run can find no leak");
    assert!(secret.iter().all(|t| *t <= LEAK), "a leak");
}

fn opening(samples: usize) -> Vec<f64> {
    let cipher = NumberCipher::new(&[7; 64], "3fa1".parse().unwrap());
    let prefix = cipher.prefix(&Context::default());
    let seal = |number| {
        let Plaintext::Short(plaintext) = Plaintext::of(&Number::E164(E164::new(number).unwrap())) else {
            unreachable!()
        };
        let mut sealed = [[0; SEALED_NUMBER_BYTES]];
        cipher.seal(&prefix, &[plaintext], &mut sealed);
        sealed
    };
    let open = |sealed: &[[u8; SEALED_NUMBER_BYTES]; 1]| {
        let mut opened = [None];
        cipher.open(&prefix, sealed, &mut opened);
        opened[0].is_some()
    };
    let numbers: Vec<_> =
        random(INPUTS).iter().map(|any| seal(8_613_000_000_000 + u64::from(*any) % 1_000_000_000)).collect();
    let same = vec![numbers[0]; INPUTS];
    vec![
        row("opening: one number's UID; UIDs of many numbers", samples, &same, &numbers, open),
        row(
            "opening: forged in the tag's first byte; in its last",
            samples,
            &forged(&numbers, 0),
            &forged(&numbers, 15),
            open,
        ),
        row(
            "opening: forged in the tag; in the ciphertext",
            samples,
            &forged(&numbers, 3),
            &forged(&numbers, 20),
            open,
        ),
    ]
}

fn passwords(samples: usize) -> Vec<f64> {
    let client = Client {
        username: Username::new("ccc").unwrap(),
        password_sha256: vec![Sha256::digest("the password of the client, 32").into()],
        context: Context::default(),
        modes: Mode::ALL.to_vec(),
        partial: OnPartial::Strict,
        plain_numbers: PlainNumbers::default(),
        tokenize: Allowance::new(None).into(),
        detokenize: Allowance::new(None).into(),
        usage: Default::default(),
    };
    let clients = Clients::new(vec![client]);
    let check = |header: &Vec<u8>| clients.authenticate(header).is_some();
    let header = |name: &str, password: &str| {
        vec![format!("Basic {}", BASE64.encode(format!("{name}:{password}").as_bytes())).into_bytes(); INPUTS]
    };
    let (first, last) = ("xhe password of the client, 32", "the password of the client, 3x");
    vec![
        row(
            "password: wrong in its first byte; in its last",
            samples,
            &header("ccc", first),
            &header("ccc", last),
            check,
        ),
        row("password: a client's name; nobody's", samples, &header("ccc", first), &header("ccd", first), check),
    ]
}

/// The same UIDs with one bit of this byte wrong.
fn forged(sealed: &[[[u8; SEALED_NUMBER_BYTES]; 1]], byte: usize) -> Vec<[[u8; SEALED_NUMBER_BYTES]; 1]> {
    let mut forged = sealed.to_vec();
    forged.iter_mut().for_each(|sealed| sealed[0][byte] ^= 1);
    forged
}

/// Measures `work` with inputs of both classes, and returns the greatest |t|.
fn row<I, O>(name: &str, samples: usize, a: &[I], b: &[I], work: impl Fn(&I) -> O) -> f64 {
    let (classes, random) = ([a, b], random(samples));
    let mut times = [Vec::with_capacity(samples), Vec::with_capacity(samples)];
    for bits in random {
        let (class, at) = (usize::from(bits & 1 == 1), (bits >> 8) as usize % INPUTS);
        let input = black_box(&classes[class][at]);
        let since = Instant::now();
        for _ in 0..REPEATS {
            black_box(work(input));
        }
        times[class].push(since.elapsed());
    }
    let mut all: Vec<_> = times.iter().flatten().copied().collect();
    all.sort_unstable();
    let t = SHARES.map(|share| {
        let most = all[(all.len() - 1) * share / 100];
        let [a, b] = times.each_ref().map(|times| Moments::of(times.iter().filter(|time| **time <= most)));
        (a.mean - b.mean).abs() / (a.variance / a.count + b.variance / b.count).sqrt()
    });
    let t = t.into_iter().fold(0.0, f64::max);
    let [a, b] = times.map(|mut times| {
        times.sort_unstable();
        times[times.len() / 2].as_nanos() as f64 / REPEATS as f64
    });
    println!("{name:<64} {t:>8.1} {a:>10.1} {b:>10.1}");
    t
}

struct Moments {
    count: f64,
    mean: f64,
    variance: f64,
}

impl Moments {
    fn of<'t>(times: impl Iterator<Item = &'t Duration> + Clone) -> Self {
        let nanoseconds = times.map(|time| time.as_nanos() as f64);
        let count = nanoseconds.clone().count() as f64;
        let mean = nanoseconds.clone().sum::<f64>() / count;
        let variance = nanoseconds.map(|time| (time - mean).powi(2)).sum::<f64>() / (count - 1.0);
        Self { count, mean, variance }
    }
}

fn random(count: usize) -> Vec<u32> {
    (0..count).map(|_| getrandom::u32().unwrap()).collect()
}
