//! The recipients of an encrypted ring.

use std::{fmt, str::FromStr as _, sync::Arc};

use age::{
    NoCallbacks,
    plugin::{self, RecipientPluginV1},
    x25519,
};

use super::hybrid;

/// Maximum characters of a name.
const NAME_CHARS_MAX: usize = 64;

/// A recipient of an encrypted ring: an age public key, `age1…`, `age1pq1…`, `age1tag1…`, `age1tagpq1…`, or the key of
/// a plugin, which gets to see the file key. It may have a name, `alice=age1…`, which is only for people.
#[derive(Clone)]
pub struct Recipient {
    name: Option<String>,
    key: String,
    pub(super) is_plugin: bool,
    pub(super) age: Arc<dyn age::Recipient + Send + Sync>,
}

impl Recipient {
    /// Parses a public key, with or without a name before it; `None` if it is not one.
    pub fn parse(text: &str) -> Option<Self> {
        let (name, key) = match text.trim().split_once('=') {
            Some((name, key)) => (Some(name.to_owned()).filter(|name| is_name(name)).map(Some)?, key),
            None => (None, text.trim()),
        };
        Some(Self { name, ..Self::of_key(key)? })
    }

    fn of_key(text: &str) -> Option<Self> {
        let kind = text.rsplit_once('1').map(|(kind, _)| kind)?;
        match kind {
            "age" => x25519::Recipient::from_str(text).ok().map(Self::of),
            "age1pq" => hybrid::Recipient::from_str(text).ok().map(Self::of),
            "age1tag" => age::tag::Recipient::from_str(text).ok().map(Self::of),
            "age1tagpq" => age::tagpq::Recipient::from_str(text).ok().map(Self::of),
            _ => {
                let recipient = plugin::Recipient::from_str(text).ok()?;
                let name = recipient.plugin().to_owned();
                let plugin = RecipientPluginV1::new(&name, &[recipient], &[], NoCallbacks).ok()?;
                Some(Self { name: None, key: text.to_owned(), is_plugin: true, age: Arc::new(plugin) })
            }
        }
    }

    pub(super) fn of(recipient: impl age::Recipient + fmt::Display + Send + Sync + 'static) -> Self {
        Self { name: None, key: recipient.to_string(), is_plugin: false, age: Arc::new(recipient) }
    }

    /// The public key, without the name.
    pub fn key(&self) -> &str {
        &self.key
    }
}

impl fmt::Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(name) = &self.name {
            write!(f, "{name}=")?;
        }
        f.write_str(&self.key)
    }
}

fn is_name(name: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '@');
    (1..=NAME_CHARS_MAX).contains(&name.len()) && name.chars().all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwj";

    #[test]
    fn keys_of_four_kinds_need_no_plugin() {
        let tag = "age1tag1qt8lw0ual6avlwmwatk888yqnmdamm7xfd0wak53ut6elz5c4swx2yqdj4e";
        let post_quantum = include_str!("../../tests/golden/pq_recipient.txt").trim_end();
        let post_quantum_tag = include_str!("../../tests/golden/tagpq_recipient.txt").trim_end();
        for key in [KEY, post_quantum, tag, post_quantum_tag] {
            let recipient = Recipient::parse(key).expect("it is one");
            assert!(!recipient.is_plugin && recipient.key() == key, "{key}");
        }
    }

    #[test]
    fn names_stand_before_keys_and_open_nothing() {
        for text in [KEY.to_owned(), format!("alice={KEY}"), format!("alice.b-c_d@example.com={KEY}")] {
            let recipient = Recipient::parse(&format!(" {text}\n")).expect("it is one");
            assert_eq!((recipient.to_string(), recipient.key()), (text, KEY));
        }
        let long = "a".repeat(65);
        for name in ["", "a b", "a=b", "é", &long] {
            assert!(Recipient::parse(&format!("{name}={KEY}")).is_none(), "{name}");
        }
        for text in ["alice", "alice=", "AGE-SECRET-KEY-1QQ", "alice=AGE-SECRET-KEY-1QQ", ""] {
            assert!(Recipient::parse(text).is_none(), "{text}");
        }
    }
}
