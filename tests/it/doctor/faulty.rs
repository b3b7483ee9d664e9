//! An endpoint that is not callveil, with one fault or none.

use std::{
    io::{self, BufRead as _, BufReader, Cursor, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};

use crate::support::{PASSWORD, PATIENCE, USER, basic};

/// How many requests are answered before [`Fault::Stalls`] and [`Fault::Slow`] begin: more than all checks need, except
/// that of latency.
const ANSWERED: usize = 40;

/// The duration of two of a hundred answers of [`Fault::Slow`].
const TOO_LONG: Duration = Duration::from_millis(3_050);

/// The fault of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    None,
    TakesNoPassword,
    TakesAnyPassword,
    NoChallenge,
    NotJson,
    OtherNumber,
    ShowsNumber,
    NoCountryCode,
    HomeCountryAlways,
    Reversed,
    NoDuplicates,
    OtherKey,
    SpellingsApart,
    MapsGarbage,
    BreaksHotlines,
    SmallBatches,
    OneSpoilsAll,
    Stalls,
    Slow,
    Closes,
    PlainHttpToo,
    OldTls,
    /// Gives this answer to everything, then closes the connection.
    Always(&'static str),
    Silent,
    Swapped,
    OneMode,
}

/// A running endpoint, stopped when dropped.
pub struct Endpoint {
    pub address: SocketAddr,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

struct Behaviour {
    fault: Fault,
    tls: Option<Arc<ServerConfig>>,
    answered: AtomicUsize,
}

impl Endpoint {
    pub fn start(fault: Fault, tls: Option<Arc<ServerConfig>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let behaviour = Arc::new(Behaviour { fault, tls, answered: AtomicUsize::new(0) });
        let ended = Arc::new(AtomicBool::new(false));
        let until = ended.clone();
        let thread = thread::spawn(move || {
            while let Ok((socket, _)) = listener.accept() {
                if until.load(Ordering::Relaxed) {
                    return;
                }
                let behaviour = behaviour.clone();
                // It ends when its client, which the test waits for, has.
                thread::spawn(move || behaviour.serve(socket));
            }
        });
        Self { address, ended, thread: Some(thread) }
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.address);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// A connection whose first bytes were inspected.
struct Begun {
    begin: Cursor<[u8; 11]>,
    socket: TcpStream,
}

impl Read for Begun {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.begin.read(buffer)? {
            0 => self.socket.read(buffer),
            read => Ok(read),
        }
    }
}

impl Write for Begun {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.socket.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.socket.flush()
    }
}

impl Behaviour {
    fn serve(&self, socket: TcpStream) {
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.set_nodelay(true).unwrap();
        let Some(tls) = &self.tls else { return self.talk(socket) };
        // What a ClientHello begins with: the record's header, the message's, and the version it offers.
        let (mut begin, mut socket) = ([0; 11], socket);
        if socket.read_exact(&mut begin).is_err() {
            return;
        }
        let mut socket = Begun { begin: Cursor::new(begin), socket };
        match begin {
            [22, .., 3, version @ (1 | 2)] if self.fault == Fault::OldTls => {
                let hello = [&[22, 3, version, 0, 42, 2, 0, 0, 38, 3, version][..], &[7; 32], &[0, 0xC0, 0x13, 0]];
                let _ = socket.write_all(&hello.concat());
            }
            [22, ..] => {
                let connection = ServerConnection::new(tls.clone()).unwrap();
                self.talk(StreamOwned::new(connection, socket));
            }
            _ if self.fault == Fault::PlainHttpToo => self.talk(socket),
            _ => {}
        }
    }

    /// Answers one request after another.
    fn talk(&self, stream: impl Read + Write) {
        let mut stream = BufReader::new(stream);
        while let Some((authorization, body)) = read_request(&mut stream) {
            let answered = self.answered.fetch_add(1, Ordering::Relaxed);
            match self.fault {
                Fault::Always(answer) => {
                    let _ = stream.get_mut().write_all(answer.as_bytes());
                    return;
                }
                Fault::Silent => {
                    let _ = stream.read(&mut [0]);
                    return;
                }
                Fault::Stalls if answered >= ANSWERED => {
                    let _ = stream.read(&mut [0]);
                    return;
                }
                Fault::Slow if [ANSWERED, ANSWERED + 1].contains(&answered) => thread::sleep(TOO_LONG),
                _ => {}
            }
            let (status, answer) = self.answer(authorization.as_deref(), &body);
            let challenge = if status.starts_with("401") && self.fault != Fault::NoChallenge {
                "WWW-Authenticate: Basic realm=\"x\"\r\n"
            } else {
                ""
            };
            let length = answer.len();
            let answer = format!("HTTP/1.1 {status}\r\n{challenge}Content-Length: {length}\r\n\r\n{answer}");
            if stream.get_mut().write_all(answer.as_bytes()).is_err() || stream.get_mut().flush().is_err() {
                return;
            }
            if self.fault == Fault::Closes {
                return;
            }
        }
    }

    fn answer(&self, authorization: Option<&str>, body: &[u8]) -> (&'static str, String) {
        let welcome = match authorization {
            None => self.fault == Fault::TakesNoPassword,
            Some(given) => self.fault == Fault::TakesAnyPassword || given == basic(USER, PASSWORD),
        };
        let refusal = |code: u16| json!({"Code": code, "Message": "no", "Results": []}).to_string();
        if !welcome {
            return ("401 Unauthorized", refusal(401));
        }
        if self.fault == Fault::NotJson {
            return ("200 OK", "<html>welcome</html>".to_owned());
        }
        let request: Value = serde_json::from_slice(body).unwrap();
        let inputs = request["Numbers"].as_array().unwrap();
        if self.fault == Fault::OneMode && request["Mode"] == "UIDToPhone" {
            return ("403 Forbidden", refusal(403));
        }
        if self.fault == Fault::SmallBatches && inputs.len() > 50 {
            return ("413 Content Too Large", refusal(413));
        }
        let inputs = inputs.iter().map(|input| input.as_str().unwrap());
        let map: &dyn Fn(&str) -> Option<String> =
            if request["Mode"] == "PhoneToUID" { &|input| Some(self.uid(input)) } else { &|input| self.phone(input) };
        let mut results: Vec<(String, Option<String>)> = inputs.map(|input| (input.to_owned(), map(input))).collect();
        match self.fault {
            Fault::OneSpoilsAll if results.iter().any(|(_, value)| value.is_none()) => {
                return ("400 Bad Request", refusal(400));
            }
            Fault::Reversed => results.reverse(),
            Fault::NoDuplicates => {
                let all = results.clone();
                results = all
                    .iter()
                    .enumerate()
                    .filter(|(at, result)| !all[..*at].contains(result))
                    .map(|(_, r)| r.clone())
                    .collect();
            }
            Fault::Swapped => {
                results.iter_mut().for_each(|(key, value)| std::mem::swap(key, value.get_or_insert_default()));
            }
            Fault::OtherKey => results.iter_mut().for_each(|(key, _)| key.insert(0, '*')),
            _ => {}
        }
        let results = results.iter().map(|(key, value)| json!({"Key": key, "Value": value.as_deref().unwrap_or("")}));
        ("200 OK", json!({"Code": 0, "Results": results.collect::<Vec<_>>()}).to_string())
    }

    /// A UID: letters in place of digits, after a letter that is their checksum.
    fn uid(&self, text: &str) -> String {
        let digits = international(text);
        if self.fault == Fault::ShowsNumber {
            return format!("uid-{digits}");
        }
        let letters: String = digits.bytes().map(|digit| char::from(digit - b'0' + b'a')).collect();
        let spelling = if self.fault == Fault::SpellingsApart && text.contains(['+', ' ']) { "y" } else { "x" };
        format!("{}{spelling}{}{letters}", "z".repeat(24), checksum(&letters))
    }

    fn phone(&self, uid: &str) -> Option<String> {
        let letters = uid.get(25..).and_then(|rest| rest.strip_prefix(&checksum(rest.get(1..)?)));
        let digits = match letters.filter(|_| uid.starts_with("zzz")) {
            _ if uid.starts_with("uid-") => uid[4..].to_owned(),
            Some(letters) => letters.bytes().map(|letter| char::from(letter - b'a' + b'0')).collect(),
            None if self.fault == Fault::MapsGarbage => "8615400000099".to_owned(),
            None => return None,
        };
        let code = if digits.starts_with("86") { 2 } else { digits.len().saturating_sub(10) };
        Some(match self.fault {
            Fault::OtherNumber => "008615400000099".to_owned(),
            Fault::BreaksHotlines if digits.len() < 10 => format!("0086{digits}0"),
            Fault::NoCountryCode => digits[code..].to_owned(),
            Fault::HomeCountryAlways => format!("0086{}", &digits[code..]),
            _ => format!("00{digits}"),
        })
    }
}

fn checksum(letters: &str) -> String {
    let sum = letters.bytes().enumerate().map(|(at, letter)| (at + 1) * usize::from(letter)).sum::<usize>();
    char::from(b'k' + u8::try_from(sum % 11).unwrap()).to_string()
}

/// The digits of the number that `text` means in China.
fn international(text: &str) -> String {
    let ascii = |c: char| match c {
        '０'..='９' => char::from_u32(u32::from(c) - 0xFEE0),
        '+' | '＋' => Some('+'),
        _ => Some(c).filter(char::is_ascii_digit),
    };
    let text: String = text.chars().filter_map(ascii).collect();
    let digits = match (text.strip_prefix('+'), text.strip_prefix("00")) {
        (Some(rest), _) | (_, Some(rest)) => rest.to_owned(),
        _ => format!("86{text}"),
    };
    // China's trunk prefix.
    digits.strip_prefix("860").map_or(digits.clone(), |rest| format!("86{rest}"))
}

/// The `Authorization` and the body of the next request.
fn read_request(stream: &mut BufReader<impl Read>) -> Option<(Option<String>, Vec<u8>)> {
    let (mut length, mut authorization) = (0, None);
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(": ") {
            match &*name.to_ascii_lowercase() {
                "content-length" => length = value.parse().unwrap(),
                "authorization" => authorization = Some(value.to_owned()),
                _ => {}
            }
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    Some((authorization, body))
}
