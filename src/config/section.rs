//! Reads one table of the configuration, each key as [`KEYS`](super::list::KEYS) describe it. A fault is noted, and
//! reading goes on, so that all faults are found at once.

use std::{cell::RefCell, fmt, net::SocketAddr, time::Duration};

use data_encoding::HEXLOWER;
use toml::{Table, Value, de::DeTable};

use super::{
    fault::{ConfigError, Fault, Lines, not_toml},
    keys::{Default, Key, Kind},
    list,
};
use crate::{auth::HASH_BYTES, secret};

/// The most characters of an unknown key that are shown. A longer key may be anything, even a secret.
const KEY_CHARS_MAX: usize = 40;

/// One reading of a file.
pub(super) struct Reading {
    lines: Lines,
    faults: RefCell<Vec<Fault>>,
}

impl Reading {
    /// Reads `text` as TOML.
    ///
    /// # Errors
    /// Every place where it is not TOML.
    pub(super) fn begin(text: &str) -> Result<(Self, Table), ConfigError> {
        let (table, errors) = DeTable::parse_recoverable(text);
        if !errors.is_empty() {
            // The parser's messages are made of its own words, and never of the text.
            let faults = errors.iter().map(|error| not_toml(text, error, error.message()));
            return Err(ConfigError::all(faults.collect()));
        }
        let lines = Lines::of(table.get_ref(), text);
        // These errors quote what the parser cannot take, such as an integer of a hundred digits.
        let unfit = |error| ConfigError::all(vec![not_toml(text, &error, "a value beyond what TOML has")]);
        let table = text.parse::<Table>().map_err(unfit)?;
        Ok((Self { lines, faults: RefCell::default() }, table))
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// All the faults, if there are any.
    pub(super) fn end(self) -> Result<(), ConfigError> {
        let faults = self.faults.into_inner();
        if faults.is_empty() { Ok(()) } else { Err(ConfigError::all(faults)) }
    }
}

/// One table of the file. Each known key is taken from it, so that whatever is left is unknown.
pub(super) struct Section<'r> {
    reading: &'r Reading,
    /// What to put before a key's name: `limits.`, `clients[0].`, or nothing.
    prefix: String,
    table: Table,
}

impl<'r> Section<'r> {
    pub(super) fn top(reading: &'r Reading, table: Table) -> Self {
        Self { reading, prefix: String::new(), table }
    }

    /// Notes that `key` is wrong.
    pub(super) fn wrong(&self, key: &str, what: impl fmt::Display) {
        let path = format!("{}{key}", self.prefix);
        let line = self.reading.lines.find(&path);
        self.reading.faults.borrow_mut().push(Fault { place: format!("`{path}`"), line, what: what.to_string() });
    }

    /// Whether `key` was wrong.
    pub(super) fn is_wrong(&self, key: &str) -> bool {
        let place = format!("`{}{key}`", self.prefix);
        self.reading.faults.borrow().iter().any(|fault| fault.place == place)
    }

    /// Whether `key` is there, but not yet read.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// The description of `key`.
    fn known(&self, key: &str) -> &'static Key {
        match self.prefix.split_once('[') {
            Some((table, _)) => list::find(&format!("{table}.{key}")),
            None => list::find(&format!("{}{key}", self.prefix)),
        }
    }

    /// The value of `key`, or its default if the key is missing or wrong; `None` if there is no default.
    fn read<T>(&mut self, key: &str, demand: &str, parse: impl Fn(&Value, Kind) -> Option<T>) -> Option<T> {
        let Key { kind, default, .. } = *self.known(key);
        let given = self.table.remove(key);
        let good = given.as_ref().filter(|value| !holds_secret(value)).and_then(|value| parse(value, kind));
        match (&given, &good, default) {
            (None, _, Default::Required(_, hint)) => self.wrong(key, format_args!("is missing{hint}")),
            (Some(value), _, _) if holds_secret(value) => {
                self.wrong(key, "holds a secret key, which no configuration wants: whoever saw this file has it");
            }
            (Some(_), None, _) if demand.is_empty() => self.wrong(key, format_args!("must be {}", kind.demand())),
            (Some(_), None, _) => self.wrong(key, demand),
            _ => {}
        }
        let default = || match default {
            Default::Value(text) => parse(&text.parse::<Value>().expect("defaults are TOML"), kind),
            Default::Words(_) | Default::Required(..) => None,
        };
        good.or_else(default)
    }

    pub(super) fn string(&mut self, key: &str) -> Option<String> {
        self.parsed(key, "", |text| Some(text.to_owned()))
    }

    /// A string in a form that `parse` accepts, and `demand` describes.
    pub(super) fn parsed<T>(&mut self, key: &str, demand: &str, parse: impl Fn(&str) -> Option<T>) -> Option<T> {
        self.read(key, demand, |value, _| parse(value.as_str()?))
    }

    pub(super) fn strings(&mut self, key: &str) -> Option<Vec<String>> {
        self.all_parsed(key, "", |text| Some(text.to_owned()))
    }

    /// Strings in a form that `parse` accepts, and `demand` describes.
    pub(super) fn all_parsed<T>(
        &mut self,
        key: &str,
        demand: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Option<Vec<T>> {
        self.read(key, demand, |value, _| value.as_array()?.iter().map(|value| parse(value.as_str()?)).collect())
    }

    /// One of the strings that `key` may be.
    pub(super) fn choice(&mut self, key: &str) -> Option<&'static str> {
        self.read(key, "", |value, kind| match kind {
            Kind::OneOf(names) => names.iter().copied().find(|name| value.as_str() == Some(name)),
            _ => None,
        })
    }

    pub(super) fn boolean(&mut self, key: &str) -> Option<bool> {
        self.read(key, "", |value, _| value.as_bool())
    }

    pub(super) fn integer<T: TryFrom<i64>>(&mut self, key: &str) -> Option<T> {
        self.read(key, "", |value, kind| {
            let Kind::Integer(min, max) = kind else { return None };
            value
                .as_integer()
                .filter(|integer| (min..=max).contains(integer))
                .and_then(|integer| integer.try_into().ok())
        })
    }

    /// An integer that has a default.
    pub(super) fn limit<T: TryFrom<i64>>(&mut self, key: &str) -> T {
        self.integer(key).expect("limits have defaults")
    }

    pub(super) fn seconds(&mut self, key: &str) -> Duration {
        Duration::from_secs(self.limit(key))
    }

    /// A limit, if it is set. The inner `None` says that there is to be no limit.
    pub(super) fn rate(&mut self, key: &str) -> Option<Option<u64>> {
        self.read(key, "", |value, kind| match (value, kind) {
            (Value::String(text), _) => (text == "unlimited").then_some(None),
            (Value::Integer(rate), Kind::Rate(_, max)) => {
                u64::try_from(*rate).ok().filter(|_| (1..=max).contains(rate)).map(Some)
            }
            _ => None,
        })
    }

    pub(super) fn address(&mut self, key: &str) -> Option<SocketAddr> {
        self.read(key, "", |value, _| value.as_str()?.parse().ok())
    }

    pub(super) fn section(&mut self, key: &str) -> Option<Section<'r>> {
        match self.table.remove(key)? {
            Value::Table(table) => {
                Some(Section { reading: self.reading, prefix: format!("{}{key}.", self.prefix), table })
            }
            _ => {
                self.wrong(key, "must be a table");
                None
            }
        }
    }

    /// The tables under `[[key]]`. If there is something else, that is noted, and the result is `None`.
    pub(super) fn sections(&mut self, key: &str) -> Option<Vec<Section<'r>>> {
        let Some(value) = self.table.remove(key) else { return Some(Vec::new()) };
        let tables = match value {
            Value::Array(values) => values.into_iter().map(into_table).collect::<Option<Vec<_>>>(),
            _ => None,
        };
        let Some(tables) = tables else {
            self.wrong(key, format_args!("must be tables, each under [[{key}]]"));
            return None;
        };
        let section = |(at, table)| Section { reading: self.reading, prefix: format!("{key}[{at}]."), table };
        Some(tables.into_iter().enumerate().map(section).collect())
    }

    /// Notes the unknown keys.
    pub(super) fn finish(self) {
        for key in self.table.keys() {
            let shown = key.escape_debug().to_string();
            if secret::found_in(key).is_some() || shown.chars().count() > KEY_CHARS_MAX {
                let start: String = shown.chars().take(8).collect();
                self.wrong(&format!("{start}…"), "is not a key of the configuration");
            } else {
                self.wrong(&shown, "is not a key of the configuration");
            }
        }
    }
}

/// The bytes of a SHA-256 in hex.
pub(super) fn sha256(hex: &str) -> Option<[u8; HASH_BYTES]> {
    HEXLOWER.decode(hex.as_bytes()).ok()?.try_into().ok()
}

fn into_table(value: Value) -> Option<Table> {
    match value {
        Value::Table(table) => Some(table),
        _ => None,
    }
}

fn holds_secret(value: &Value) -> bool {
    match value {
        Value::String(text) => secret::found_in(text).is_some(),
        Value::Array(values) => values.iter().any(holds_secret),
        _ => false,
    }
}
