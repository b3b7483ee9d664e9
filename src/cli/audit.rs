//! `callveil audit`: ask audit logs who decoded what, and how much.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, BufRead, BufReader, Read as _},
    path::{Path, PathBuf},
};

use clap::{ArgGroup, Args, Subcommand};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Failure, RingArgs, print, print_table, read_item_key, tell};
use crate::{
    audit::ItemHash,
    ids::Context,
    keyring::file::FileMode,
    tokenizer::{Mapped, Mode},
};

/// Bytes of the longest line that is read: a request of 100,000 hashed items.
const LINE_BYTES_MAX: u64 = 16 * 1024 * 1024;

#[derive(Subcommand)]
pub(super) enum AuditCommand {
    /// Tell when and by whom a UID or a number was mapped, from logs with items = "hmac"
    Find(FindArgs),
    /// Tell how much each client mapped, in each mode, and with which keys
    Sum(SumArgs),
}

#[derive(Args)]
#[command(group(ArgGroup::new("what").required(true).args(["uid", "number"])))]
pub(super) struct FindArgs {
    /// The logs [default: stdin]
    logs: Vec<PathBuf>,
    /// The key under which the logs' items are hashed
    #[arg(long, value_name = "FILE")]
    hmac_key: PathBuf,
    /// Look for this UID
    #[arg(long)]
    uid: Option<String>,
    /// Look for this number, whichever UID it had
    #[arg(long, allow_hyphen_values = true)]
    number: Option<String>,
    /// The space of the UID
    #[arg(long, value_name = "NAME", default_value = "default")]
    context: Context,
    #[command(flatten)]
    ring: RingArgs,
    /// The lines of the logs, as they are
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(super) struct SumArgs {
    /// The logs [default: stdin]
    logs: Vec<PathBuf>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(command: &AuditCommand) -> Result<(), Failure> {
    match command {
        AuditCommand::Find(args) => find(args),
        AuditCommand::Sum(args) => sum(args),
    }
}

/// What is read of a line; a start, a reload or a command lacks some of it.
#[derive(Deserialize)]
struct Line<'a> {
    event: &'a str,
    time: &'a str,
    #[serde(default)]
    id: &'a str,
    client: Option<String>,
    /// Null where it is many, in a sum of requests.
    peer: Option<&'a str>,
    #[serde(default)]
    mode: &'a str,
    #[serde(default)]
    items: u64,
    #[serde(default)]
    mapped: u64,
    #[serde(default)]
    passed: u64,
    #[serde(default)]
    keys: BTreeMap<String, u64>,
    #[serde(default, borrow)]
    hashes: Vec<(&'a str, &'a str)>,
    #[serde(default)]
    requests: u64,
    /// Requests without a client that one line tells of.
    #[serde(default)]
    count: u64,
}

fn find(args: &FindArgs) -> Result<(), Failure> {
    let key = read_item_key(&args.hmac_key, FileMode::default())?;
    let (uid, number) = match (&args.uid, &args.number) {
        (Some(uid), _) => (Some(key.uid(&args.context, uid).to_string()), None),
        (None, number) => {
            (None, Some(hash_number(args, number.as_deref().unwrap_or_default(), |text| key.number(text))?))
        }
    };
    let is_it = |hashes: &(&str, &str)| Some(hashes.0) == uid.as_deref() || Some(hashes.1) == number.as_deref();
    let (mut rows, mut hashed) = (Vec::new(), false);
    read(&args.logs, |text, line| {
        hashed |= !line.hashes.is_empty();
        let times = line.hashes.iter().filter(|hashes| is_it(hashes)).count();
        if times == 0 {
            return Ok(());
        }
        if args.json {
            return print(text.trim_end());
        }
        let client = line.client.unwrap_or_default();
        let [time, mode, peer, id] = [line.time, line.mode, line.peer.unwrap_or_default(), line.id].map(str::to_owned);
        rows.push([time, mode, client, peer, times.to_string(), id]);
        Ok(())
    })?;
    if !hashed {
        return Err(Failure::failed("no line of these logs has hashed items: they want items = \"hmac\" in [audit]"));
    }
    if args.json {
        return Ok(());
    }
    if rows.is_empty() {
        return print("never, as far as these logs tell");
    }
    print_table(["TIME", "MODE", "CLIENT", "PEER", "TIMES", "REQUEST"], &rows)
}

/// The hash of a number in any spelling that the ring's primary key understands.
fn hash_number(args: &FindArgs, text: &str, hash: impl Fn(&str) -> ItemHash) -> Result<String, Failure> {
    let tokenizer = args.ring.tokenizer()?;
    let (mut uid, mut number) = (Mapped::default(), Mapped::default());
    let mut batch = tokenizer.batch(&args.context, Timestamp::now());
    batch.map(Mode::PhoneToUid, &[text], &mut uid);
    let uid = uid.iter().next().and_then(Result::ok).ok_or_else(|| Failure::failed("invalid_number"))?;
    batch.canonical(&[uid], &mut number);
    let number = number.iter().next().and_then(Result::ok).ok_or_else(|| Failure::failed("invalid_number"))?;
    Ok(hash(number).to_string())
}

/// What one client did in one mode.
#[derive(Default)]
struct Sum {
    requests: u64,
    items: u64,
    mapped: u64,
    passed: u64,
    keys: BTreeMap<String, u64>,
}

fn sum(args: &SumArgs) -> Result<(), Failure> {
    let mut sums: BTreeMap<(String, String), Sum> = BTreeMap::new();
    let mut dropped = 0;
    read(&args.logs, |_, line| {
        match line.event {
            "request" => {
                let sum = sums.entry((line.client.unwrap_or_default(), line.mode.to_owned())).or_default();
                sum.requests += 1;
                sum.items += line.items;
                sum.mapped += line.mapped;
                sum.passed += line.passed;
                for (key, count) in line.keys {
                    *sum.keys.entry(key).or_default() += count;
                }
            }
            "strangers" => sums.entry(Default::default()).or_default().requests += line.count,
            "dropped" => dropped += line.requests,
            _ => {}
        }
        Ok(())
    })?;
    if args.json {
        let sums = sums.iter().map(|((client, mode), sum)| {
            json!({
                "client": client, "mode": mode, "requests": sum.requests, "items": sum.items, "mapped": sum.mapped,
                "passed": sum.passed, "keys": sum.keys,
            })
        });
        return print(json!({"sums": sums.collect::<Vec<Value>>(), "unrecorded": dropped}));
    }
    let shown = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
    let row = |((client, mode), sum): (&(String, String), &Sum)| {
        let keys: Vec<_> = sum.keys.iter().map(|(key, count)| format!("{key}:{count}")).collect();
        let counts = [sum.requests, sum.items, sum.mapped, sum.passed].map(|count| count.to_string());
        let [requests, items, mapped, passed] = counts;
        [shown(client), shown(mode), requests, items, mapped, passed, shown(&keys.join(" "))]
    };
    let rows: Vec<_> = sums.iter().map(row).collect();
    print_table(["CLIENT", "MODE", "REQUESTS", "ITEMS", "MAPPED", "PASSED", "BY KEY"], &rows)?;
    if dropped > 0 {
        tell(format_args!("{dropped} requests went unrecorded while the log could not be written"));
    }
    Ok(())
}

/// Gives each line of the logs to `each`. What is no line of such a log, as a crash can leave one, is counted.
fn read(logs: &[PathBuf], mut each: impl FnMut(&str, Line<'_>) -> Result<(), Failure>) -> Result<(), Failure> {
    let mut torn = 0_u64;
    if logs.is_empty() {
        read_one(Path::new("stdin"), io::stdin().lock(), &mut torn, &mut each)?;
    }
    for path in logs {
        let file = File::open(path)
            .map_err(|error| Failure::failed(format_args!("cannot open {}: {error}", path.display())))?;
        read_one(path, BufReader::new(file), &mut torn, &mut each)?;
    }
    if torn > 0 {
        tell(format_args!("{torn} lines are no lines of an audit log: torn by a crash, or altered"));
    }
    Ok(())
}

fn read_one(
    path: &Path,
    mut log: impl BufRead,
    torn: &mut u64,
    each: &mut impl FnMut(&str, Line<'_>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let failed = |error| Failure::failed(format_args!("cannot read {}: {error}", path.display()));
    let mut bytes = Vec::new();
    loop {
        bytes.clear();
        if log.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut bytes).map_err(failed)? == 0 {
            return Ok(());
        }
        let text = str::from_utf8(&bytes).unwrap_or_default();
        match serde_json::from_str::<Line<'_>>(text) {
            Ok(line) => each(text, line)?,
            Err(_) => *torn += 1,
        }
    }
}
