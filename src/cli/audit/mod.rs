//! `callveil audit`: ask audit logs who decoded what and how much, and whether the logs are complete.
//!
//! ```text
//! source -> lines (unwrap, prefix) -> reading (is it a line of ours? its chain) -> find / sum / verify -> outcome
//! ```

mod bar;
mod find;
mod heads;
mod lines;
mod outcome;
mod prefix;
mod reading;
mod source;
mod sum;
mod unwrap;
mod verify;

use std::{fmt, path::PathBuf};

use clap::Subcommand;
use jiff::{Timestamp, civil::Date, tz::TimeZone};

use super::failure::Failure;

#[derive(Subcommand)]
pub(super) enum AuditCommand {
    /// Tell when and by whom a UID or a number was mapped, from logs with items = "hmac"
    Find(Box<find::FindArgs>),
    /// Tell how much each client mapped, by day and mode
    Sum(sum::SumArgs),
    /// Check whether lines were altered, removed, inserted or moved, or a log was truncated
    Verify(verify::VerifyArgs),
}

pub(super) fn run(command: &AuditCommand) -> Result<(), Failure> {
    match command {
        AuditCommand::Find(args) => find::run(args),
        AuditCommand::Sum(args) => sum::run(args),
        AuditCommand::Verify(args) => verify::run(args),
    }
}

/// The time that is asked about.
#[derive(clap::Args)]
struct Period {
    /// Only from then on: a date (in UTC), or a time (RFC 3339)
    #[arg(long, value_name = "TIME", value_parser = time)]
    since: Option<Timestamp>,
    /// Only before then
    #[arg(long, value_name = "TIME", value_parser = time)]
    until: Option<Timestamp>,
}

impl Period {
    /// Whether a line with this `time` falls in the period. A line whose time cannot be read does.
    fn has(&self, time: &str) -> bool {
        if self.since.is_none() && self.until.is_none() {
            return true;
        }
        let Ok(time) = time.parse::<Timestamp>() else { return true };
        self.since.is_none_or(|since| since <= time) && self.until.is_none_or(|until| time < until)
    }
}

/// The other place that tells of the chains.
#[derive(clap::Args)]
struct Heads {
    /// The replicas' logs from stderr: they reveal truncated logs and rebuilt chains
    #[arg(long, value_name = "LOG", num_args = 1..)]
    heads: Vec<PathBuf>,
}

/// Parses a date or a time.
fn time(text: &str) -> Result<Timestamp, String> {
    let midnight = |date: Date| date.to_zoned(TimeZone::UTC).ok().map(|midnight| midnight.timestamp());
    let time = text.parse().ok().or_else(|| text.parse::<Date>().ok().filter(|_| text.len() == 10).and_then(midnight));
    time.ok_or_else(|| "a date such as 2026-11-26, or a time such as 2026-11-26T08:00:00Z".to_owned())
}

/// `text` without control characters, which could command a terminal: the log may have been tampered with.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// The id of a start, which its lines carry, as text.
struct Name<'i>(&'i [u8]);

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(str::from_utf8(self.0).unwrap_or("?"))
    }
}
