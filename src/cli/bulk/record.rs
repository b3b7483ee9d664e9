//! The audit record of runs that open UIDs: one line before the first UID is opened, and one with the counts at the
//! end.

use serde_json::{Value, json};

use super::{BulkArgs, counts::Counts};
use crate::{audit::journal::Journal, cli::failure::Failure, item::Mode, keyring::KeyRing};

/// The record of a run, or nothing if the run opens no UID.
pub(super) struct Record(Option<Entry>);

struct Entry {
    journal: Journal,
    /// The fields of the first line: what is about to be opened.
    fields: Value,
}

/// The journal for runs. If the ring's folder is read-only, the error suggests another place.
fn journal(args: &BulkArgs, command: &'static str) -> Result<Journal, Failure> {
    let is_beside = args.ring.configuration()?.is_none_or(|config| config.audit.to.is_none());
    args.ring.open_journal(command)?.map_err(|error| match error.is_read_only() && is_beside {
        true => Failure::failed(format_args!("{error}: with --config, audit.to can name a log elsewhere")),
        false => error.into(),
    })
}

impl Record {
    /// The record of a run that is about to begin.
    pub(super) fn new(args: &BulkArgs, mode: Mode, ring: &KeyRing) -> Result<Self, Failure> {
        let command = match mode {
            Mode::UidToPhone => "detokenize",
            Mode::RewrapUid => "rewrap",
            Mode::PhoneToUid | Mode::PhoneToAliases => return Ok(Self(None)),
        };
        if args.dry_run {
            return Ok(Self(None));
        }
        let file = match &args.file {
            _ if !args.value.is_empty() => "--value".into(),
            Some(path) if !args.reads_stdin() => path.display().to_string(),
            _ => "stdin".to_owned(),
        };
        let output = args.output.as_ref().map_or_else(|| "stdout".to_owned(), |path| path.display().to_string());
        let keys: Vec<String> = ring.enabled_newest_first().map(|key| key.id.to_string()).collect();
        let fields = json!({
            "file": file, "output": output, "context": args.context.as_str(), "generation": ring.generation(), "keys": keys,
        });
        Ok(Self(Some(Entry { journal: journal(args, command)?, fields })))
    }

    /// Records who is about to open what, with which keys. If this fails, the run must not begin.
    pub(super) fn begin(&mut self) -> Result<(), Failure> {
        self.0.as_mut().map_or(Ok(()), |entry| Ok(entry.journal.announce(entry.fields.take())?))
    }

    /// Records how many values were opened, also for a run that failed.
    pub(super) fn end(&mut self, counts: &Counts) -> Result<(), Failure> {
        let Some(entry) = &mut self.0 else { return Ok(()) };
        Ok(entry.journal.conclude(json!({"rows": counts.rows, "mapped": counts.mapped, "failed": counts.failed()}))?)
    }
}
