//! The settings of a configuration as they were written, without its clients: which of them changed, and which a
//! running replica takes up.

use std::collections::{BTreeMap, BTreeSet};

use toml::{Table, Value};

use super::{Overrides, keys::Taken, list};

/// Settings, by their names.
#[derive(Default)]
pub struct Settings(BTreeMap<String, Value>);

impl Settings {
    /// The settings of `file`, without those that flags override.
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

    /// Takes up those settings of `later` that SIGHUP takes up. Returns their names, and the names of those that wait
    /// for a restart.
    pub fn take_up(&mut self, mut later: Self) -> (Vec<String>, Vec<String>) {
        let names: BTreeSet<String> = self.0.keys().chain(later.0.keys()).cloned().collect();
        let changed = names.into_iter().filter(|name| self.0.get(name) != later.0.get(name));
        let (taken, left): (Vec<_>, Vec<_>) = changed.partition(|name| list::find(name).taken == Taken::OnReload);
        for name in &taken {
            self.0.remove(name);
            self.0.extend(later.0.remove_entry(name));
        }
        (taken, left)
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
    fn check(before: &str, after: &str, taken: &str, left: &str) {
        let overrides = Overrides { keyring: Some("ring".into()), ..Overrides::default() };
        let settings = |text: &str| Settings::new(text.parse().expect("TOML"), &overrides);
        let mut ours = settings(before);
        for taken in [taken, ""] {
            let (found, waits) = ours.take_up(settings(after));
            assert_eq!((&*found.join(" "), &*waits.join(" ")), (taken, left), "{before} {after}");
        }
    }

    #[test]
    fn what_changed_is_named_and_what_is_taken_up_only_once() {
        check("path = \"/\"\n[limits]\nnumbers = 1", "limits.numbers = 1\npath=\"/\"", "", "");
        check(
            "[limits]\nnumbers = 1\nconnections = 5\nidle_seconds = 7",
            "[limits]\nnumbers = 2",
            "limits.idle_seconds limits.numbers",
            "limits.connections",
        );
        check("", "[admin.tls]\ncertificate = \"a\"", "", "admin.tls.certificate");
        check("keyring = \"a\"\nlisten = \"a\"", "keyring = \"b\"\nlisten = \"b\"", "", "listen");
        check("[[clients]]\nusername = \"a\"", "[[clients]]\nusername = \"b\"", "", "");
    }
}
