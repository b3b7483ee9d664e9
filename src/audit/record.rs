//! One line of the log.

use std::{fmt, io::Write as _, net::IpAddr};

use jiff::Timestamp;
use serde_json::{Map, Value};

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
    /// Random, one a start.
    pub instance: u64,
    /// Counts the requests since.
    pub number: u64,
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}{:016x}", self.instance, self.number)
    }
}

/// What is noted of a request: counts, and never contents.
pub struct Record {
    /// Its name.
    pub id: RequestId,
    /// When it was mapped; when it ended, where it was not.
    pub time: Option<Timestamp>,
    /// Who sent it.
    pub peer: IpAddr,
    /// As whom, where the credentials were good.
    pub client: Option<Username>,
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
    /// Why the others were not.
    pub failures: Failures,
    /// How many items each key opened or sealed.
    pub keys: Vec<(KeyId, u64)>,
    /// Hashes of each UID and its number, where items are hashed.
    pub hashes: Vec<(ItemHash, ItemHash)>,
    pub(super) microseconds: u64,
    pub(super) places: usize,
    /// Instead of all that: another event, ready to be written.
    event: Option<Box<[u8]>>,
}

impl Record {
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
            failures: Failures::default(),
            keys: Vec::new(),
            hashes: Vec::new(),
            microseconds: 0,
            places: 0,
            event: None,
        }
    }

    pub(super) fn event(time: Timestamp, event: &str, fields: Map<String, Value>) -> Self {
        let unset = RequestId { instance: 0, number: 0 };
        let line = event_line(time, event, fields).into_boxed_slice();
        Self { places: 1, event: Some(line), ..Self::new(unset, IpAddr::from([0; 4])) }
    }

    /// Adds the line to `out`.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        if let Some(event) = &self.event {
            out.extend_from_slice(event);
            return;
        }
        out.extend_from_slice(b"{\"time\":\"");
        put(out, format_args!("{:.6}", self.time.unwrap_or_default()));
        put(out, format_args!("\",\"event\":\"request\",\"id\":\"{}\",\"client\":", self.id));
        match &self.client {
            Some(client) => json::push_string(out, client.as_str()),
            None => out.extend_from_slice(b"null"),
        }
        let mode = self.mode.map_or("", Mode::name);
        put(out, format_args!(",\"peer\":\"{}\",\"mode\":\"{mode}\",\"status\":{}", self.peer, self.status));
        put(out, format_args!(",\"code\":{},\"items\":{},\"mapped\":{}", self.code, self.items, self.mapped));
        out.extend_from_slice(b",\"errors\":");
        object(out, self.failures.iter().map(|(error, count)| (error.code(), count)));
        out.extend_from_slice(b",\"keys\":");
        object(out, self.keys.iter().map(|(id, count)| (id, count)));
        if !self.hashes.is_empty() {
            out.extend_from_slice(b",\"hashes\":");
            let mut separator = '[';
            for (uid, number) in &self.hashes {
                put(out, format_args!("{separator}[\"{uid}\",\"{number}\"]"));
                separator = ',';
            }
            out.push(b']');
        }
        put(out, format_args!(",\"microseconds\":{}}}\n", self.microseconds));
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

fn object(out: &mut Vec<u8>, entries: impl Iterator<Item = (impl fmt::Display, impl fmt::Display)>) {
    let mut separator = "";
    out.push(b'{');
    for (name, count) in entries {
        put(out, format_args!("{separator}\"{name}\":{count}"));
        separator = ",";
    }
    out.push(b'}');
}

fn put(out: &mut Vec<u8>, text: fmt::Arguments<'_>) {
    out.write_fmt(text).expect("a buffer takes everything");
}
