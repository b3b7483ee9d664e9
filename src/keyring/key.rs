//! One key of a ring, and what it can be used for.

use std::{fmt, mem};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{fingerprint::Fingerprint, material::Material};
use crate::ids::KeyId;

/// What may be done with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It decrypts, and encrypts while it is the primary.
    Enabled,
    /// It does nothing, and can be enabled again.
    Disabled,
    /// Its material is gone for good; the entry stays, so that its id is never used again.
    Destroyed,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Enabled => "enabled",
            Self::Disabled => "disabled",
            Self::Destroyed => "destroyed",
        })
    }
}

/// What a key can be used for at some time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyState {
    /// It makes UIDs, and opens them.
    Primary,
    /// It will make UIDs later, and opens them already.
    Pending,
    /// It opens UIDs.
    Enabled,
    /// It does nothing, and can be enabled again.
    Disabled,
    /// Its material is gone for good.
    Destroyed,
}

impl KeyState {
    /// The state at `now` of a key with this status and activation time.
    pub fn of(status: Status, is_primary: bool, activates: Timestamp, now: Timestamp) -> Self {
        match status {
            Status::Enabled if is_primary => Self::Primary,
            Status::Enabled if activates > now => Self::Pending,
            Status::Enabled => Self::Enabled,
            Status::Disabled => Self::Disabled,
            Status::Destroyed => Self::Destroyed,
        }
    }

    /// The state in one word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Primary => "primary",
            Self::Pending => "pending",
            Self::Enabled => "enabled",
            Self::Disabled => "disabled",
            Self::Destroyed => "destroyed",
        }
    }
}

/// One key of a ring. Only three things ever change: its status, the time when it was last disabled, and an activation
/// that is still ahead.
#[derive(Clone)]
pub struct Key {
    /// Its name, never used twice in a ring.
    pub id: KeyId,
    /// What may be done with it.
    pub status: Status,
    /// When it was made.
    pub created: Timestamp,
    /// When it becomes the primary, unless another key activates after it.
    pub activates: Timestamp,
    /// The rules by which it reads numbers.
    pub numbers: Box<str>,
    /// The region whose numbers need no country code.
    pub region: Box<str>,
    /// The fingerprint of its material.
    pub check: Fingerprint,
    /// When it was last disabled, if ever.
    pub disabled: Option<Timestamp>,
    /// Whether it may be given away.
    pub exportable: bool,
    pub(super) material: Option<Material>,
}

impl Key {
    /// A new, enabled key.
    pub fn new(
        id: KeyId,
        material: Material,
        (created, activates): (Timestamp, Timestamp),
        numbers: &str,
        region: &str,
    ) -> Self {
        let check = material.check();
        let (numbers, region) = (numbers.into(), region.into());
        let (status, disabled, exportable, material) = (Status::Enabled, None, false, Some(material));
        Self { id, status, created, activates, numbers, region, check, disabled, exportable, material }
    }

    /// The material, if the key is enabled.
    pub fn material(&self) -> Option<&Material> {
        self.material.as_ref().filter(|_| self.status == Status::Enabled)
    }

    /// Whether this key is enabled and has yet to activate.
    pub fn is_pending(&self, now: Timestamp) -> bool {
        self.status == Status::Enabled && self.activates > now
    }

    /// Sets the status. A destroyed key loses its material.
    pub(super) fn set_status(&mut self, status: Status) {
        self.status = status;
        if status == Status::Destroyed {
            drop(mem::take(&mut self.material));
        }
    }

    /// Disables it at `now`. If the clock went back, the later time of before stays.
    pub(super) fn disable(&mut self, now: Timestamp) {
        self.set_status(Status::Disabled);
        self.disabled = self.disabled.max(Some(now));
    }

    /// Whether everything that never changes of a key is the same in both.
    pub(super) fn is_made_like(&self, other: &Self) -> bool {
        (&self.created, &self.numbers, &self.region, &self.check, self.exportable)
            == (&other.created, &other.numbers, &other.region, &other.check, other.exportable)
    }

    /// Whether, at `now`, a ring may have `later` in place of this key.
    pub(super) fn may_become(&self, later: &Self, now: Timestamp) -> bool {
        let status = match (self.status, later.status) {
            (Status::Destroyed, Status::Destroyed) => true,
            (Status::Destroyed, _) => false,
            (Status::Enabled | Status::Disabled, _) => true,
        };
        let activates = self.activates == later.activates || self.activates > now || self.status == Status::Disabled;
        self.is_made_like(later) && status && activates && self.disabled <= later.disabled
    }
}
