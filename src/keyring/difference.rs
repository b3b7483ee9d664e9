//! What a new ring changes, in words, for the people who sign it.

use std::{borrow::Cow, fmt};

use jiff::Timestamp;

use super::{
    KeyRing,
    key::{Key, Status},
};
use crate::ids::KeyId;

/// How many characters at each end of a long public key are shown: so many that nobody can make another key with the
/// same ends.
const SHOWN_CHARACTERS: usize = 32;

/// What a replica reports of its ring.
#[derive(Clone, Debug)]
pub struct Outline {
    /// The ring's name.
    pub ring: String,
    /// How often it was written.
    pub generation: u64,
    /// Its recipients.
    pub recipients: Vec<String>,
    /// Its keys.
    pub keys: Vec<OutlineKey>,
}

/// One key of an [`Outline`].
#[derive(Clone, Debug)]
pub struct OutlineKey {
    /// Its name.
    pub id: KeyId,
    /// What may be done with it.
    pub status: Status,
    /// When it becomes the primary.
    pub activates: Timestamp,
    /// The fingerprint of its material.
    pub check: String,
}

impl From<&KeyRing> for Outline {
    fn from(ring: &KeyRing) -> Self {
        let keys = ring.keys().iter().map(|key| OutlineKey {
            id: key.id,
            status: key.status,
            activates: key.activates,
            check: key.check.to_string(),
        });
        let recipients = ring.recipients().to_vec();
        Self { ring: ring.id().to_string(), generation: ring.generation(), recipients, keys: keys.collect() }
    }
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change {
    /// A key is added.
    Added {
        /// The key.
        id: KeyId,
        /// What may be done with it.
        status: Status,
        /// When it becomes the primary.
        activates: Timestamp,
        /// Its region.
        region: String,
        /// Whether it may be given away.
        exportable: bool,
    },
    /// A key is enabled, disabled or destroyed.
    Became {
        /// The key.
        id: KeyId,
        /// What it was.
        from: Status,
        /// What it becomes.
        to: Status,
    },
    /// A key activates at another time.
    Moved {
        /// The key.
        id: KeyId,
        /// When it was to activate.
        from: Timestamp,
        /// When it will activate.
        to: Timestamp,
    },
    /// A key is gone, or its id now belongs to another key: replicas refuse such a ring.
    Broken(KeyId),
    /// Somebody can open the ring who could not before.
    RecipientAdded(String),
    /// Somebody can no longer open it.
    RecipientRemoved(String),
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Added { id, status, activates, region, exportable } => {
                write!(f, "key {id} is added, {status}: it becomes the primary at {activates} (region {region})")?;
                if *exportable { f.write_str("; it may be exported, for all time") } else { Ok(()) }
            }
            Self::Became { id, to: Status::Destroyed, .. } => {
                write!(f, "key {id} is DESTROYED: none of its UIDs can ever be opened again")
            }
            Self::Became { id, to: Status::Disabled, .. } => {
                write!(f, "key {id} is disabled: its UIDs open no more, until it is enabled again")
            }
            Self::Became { id, to: Status::Enabled, .. } => write!(f, "key {id} is enabled: its UIDs open again"),
            Self::Moved { id, from, to } => write!(f, "key {id} becomes the primary at {to}, not at {from}"),
            Self::Broken(id) => {
                write!(f, "key {id} is gone, or another key has its id: replicas will refuse this ring")
            }
            Self::RecipientAdded(who) => write!(f, "{} is a recipient from now on, and can open every key", short(who)),
            Self::RecipientRemoved(who) => write!(f, "{} is no recipient any more", short(who)),
        }
    }
}

/// A public key. If it is too long to be read, as post-quantum keys with their 1,959 characters are, its middle is left
/// out.
fn short(recipient: &str) -> Cow<'_, str> {
    let ends = recipient.get(..SHOWN_CHARACTERS).zip(recipient.len().checked_sub(SHOWN_CHARACTERS));
    let ends = ends.and_then(|(begin, at)| Some((begin, recipient.get(at..)?)));
    match ends.filter(|_| recipient.len() > 4 * SHOWN_CHARACTERS) {
        Some((begin, end)) => format!("{begin}…{end}").into(),
        None => recipient.into(),
    }
}

/// The changes if `after` replaces `before`. Without a `before`, everything is new.
pub fn difference(before: Option<&Outline>, after: &KeyRing) -> Vec<Change> {
    let known = |id| before.and_then(|before| before.keys.iter().find(|key| key.id == id));
    let mut changes = Vec::new();
    for key in after.keys() {
        match known(key.id) {
            None => changes.push(Change::added(key)),
            Some(old) => changes.extend(Change::of(old, key)),
        }
    }
    let old = before.map_or(&[][..], |before| &before.recipients);
    let gone = before.iter().flat_map(|before| &before.keys).filter(|key| after.key(key.id).is_none());
    changes.extend(gone.map(|key| Change::Broken(key.id)));
    let missing =
        |from: &[String], these: &[String]| these.iter().filter(|who| !from.contains(who)).cloned().collect::<Vec<_>>();
    changes.extend(missing(old, after.recipients()).into_iter().map(Change::RecipientAdded));
    changes.extend(missing(after.recipients(), old).into_iter().map(Change::RecipientRemoved));
    changes
}

impl Change {
    fn added(key: &Key) -> Self {
        let (region, exportable) = (key.region.to_string(), key.exportable);
        Self::Added { id: key.id, status: key.status, activates: key.activates, region, exportable }
    }

    fn of(old: &OutlineKey, new: &Key) -> Vec<Self> {
        let id = new.id;
        let mut changes = Vec::new();
        if old.check != new.check.to_string() {
            changes.push(Self::Broken(id));
        }
        if old.status != new.status {
            changes.push(Self::Became { id, from: old.status, to: new.status });
        }
        if old.activates != new.activates {
            changes.push(Self::Moved { id, from: old.activates, to: new.activates });
        }
        changes
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            RING_NAME,
            json::to_note,
            samples::{at, key, signer},
        },
        *,
    };

    fn ring(recipients: &[&str], keys: &[Key]) -> KeyRing {
        let recipients: Vec<String> = recipients.iter().map(|recipient| (*recipient).to_owned()).collect();
        let note = to_note(&signer(RING_NAME, 1), 1, None, &recipients, keys);
        KeyRing::from_note(&note, |_, _| true, &[]).expect("a valid ring")
    }

    #[track_caller]
    fn check(before: Option<&KeyRing>, after: &KeyRing, words: &[&str]) {
        let changes = difference(before.map(Outline::from).as_ref(), after);
        assert_eq!(changes.iter().map(ToString::to_string).collect::<Vec<_>>(), words);
    }

    #[test]
    fn changes_in_words() {
        use Status::{Destroyed, Disabled, Enabled};
        let exportable = Key { exportable: true, ..key("0b7e", Enabled, 60) };
        let first = ring(&[], &[key("3fa1", Enabled, 0), exportable.clone()]);
        check(
            None,
            &first,
            &[
                "key 3fa1 is added, enabled: it becomes the primary at 1970-01-01T00:00:00Z (region CN)",
                "key 0b7e is added, enabled: it becomes the primary at 1970-01-01T00:01:00Z (region CN); it may be exported, for all time",
            ],
        );
        check(Some(&first), &first, &[]);
        let moved = ring(&[], &[key("3fa1", Disabled, 0), Key { activates: at(90), ..exportable.clone() }]);
        check(
            Some(&first),
            &moved,
            &[
                "key 3fa1 is disabled: its UIDs open no more, until it is enabled again",
                "key 0b7e becomes the primary at 1970-01-01T00:01:30Z, not at 1970-01-01T00:01:00Z",
            ],
        );
        let again = ring(&[], &[key("3fa1", Enabled, 0), Key { activates: at(90), ..exportable.clone() }]);
        check(Some(&moved), &again, &["key 3fa1 is enabled: its UIDs open again"]);
        let destroyed = ring(&[], &[key("3fa1", Destroyed, 0), exportable.clone()]);
        check(Some(&first), &destroyed, &["key 3fa1 is DESTROYED: none of its UIDs can ever be opened again"]);
        let broken = "key 3fa1 is gone, or another key has its id: replicas will refuse this ring";
        let another = Key { check: exportable.check, ..key("3fa1", Destroyed, 0) };
        check(Some(&first), &ring(&[], std::slice::from_ref(&exportable)), &[broken]);
        check(Some(&destroyed), &ring(&[], &[another, exportable]), &[broken]);
    }

    #[test]
    fn recipients_in_words() {
        let keys = [key("3fa1", Status::Enabled, 0)];
        let (whole, long) = ("r".repeat(128), format!("{}{}{}", "a".repeat(32), "b".repeat(65), "c".repeat(32)));
        let shown = format!("{}…{}", "a".repeat(32), "c".repeat(32));
        let added = |who: &str| format!("{who} is a recipient from now on, and can open every key");
        let (one, both) = (ring(&["ann"], &keys), ring(&["ann", &whole, &long], &keys));
        check(Some(&one), &both, &[&added(&whole), &added(&shown)]);
        check(
            Some(&both),
            &one,
            &[&format!("{whole} is no recipient any more"), &format!("{shown} is no recipient any more")],
        );
    }
}
