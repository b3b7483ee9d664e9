//! Bodies that are not calls, or that no sane client sends. Whatever comes, the answer is the envelope that section 1
//! of the specification demands. It repeats nothing of the request, and the server keeps nothing of it.

use std::{collections::BTreeSet, net::SocketAddr, sync::mpsc, thread};

use serde_json::Value;

use crate::support::{ALONE, Answer, Folder, Http, PASSWORD, PATIENCE, Server, USER, basic};

/// Room for 10,000 numbers of 128 bytes.
const BODY_BYTES: usize = 2 << 20;

/// Items in one call.
const NUMBERS: usize = 10_000;

/// One of this many bodies is as large as possible.
const HEAVY_EVERY: usize = 500;

/// The maximum growth of the server's memory after it has seen a bit of everything.
const GROWTH_KIB_MAX: u64 = 32 * 1024;

/// Connections, each on its own thread.
const CONNECTIONS: usize = 2;

/// A word that is in most bodies, and must not be in any message.
const MARK: &str = "zqxjkvbp";

#[test]
fn five_thousand_hostile_bodies() {
    send_bodies(5_000);
}

#[test]
#[ignore = "minutes of load"]
fn a_hundred_thousand_hostile_bodies() {
    let _alone = ALONE.lock();
    let count = std::env::var("HOSTILE_BODIES").map_or(100_000, |count| count.parse().unwrap());
    send_bodies(count);
}

fn send_bodies(count: usize) {
    let top = format!("[limits]\nbody_bytes = {BODY_BYTES}");
    let client = "modes = [\"PhoneToUID\", \"UIDToPhone\", \"RewrapUID\"]\ntokenize_per_minute = \"unlimited\"\ndetokenize_per_minute = \"unlimited\"";
    let server = Server::start(&Folder::new(), &top, client);
    let (address, each) = (server.address, count / CONNECTIONS);
    let (warm, warmed) = mpsc::channel();
    let senders: Vec<_> = (0..CONNECTIONS)
        .map(|seed| {
            let warm = warm.clone();
            thread::spawn(move || {
                let mut sender = Sender::new(address, u64::try_from(seed).unwrap());
                for at in 0..each {
                    if at == each / 5 {
                        warm.send(()).unwrap();
                    }
                    sender.send(at);
                }
                sender.seen
            })
        })
        .collect();
    drop(warm);
    // After a fifth, some of the largest among them, the server has what memory it needs.
    assert_eq!(warmed.iter().take(CONNECTIONS).count(), CONNECTIONS);
    let before = server.rss_kib();
    let seen: BTreeSet<_> = senders.into_iter().flat_map(|sender| sender.join().unwrap()).collect();
    let after = server.rss_kib();
    println!("{count} bodies; VmRSS {before} KiB after a fifth of them, {after} KiB after all; answers: {seen:#?}");
    assert!(after < before + GROWTH_KIB_MAX, "from {before} to {after} KiB");
    let codes: BTreeSet<_> = seen.iter().map(|(status, code, _)| (*status, *code)).collect();
    assert_eq!(codes, BTreeSet::from([(200, 0), (200, 207), (400, 400), (403, 403), (413, 413)]));
    // As many different messages as reasons, however many bodies: none depends on what was sent.
    assert!(seen.len() <= 7, "{seen:#?}");
    assert_eq!(server.call("PhoneToUID", &["10086"])["Code"], 0);
}

/// Sends over one connection after another, and keeps the answers: status, code and message.
struct Sender {
    address: SocketAddr,
    http: Http,
    random: Random,
    seen: BTreeSet<(u16, u64, Option<String>)>,
}

impl Sender {
    fn new(address: SocketAddr, seed: u64) -> Self {
        Self { address, http: client(address), random: Random(seed), seen: BTreeSet::new() }
    }

    fn send(&mut self, at: usize) {
        let seed = self.random.0;
        let Body { kind, bytes, expected } = if at.is_multiple_of(HEAVY_EVERY) {
            heavy(&mut self.random, at / HEAVY_EVERY)
        } else {
            body(&mut self.random)
        };
        let is_chunked = self.random.below(10) == 0;
        self.http.write(request(&bytes, is_chunked));
        let what = format!("body {at}, {kind}, from random state {seed:#x}");
        let answer = self.http.try_read().unwrap_or_else(|| panic!("no answer within {PATIENCE:?}: {what}"));
        let (code, message) = check(&answer, &expected, &what);
        assert!(message.as_ref().is_none_or(|message| !message.contains(MARK)), "{what}: {message:?}");
        self.seen.insert((answer.status, code, message));
        let is_last = answer.header("connection") == Some("close");
        assert_eq!(is_last, is_chunked || answer.status == 413, "{what}: {answer:?}");
        if is_last {
            self.http = client(self.address);
        }
    }
}

/// Connects as a client, which may get more than one refusal.
fn client(address: SocketAddr) -> Http {
    let mut http = Http::connect(address);
    assert_eq!(http.post(r#"{"Numbers":[],"Mode":"PhoneToUID"}"#).status, 200);
    http
}

fn request(body: &[u8], is_chunked: bool) -> Vec<u8> {
    let authorization = basic(USER, PASSWORD);
    let head = format!("POST / HTTP/1.1\r\nhost: a\r\nauthorization: {authorization}\r\n");
    if !is_chunked {
        return [format!("{head}content-length: {}\r\n\r\n", body.len()).as_bytes(), body].concat();
    }
    let mut request = format!("{head}transfer-encoding: chunked\r\n\r\n").into_bytes();
    for chunk in body.chunks(40_000) {
        request.extend([format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat());
    }
    request.extend(b"0\r\n\r\n");
    request
}

/// Checks the envelope against what was expected. Returns its code and message.
fn check(answer: &Answer, expected: &Expected, what: &str) -> (u64, Option<String>) {
    let json = answer.json();
    let code = json["Code"].as_u64().unwrap_or_else(|| panic!("{what}: {json}"));
    let message = json.get("Message").map(|message| message.as_str().unwrap().to_owned());
    assert_eq!(message.is_some(), code != 0, "{what}: {json}");
    let results = json["Results"].as_array().unwrap_or_else(|| panic!("{what}: {json}"));
    assert_eq!(u64::from(answer.status), if code == 207 { 200 } else { code.max(200) }, "{what}: {json}");
    let key = |result: &Value| {
        assert_eq!(result["Value"] == "", result.get("Error").is_some(), "{what}: {result}");
        result["Key"].as_str().unwrap().to_owned()
    };
    let keys: Vec<String> = results.iter().map(key).collect();
    match expected {
        Expected::Anything => {}
        Expected::Refused(status) => assert_eq!((answer.status, keys.len()), (*status, 0), "{what}: {json}"),
        Expected::Mapped(numbers) => assert!(answer.status == 200 && keys == *numbers, "{what}: {json}"),
    }
    (code, message)
}

struct Body {
    kind: &'static str,
    bytes: Vec<u8>,
    expected: Expected,
}

enum Expected {
    /// Any row of the table of section 1.
    Anything,
    /// This status, with no number mapped.
    Refused(u16),
    /// These keys, in this order.
    Mapped(Vec<String>),
}

use Expected::{Anything, Mapped, Refused};

const GRANTED: [&str; 3] = ["PhoneToUID", "UIDToPhone", "RewrapUID"];

/// A body that is as large as possible.
fn heavy(random: &mut Random, nth: usize) -> Body {
    let (kind, numbers) = match nth % 4 {
        0 => ("10,000 numbers of 128 bytes", (0..NUMBERS).map(|at| format!("{at:a>128}")).collect()),
        1 => ("10,000 numbers of 128 digits", (0..NUMBERS).map(|at| format!("{at:1>128}")).collect()),
        2 => ("one number too many, and many more", vec!["1".to_owned(); NUMBERS + 1 + random.below(200_000)]),
        _ => ("over the bytes of a body", vec![MARK.repeat(10); BODY_BYTES / 80 + random.below(30_000)]),
    };
    let bytes = call(&numbers, "PhoneToUID").into_bytes();
    let expected = if nth % 4 < 2 { Mapped(numbers) } else { Refused(413) };
    Body { kind, bytes, expected }
}

fn call(numbers: &[String], mode: &str) -> String {
    serde_json::json!({"Numbers": numbers, "Mode": mode}).to_string()
}

fn body(random: &mut Random) -> Body {
    let numbers: Vec<String> = (0..random.below(6)).map(|_| number(random)).collect();
    let (array, mode) = (serde_json::json!(numbers).to_string(), random.pick(&GRANTED));
    let mode_json = format!("\"{mode}\"");
    let valid = call(&numbers, mode);
    let with = |more: &str| format!("{{{more}\"Mode\":{mode_json},\"Numbers\":{array}}}");
    let text = |kind, text: String, expected| Body { kind, bytes: text.into_bytes(), expected };
    match random.below(24) {
        0 => text("a call", valid, Mapped(numbers)),
        1 => text("a mode that is not granted", call(&numbers, "PhoneToAliases"), Refused(403)),
        2 => {
            let left = [format!("{{\"Mode\":{mode_json}}}"), format!("{{\"Numbers\":{array}}}"), "{}".to_owned()];
            text("a field dropped", random.pick(&left).clone(), Refused(400))
        }
        3 => {
            let name =
                random.pick(&["numbers", "NUMBERS", "Numbers ", "Number", "Numbers\\u0000", "\\u00dfumbers", ""]);
            text("a field renamed", valid.replacen("\"Numbers\"", &format!("\"{name}\""), 1), Refused(400))
        }
        4 => {
            let again = random.pick(&["\"Mode\":\"PhoneToUID\",", "\"Numbers\":[],", "\"M\\u006fde\":\"PhoneToUID\","]);
            text("a field repeated", with(again), Refused(400))
        }
        5 => {
            let wrong = [
                "null",
                "true",
                "0",
                "-1",
                "1.5",
                "{}",
                "\"13988888888\"",
                "[1]",
                "[13988888888]",
                "[null]",
                "[[]]",
                "[[\"1\"]]",
                "[{}]",
                "[{\"1\":\"1\"}]",
                "[\"1\",1]",
                "[true]",
                "{\"0\":\"1\"}",
                "[1e2]",
                "[\"1\",null]",
            ];
            let wrong = random.pick(&wrong);
            text("numbers of another type", format!("{{\"Numbers\":{wrong},\"Mode\":{mode_json}}}"), Refused(400))
        }
        6 => {
            let wrong = ["null", "0", "[]", "{}", "[\"PhoneToUID\"]", "{\"PhoneToUID\":null}", "true", "PhoneToUID"];
            let wrong = random.pick(&wrong);
            text("a mode of another type", format!("{{\"Numbers\":{array},\"Mode\":{wrong}}}"), Refused(400))
        }
        7 => {
            let wrong = ["", "phonetouid", "PhoneToUID ", "PhoneToUID\u{0}", MARK, "UidToPhone", "\u{1F4DE}"];
            text("an unknown mode", call(&numbers, random.pick::<&str>(&wrong)), Refused(400))
        }
        8 => {
            let depth = 1 + random.below(200_000);
            let (open, close) = (*random.pick(&["[", "{\"a\":", "[[],"]), depth);
            let closing = if open.starts_with('{') { "}" } else { "]" };
            let nested = format!("{}1{}", open.repeat(depth), closing.repeat(close));
            text("deep nesting where all is ignored", with(&format!("\"{MARK}\":{nested},")), Mapped(numbers))
        }
        9 => {
            let open = random.pick(&["[", "{\"a\":", "[[],"]).repeat(1 + random.below(200_000));
            let bodies = [open.clone(), with(&format!("\"a\":{open},")), format!("{{\"Numbers\":{open}")];
            text("deep nesting that never ends", random.pick(&bodies).clone(), Refused(400))
        }
        10 => {
            let number = huge_number(random);
            text("a huge number where all is ignored", with(&format!("\"a\":{number},")), Mapped(numbers))
        }
        11 => {
            let number = huge_number(random);
            let bodies = [format!("{{\"Numbers\":[{number}],\"Mode\":{mode_json}}}"), number.clone()];
            text("a huge number", random.pick(&bodies).clone(), Refused(400))
        }
        12 => {
            let long = vec![MARK.repeat(1 + random.below(10_000)), "\u{1F4DE}".repeat(1 + random.below(10_000))];
            text("long strings", call(&long, mode), Mapped(long))
        }
        13 => {
            let (at, mut bytes) = (random.below(valid.len()), valid.into_bytes());
            // None of these completes a sequence that the body began.
            bytes.splice(at..at, [*random.pick(&[0xff, 0xfe, 0xc0, 0xf8])]);
            Body { kind: "broken UTF-8", bytes, expected: Refused(400) }
        }
        14 => {
            let lone =
                random.pick(&["\\ud800", "\\udfff", "\\udc00\\ud800", "\\ud800\\ud800", "\\ud83d\\u0041", "\\ud83dx"]);
            let body = format!("{{\"Numbers\":[\"1\",\"{lone}\"],\"Mode\":{mode_json}}}");
            text("a lone surrogate", body, Refused(400))
        }
        15 => {
            let bytes = valid.as_bytes()[..random.below(valid.len())].to_vec();
            Body { kind: "a call cut short", bytes, expected: Refused(400) }
        }
        16 => {
            let length = random.below(4096);
            Body { kind: "random bytes", bytes: random.bytes(length), expected: Refused(400) }
        }
        17 => {
            let nothing =
                random.pick(&["", " ", "\r\n", "\t\t", "\0", "\u{FEFF}", "\u{A0}"]).repeat(random.below(3000));
            text("nothing", nothing, Refused(400))
        }
        18 => {
            let control = char::from(u8::try_from(random.below(32)).unwrap());
            let body = format!("{{\"Numbers\":[\"1{control}2\"],\"Mode\":{mode_json}}}");
            text("a control character as it is", body, Refused(400))
        }
        19 => {
            let more = random.pick(&["x", ",", "}", "{}", "\0", " null", "\u{FEFF}\u{FEFF}", "//", "\n1"]);
            let around = [format!("{valid}{more}"), format!("{more}{valid}"), format!("[{valid}]"), valid.repeat(2)];
            text("more than a call", random.pick(&around).clone(), Refused(400))
        }
        20 => {
            let sloppy =
                ["'1'", "1", "\"1\",", "\"1\" \"2\"", "NaN", "0x1", "\"\\x41\"", "\"\\u12\"", "/**/", "\"1", "+1"];
            let sloppy = random.pick(&sloppy);
            text("sloppy JSON", format!("{{\"Numbers\":[{sloppy}],\"Mode\":{mode_json}}}"), Refused(400))
        }
        21 => {
            let escape = |text: &str| text.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect::<String>();
            let items: Vec<_> = numbers.iter().map(|number| format!("\r\n\"{}\"\t", escape(number))).collect();
            let (n, m, mode, items) = (escape("Numbers"), escape("Mode"), escape(mode), items.join(" , "));
            let body = format!("\t{{ \"{m}\"\n: \"{mode}\" , \"{n}\" : [ {items} ]\r}} ");
            text("all escaped, and spaced out", body, Mapped(numbers))
        }
        22 => {
            let other =
                ["[]", "\"x\"", "1", "true", "null", "[[\"1\"],\"PhoneToUID\"]", "Numbers=1&Mode=PhoneToUID", "<a/>"];
            text("not an object", (*random.pick(&other)).to_owned(), Refused(400))
        }
        _ => {
            let mut bytes = with(&format!("\"{MARK}\":[1.5e3,null,\"\\ud800\"],")).into_bytes();
            for _ in 0..=random.below(3) {
                let (at, byte) = (random.below(bytes.len()), random.bytes(1)[0]);
                match random.below(3) {
                    0 => bytes[at] = byte,
                    1 => bytes.insert(at, byte),
                    _ => drop(bytes.remove(at)),
                }
            }
            Body { kind: "a call with wrong bytes", bytes, expected: Anything }
        }
    }
}

/// An item of any kind, but always a string.
fn number(random: &mut Random) -> String {
    match random.below(12) {
        0 => String::new(),
        1 => format!("{MARK}{}", random.below(1000)),
        2 => format!("+{}", random.below(usize::MAX)),
        3 => "\u{0}\u{7}\u{1b}\u{7f}\u{85}".to_owned(),
        4 => "9".repeat(120 + random.below(20)),
        5 => "\u{202a}\u{feff}\u{200f}".repeat(random.below(100)),
        6 => "a".repeat(random.below(300)),
        7 => (0..40).map(|_| *random.pick(&['a', 'b', 'z', '2', '7', 'A', '=', '1'])).collect(),
        8 => "\"\\\u{2028}\u{1F600}\u{10FFFF}\u{D7FF}e\u{301}".to_owned(),
        9 => "\u{666}\u{0661}\u{ff11}\u{ff0b}((((".repeat(random.below(12)),
        10 => format!("tel:{};ext={}", random.below(1 << 40), random.below(99)),
        _ => format!("139{:08}", random.below(100_000_000)),
    }
}

/// A JSON number that no type can hold.
fn huge_number(random: &mut Random) -> String {
    let digits = "9".repeat(1 + random.below(100_000));
    let forms =
        [digits.clone(), format!("-{digits}"), format!("0.{digits}"), "1e999999999".to_owned(), format!("1E-{digits}")];
    random.pick(&forms).clone()
}

/// SplitMix64: the same bodies in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next()).unwrap() % end
    }

    fn pick<'i, T>(&mut self, items: &'i [T]) -> &'i T {
        &items[self.below(items.len())]
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.next().to_le_bytes()[0]).collect()
    }
}
