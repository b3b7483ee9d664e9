//! What a replica says of the ring that it uses, at `/keyring`: the admin listener writes it, and `keys check` reads it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    ids::KeyId,
    keyring::key::{KeyState, Status},
};

/// The ring in use.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RingInUse {
    /// The random name of this start.
    pub instance: String,
    /// When it was.
    pub started: Timestamp,
    /// The replica's clock.
    pub now: Timestamp,
    /// When the ring was taken up.
    pub since: Option<Timestamp>,
    /// Why the file that is there now is refused, where it is.
    pub refused: Option<String>,
    /// Whose signatures the file that is there now waits for, where it does.
    pub awaits: Option<String>,
    /// The ring's name.
    pub ring: String,
    /// The fingerprint of its content.
    pub ring_hash: String,
    /// How often it was written.
    pub generation: u64,
    /// For whom it is encrypted.
    pub recipients: Vec<String>,
    /// The last line that is written of the audit log.
    #[serde(default)]
    pub audit_head: AuditHead,
    /// Its keys, tombstones too.
    pub keys: Vec<KeyInUse>,
}

/// The last line that is written of an audit log.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct AuditHead {
    /// Which line it is.
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
    /// When it was disabled, or destroyed while it was, if it ever was.
    pub disabled: Option<Timestamp>,
    /// The fingerprint of its material.
    pub check: String,
    /// Whether it makes the UIDs now.
    pub primary: bool,
    /// UIDs that it opened since the start.
    pub decoded: u64,
    /// When the last of them was.
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
