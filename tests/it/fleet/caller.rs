//! One client of the fleet, which accepts only success.

use std::{
    io::{self, Write as _},
    net::{SocketAddr, TcpStream},
    thread::sleep,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::support::{Answer, Http, PASSWORD, PATIENCE, USER, basic, post};

/// The pause between a head and its body.
const APART: Duration = Duration::from_millis(3);

/// Maximum characters that are shown of a wrong answer.
const SHOWN: usize = 1000;

/// How a client uses connections. HTTP libraries do all of these.
#[derive(Clone, Copy, PartialEq)]
pub enum Manner {
    /// One connection, each request in one piece.
    KeepAlive,
    /// One connection; the body is sent some time after its head.
    BodyApart,
    /// A connection for each request.
    Reconnect,
}

/// A client with its connection.
pub struct Caller {
    pub address: SocketAddr,
    manner: Manner,
    http: Option<Http>,
    /// The life of the replica when the connection was made.
    life: u32,
}

/// A successful request.
pub struct Called {
    pub values: Vec<String>,
    /// The replica that answered, if the load balancer says so.
    pub replica: Option<String>,
    pub sent: Timestamp,
    pub received: Timestamp,
}

impl Caller {
    pub fn new(address: SocketAddr, manner: Manner) -> Self {
        Self { address, manner, http: None, life: 0 }
    }

    /// Drops a connection to an earlier life of the replica.
    pub fn use_life(&mut self, life: u32) {
        if self.life != life {
            (self.life, self.http) = (life, None);
        }
    }

    /// The values of a call. Anything but success of every item is an error.
    pub fn call(&mut self, mode: &'static str, items: &[&str]) -> Result<Called, String> {
        let (sent, begun) = (Timestamp::now(), Instant::now());
        let tell = |what: String| {
            format!(
                "{mode} of {} items at {} from {sent}, {:?} later: {what}",
                items.len(),
                self.address,
                begun.elapsed()
            )
        };
        let request = post(&basic(USER, PASSWORD), &json!({"Numbers": items, "Mode": mode}).to_string());
        let mut http = match self.http.take() {
            Some(http) => http,
            None => connect(self.address).map_err(|error| tell(format!("no connection: {error}")))?,
        };
        write(&mut http, &request, self.manner).map_err(|error| tell(format!("cannot send: {error}")))?;
        let answer = http.try_read().ok_or_else(|| tell("no answer".to_owned()))?;
        let received = Timestamp::now();
        let shown = || format!("{answer:?}").chars().take(SHOWN).collect::<String>();
        let values = values(&answer, items).map_err(|what| tell(format!("{what}: {}", shown())))?;
        if self.manner != Manner::Reconnect && answer.header("connection") != Some("close") {
            self.http = Some(http);
        }
        Ok(Called { values, replica: answer.header("x-replica").map(str::to_owned), sent, received })
    }
}

fn connect(address: SocketAddr) -> io::Result<Http> {
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    Ok(Http(io::BufReader::new(stream)))
}

fn write(http: &mut Http, request: &str, manner: Manner) -> io::Result<()> {
    let stream = http.0.get_mut();
    if manner != Manner::BodyApart {
        return stream.write_all(request.as_bytes());
    }
    let (head, body) = request.split_at(request.find("\r\n\r\n").unwrap() + 4);
    stream.write_all(head.as_bytes())?;
    sleep(APART);
    stream.write_all(body.as_bytes())
}

/// The values in a correct answer.
fn values(answer: &Answer, items: &[&str]) -> Result<Vec<String>, &'static str> {
    if answer.status != 200 || answer.header("content-type") != Some("application/json") {
        return Err("not answered with 200 and JSON");
    }
    let envelope: Value = serde_json::from_str(&answer.body).map_err(|_| "not JSON")?;
    let results = envelope["Results"].as_array().ok_or("no results")?;
    if envelope["Code"] != 0 || results.len() != items.len() {
        return Err("another Code than 0, or too few results");
    }
    let value = |(item, result): (&&str, &Value)| match result["Value"].as_str() {
        Some(value) if result["Key"] == **item && result.get("Error").is_none() => Ok(value.to_owned()),
        _ => Err("an item failed, or is not the one that was asked for"),
    };
    items.iter().zip(results).map(value).collect()
}

/// The id of the key that made a UID: its first two bytes.
pub fn key_of(uid: &str) -> Option<String> {
    let bytes = data_encoding::BASE32_NOPAD.decode(uid.get(..8)?.to_ascii_uppercase().as_bytes()).ok()?;
    Some(data_encoding::HEXLOWER.encode(&bytes[..2]))
}
