//! What all commands that change a ring share: their flags, the update on disk, its record, and the result.

use clap::Args;
use jiff::{SignedDuration, Span, SpanRelativeTo, Timestamp};
use serde_json::{Value, json};

use super::{
    failure::Failure,
    ring::RingArgs,
    say::{print, tell},
};
use crate::{
    config::KeyringConfig,
    ids::KeyId,
    keyring::{
        KeyRing,
        file::RingFile,
        rotation::{ChangeError, Revision},
    },
};

#[derive(Args)]
pub(super) struct ChangeArgs {
    #[command(flatten)]
    pub(super) ring: RingArgs,
    /// What was done, as JSON
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Args)]
pub(super) struct LeadArgs {
    /// How long until it activates: time enough to hand the file to every replica
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = lead, allow_hyphen_values = true)]
    activate_in: SignedDuration,
    /// Activate at this time instead (RFC 3339)
    #[arg(long, value_name = "TIME", conflicts_with = "activate_in")]
    activate_at: Option<Timestamp>,
}

impl LeadArgs {
    pub(super) fn activates(&self, now: Timestamp) -> Result<Timestamp, ChangeError> {
        let in_a_while = || now.checked_add(self.activate_in);
        self.activate_at.map_or_else(in_a_while, Ok).map_err(|_| ChangeError::TooFar)
    }
}

pub(super) fn lead(text: &str) -> Result<SignedDuration, String> {
    let days = SpanRelativeTo::days_are_24_hours();
    let lead = text.parse::<Span>().and_then(|span| span.to_duration(days));
    match lead.map_err(|_| "a duration is such as 24h, 90m or 2d".to_owned())? {
        lead if lead.is_negative() => Err("it must not be negative".to_owned()),
        lead => Ok(lead),
    }
}

impl ChangeArgs {
    /// Changes the ring on disk and records the change. The configuration must allow the ring; `about` describes the
    /// change for the record.
    pub(super) fn update<T>(
        &self,
        command: &'static str,
        about: impl FnOnce(&T) -> Value,
        change: impl FnOnce(&KeyRing, Timestamp) -> Result<(T, Revision), ChangeError>,
    ) -> Result<(KeyRing, T), Failure> {
        let (file, config) = self.ring.file()?;
        self.update_file(&file, &config, command, about, change)
    }

    /// Does the same with a file that the caller opened.
    pub(super) fn update_file<T>(
        &self,
        file: &RingFile,
        config: &KeyringConfig,
        command: &'static str,
        about: impl FnOnce(&T) -> Value,
        change: impl FnOnce(&KeyRing, Timestamp) -> Result<(T, Revision), ChangeError>,
    ) -> Result<(KeyRing, T), Failure> {
        let checked = file.read()?;
        config.check_pins(&checked)?;
        // However late the lock is free: the ring that is changed must still be the one that was checked.
        let change = |ring: &KeyRing, now| match ring.id() == checked.id() {
            true => change(ring, now),
            false => Err(ChangeError::OtherRing),
        };
        let act = || Ok(file.update(Timestamp::now, change)?);
        self.ring.journal(command)?.around(act, |(ring, made)| with_ring(ring, about(made)))
    }

    /// Prints what was done, as the result of the command.
    pub(super) fn done(&self, ring: &KeyRing, text: &str, mut fields: Value) -> Result<(), Failure> {
        if !self.json {
            print(text)?;
            let next = match self.ring.locate()?.0.approval.check(ring) {
                Ok(()) => format!("generation {}: hand the file to every replica", ring.generation()),
                Err(awaited) => format!("{awaited} (`keys approve`)"),
            };
            tell(next);
            return Ok(());
        }
        fields["generation"] = ring.generation().into();
        fields["ring_hash"] = ring.hash().to_string().into();
        print(fields)
    }
}

/// Adds to `about` the fields that every change records: the ring, its generation and its hash.
pub(super) fn with_ring(ring: &KeyRing, mut about: Value) -> Value {
    about["ring"] = ring.id().to_string().into();
    about["generation"] = ring.generation().into();
    about["ring_hash"] = ring.hash().to_string().into();
    about
}

/// The fields that a change of one key records.
pub(super) fn about_key(id: KeyId) -> Value {
    json!({"key": id.to_string()})
}
