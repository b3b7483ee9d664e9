//! The faults of a configuration: all of them at once, and never with a value, which may be a secret in the wrong
//! place.

use std::{collections::BTreeMap, fmt, path::Path};

use toml::de::{DeTable, DeValue};

/// The most faults that are kept: a file of nothing but unknown keys has many.
const FAULTS_MAX: usize = 200;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Where: a key, a place in the text, or a file.
    pub place: String,
    /// The line of the configuration, if it is known.
    pub line: Option<usize>,
    /// What is wrong with it.
    pub what: String,
}

impl Fault {
    /// The fault of the key at this path, whose line is not known.
    pub fn of_key(path: &str, what: String) -> Self {
        Self { place: format!("`{path}`"), line: None, what }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.what)
    }
}

/// What is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    faults: Vec<Fault>,
}

impl ConfigError {
    /// All of `faults`, of which there is at least one, in the order of the file.
    pub(super) fn all(mut faults: Vec<Fault>) -> Self {
        // Faults without a line are about the whole file.
        faults.sort_by_key(|fault| fault.line.unwrap_or(usize::MAX));
        if faults.len() > FAULTS_MAX {
            let more = faults.len() - FAULTS_MAX;
            faults.truncate(FAULTS_MAX);
            faults.push(Fault { place: "and".to_owned(), line: None, what: format!("{more} faults more") });
        }
        Self { faults }
    }

    pub(super) fn file(path: &Path, what: String) -> Self {
        Self::all(vec![Fault { place: path.display().to_string(), line: None, what }])
    }

    /// All the faults.
    pub fn faults(&self) -> &[Fault] {
        &self.faults
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("configuration")?;
        self.faults.iter().enumerate().try_for_each(|(at, fault)| {
            let between = if at == 0 { ": " } else { "; " };
            write!(f, "{between}{fault}")
        })
    }
}

impl std::error::Error for ConfigError {}

/// Where keys stand in a text.
#[derive(Default)]
pub(super) struct Lines(BTreeMap<String, usize>);

impl Lines {
    pub(super) fn of(table: &DeTable<'_>, text: &str) -> Self {
        let mut lines = Self::default();
        lines.note(table, "", &LineEnds::of(text));
        lines
    }

    fn note(&mut self, table: &DeTable<'_>, prefix: &str, ends: &LineEnds) {
        for (key, value) in table {
            let path = format!("{prefix}{}", key.get_ref());
            self.0.insert(path.clone(), ends.line(key.span().start));
            match value.get_ref() {
                DeValue::Table(table) => self.note(table, &format!("{path}."), ends),
                DeValue::Array(values) => {
                    for (at, value) in values.iter().enumerate() {
                        if let DeValue::Table(table) = value.get_ref() {
                            let path = format!("{path}[{at}]");
                            self.0.insert(path.clone(), ends.line(value.span().start));
                            self.note(table, &format!("{path}."), ends);
                        }
                    }
                }
                _ => {}
            }
        }
    }

    /// The line of the key at `path`, or of the table that lacks it.
    pub(super) fn find(&self, path: &str) -> Option<usize> {
        let mut path = path;
        loop {
            if let Some(line) = self.0.get(path) {
                return Some(*line);
            }
            path = path.rsplit_once('.')?.0;
        }
    }
}

/// Where the lines of a text end.
struct LineEnds(Vec<usize>);

impl LineEnds {
    fn of(text: &str) -> Self {
        Self(text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at).collect())
    }

    fn line(&self, at: usize) -> usize {
        1 + self.0.partition_point(|end| *end < at)
    }
}

/// Where `text` is not TOML, and why. `what` must not quote the text, in which a secret may stand.
pub(super) fn not_toml(text: &str, error: &toml::de::Error, what: &str) -> Fault {
    let before = &text.as_bytes()[..error.span().map_or(0, |span| span.start.min(text.len()))];
    let line_start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    let column = 1 + String::from_utf8_lossy(&before[line_start..]).chars().count();
    let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
    Fault { place: format!("line {line}, column {column}"), line: Some(line), what: format!("not TOML: {what}") }
}
