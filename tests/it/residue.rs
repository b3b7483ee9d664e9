//! What remains of numbers, passwords and keys in the memory of a process after their use: nothing.
//!
//! Reading another process's memory requires root. Without it, the test says so and does nothing.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{Read, Write},
    net::TcpStream,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use aho_corasick::{AhoCorasick, AhoCorasickKind};
use data_encoding::BASE64;
use rustls::{ClientConnection, StreamOwned};
use serde_json::{Value, json};

use crate::{
    random::Random,
    rings,
    support::{Folder, PASSWORD, PATIENCE, Server, USER, basic, callveil, post, read, run},
    tls::{Ca, TLS, install},
};

/// Numbers to map, half of them over TLS.
const NUMBERS: usize = 20_000;

#[test]
fn nothing_is_left_of_numbers_passwords_and_keys() {
    if let Some(found) = look(Path::new(callveil().get_program())) {
        assert!(found.is_empty(), "left in memory: {found:?}");
    }
}

/// The same check finds much where nothing is wiped:
/// `cargo rustc --bin callveil --target-dir target/unwiped -- --cfg callveil_unwiped`, then
/// `CALLVEIL_UNWIPED=target/unwiped/debug/callveil cargo test --test it residue:: -- --ignored`.
#[test]
#[ignore = "wants a build of its own"]
fn a_build_that_wipes_nothing_is_found_out() {
    let program = PathBuf::from(std::env::var_os("CALLVEIL_UNWIPED").expect("a program built without wiping"));
    let found = look(&fs::canonicalize(program).unwrap()).expect("root");
    println!("{found:?}");
    assert!(found.contains_key("number as text") && found.contains_key("password"), "{found:?}");
}

/// The remains by kind and count; `None` if this process may not read them.
fn look(program: &Path) -> Option<BTreeMap<&'static str, usize>> {
    if !rustix::process::getuid().is_root() {
        eprintln!("not root: cannot read the memory of another process");
        return None;
    }
    let (folder, ca) = (Folder::new(), Ca::new());
    install(&folder, &ca.pair());
    let rates = "tokenize_per_minute = \"unlimited\"\ndetokenize_per_minute = \"unlimited\"";
    let mut random = Random::new(u64::from(std::process::id()));
    let numbers: Vec<u64> = (0..NUMBERS).map(|_| 13_000_000_000 + random.next() % 2_999_999_999).collect();
    let mut left = BTreeMap::new();
    let mut server = None;
    for (numbers, tls) in numbers.chunks(NUMBERS / 2).zip([TLS, ""]) {
        drop(server.take());
        let config = folder.config(tls, rates);
        let running =
            Server::spawn(Command::new(program).args(["serve", "--config"]).arg(config).env_remove("CALLVEIL_LOG"));
        let mut idle = map_both_ways(&running, (tls == TLS).then_some(&ca), numbers);
        let secrets = secrets_of_calls(numbers);
        merge(&mut left, search_until_clean(running.pid(), &secrets));
        assert_eq!(values(&mut *idle, "PhoneToUID", &["8001".to_owned()])[0].len(), 40, "it goes on after its rest");
        server = Some(running);
    }
    // The key of all those UIDs is destroyed, and another takes its place.
    let server = server?;
    let ring = || rings::read(&folder.ring());
    let (old, material) = key_of(&ring(), 0);
    assert!(!search(server.pid(), &secrets_of_key(&material)).is_empty(), "the search finds a key that is in use");
    assert!(run(folder.path(), &["keys", "rotate", "--activate-in", "0s"]).status.success());
    let since = Instant::now();
    while !run(folder.path(), &["keys", "disable", &old]).status.success() {
        assert!(since.elapsed() < PATIENCE, "the new key never becomes the primary");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(run(folder.path(), &["keys", "destroy", &old, "--yes", "--early"]).status.success());
    while server.wait_for("key ring reloaded")["generation"] != 4 {}
    merge(&mut left, search_until_clean(server.pid(), &secrets_of_key(&material)));
    let (_, live) = key_of(&ring(), 1);
    let found = search(server.pid(), &secrets_of_key(&live));
    for kind in ["key material", "round key", "CMAC subkey"] {
        assert!(found.contains_key(kind), "the search finds no {kind} of the key in use: {found:?}");
    }
    Some(left)
}

fn merge(all: &mut BTreeMap<&'static str, usize>, some: BTreeMap<&'static str, usize>) {
    some.into_iter().for_each(|(kind, count)| *all.entry(kind).or_default() += count);
}

pub fn key_of(ring: &Value, at: usize) -> (String, [u8; 64]) {
    let key = &ring["keys"][at];
    let material = BASE64.decode(key["material"].as_str().unwrap().as_bytes()).unwrap();
    (key["id"].as_str().unwrap().to_owned(), material.try_into().unwrap())
}

/// Maps `numbers` to UIDs and back, in large batches, small ones and one by one, and has a wrong password refused.
/// Returns the connection, which is still open.
fn map_both_ways(server: &Server, tls: Option<&Ca>, numbers: &[u64]) -> Box<dyn Stream> {
    let connect = || -> Box<dyn Stream> {
        let socket = TcpStream::connect(server.address).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let Some(ca) = tls else { return Box::new(socket) };
        let config = ca.client(rustls::ALL_VERSIONS);
        let connection = ClientConnection::new(config, "localhost".try_into().unwrap()).unwrap();
        Box::new(StreamOwned::new(connection, socket))
    };
    let mut stream = connect();
    for (numbers, size) in numbers.chunks(numbers.len() / 2).zip([numbers.len(), 1]) {
        for numbers in numbers.chunks(size).take(2_000).chain(numbers.chunks(2_000)) {
            let texts: Vec<_> = numbers.iter().map(u64::to_string).collect();
            let uids = values(&mut *stream, "PhoneToUID", &texts);
            let back = values(&mut *stream, "UIDToPhone", &uids);
            assert!(back.iter().zip(&texts).all(|(back, text)| back == &format!("0086{text}")));
        }
    }
    exchange(&mut *connect(), &post(&basic(USER, "hunter2-hunter2-hunter2"), "{}"));
    stream
}

trait Stream: Read + Write {}
impl<S: Read + Write> Stream for S {}

fn values(stream: &mut dyn Stream, mode: &str, items: &[String]) -> Vec<String> {
    let call = post(&basic(USER, PASSWORD), &json!({"Numbers": items, "Mode": mode}).to_string());
    let answer: Value = serde_json::from_str(&exchange(stream, &call)).unwrap();
    let results = answer["Results"].as_array().unwrap();
    results.iter().map(|result| result["Value"].as_str().unwrap().to_owned()).collect()
}

/// The body of the answer to `request`.
fn exchange(stream: &mut dyn Stream, request: &str) -> String {
    stream.write_all(request.as_bytes()).unwrap();
    let (mut answer, mut piece) = (Vec::new(), [0; 65536]);
    loop {
        let read = read(stream, &mut piece).unwrap();
        assert!(read > 0, "the connection ended");
        answer.extend_from_slice(&piece[..read]);
        let Some(end) = answer.windows(4).position(|part| part == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&answer[..end]).to_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        if answer.len() - end - 4 == length.parse::<usize>().unwrap() {
            return String::from_utf8(answer.split_off(end + 4)).unwrap();
        }
    }
}

/// Byte strings to look for, with their kinds.
pub type Secrets = Vec<(&'static str, Vec<u8>)>;

fn secrets_of_calls(numbers: &[u64]) -> Secrets {
    let mut secrets = Vec::new();
    for number in numbers {
        let e164 = 8_600_000_000_000 + number;
        secrets.push(("number as text", number.to_string().into_bytes()));
        secrets.push(("number as packed bytes", e164.to_be_bytes()[1..].to_vec()));
        secrets.push(("number as packed bytes", e164.to_le_bytes()[..7].to_vec()));
    }
    for password in [PASSWORD, "hunter2-hunter2-hunter2"] {
        secrets.push(("password", password.as_bytes().to_vec()));
        secrets.push(("password", basic(USER, password).as_bytes()[8..32].to_vec()));
    }
    secrets
}

/// Every 16 bytes of the material, of its base64 form, of the later round keys of both halves, and of CMAC's subkeys.
pub fn secrets_of_key(material: &[u8; 64]) -> Secrets {
    let windows = |kind, bytes: &[u8]| bytes.windows(16).map(|part| (kind, part.to_vec())).collect::<Vec<_>>();
    let mut secrets = windows("key material", material);
    secrets.extend(windows("key material in base64", BASE64.encode(material).as_bytes()));
    for half in material.as_chunks::<32>().0 {
        let round_keys = aes::expand(half);
        secrets.extend(round_keys[2..].iter().map(|key| ("round key", key.to_vec())));
    }
    let mac = material.first_chunk::<32>().unwrap();
    let first = aes::double(aes::encrypt_zero(mac));
    secrets.push(("CMAC subkey", first.to_vec()));
    secrets.push(("CMAC subkey", aes::double(first).to_vec()));
    secrets
}

/// The remains after everything in progress has had time to end: buffers are freed a moment after their connections.
fn search_until_clean(pid: u32, secrets: &Secrets) -> BTreeMap<&'static str, usize> {
    let since = Instant::now();
    loop {
        let found = search(pid, secrets);
        if found.is_empty() || since.elapsed() > Duration::from_secs(5) {
            return found;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// How often each kind of secret occurs in all readable memory of the process.
pub fn search(pid: u32, secrets: &Secrets) -> BTreeMap<&'static str, usize> {
    let patterns = secrets.iter().map(|(_, secret)| secret);
    let searcher = AhoCorasick::builder().kind(Some(AhoCorasickKind::ContiguousNFA)).build(patterns).unwrap();
    let searcher = Arc::new(searcher);
    let memory = File::open(format!("/proc/{pid}/mem")).unwrap();
    let mut found = BTreeMap::new();
    for line in fs::read_to_string(format!("/proc/{pid}/maps")).unwrap().lines() {
        let mut fields = line.split_whitespace();
        let (range, rights) = (fields.next().unwrap(), fields.next().unwrap());
        if !rights.starts_with('r') || line.contains("[vvar") || line.contains("[vsyscall") {
            continue;
        }
        let (begin, end) = range.split_once('-').unwrap();
        let address = |hex| u64::from_str_radix(hex, 16).unwrap();
        let (begin, end) = (address(begin), address(end));
        let mut bytes = vec![0; usize::try_from(end - begin).unwrap()];
        // What is gone meanwhile is not there any more.
        if memory.read_exact_at(&mut bytes, begin).is_err() {
            continue;
        }
        for place in searcher.find_overlapping_iter(&bytes) {
            *found.entry(secrets[place.pattern().as_usize()].0).or_default() += 1;
        }
    }
    found
}

/// As much of AES-256 as is needed to compute its secrets (FIPS 197). It is written here so that it shares no code with
/// the program under test.
mod aes {
    fn times_two(byte: u8) -> u8 {
        (byte << 1) ^ if byte & 0x80 == 0 { 0 } else { 0x1b }
    }

    fn times(mut one: u8, mut other: u8) -> u8 {
        let mut product = 0;
        while other > 0 {
            product ^= if other & 1 == 1 { one } else { 0 };
            (one, other) = (times_two(one), other >> 1);
        }
        product
    }

    fn substitute(byte: u8) -> u8 {
        let inverse = (0..=255).find(|other| times(byte, *other) == 1).unwrap_or(0);
        (0..5).fold(0x63, |sum, turn| sum ^ u8::rotate_left(inverse, turn))
    }

    pub fn expand(key: &[u8; 32]) -> Vec<[u8; 16]> {
        let mut words: Vec<[u8; 4]> = key.as_chunks().0.to_vec();
        let mut constant = 1;
        for at in 8..60 {
            let mut word = words[at - 1];
            if at % 8 == 0 {
                word.rotate_left(1);
                word = word.map(substitute);
                word[0] ^= constant;
                constant = times_two(constant);
            } else if at % 8 == 4 {
                word = word.map(substitute);
            }
            let before = words[at - 8];
            words.push(std::array::from_fn(|byte| word[byte] ^ before[byte]));
        }
        words.as_chunks::<4>().0.iter().map(|words| words.as_flattened().try_into().unwrap()).collect()
    }

    /// The encryption of a block of zeros.
    pub fn encrypt_zero(key: &[u8; 32]) -> [u8; 16] {
        let round_keys = expand(key);
        let mut state = round_keys[0];
        for (round, key) in round_keys.iter().enumerate().skip(1) {
            let shifted: [u8; 16] = std::array::from_fn(|at| substitute(state[(at + 4 * (at % 4)) % 16]));
            let mixed = |at: usize| {
                let column: [u8; 4] = std::array::from_fn(|row| shifted[at / 4 * 4 + (at + row) % 4]);
                times_two(column[0]) ^ times(column[1], 3) ^ column[2] ^ column[3]
            };
            let is_last = round + 1 == round_keys.len();
            state = std::array::from_fn(|at| key[at] ^ if is_last { shifted[at] } else { mixed(at) });
        }
        state
    }

    pub fn double(block: [u8; 16]) -> [u8; 16] {
        let value = u128::from_be_bytes(block);
        ((value << 1) ^ if value >> 127 == 1 { 0x87 } else { 0 }).to_be_bytes()
    }

    #[test]
    fn fips_197_appendix_c3() {
        let key: [u8; 32] = std::array::from_fn(|at| u8::try_from(at).unwrap());
        assert_eq!(expand(&key)[14], *b"\x24\xfc\x79\xcc\xbf\x09\x79\xe9\x37\x1a\xc2\x3c\x6d\x68\xde\x36");
    }

    #[test]
    fn zeros_under_the_key_of_zeros() {
        // The GCM specification's test case 13 begins with this hash key.
        assert_eq!(encrypt_zero(&[0; 32]), *b"\xdc\x95\xc0\x78\xa2\x40\x89\x89\xad\x48\xa2\x14\x92\x84\x20\x87");
    }
}
