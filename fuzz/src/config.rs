//! The configuration: any text at all is a configuration or an error, and no error quotes a value.

use std::path::Path;

use callveil::config::{Config, ConfigError, Overrides};
use toml::{Table, Value};

use crate::{MARKER, pick};

/// An integer that no message has for a reason of its own.
const NUMBER_MARKER: i64 = 7_770_001_777_123;

/// `data` is a configuration.
pub fn check(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    let read = read(text);
    check_torn(text, data);
    let Ok(table) = text.parse::<Table>() else {
        assert!(read.is_err_and(|error| error.to_string().contains("not TOML")), "no TOML was read as a configuration");
        return;
    };
    let places = places(&Value::Table(table.clone()), &mut Vec::new());
    for marker in [Value::from(MARKER), Value::from(NUMBER_MARKER), Value::from(vec![MARKER])] {
        if !places.is_empty() {
            check_quiet(&table, &places[pick(data, places.len())], marker);
        }
    }
    if let Ok(config) = read {
        check_accepted(&config, &table);
    }
}

fn read(text: &str) -> Result<Config, ConfigError> {
    Config::from_toml(text, Path::new("/etc/callveil"), Overrides::default())
}

/// With the marker put somewhere after an equals sign, where a value is.
fn check_torn(text: &str, data: &[u8]) {
    let after_equals: Vec<usize> = text.match_indices('=').map(|(at, _)| at + 1).collect();
    if after_equals.is_empty() {
        return;
    }
    let (before, after) = text.split_at(after_equals[pick(data, after_equals.len())]);
    for quote in ["", "\""] {
        let torn = format!("{before}{quote}{MARKER}{after}");
        // What parses may have it in the name of a key, and names are told.
        if torn.parse::<Table>().is_err()
            && let Err(error) = read(&torn)
        {
            assert!(!error.to_string().contains(MARKER), "{error}");
        }
    }
}

/// The ways from the top to each value that is no table.
fn places(value: &Value, way: &mut Vec<Step>) -> Vec<Vec<Step>> {
    let children: Vec<(Step, &Value)> = match value {
        Value::Table(table) => table.iter().map(|(key, value)| (Step::Key(key.clone()), value)).collect(),
        Value::Array(values) => values.iter().enumerate().map(|(at, value)| (Step::At(at), value)).collect(),
        _ => return vec![way.clone()],
    };
    let mut found = Vec::new();
    for (step, child) in children {
        way.push(step);
        found.extend(places(child, way));
        way.pop();
    }
    found
}

#[derive(Clone)]
enum Step {
    Key(String),
    At(usize),
}

/// With the marker as the value at `place`.
fn check_quiet(table: &Table, place: &[Step], marker: Value) {
    let mut top = Value::Table(table.clone());
    let mut value = &mut top;
    for step in place {
        value = match step {
            Step::Key(key) => &mut value[key.as_str()],
            Step::At(at) => &mut value[*at],
        };
    }
    *value = marker;
    // What cannot be written as TOML (a number that has no form there) needs no test.
    let Ok(text) = toml::to_string(&top) else { return };
    if let Err(error) = read(&text) {
        let message = error.to_string();
        assert!(!message.contains(MARKER) && !message.contains(&NUMBER_MARKER.to_string()), "{message}");
    }
}

/// What docs/configuration.md says, of what was accepted.
fn check_accepted(config: &Config, table: &Table) {
    assert!(config.terms.path.starts_with('/') && !config.terms.path.contains(['?', '#']));
    assert!(config.tls.is_some() || config.listen.ip().is_loopback() || table["plaintext"] == Value::from(true));
    assert!(config.tls.is_none() || table.get("plaintext").is_none_or(|plaintext| *plaintext == Value::from(false)));
    if let Some(admin) = &config.admin {
        assert!(admin.listen.ip().is_loopback() || admin.token_sha256.is_some());
    }
    let limits = &config.terms.limits;
    assert!(limits.body_bytes <= limits.buffered_bytes && limits.numbers >= 1);
    let names: Vec<&str> = config.clients.iter().map(|client| client.username.as_str()).collect();
    assert!(!names.is_empty() && (1..names.len()).all(|at| !names[..at].contains(&names[at])));
    assert!(config.clients.iter().all(|client| !client.password_sha256.is_empty()));
    let mut texts = vec![{
        let mut more = table.clone();
        more.insert("unknown_key".to_owned(), Value::from(1));
        more
    }];
    for section in ["tls", "admin", "limits", "audit"] {
        let mut more = table.clone();
        if let Some(Value::Table(section)) = more.get_mut(section) {
            section.insert("unknown_key".to_owned(), Value::from(1));
            texts.push(more);
        }
    }
    for more in texts {
        let Ok(text) = toml::to_string(&more) else { continue };
        assert!(read(&text).is_err_and(|error| error.to_string().contains("unknown_key")), "an unknown key is named");
    }
}
