//! `callveil keys check`: what the replicas know and did, before a key is activated or removed.

mod ask;
mod at_hand;
mod counters;
mod report;

use std::{collections::HashSet, path::PathBuf};

use clap::Args;
use http::Uri;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use self::{ask::ask_all, counters::Quiet};
use super::{
    change::lead,
    connector::AdminArgs,
    failure::Failure,
    ring::RingArgs,
    say::{countdown, print, tell},
    table::print_table,
};
use crate::{
    ids::KeyId,
    keyring::difference::{Outline, OutlineKey},
    operate::ring_in_use::RingInUse,
};

/// Clocks that differ by more than this are reported.
const SKEW_MAX: SignedDuration = SignedDuration::from_secs(5);

#[derive(Args)]
pub(super) struct CheckArgs {
    /// The admin listeners of all replicas, such as http://10.0.0.7:9640 or, with [admin.tls], https://
    #[arg(required = true, value_name = "URL")]
    urls: Vec<Uri>,
    /// How many replicas there are: fewer instances that answer are a failure
    #[arg(long, value_name = "N")]
    expect: Option<usize>,
    /// The generation that they are to have: without it, replicas that all lack the newest file agree with each other
    #[arg(long, value_name = "N")]
    generation: Option<u64>,
    /// Count what was decoded since then (RFC 3339): a replica started later is a failure, since its counters forgot
    #[arg(long, value_name = "TIME")]
    since: Option<Timestamp>,
    /// How long no replica may have decoded with a key before it may be disabled
    #[arg(long, value_name = "DURATION", default_value = "30d", value_parser = lead, conflicts_with = "since")]
    unused_for: SignedDuration,
    /// Fail if this key may not be disabled: a replica decoded with it, or has not run for so long
    #[arg(long, value_name = "ID")]
    disable: Option<KeyId>,
    #[command(flatten)]
    ring: RingArgs,
    #[command(flatten)]
    admin: AdminArgs,
    /// As JSON
    #[arg(long)]
    json: bool,
    /// Also write an HTML page that compares all replicas; an earlier page is replaced
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

/// The replicas that answered, with their URL, each instance once.
pub(super) struct Fleet {
    replicas: Vec<(String, RingInUse)>,
    asked: Timestamp,
    unasked: usize,
    /// The replicas that could not be asked, and why.
    silent: Vec<(String, String)>,
    problems: Vec<String>,
    notes: Vec<String>,
}

pub(super) fn run(args: &CheckArgs) -> Result<(), Failure> {
    if args.since.is_some_and(|since| since > Timestamp::now()) {
        return Err(Failure::usage("--since is in the future"));
    }
    args.html.as_deref().map_or(Ok(()), report::check)?;
    // This comes first, because it may ask for a passphrase.
    let at_hand = at_hand::read(&args.ring)?;
    let mut fleet = Fleet::ask(&args.urls, &args.admin)?;
    fleet.check_instances(args.expect);
    fleet.check_rings(args.generation);
    fleet.check_pending();
    fleet.compare(&at_hand);
    let quiet = match args.since {
        Some(since) => Quiet::Since(since),
        None => Quiet::For(args.unused_for),
    };
    fleet.check_counters(quiet, args.disable);
    if let Some(path) = &args.html {
        report::write(&fleet, &args.urls, path)?;
    }
    fleet.report(args.json)
}

/// The ring that the replica at `url` uses.
pub(super) fn outline(url: &Uri, admin: &AdminArgs) -> Result<Outline, Failure> {
    let mut fleet = Fleet::ask(std::slice::from_ref(url), admin)?;
    let Some((_, replica)) = fleet.replicas.pop() else { return Err(Failure::failed(fleet.problems.join("; "))) };
    let RingInUse { ring, generation, recipients, keys, .. } = replica;
    let keys = keys.into_iter().map(|key| OutlineKey {
        id: key.id,
        status: key.status,
        activates: key.activates,
        check: key.check,
    });
    Ok(Outline { ring, generation, recipients, keys: keys.collect() })
}

impl Fleet {
    /// Asks the replicas.
    pub(super) fn ask(urls: &[Uri], admin: &AdminArgs) -> Result<Self, Failure> {
        let (replicas, silent, problems, notes) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let mut fleet = Self { replicas, asked: Timestamp::now(), unasked: 0, silent, problems, notes };
        for (at, answer) in ask_all(urls, admin)? {
            fleet.add(urls[at].to_string(), answer);
        }
        Ok(fleet)
    }

    /// When each replica last opened a UID of this key, as text. Empty if no replica was asked.
    pub(super) fn last_used(&self, id: KeyId) -> Vec<String> {
        let told = self.replicas.iter().map(|(url, replica)| {
            let used = replica.keys.iter().find(|key| key.id == id).and_then(|key| key.last_decoded);
            match used {
                Some(last) => format!("{url} last opened a UID of key {id} at {last}"),
                None => format!("{url} opened no UID of key {id} since it started, at {}", replica.started),
            }
        });
        told.chain(self.problems.iter().cloned()).collect()
    }

    fn add(&mut self, url: String, answer: Result<RingInUse, String>) {
        match answer {
            Err(reason) => {
                self.unasked += 1;
                self.problems.push(format!("{url} could not be asked: {reason}"));
                self.silent.push((url, reason));
            }
            Ok(replica) => {
                if let Some((other, _)) = self.replicas.iter().find(|(_, known)| known.instance == replica.instance) {
                    self.notes.push(format!("{url} is the same instance as {other}"));
                    return;
                }
                if let Some(reason) = &replica.refused {
                    self.problems.push(format!("{url} refused the file that it has now: {reason}"));
                }
                if let Some(awaited) = &replica.awaits {
                    self.problems.push(format!("the file that {url} has now is not in use: {awaited}"));
                }
                let skew = replica.now.duration_since(self.asked);
                if skew.abs() > SKEW_MAX {
                    let way = if skew.is_negative() { "behind" } else { "ahead of" };
                    self.problems.push(format!("the clock of {url} is {} s {way} ours", skew.abs().as_secs()));
                }
                self.replicas.push((url, replica));
            }
        }
    }

    fn check_instances(&mut self, expected: Option<usize>) {
        if let Some(expected) = expected.filter(|expected| *expected != self.replicas.len()) {
            self.problems.push(format!("{} instances answered, and {expected} were expected", self.replicas.len()));
        }
    }

    fn check_rings(&mut self, generation: Option<u64>) {
        for (url, replica) in
            self.replicas.iter().filter(|(_, replica)| generation.is_some_and(|wanted| wanted != replica.generation))
        {
            self.problems.push(format!("{url} has generation {}, not {}", replica.generation, generation.unwrap_or(0)));
        }
        let distinct = |what: fn(&RingInUse) -> String| {
            self.replicas.iter().map(|(_, replica)| what(replica)).collect::<HashSet<_>>().len()
        };
        if distinct(|replica| replica.ring.clone()) > 1 {
            self.problems.push("the replicas use different rings".to_owned());
        } else if let Some((url, other, generation)) = self.apart() {
            self.problems.push(format!(
                "{url} and {other} have two rings of generation {generation}: two copies were changed (`keys merge` joins their files)"
            ));
        } else if distinct(|replica| replica.ring_hash.clone()) > 1 {
            self.problems.push("the replicas have not all the same generation of the ring".to_owned());
        } else if distinct(primary_of) > 1 {
            self.problems.push("the replicas have not all the same primary".to_owned());
        }
    }

    /// Two replicas with different rings of the same generation, and that generation.
    fn apart(&self) -> Option<(&str, &str, u64)> {
        self.replicas.iter().enumerate().find_map(|(at, (url, replica))| {
            let differs = |(_, other): &&(String, RingInUse)| {
                other.generation == replica.generation && other.ring_hash != replica.ring_hash
            };
            let (other, _) = self.replicas[..at].iter().find(differs)?;
            Some((other.as_str(), url.as_str(), replica.generation))
        })
    }

    /// Checks which pending keys every replica has: these may activate.
    fn check_pending(&mut self) {
        let mut seen = HashSet::new();
        for (_, replica) in &self.replicas {
            for key in replica.keys.iter().filter(|key| key.is_pending(replica.now)) {
                if !seen.insert(key.id) {
                    continue;
                }
                let without = |(_, other): &&(String, RingInUse)| !other.keys.iter().any(|theirs| theirs.id == key.id);
                let without: Vec<_> = self.replicas.iter().filter(without).map(|(url, _)| url.as_str()).collect();
                let left = countdown(self.asked, key.activates);
                if without.is_empty() && self.unasked > 0 {
                    self.notes.push(format!("key {} activates in {left}: those that answered have it", key.id));
                } else if without.is_empty() {
                    self.notes.push(format!("key {} may activate, in {left}: every replica has it", key.id));
                } else {
                    self.problems.push(format!(
                        "key {} activates in {left}, and is missing on {}",
                        key.id,
                        without.join(", ")
                    ));
                }
            }
        }
    }

    fn report(self, json: bool) -> Result<(), Failure> {
        if json {
            let replicas = self.replicas.iter().map(|(url, replica)| {
                json!({
                    "url": url, "instance": replica.instance, "started": replica.started.to_string(),
                    "generation": replica.generation, "ring_hash": replica.ring_hash, "primary": primary_of(replica),
                })
            });
            let replicas: Vec<_> = replicas.collect();
            print(
                json!({"ok": self.problems.is_empty(), "replicas": replicas, "problems": self.problems, "notes": self.notes}),
            )?;
        } else {
            let rows = self.replicas.iter().map(|(url, replica)| {
                let started = replica.started.strftime("%F %H:%MZ").to_string();
                let (generation, primary) = (replica.generation.to_string(), primary_of(replica));
                [url.clone(), started, generation, replica.ring_hash.clone(), primary]
            });
            print_table(["REPLICA", "STARTED", "GENERATION", "HASH", "PRIMARY"], &rows.collect::<Vec<_>>())?;
            self.notes.iter().try_for_each(|note| print(format_args!("  {note}")))?;
            self.problems.iter().for_each(|problem| tell(format_args!("! {problem}")));
        }
        if self.problems.is_empty() { Ok(()) } else { Err(Failure { code: Failure::FAILED, message: String::new() }) }
    }
}

/// The key that makes a replica's UIDs, as text.
fn primary_of(replica: &RingInUse) -> String {
    replica.primary().map_or_else(String::new, |id| id.to_string())
}
