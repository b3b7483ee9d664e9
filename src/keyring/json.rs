//! Converts the plain ring, a signed note with JSON as its text, to a valid ring and back. If anything in it is wrong,
//! the ring is refused as a whole, and all faults are reported at once.

#[cfg(test)]
mod tests;

use std::collections::HashSet;

use data_encoding::BASE64;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{
    FORMAT, GENERATION_MAX, KeyRing, RING_NAME, SCHEME, SupportsNumbers, base64,
    fault::{Fault, Faults, KeyFault},
    fingerprint::Fingerprint,
    key::{Key, Status},
    material::Material,
    note::{self, Name, Note, Signer, Verifier},
};
use crate::ids::{KeyId, RingId};

impl KeyRing {
    /// Reads a plain ring, and which of `approvers` have signed it.
    ///
    /// # Errors
    /// [`Faults`]: everything that is wrong with it.
    pub fn from_note(note: &[u8], supports: SupportsNumbers, approvers: &[Verifier]) -> Result<Self, Faults> {
        let note = Note::parse(note).ok_or_else(|| Faults(vec![Fault::NotANote]))?;
        let raw: RawRing = serde_json::from_slice(note.text).map_err(|error| {
            // serde_json quotes the text at the error, which may be a key. Only the place is reported.
            Faults(vec![Fault::NotARing { line: error.line(), column: error.column() }])
        })?;
        let mut faults = Vec::new();
        if raw.format != FORMAT {
            faults.push(Fault::Format);
        }
        let ring = RingId::from_hex(&raw.ring);
        if ring.is_none() {
            faults.push(Fault::RingId);
        }
        if !(1..=GENERATION_MAX).contains(&raw.generation) {
            faults.push(Fault::Generation);
        }
        let parent = raw.parent.as_deref().and_then(Fingerprint::from_hex);
        if raw.parent.is_some() && parent.is_none() {
            faults.push(Fault::Parent);
        }
        let signer = ring.and_then(|ring| raw.signer(ring, &mut faults));
        if let Some(ring) = ring {
            check_signature(&note, ring, &mut faults);
        }
        let approvals = check_approvals(&note, approvers, &mut faults);
        let keys: Vec<Key> =
            raw.keys.iter().enumerate().filter_map(|(at, raw)| raw.check(at, supports, &mut faults)).collect();
        let mut seen = HashSet::new();
        let ids = raw.keys.iter().filter_map(|key| key.id.parse::<KeyId>().ok());
        faults.extend(ids.filter(|id| !seen.insert(*id)).map(Fault::DuplicateId));
        if !raw.keys.iter().any(|key| key.status == Status::Enabled) {
            faults.push(Fault::NoEnabledKey);
        }
        match signer {
            Some(signer) if faults.is_empty() => {
                let hash = Fingerprint::of(note.text);
                let names = note.lines().iter().map(note::Line::name);
                let claims = names.filter(|name| name.as_str() != RING_NAME && !approvals.contains(name)).cloned();
                let (recipients, claims) = (raw.recipients, claims.collect());
                Ok(Self { parent, recipients, approvals, claims, ..Self::assemble(signer, raw.generation, hash, keys) })
            }
            _ => Err(Faults(faults)),
        }
    }
}

/// Checks that the ring signed itself exactly once, and that no other key signed under the ring's name.
fn check_signature(note: &Note<'_>, ring: RingId, faults: &mut Vec<Fault>) {
    let is_signed = note.is_signed_by(&Verifier::new(ring_name(), ring.to_bytes())) == Some(true);
    if !is_signed || note.lines().iter().filter(|line| line.name().as_str() == RING_NAME).count() > 1 {
        faults.push(Fault::Signature);
    }
}

/// The names of the approvers who have signed it. A wrong signature of an approver is a fault; a missing one is not.
fn check_approvals(note: &Note<'_>, approvers: &[Verifier], faults: &mut Vec<Fault>) -> Vec<Name> {
    let mut approvals = Vec::new();
    for approver in approvers {
        match note.is_signed_by(approver) {
            None => {}
            Some(true) => approvals.push(approver.name().clone()),
            Some(false) => faults.push(Fault::Approval(approver.name().clone())),
        }
    }
    approvals
}

pub(super) fn ring_name() -> Name {
    Name::new(RING_NAME).expect("it is printable and short")
}

/// The signed note of a ring.
pub(super) fn to_note(
    signer: &Signer,
    generation: u64,
    parent: Option<Fingerprint>,
    recipients: &[String],
    keys: &[Key],
) -> Zeroizing<Vec<u8>> {
    let raw = RawRing {
        format: FORMAT.to_owned(),
        ring: RingId::new(*signer.verifier().key()).to_string(),
        // Exposed because every copy of the ring holds it: a person who can open a ring may also write it.
        signing_key: Zeroizing::new(BASE64.encode(signer.seed())),
        generation,
        parent: parent.map(|parent| parent.to_string()),
        recipients: recipients.to_vec(),
        keys: keys.iter().map(RawKey::from).collect(),
    };
    // The buffer is large enough never to grow: growing would leave secrets behind, unwiped.
    let recipients: usize = recipients.iter().map(|recipient| recipient.len() + 16).sum();
    let capacity = 1024 + recipients + 1024 * keys.len();
    let mut note = Zeroizing::new(Vec::with_capacity(capacity));
    serde_json::to_writer_pretty(&mut *note, &raw).expect("strings and numbers go into a buffer");
    note.push(b'\n');
    let line = signer.line(&note);
    note.push(b'\n');
    note.extend_from_slice(line.as_bytes());
    note
}

/// `note` with a signature line of `signer` added; `None` if it has signed the note already.
pub fn with_line(note: &[u8], signer: &Signer) -> Option<Zeroizing<Vec<u8>>> {
    let parsed = Note::parse(note).filter(|note| note.is_signed_by(signer.verifier()).is_none())?;
    let line = signer.line(parsed.text);
    Some(Zeroizing::new([note, line.as_bytes()].concat()))
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRing {
    format: String,
    ring: String,
    signing_key: Zeroizing<String>,
    generation: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    parent: Option<String>,
    /// The recipients of an encrypted ring. age files do not name them, and the next version must have the same ones.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    recipients: Vec<String>,
    keys: Vec<RawKey>,
}

impl RawRing {
    /// The key that signs this ring. `None` adds a fault.
    fn signer(&self, ring: RingId, faults: &mut Vec<Fault>) -> Option<Signer> {
        let signer = base64::decode(&self.signing_key).map(|seed| Signer::new(ring_name(), &seed));
        let signer = signer.filter(|signer| *signer.verifier().key() == ring.to_bytes());
        if signer.is_none() {
            faults.push(Fault::SigningKey);
        }
        signer
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawKey {
    id: String,
    status: Status,
    created: String,
    activates: String,
    scheme: String,
    numbers: String,
    region: String,
    check: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    disabled: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    exportable: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    material: Option<Zeroizing<String>>,
}

impl RawKey {
    /// The key. `None` adds its faults. `at` is its index, from 0.
    fn check(&self, at: usize, supports: SupportsNumbers, faults: &mut Vec<Fault>) -> Option<Key> {
        let Ok(id) = self.id.parse::<KeyId>() else {
            faults.push(Fault::KeyId { at });
            return None;
        };
        let before = faults.len();
        let mut wrong = |what| faults.push(Fault::Key { id, what });
        if self.scheme != SCHEME {
            wrong(KeyFault::Scheme);
        }
        if !supports(&self.numbers, &self.region) {
            wrong(KeyFault::Numbering);
        }
        let created = self.created.parse::<Timestamp>();
        if created.is_err() {
            wrong(KeyFault::Created);
        }
        let activates = self.activates.parse::<Timestamp>();
        if activates.is_err() {
            wrong(KeyFault::Activates);
        }
        let disabled = self.disabled.as_ref().map(|time| time.parse::<Timestamp>()).transpose();
        if disabled.is_err() {
            wrong(KeyFault::Disabled);
        }
        let check = Fingerprint::from_hex(&self.check);
        let decode = |text: &Zeroizing<String>| base64::decode(text).map(|bytes| Material::new(&bytes));
        let material = self.material.as_ref().map(decode);
        match &material {
            None if self.status == Status::Destroyed => {}
            Some(_) if self.status == Status::Destroyed => wrong(KeyFault::MaterialLeft),
            None => wrong(KeyFault::MaterialMissing),
            Some(None) => wrong(KeyFault::Material),
            Some(Some(material)) if check.is_some_and(|check| check != material.check()) => wrong(KeyFault::Check),
            Some(Some(_)) => {}
        }
        if check.is_none() {
            wrong(KeyFault::CheckForm);
        }
        if faults.len() > before {
            return None;
        }
        Some(Key {
            id,
            status: self.status,
            created: created.ok()?,
            activates: activates.ok()?,
            numbers: self.numbers.as_str().into(),
            region: self.region.as_str().into(),
            check: check?,
            disabled: disabled.ok()?,
            exportable: self.exportable,
            material: material.flatten(),
        })
    }
}

impl From<&Key> for RawKey {
    fn from(key: &Key) -> Self {
        Self {
            id: key.id.to_string(),
            status: key.status,
            created: key.created.to_string(),
            activates: key.activates.to_string(),
            scheme: SCHEME.to_owned(),
            numbers: key.numbers.to_string(),
            region: key.region.to_string(),
            check: key.check.to_string(),
            disabled: key.disabled.map(|time| time.to_string()),
            exportable: key.exportable,
            material: key.material.as_ref().map(|material| Zeroizing::new(BASE64.encode(material.expose()))),
        }
    }
}
