//! How one table of the configuration is read.

use std::{fmt, net::SocketAddr, ops::RangeInclusive, time::Duration};

use data_encoding::HEXLOWER;
use toml::{Table, Value, de::DeTable};

use super::ConfigError;
use crate::auth::HASH_BYTES;

/// One table of the file, from which each known key is taken, so that what is left is unknown.
pub(super) struct Section {
    /// What to put before a key's name: `limits.`, `clients[0].`, or nothing.
    prefix: String,
    /// What is left of it.
    pub(super) table: Table,
}

impl Section {
    pub(super) fn parse(text: &str) -> Result<Self, ConfigError> {
        // What the parser says is made of its own words, never of the text's.
        DeTable::parse(text).map_err(|error| not_toml(text, &error, error.message()))?;
        // This quotes what it cannot take, such as an integer of a hundred digits.
        let unfit = |error| not_toml(text, &error, "a value beyond what TOML has");
        let table = text.parse::<Table>().map_err(unfit)?;
        Ok(Self { prefix: String::new(), table })
    }

    pub(super) fn wrong(&self, key: &str, what: impl fmt::Display) -> ConfigError {
        ConfigError::new(&format!("{}{key}", self.prefix), what.to_string())
    }

    pub(super) fn take(&mut self, key: &str) -> Option<Value> {
        self.table.remove(key)
    }

    fn typed<T>(&mut self, key: &str, kind: &str, read: impl Fn(Value) -> Option<T>) -> Result<Option<T>, ConfigError> {
        let Some(value) = self.take(key) else { return Ok(None) };
        read(value).map(Some).ok_or_else(|| self.wrong(key, format_args!("must be {kind}")))
    }

    pub(super) fn string(&mut self, key: &str) -> Result<Option<String>, ConfigError> {
        self.typed(key, "a string", into_string)
    }

    pub(super) fn strings(&mut self, key: &str) -> Result<Option<Vec<String>>, ConfigError> {
        self.typed(key, "an array of strings", |value| match value {
            Value::Array(values) => values.into_iter().map(into_string).collect(),
            _ => None,
        })
    }

    pub(super) fn boolean(&mut self, key: &str) -> Result<Option<bool>, ConfigError> {
        self.typed(key, "true or false", |value| value.as_bool())
    }

    pub(super) fn integer<T: TryFrom<i64> + PartialOrd + fmt::Display>(
        &mut self,
        key: &str,
        range: RangeInclusive<T>,
    ) -> Result<Option<T>, ConfigError> {
        let kind = format!("an integer from {} to {}", range.start(), range.end());
        self.typed(key, &kind, |value| {
            value.as_integer().and_then(|integer| T::try_from(integer).ok()).filter(|integer| range.contains(integer))
        })
    }

    pub(super) fn seconds(&mut self, key: &str, range: RangeInclusive<u64>) -> Result<Option<Duration>, ConfigError> {
        Ok(self.integer(key, range)?.map(Duration::from_secs))
    }

    /// A limit a `span`, where one is given; it may be that there is none.
    pub(super) fn rate(&mut self, key: &str, span: &str, max: u64) -> Result<Option<Option<u64>>, ConfigError> {
        let kind = format!("numbers a {span} from 1 to {max}, or \"unlimited\"");
        self.typed(key, &kind, |value| match value.as_str() {
            Some("unlimited") => Some(None),
            _ => value
                .as_integer()
                .and_then(|rate| u64::try_from(rate).ok())
                .filter(|rate| (1..=max).contains(rate))
                .map(Some),
        })
    }

    pub(super) fn address(&mut self, key: &str) -> Result<Option<SocketAddr>, ConfigError> {
        self.typed(key, "an address and a port, such as \"127.0.0.1:8443\"", |value| value.as_str()?.parse().ok())
    }

    pub(super) fn sha256(&self, key: &str, hex: &str) -> Result<[u8; HASH_BYTES], ConfigError> {
        let decoded = HEXLOWER.decode(hex.as_bytes()).ok().and_then(|bytes| bytes.try_into().ok());
        decoded.ok_or_else(|| self.wrong(key, "must be a SHA-256 as 64 lower-case hex digits"))
    }

    pub(super) fn section(&mut self, key: &str) -> Result<Option<Section>, ConfigError> {
        let prefix = format!("{}{key}.", self.prefix);
        self.typed(key, "a table", |value| match value {
            Value::Table(table) => Some(Section { prefix: prefix.clone(), table }),
            _ => None,
        })
    }

    pub(super) fn sections(&mut self, key: &str) -> Result<Vec<Section>, ConfigError> {
        let prefix = |at| format!("{}{key}[{at}].", self.prefix);
        let Some(value) = self.table.get(key) else { return Ok(Vec::new()) };
        let tables = match value {
            Value::Array(values) => values.iter().map(|value| value.as_table().cloned()).collect::<Option<Vec<_>>>(),
            _ => None,
        };
        let tables = tables.ok_or_else(|| self.wrong(key, format_args!("must be tables, each under [[{key}]]")))?;
        let sections =
            tables.into_iter().enumerate().map(|(at, table)| Section { prefix: prefix(at), table }).collect();
        self.table.remove(key);
        Ok(sections)
    }

    pub(super) fn finish(self) -> Result<(), ConfigError> {
        match self.table.keys().next() {
            Some(key) => Err(self.wrong(&key.escape_debug().to_string(), "is not a key of the configuration")),
            None => Ok(()),
        }
    }
}

/// Where `text` is no TOML, and why. `what` never quotes it: a secret may stand there.
fn not_toml(text: &str, error: &toml::de::Error, what: &str) -> ConfigError {
    let before = &text.as_bytes()[..error.span().map_or(0, |span| span.start.min(text.len()))];
    let line_start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    let column = 1 + String::from_utf8_lossy(&before[line_start..]).chars().count();
    let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
    ConfigError { place: format!("line {line}, column {column}"), what: format!("not TOML: {what}") }
}

fn into_string(value: Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text),
        _ => None,
    }
}
