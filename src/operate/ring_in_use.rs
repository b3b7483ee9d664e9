//! What a replica reports about its ring at `/keyring`. The admin listener writes it, and `keys check` reads it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    ids::KeyId,
    keyring::key::{KeyState, Status},
};

/// The ring in use.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RingInUse {
    /// The random name of this start of the process.
    pub instance: String,
    /// When the process started.
    pub started: Timestamp,
    /// The replica's clock.
    pub now: Timestamp,
    /// When the ring was loaded.
    pub since: Option<Timestamp>,
    /// Why the file now on disk is refused, if it is.
    pub refused: Option<String>,
    /// Whose signatures the file now on disk waits for, if it waits for any.
    pub awaits: Option<String>,
    /// The ring's name.
    pub ring: String,
    /// The fingerprint of its content.
    pub ring_hash: String,
    /// How often it was written.
    pub generation: u64,
    /// The recipients for whom it is encrypted.
    pub recipients: Vec<String>,
    /// The last written line of the audit log.
    #[serde(default)]
    pub audit_head: AuditHead,
    /// Its keys, including the tombstones of destroyed ones.
    pub keys: Vec<KeyInUse>,
}

/// The last written line of an audit log.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct AuditHead {
    /// The number of the line.
    pub lines: u64,
    /// Its hash.
    pub hash: String,
}

/// One key of the ring in use, and what was done with it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct KeyInUse {
    /// Its name.
    pub id: KeyId,
    /// What may be done with it.
    pub status: Status,
    /// When it was made.
    pub created: Timestamp,
    /// When it becomes the primary, or did.
    pub activates: Timestamp,
    /// When it was last disabled, if it ever was.
    pub disabled: Option<Timestamp>,
    /// The fingerprint of its material.
    pub check: String,
    /// Whether it makes the UIDs now.
    pub primary: bool,
    /// UIDs that it opened since the start.
    pub decoded: u64,
    /// When the last of them was opened.
    pub last_decoded: Option<Timestamp>,
}

impl RingInUse {
    /// The key that makes the UIDs.
    pub fn primary(&self) -> Option<KeyId> {
        self.keys.iter().find(|key| key.primary).map(|key| key.id)
    }

    /// The keys that open UIDs and make none, now or later.
    pub fn retirable(&self) -> impl Iterator<Item = KeyId> {
        self.keys.iter().filter(|key| key.state(self.now) == KeyState::Enabled).map(|key| key.id)
    }
}

impl KeyInUse {
    /// What the key is good for at `now`.
    pub fn state(&self, now: Timestamp) -> KeyState {
        KeyState::of(self.status, self.primary, self.activates, now)
    }

    /// Whether it is enabled and has yet to activate.
    pub fn is_pending(&self, now: Timestamp) -> bool {
        self.status == Status::Enabled && self.activates > now
    }
}
