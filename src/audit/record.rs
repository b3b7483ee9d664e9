//! One line of the log.

use std::{
    fmt,
    io::Write as _,
    net::{IpAddr, Ipv6Addr},
};

use data_encoding::HEXLOWER;
use jiff::Timestamp;
use serde_json::{Map, Value};
use smallvec::SmallVec;

use super::ItemHash;
use crate::{
    auth::Username,
    ids::KeyId,
    json,
    tokenizer::{Failures, Mode},
};

/// The name of a request, which its answer carries too, as `X-Request-Id`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestId {
    /// Random, one a start: in hex.
    pub instance: [u8; 16],
    /// Counts the requests since.
    pub number: u64,
}

impl RequestId {
    /// 32 hex digits.
    pub fn to_hex(self) -> [u8; 32] {
        let mut hex = [0; 32];
        let (instance, number) = hex.split_at_mut(self.instance.len());
        instance.copy_from_slice(&self.instance);
        HEXLOWER.encode_mut(&self.number.to_be_bytes(), number);
        hex
    }
}

/// What is noted of a request: counts, and never contents.
pub struct Record<'a> {
    /// Its name.
    pub id: RequestId,
    /// When it was mapped; when it ended, where it was not.
    pub time: Option<Timestamp>,
    /// Who sent it.
    pub peer: IpAddr,
    /// As whom, where the credentials were good.
    pub client: Option<&'a Username>,
    /// What was asked for, where that could be read.
    pub mode: Option<Mode>,
    /// Status of the answer; 0 where the connection ended before there was one.
    pub status: u16,
    /// `Code` of the answer.
    pub code: u16,
    /// How many items it had.
    pub items: usize,
    /// How many of them were mapped.
    pub mapped: usize,
    /// How many came back since they were what was asked for already: UIDs in PhoneToUID, plain numbers in UIDToPhone.
    pub passed: usize,
    /// Why the others were not.
    pub failures: Failures,
    /// How many items each key opened or sealed.
    pub keys: SmallVec<[(KeyId, u64); 2]>,
    /// Hashes of each UID and its number, where items are hashed.
    pub hashes: Vec<(ItemHash, ItemHash)>,
    pub(super) microseconds: u64,
}

impl Record<'_> {
    pub(super) fn new(id: RequestId, peer: IpAddr) -> Self {
        Self {
            id,
            time: None,
            peer,
            client: None,
            mode: None,
            status: 0,
            code: 0,
            items: 0,
            mapped: 0,
            passed: 0,
            failures: Failures::default(),
            keys: SmallVec::new(),
            hashes: Vec::new(),
            microseconds: 0,
        }
    }

    /// Adds the line to `out`. One is written for each request, hence by hand.
    pub(super) fn write(&self, out: &mut Vec<u8>, recent: &mut Recent) {
        out.extend_from_slice(b"{\"time\":\"");
        recent.write_time(self.time.unwrap_or_default(), out);
        out.extend_from_slice(b"\",\"event\":\"request\",\"id\":\"");
        out.extend_from_slice(&self.id.to_hex());
        out.extend_from_slice(b"\",\"client\":");
        match self.client {
            Some(client) => json::push_string(out, client.as_str()),
            None => out.extend_from_slice(b"null"),
        }
        out.extend_from_slice(b",\"peer\":\"");
        recent.write_peer(self.peer, out);
        out.extend_from_slice(b"\",\"mode\":\"");
        out.extend_from_slice(self.mode.map_or("", Mode::name).as_bytes());
        out.push(b'"');
        let mut integer = itoa::Buffer::new();
        let mut field = |name: &[u8], value: u64| {
            out.extend_from_slice(name);
            out.extend_from_slice(integer.format(value).as_bytes());
        };
        field(b",\"status\":", self.status.into());
        field(b",\"code\":", self.code.into());
        field(b",\"items\":", self.items as u64);
        field(b",\"mapped\":", self.mapped as u64);
        field(b",\"passed\":", self.passed as u64);
        field(b",\"microseconds\":", self.microseconds);
        out.extend_from_slice(b",\"errors\":");
        object(out, self.failures.iter().map(|(error, count)| (error.code(), count as u64)));
        out.extend_from_slice(b",\"keys\":");
        object(out, self.keys.iter().map(|(id, count)| (id.to_hex(), *count)));
        if !self.hashes.is_empty() {
            out.extend_from_slice(b",\"hashes\":");
            let mut separator = '[';
            for (uid, number) in &self.hashes {
                put(out, format_args!("{separator}[\"{uid}\",\"{number}\"]"));
                separator = ',';
            }
            out.push(b']');
        }
        out.extend_from_slice(b"}\n");
    }
}

/// The line of an event that is no request, with who or what it is about in `fields`.
pub fn event_line(time: Timestamp, event: &str, fields: Map<String, Value>) -> Vec<u8> {
    let mut line = format!("{{\"time\":\"{time:.6}\",\"event\":\"{event}\"").into_bytes();
    for (name, value) in fields {
        put(&mut line, format_args!(",\"{name}\":{value}"));
    }
    line.extend_from_slice(b"}\n");
    line
}

fn object(out: &mut Vec<u8>, entries: impl Iterator<Item = (impl AsRef<[u8]>, u64)>) {
    let (mut integer, mut separator) = (itoa::Buffer::new(), &b"\""[..]);
    out.push(b'{');
    for (name, count) in entries {
        out.extend_from_slice(separator);
        out.extend_from_slice(name.as_ref());
        out.extend_from_slice(b"\":");
        out.extend_from_slice(integer.format(count).as_bytes());
        separator = b",\"";
    }
    out.push(b'}');
}

/// Text that many lines in a row have in common.
#[derive(Default)]
pub(super) struct Recent {
    second: Option<(i64, String)>,
    peer: Option<(Ipv6Addr, String)>,
}

impl Recent {
    /// RFC 3339, with microseconds.
    fn write_time(&mut self, time: Timestamp, out: &mut Vec<u8>) {
        let (second, nanosecond) = (time.as_second(), time.subsec_nanosecond());
        if nanosecond < 0 || self.second.as_ref().is_none_or(|(recent, _)| *recent != second) {
            let whole = time.strftime("%Y-%m-%dT%H:%M:%S.").to_string();
            self.second = Some((second, whole));
        }
        if let Some((_, whole)) = &self.second {
            out.extend_from_slice(whole.as_bytes());
        }
        let microseconds = u64::from(nanosecond.unsigned_abs()) / 1000;
        // A seventh digit before the six keeps their leading zeros.
        let mut integer = itoa::Buffer::new();
        out.extend_from_slice(&integer.format(1_000_000 + microseconds).as_bytes()[1..]);
        out.push(b'Z');
    }

    fn write_peer(&mut self, peer: IpAddr, out: &mut Vec<u8>) {
        // Not the `IpAddr`, which would keep what was on this stack: see `peer::Network`.
        let bits = match peer {
            IpAddr::V4(address) => address.to_ipv6_mapped(),
            IpAddr::V6(address) => address,
        };
        let text = match &mut self.peer {
            Some((recent, text)) if *recent == bits => text,
            stale => &mut stale.insert((bits, peer.to_string())).1,
        };
        out.extend_from_slice(text.as_bytes());
    }
}

fn put(out: &mut Vec<u8>, text: fmt::Arguments<'_>) {
    out.write_fmt(text).expect("a buffer takes everything");
}
