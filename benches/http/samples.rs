//! The traffic: key rings, numbers and requests, all derived from a seed, and the right answers to them.

use std::collections::HashSet;

use callveil::{
    keyring::{
        FORMAT, RING_NAME,
        note::{KEY_BYTES, Name, Signer},
    },
    phone,
};
use data_encoding::{BASE64, HEXLOWER};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::obvious;

/// The client; a password may hold colons.
pub const USER: &str = "ccc";
/// Another client with the same password and context, which has many numbers to map.
pub const BULK_USER: &str = "crm";
pub const PASSWORD: &str = "pass:word-7f3a-for-the-benchmark";

/// Numbers of a workload, all of them different.
pub const NUMBERS: usize = 40_000;

/// Requests of a workload of single numbers: too many for a cache of answers to hold them by chance.
const SINGLES: usize = 10_000;

/// SplitMix64 (Steele, Lea and Flood, 2014).
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// A number in [0, 1).
    pub fn fraction(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// A key of a ring.
pub struct RingKey {
    pub id: [u8; 2],
    pub material: [u8; 64],
}

impl RingKey {
    pub fn id_hex(&self) -> String {
        HEXLOWER.encode(&self.id)
    }
}

/// A ring with this many keys. The first is always the primary.
pub fn ring(keys: u16) -> Vec<RingKey> {
    let mut random = Random::new(5297);
    let mut material = || {
        let mut bytes = [0; 64];
        bytes.chunks_exact_mut(8).for_each(|chunk| chunk.copy_from_slice(&random.next().to_be_bytes()));
        bytes
    };
    // The ids are far apart, as random ones are.
    (0..keys).map(|at| RingKey { id: (0x3fa1_u16 ^ (at << 7)).to_be_bytes(), material: material() }).collect()
}

/// The ring file with these keys, all of them enabled.
pub fn ring_json(keys: &[RingKey]) -> String {
    let keys = (0..).zip(keys).map(|(age, key): (usize, _)| {
        let time = format!("20{:02}-01-{:02}T00:00:00Z", 25 - age / 28, 28 - age % 28);
        json!({
            "id": key.id_hex(), "status": "enabled", "created": time, "activates": time, "scheme": "aes256-siv",
            "numbers": phone::NUMBERS_NEWEST, "region": "CN",
            "check": HEXLOWER.encode(&Sha256::digest(key.material)[..8]), "material": BASE64.encode(&key.material),
        })
    });
    let keys: Vec<_> = keys.collect();
    let signer = Signer::new(Name::new(RING_NAME).unwrap(), &[7; KEY_BYTES]);
    let (ring, seed) = (HEXLOWER.encode(signer.verifier().key()), BASE64.encode(signer.seed()));
    let ring = json!({"format": FORMAT, "ring": ring, "signing_key": seed, "generation": 1, "keys": keys});
    let text = format!("{ring}\n");
    format!("{text}\n{}", signer.line(text.as_bytes()))
}

/// A number as it is spelt, as E.164 digits, and as UIDToPhone returns it.
pub struct Sample {
    pub spelling: String,
    pub digits: u64,
    pub dialled: String,
}

const MOBILE: [&str; 16] =
    ["130", "135", "137", "138", "139", "150", "151", "158", "159", "166", "176", "180", "185", "186", "188", "199"];

/// Chinese mobile numbers as CCC posts them, `13988888888`.
pub fn mobiles() -> Vec<Sample> {
    let (mut random, mut seen) = (Random::new(139), HashSet::new());
    std::iter::repeat_with(|| mobile(&mut random)).filter(|sample| seen.insert(sample.digits)).take(NUMBERS).collect()
}

fn mobile(random: &mut Random) -> Sample {
    let prefix = MOBILE[usize::try_from(random.below(MOBILE.len() as u64)).unwrap()];
    let spelling = format!("{prefix}{:08}", random.below(100_000_000));
    Sample { digits: format!("86{spelling}").parse().unwrap(), dialled: format!("0086{spelling}"), spelling }
}

/// Mobile numbers in their usual spellings, mixed with 3% landlines and 3% foreign numbers.
pub fn mix() -> Vec<Sample> {
    let (mut random, mut seen) = (Random::new(755), HashSet::new());
    let any = || {
        let Sample { spelling, digits, dialled } = mobile(&mut random);
        let spelling = match random.below(100) {
            0..70 => spelling,
            70..78 => format!("+86{spelling}"),
            78..86 => format!("0086{spelling}"),
            86..90 => format!("+86 {} {} {}", &spelling[..3], &spelling[3..7], &spelling[7..]),
            90..94 => format!("{}-{}-{}", &spelling[..3], &spelling[3..7], &spelling[7..]),
            94..97 => {
                let line = format!("{:08}", 80_000_000 + random.below(10_000_000));
                let digits = format!("86755{line}").parse().unwrap();
                return Sample { spelling: format!("0755{line}"), digits, dialled: format!("00860755{line}") };
            }
            _ => {
                let digits = 447_911_000_000 + random.below(1_000_000);
                return Sample { spelling: format!("+{digits}"), digits, dialled: format!("00{digits}") };
            }
        };
        Sample { spelling, digits, dialled }
    };
    std::iter::repeat_with(any).filter(|sample| seen.insert(sample.digits)).take(NUMBERS).collect()
}

/// Landlines of China, with their area code.
pub fn landlines() -> Vec<Sample> {
    let mut random = Random::new(86_755);
    let any = || {
        let (area, line) =
            (["10", "21", "755", "571"][usize::try_from(random.below(4)).unwrap()], 8600 + random.below(100));
        let national = format!("{area}{line}{:04}", random.below(10_000));
        let digits = format!("86{national}").parse().unwrap();
        Sample { spelling: format!("0{national}"), digits, dialled: format!("00860{national}") }
    };
    std::iter::repeat_with(any).take(NUMBERS).collect()
}

/// Numbers of other countries, with their country code.
pub fn foreign() -> Vec<Sample> {
    let mut random = Random::new(44);
    let any = || {
        let begun =
            ["442079", "1415555", "493090", "33612", "919812", "447400"][usize::try_from(random.below(6)).unwrap()];
        let left = if begun.starts_with("33") { 6 } else { 12 - begun.len() - usize::from(begun.starts_with('1')) };
        let digits = format!("{begun}{:0left$}", random.below(10_u64.pow(u32::try_from(left).unwrap())));
        let spelling = format!("{}{digits}", ["+", "00"][usize::try_from(random.below(2)).unwrap()]);
        Sample { spelling, dialled: format!("00{digits}"), digits: digits.parse().unwrap() }
    };
    std::iter::repeat_with(any).take(NUMBERS).collect()
}

/// The same in brackets: spellings that are read by libphonenumber.
pub fn unusual() -> Vec<Sample> {
    let in_brackets = |sample: Sample| Sample { spelling: format!("(+{})", sample.digits), ..sample };
    foreign().into_iter().map(in_brackets).collect()
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    PhoneToUid,
    UidToPhone,
}

impl Mode {
    pub const BOTH: [Self; 2] = [Self::PhoneToUid, Self::UidToPhone];

    pub fn name(self) -> &'static str {
        match self {
            Self::PhoneToUid => "PhoneToUID",
            Self::UidToPhone => "UIDToPhone",
        }
    }
}

/// An item of a request, and its right answer.
pub struct Item {
    pub input: String,
    pub output: String,
    /// The answer without trunk prefixes.
    pub plain: String,
}

/// A request, ready to be written to a socket.
pub struct Request {
    pub bytes: Vec<u8>,
    pub items: Vec<Item>,
}

/// Requests of one kind.
pub struct Workload {
    pub items: usize,
    pub requests: Vec<Request>,
}

impl Workload {
    /// Requests with `items` numbers each. For UIDs, the keys take turns.
    pub fn new(mode: Mode, samples: &[Sample], items: usize, keys: &[RingKey]) -> Self {
        let samples = if items == 1 { &samples[..SINGLES.min(samples.len())] } else { samples };
        let to_item = |(sample, key): (&Sample, &RingKey)| match mode {
            Mode::PhoneToUid => {
                let uid = obvious::seal(&keys[0], sample.digits);
                Item { input: sample.spelling.clone(), output: uid.clone(), plain: uid }
            }
            Mode::UidToPhone => Item {
                input: obvious::seal(key, sample.digits),
                output: sample.dialled.clone(),
                plain: format!("00{}", sample.digits),
            },
        };
        let all: Vec<_> = samples.iter().zip(keys.iter().cycle()).collect();
        let requests = all.chunks_exact(items).map(|chunk| request(mode, chunk.iter().copied().map(to_item).collect()));
        let requests = requests.collect();
        Self { items, requests }
    }

    /// The way back: requests for the numbers of these UIDs, which a server made from all the `samples` in order.
    pub fn back(samples: &[Sample], uids: Vec<String>, items: usize) -> Self {
        let item = |(sample, input): (&Sample, String)| Item {
            input,
            output: sample.dialled.clone(),
            plain: format!("00{}", sample.digits),
        };
        let mut all = samples.iter().zip(uids).map(item).peekable();
        let mut requests = Vec::new();
        while all.peek().is_some() {
            requests.push(request(Mode::UidToPhone, all.by_ref().take(items).collect()));
        }
        Self { items, requests }
    }

    /// The same requests by the bulk client.
    pub fn of_bulk_user(mut self) -> Self {
        for request in &mut self.requests {
            let body = request.bytes.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
            request.bytes = raw_request_of(BULK_USER, str::from_utf8(&request.bytes[body..]).unwrap());
        }
        self
    }

    /// The number of connections that keeps a server busy without long waits for each other.
    pub fn connections(&self) -> usize {
        match self.items {
            0..100 => 32,
            100..1000 => 16,
            _ => 8,
        }
    }
}

fn request(mode: Mode, items: Vec<Item>) -> Request {
    let inputs: Vec<_> = items.iter().map(|item| &item.input).collect();
    let body = json!({"Numbers": inputs, "Mode": mode.name()}).to_string();
    Request { bytes: raw_request(&body), items }
}

/// A request with this body.
pub fn raw_request(body: &str) -> Vec<u8> {
    raw_request_of(USER, body)
}

fn raw_request_of(user: &str, body: &str) -> Vec<u8> {
    let (authorization, length) = (authorization_of(user), body.len());
    format!(
        "POST / HTTP/1.1\r\nhost: callveil\r\nuser-agent: benchmark\r\nauthorization: {authorization}\r\n\
         content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

/// The Authorization header of the client.
pub fn authorization() -> String {
    authorization_of(USER)
}

fn authorization_of(user: &str) -> String {
    format!("Basic {}", BASE64.encode(format!("{user}:{PASSWORD}").as_bytes()))
}
