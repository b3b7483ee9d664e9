//! All of a configuration but its clients: what a running replica does not take up, and has to name when it changes.

use std::collections::{BTreeMap, BTreeSet};

use toml::{Table, Value};

use super::Overrides;

/// Settings that are taken up at the start only, by their names.
#[derive(Default)]
pub struct Settings(BTreeMap<String, Value>);

impl Settings {
    /// Those of `file`, but for what flags say instead of it.
    pub(super) fn new(file: Table, overrides: &Overrides) -> Self {
        let mut settings = BTreeMap::new();
        collect(file, "", &mut settings);
        let Overrides { listen, keyring, identity } = overrides;
        let overridden = [
            ("clients", true),
            ("listen", listen.is_some()),
            ("keyring", keyring.is_some()),
            ("identity", identity.is_some()),
        ];
        overridden.into_iter().filter(|(_, is_so)| *is_so).for_each(|(name, _)| drop(settings.remove(name)));
        Self(settings)
    }

    /// The names of those that are other in `later`, or missing on one side.
    pub fn changed<'s>(&'s self, later: &'s Self) -> Vec<&'s str> {
        let names: BTreeSet<&String> = self.0.keys().chain(later.0.keys()).collect();
        names.into_iter().filter(|name| self.0.get(*name) != later.0.get(*name)).map(String::as_str).collect()
    }
}

fn collect(table: Table, prefix: &str, settings: &mut BTreeMap<String, Value>) {
    for (key, value) in table {
        let name = format!("{prefix}{key}");
        match value {
            Value::Table(table) => collect(table, &format!("{name}."), settings),
            value => drop(settings.insert(name, value)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(before: &str, after: &str, expected: &[&str]) {
        let overrides = Overrides { keyring: Some("ring".into()), ..Overrides::default() };
        let settings = |text: &str| Settings::new(text.parse().expect("TOML"), &overrides);
        assert_eq!(settings(before).changed(&settings(after)), expected, "{before} {after}");
    }

    #[test]
    fn what_changed_is_named() {
        check("path = \"/\"\n[limits]\nnumbers = 1", "limits.numbers = 1\npath=\"/\"", &[]);
        check(
            "[limits]\nnumbers = 1\nidle_seconds = 5",
            "[limits]\nnumbers = 2",
            &["limits.idle_seconds", "limits.numbers"],
        );
        check("", "[admin.tls]\ncertificate = \"a\"", &["admin.tls.certificate"]);
        check("keyring = \"a\"\nlisten = \"a\"", "keyring = \"b\"\nlisten = \"b\"", &["listen"]);
        check("[[clients]]\nusername = \"a\"", "[[clients]]\nusername = \"b\"", &[]);
    }
}
