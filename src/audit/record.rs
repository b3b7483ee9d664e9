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

use super::{ItemHash, chain::LINE_BYTES_MAX, chain::LINK_BYTES_MAX, items::ItemKeyId};
use crate::{auth::Username, ids::KeyId, item::Mode, json, mapped::Failures};

/// The name of a request, which its answer also carries as `X-Request-Id`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestId {
    /// Random, made at the start of the process, in hex.
    pub instance: [u8; 16],
    /// Counts the requests since that start.
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

/// Pairs of hashes in one line, each pair of a UID and its number. So lines stay below 16 KiB. Container runtimes would
/// break longer lines into pieces, and journald would break lines of 48 KiB.
const HASHES_A_LINE: usize = 170;

/// Keys in one line.
const KEYS_A_LINE: usize = 150;

/// Bytes of the longest list in a line.
const LIST_BYTES_MAX: usize = 8 * 1024;

/// Bytes of the longest text in a line. As JSON, it is up to six times longer.
const TEXT_BYTES_MAX: usize = 1024;

/// How many lines a request with so many hashes and keys has.
pub(super) fn lines_of(hashes: usize, keys: usize) -> usize {
    hashes.div_ceil(HASHES_A_LINE).max(keys.div_ceil(KEYS_A_LINE)).max(1)
}

/// What is recorded about a request: counts, and never contents.
pub struct Record<'a> {
    /// Its name.
    pub id: RequestId,
    /// When it was mapped, or when it ended if it was not mapped.
    pub time: Option<Timestamp>,
    /// Who sent it.
    pub peer: IpAddr,
    /// The client that sent it, if the credentials were good.
    pub client: Option<&'a Username>,
    /// What was asked for, if that could be read.
    pub mode: Option<Mode>,
    /// Status of the answer; 0 if the connection ended before there was one.
    pub status: u16,
    /// `Code` of the answer.
    pub code: u16,
    /// The limit of the client that it exceeded: `minute` or `day`.
    pub limit: Option<&'static str>,
    /// How many items it had.
    pub items: usize,
    /// How many of them were mapped.
    pub mapped: usize,
    /// How many came back because they already were what was asked for: UIDs in PhoneToUID, plain numbers in
    /// UIDToPhone.
    pub passed: usize,
    /// Why the others failed.
    pub failures: Failures,
    /// How many items each key opened or sealed.
    pub keys: SmallVec<[(KeyId, u64); 2]>,
    /// Hashes of each UID and its number, if items are hashed.
    pub hashes: Vec<(ItemHash, ItemHash)>,
    /// The key of these hashes.
    pub(super) item_key: Option<ItemKeyId>,
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
            limit: None,
            items: 0,
            mapped: 0,
            passed: 0,
            failures: Failures::default(),
            keys: SmallVec::new(),
            hashes: Vec::new(),
            item_key: None,
            microseconds: 0,
        }
    }

    /// Appends the lines to `out`, and returns how many there are. Most requests have one. Lines are written by hand
    /// because there are so many. If a request has several, the first has the counts, and each has some of the keys and
    /// hashes.
    pub(super) fn write(&self, out: &mut Vec<u8>, recent: &mut Recent) -> usize {
        let parts = lines_of(self.hashes.len(), self.keys.len());
        let mut keys = self.keys.chunks(KEYS_A_LINE);
        let mut hashes = self.hashes.chunks(HASHES_A_LINE);
        for part in 1..=parts {
            self.write_name(out, recent);
            if parts > 1 {
                field(out, ",\"part\":", part as u64);
                field(out, ",\"parts\":", parts as u64);
            }
            if part == 1 {
                self.write_counts(out);
            }
            let keys = keys.next().unwrap_or_default();
            object(out, b",\"keys\":{\"", keys.iter().map(|(id, count)| (id.to_hex(), *count)));
            self.write_hashes(hashes.next().unwrap_or_default(), out);
            out.extend_from_slice(b"}\n");
        }
        parts
    }

    /// The part that all lines of a request share.
    fn write_name(&self, out: &mut Vec<u8>, recent: &mut Recent) {
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
    }

    /// Status and counts. A code of 0, or a count of 0 passed items, is left out, so that there is less to write and to
    /// hash.
    fn write_counts(&self, out: &mut Vec<u8>) {
        field(out, ",\"status\":", self.status.into());
        if self.code != 0 {
            field(out, ",\"code\":", self.code.into());
        }
        if let Some(limit) = self.limit {
            put(out, format_args!(",\"limit\":\"{limit}\""));
        }
        field(out, ",\"items\":", self.items as u64);
        field(out, ",\"mapped\":", self.mapped as u64);
        if self.passed != 0 {
            field(out, ",\"passed\":", self.passed as u64);
        }
        field(out, ",\"microseconds\":", self.microseconds);
        object(out, b",\"errors\":{\"", self.failures.iter().map(|(error, count)| (error.code(), count as u64)));
    }

    fn write_hashes(&self, hashes: &[(ItemHash, ItemHash)], out: &mut Vec<u8>) {
        let (Some(key), false) = (&self.item_key, hashes.is_empty()) else { return };
        out.extend_from_slice(b",\"hmac\":\"");
        out.extend_from_slice(key);
        out.extend_from_slice(b"\",\"hashes\":");
        let mut separator = &b"[[\""[..];
        for (uid, number) in hashes {
            out.extend_from_slice(separator);
            uid.push_to(out);
            out.extend_from_slice(b"\",\"");
            number.push_to(out);
            separator = b"\"],[\"";
        }
        out.extend_from_slice(b"\"]]");
    }
}

fn field(out: &mut Vec<u8>, name: &str, value: u64) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// The line of an event that is not a request. `fields` tell who or what it is about.
pub fn event_line(time: Timestamp, event: &str, fields: Map<String, Value>) -> Vec<u8> {
    let mut line = format!("{{\"time\":\"{time:.6}\",\"event\":\"{event}\"").into_bytes();
    let end = b"}\n";
    for (name, value) in fields {
        let field = format!(",\"{name}\":{}", bounded(value));
        if line.len() + field.len() + end.len() + LINK_BYTES_MAX <= LINE_BYTES_MAX {
            line.extend_from_slice(field.as_bytes());
        }
    }
    line.extend_from_slice(end);
    line
}

/// `value`, without the end of a long text or list.
fn bounded(value: Value) -> Value {
    match value {
        Value::String(mut text) if text.len() > TEXT_BYTES_MAX => {
            let end = (0..=TEXT_BYTES_MAX).rev().find(|end| text.is_char_boundary(*end));
            text.truncate(end.unwrap_or(0));
            Value::String(text + "…")
        }
        Value::Array(mut values) => {
            let mut bytes = 0;
            let fits = values.iter().take_while(|value| {
                bytes += value.to_string().len() + 1;
                bytes <= LIST_BYTES_MAX
            });
            let (fit, all) = (fits.count(), values.len());
            if fit < all {
                values.truncate(fit);
                values.push(format!("… and {} more", all - fit).into());
            }
            Value::Array(values)
        }
        other => other,
    }
}

/// Appends `begin`, which is the field up to its first name, and then the entries. Appends nothing if there are none.
fn object(out: &mut Vec<u8>, begin: &[u8], entries: impl Iterator<Item = (impl AsRef<[u8]>, u64)>) {
    let (mut integer, mut separator) = (itoa::Buffer::new(), begin);
    for (name, count) in entries {
        out.extend_from_slice(separator);
        out.extend_from_slice(name.as_ref());
        out.extend_from_slice(b"\":");
        out.extend_from_slice(integer.format(count).as_bytes());
        separator = b",\"";
    }
    if separator != begin {
        out.push(b'}');
    }
}

/// Text that many lines in a row share.
#[derive(Default)]
pub(super) struct Recent {
    second: Option<(i64, String)>,
    peer: Option<(Ipv6Addr, String)>,
}

impl Recent {
    /// Writes `time` as RFC 3339, with microseconds.
    fn write_time(&mut self, time: Timestamp, out: &mut Vec<u8>) {
        let microseconds = time.as_microsecond();
        let (second, microsecond) = (microseconds.div_euclid(1_000_000), microseconds.rem_euclid(1_000_000));
        if self.second.as_ref().is_none_or(|(recent, _)| *recent != second) {
            let whole = time.strftime("%Y-%m-%dT%H:%M:%S.").to_string();
            self.second = Some((second, whole));
        }
        if let Some((_, whole)) = &self.second {
            out.extend_from_slice(whole.as_bytes());
        }
        // A seventh digit before the six keeps their leading zeros.
        let mut integer = itoa::Buffer::new();
        out.extend_from_slice(&integer.format(1_000_000 + microsecond).as_bytes()[1..]);
        out.push(b'Z');
    }

    fn write_peer(&mut self, peer: IpAddr, out: &mut Vec<u8>) {
        // No `IpAddr` is kept here, since it would keep what was on this stack: see `peer::Network`.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::ItemKey;

    #[test]
    fn a_long_record_is_several_lines_that_belong_together() {
        let (key, client) = (ItemKey::new(&[7; 32]), Username::new(&"\"".repeat(64)).expect("a username"));
        let id = RequestId { instance: *b"0123456789abcdef", number: 7 };
        let mut record = Record::new(id, IpAddr::from([192, 0, 2, 1]));
        (record.client, record.mode, record.item_key) = (Some(&client), Some(Mode::PhoneToAliases), Some(key.id()));
        record.hashes = (0..1001).map(|at: u32| (key.number(&at.to_string()), key.number("1"))).collect();
        record.keys = (1..=300_u16).filter_map(|id| Some((KeyId::from_bytes(id.to_be_bytes())?, 1))).collect();
        let mut out = Vec::new();
        assert_eq!(record.write(&mut out, &mut Recent::default()), 6);
        let text = String::from_utf8(out).expect("text");
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        assert!(text.lines().all(|line| line.len() + LINK_BYTES_MAX < 16 * 1024), "a line is too long");
        let length = |line: &Value, field: &str| match &line[field] {
            Value::Array(values) => values.len(),
            Value::Object(fields) => fields.len(),
            _ => 0,
        };
        let hashes: Vec<_> = lines.iter().map(|line| length(line, "hashes")).collect();
        let keys: Vec<_> = lines.iter().map(|line| length(line, "keys")).collect();
        assert_eq!((hashes, keys), (vec![170, 170, 170, 170, 170, 151], vec![150, 150, 0, 0, 0, 0]));
        for (line, part) in lines.iter().zip(1..) {
            assert_eq!((&line["id"], &line["part"], &line["parts"]), (&lines[0]["id"], &part.into(), &6.into()));
            assert_eq!(line.get("items").is_some(), part == 1);
        }
    }

    #[test]
    fn an_event_is_one_line_within_the_bound() {
        let names: Vec<_> = (0..100_000).map(|at| format!("client-{at}")).collect();
        let text = "\u{1}".repeat(100_000);
        let fields = (0..30).map(|at| (format!("text_{at}"), text.clone().into()));
        let fields = [("clients".to_owned(), names.into())].into_iter().chain(fields);
        let line = event_line(Timestamp::UNIX_EPOCH, "start", fields.collect());
        assert!(line.len() + LINK_BYTES_MAX <= LINE_BYTES_MAX && line.ends_with(b"}\n"), "{}", line.len());
        let line: Value = serde_json::from_slice(&line).expect("JSON");
        let clients = line["clients"].as_array().expect("a list");
        let last = clients.last().and_then(Value::as_str).expect("a text");
        assert_eq!(
            (clients[0].as_str(), last),
            (Some("client-0"), &*format!("… and {} more", 100_001 - clients.len()))
        );
    }

    #[test]
    fn a_short_record_is_one_line_without_what_is_zero() {
        let client = Username::new("ccc").expect("a username");
        let mut record = Record::new(RequestId { instance: *b"0123456789abcdef", number: 7 }, [192, 0, 2, 1].into());
        (record.client, record.mode, record.status, record.items) = (Some(&client), Some(Mode::PhoneToUid), 200, 3);
        let written = |record: &Record<'_>| {
            let mut out = Vec::new();
            assert_eq!(record.write(&mut out, &mut Recent::default()), 1);
            let text = String::from_utf8(out).expect("text");
            text.split_once("\"mode\":").expect("a mode").1.to_owned()
        };
        assert_eq!(written(&record), "\"PhoneToUID\",\"status\":200,\"items\":3,\"mapped\":0,\"microseconds\":0}\n");
        (record.code, record.passed) = (207, 2);
        assert_eq!(
            written(&record),
            "\"PhoneToUID\",\"status\":200,\"code\":207,\"items\":3,\"mapped\":0,\"passed\":2,\"microseconds\":0}\n"
        );
    }

    #[test]
    fn times_and_peers_are_written_anew_where_they_are_others() {
        let mut recent = Recent::default();
        for (time, peer) in [
            ("2026-11-27T12:00:00.000000Z", "192.0.2.1"),
            ("2026-11-27T12:00:00.000001Z", "192.0.2.1"),
            ("2026-11-27T12:00:00.999999Z", "192.0.2.2"),
            ("2026-11-27T12:00:01.000000Z", "2001:db8::1"),
            ("2026-11-27T11:59:59.500000Z", "::ffff:192.0.2.1"),
            ("1969-12-31T23:59:58.750000Z", "::ffff:192.0.2.1"),
        ] {
            let mut out = Vec::new();
            recent.write_time(time.parse().expect("a time"), &mut out);
            recent.write_peer(peer.parse().expect("an address"), &mut out);
            assert_eq!(str::from_utf8(&out), Ok(&*format!("{time}{peer}")));
        }
    }

    #[test]
    fn long_texts_and_lists_lose_their_ends() {
        let text = |length: usize| Value::String("é".repeat(length / 2));
        assert_eq!(bounded(text(TEXT_BYTES_MAX)), text(TEXT_BYTES_MAX));
        assert_eq!(bounded(text(TEXT_BYTES_MAX + 2)), format!("{}…", "é".repeat(TEXT_BYTES_MAX / 2)));
        // Each takes nine bytes: six letters, two quotes and a comma.
        let list = |length: usize| Value::Array(vec!["abcdef".into(); length]);
        let most = LIST_BYTES_MAX / 9;
        assert_eq!(bounded(list(most)), list(most));
        let Value::Array(fit) = bounded(list(most + 2)) else { panic!("a list stays a list") };
        assert_eq!((fit.len(), &fit[most]), (most + 1, &"… and 2 more".into()));
    }
}
