//! `callveil audit find`: when, and by whom, was this mapped?

use std::{
    collections::{HashMap, HashSet},
    io::{self, Read as _},
    path::PathBuf,
};

use clap::{ArgGroup, Args};
use serde::Deserialize;
use smallvec::SmallVec;

use super::{
    Heads, Name, Period,
    outcome::Outcome,
    plain,
    reading::{Line, Reading, Sense, quantity},
};
use crate::{
    audit::{ItemHash, ItemKey},
    cli::{
        failure::Failure,
        ring::{RingArgs, read_item_key},
        say::{print, tell, warn_of_arguments},
    },
    disk::exposure::FileMode,
    ids::Context,
    item::Mode,
};

/// The file name that means stdin.
const STDIN: &str = "-";

/// Maximum items of one search.
const ASKED_MAX: usize = 1_000_000;

/// Maximum bytes of these items on stdin.
const ASKED_BYTES_MAX: u64 = 64 << 20;

#[derive(Args)]
#[command(group(ArgGroup::new("what").required(true).multiple(true).args(["uid", "number"])))]
pub(in crate::cli) struct FindArgs {
    /// Logs, and folders of them, in any order; plain, gzip or zstd [default: stdin]
    logs: Vec<PathBuf>,
    /// The key under which the logs' items are hashed
    #[arg(long, value_name = "FILE")]
    hmac_key: PathBuf,
    /// Look for this UID; may be repeated. Other users of this machine see it: - reads UIDs from stdin, one a line
    #[arg(long, allow_hyphen_values = true)]
    uid: Vec<String>,
    /// Look for this number, whichever UID it had; may be repeated. Others see it: - reads numbers from stdin
    #[arg(long, allow_hyphen_values = true)]
    number: Vec<String>,
    /// Only in this mode, such as UIDToPhone; may be repeated
    #[arg(long, value_name = "MODE", value_parser = mode)]
    mode: Vec<Mode>,
    #[command(flatten)]
    period: Period,
    #[command(flatten)]
    heads: Heads,
    /// The space of the UIDs
    #[arg(long, value_name = "NAME", default_value = "default")]
    context: Context,
    #[command(flatten)]
    ring: RingArgs,
    /// Print the matching lines as JSON, with `asked`: which of the items each has
    #[arg(long)]
    json: bool,
}

fn mode(text: &str) -> Result<Mode, String> {
    let names = Mode::ALL.map(Mode::name).join(", ");
    Mode::from_name(text).ok_or_else(|| format!("a mode is one of {names}"))
}

/// The fields of a request's line that are read.
#[derive(Deserialize)]
struct Request<'l> {
    #[serde(default)]
    id: &'l str,
    client: Option<String>,
    peer: Option<&'l str>,
    #[serde(default)]
    mode: &'l str,
    #[serde(default)]
    mapped: u64,
    #[serde(default)]
    hmac: Option<&'l str>,
    #[serde(default, borrow)]
    hashes: Vec<(&'l str, &'l str)>,
}

/// The indices of the items asked for, from 1. Several of them may be one number in different spellings.
type Places = SmallVec<[usize; 1]>;

/// The items asked for, by their hash.
#[derive(Default)]
struct Asked {
    uids: HashMap<ItemHash, Places>,
    numbers: HashMap<ItemHash, Places>,
    count: usize,
}

impl Asked {
    fn of(args: &FindArgs, key: &ItemKey) -> Result<Self, Failure> {
        let (uids, numbers) = (values(&args.uid)?, values(&args.number)?);
        if uids.len() + numbers.len() > ASKED_MAX {
            return Err(Failure::usage(format_args!("ask for {ASKED_MAX} items at most")));
        }
        let mut asked = Self::default();
        for uid in uids {
            asked.count += 1;
            asked.uids.entry(key.uid(&args.context, &uid)).or_default().push(asked.count);
        }
        if !numbers.is_empty() {
            let tokenizer = args.ring.tokenizer()?;
            for number in numbers {
                asked.count += 1;
                // The rules of every key are tried: logs are older than rings.
                let readings = tokenizer.canonical(&number);
                let invalid = |_| Failure::failed(format_args!("invalid_number, item {}", asked.count));
                for canonical in readings.map_err(invalid)? {
                    asked.numbers.entry(key.number(&canonical)).or_default().push(asked.count);
                }
            }
        }
        Ok(asked)
    }

    /// The indices of the items asked for that a line has.
    fn in_line(&self, request: &Request<'_>) -> Places {
        let mut found = Places::new();
        let mut look = |hashes: &HashMap<ItemHash, Places>, hex| {
            found.extend(ItemHash::from_hex(hex).and_then(|hash| hashes.get(&hash)).into_iter().flatten().copied());
        };
        for (uid, number) in &request.hashes {
            look(&self.uids, uid);
            look(&self.numbers, number);
        }
        found.sort_unstable();
        found.dedup();
        found
    }
}

/// The values of a flag, and the lines of stdin if one of the values says so.
fn values(given: &[String]) -> Result<Vec<String>, Failure> {
    let mut values = Vec::new();
    for value in given {
        if value == STDIN {
            let mut text = String::new();
            let read = io::stdin().take(ASKED_BYTES_MAX + 1).read_to_string(&mut text);
            let read = read.map_err(|error| Failure::failed(format_args!("cannot read stdin: {error}")))?;
            if read as u64 > ASKED_BYTES_MAX {
                return Err(Failure::usage(format_args!("stdin has more than {} MiB", ASKED_BYTES_MAX >> 20)));
            }
            values.extend(text.lines().filter(|line| !line.trim().is_empty()).map(str::to_owned));
        } else {
            values.push(value.clone());
        }
    }
    Ok(values)
}

/// The state of the search.
struct Search<'a> {
    args: &'a FindArgs,
    asked: Asked,
    key_id: String,
    found: HashSet<usize>,
    rows: u64,
    /// Counts of lines whose items are hashed with this key or with others, and of requests without hashed items.
    hashed: u64,
    of_other_keys: u64,
    unhashed: u64,
    unrecorded: u64,
}

impl Search<'_> {
    fn line(&mut self, line: Line<'_>) -> Result<Sense, Failure> {
        if !self.args.period.has(line.time) {
            return Ok(Sense::Made);
        }
        self.unrecorded += u64::from(line.event == "dropped");
        if line.event != "request" {
            return Ok(Sense::Made);
        }
        let Ok(request) = serde_json::from_slice::<Request<'_>>(line.text) else { return Ok(Sense::None) };
        if !self.args.mode.is_empty() && !self.args.mode.iter().any(|mode| mode.name() == request.mode) {
            return Ok(Sense::Made);
        }
        if request.hashes.is_empty() {
            self.unhashed += u64::from(request.mapped > 0);
            return Ok(Sense::Made);
        }
        if request.hmac != Some(&self.key_id) {
            self.of_other_keys += 1;
            return Ok(Sense::Made);
        }
        self.hashed += 1;
        let items = self.asked.in_line(&request);
        if !items.is_empty() {
            self.print(line, &request, &items)?;
        }
        Ok(Sense::Made)
    }

    fn print(&mut self, line: Line<'_>, request: &Request<'_>, items: &[usize]) -> Result<(), Failure> {
        self.found.extend(items);
        self.rows += 1;
        let items: Vec<_> = items.iter().map(usize::to_string).collect();
        if self.args.json {
            let rest = str::from_utf8(&line.text[1..]).unwrap_or_default();
            return line.print(format_args!("{{\"asked\":[{}],{rest}", items.join(",")));
        }
        if self.rows == 1 {
            line.print(row(["TIME", "MODE", "CLIENT", "PEER", "REQUEST"], "ITEM", self.asked.count))?;
        }
        let seconds = format!("{}Z", line.time.get(..19).unwrap_or_default());
        let client = &plain(request.client.as_deref().unwrap_or_default());
        let cells = [&seconds, request.mode, client, request.peer.unwrap_or_default(), request.id];
        line.print(row(cells, &items.join(","), self.asked.count))
    }

    /// Reports what was not found. It says "never" only if nothing else is possible.
    fn conclude(&self, outcome: &Outcome) -> Result<(), Failure> {
        if self.hashed + self.of_other_keys + self.unhashed == 0 && outcome.count == 0 && outcome.torn.is_empty() {
            return Err(Failure::failed("no request in these logs has hashed items: set items = \"hmac\" in [audit]"));
        }
        let mut reasons = Vec::new();
        let mut reason = |count: u64, what: &str| {
            if count > 0 {
                reasons.push(format!("{}: {what}", quantity(count, "line")));
            }
        };
        reason(self.of_other_keys, &format!("hashed under another key than this one, whose id is {}", self.key_id));
        reason(self.unhashed, "a request whose items were not hashed");
        reason(self.unrecorded, "the log tells that requests went unrecorded");
        reasons.iter().for_each(tell);
        let missing: Vec<_> = (1..=self.asked.count).filter(|item| !self.found.contains(item)).collect();
        let is_whole = outcome.count == 0 && outcome.torn.is_empty() && reasons.is_empty();
        if !missing.is_empty() && is_whole && !self.args.json {
            self.say_never(&missing, outcome)?;
        }
        outcome.judge()?;
        match reasons.is_empty() {
            true => Ok(()),
            false => Err(Failure::failed("these logs cannot tell all: see above")),
        }
    }

    fn say_never(&self, missing: &[usize], outcome: &Outcome) -> Result<(), Failure> {
        let until: Vec<_> =
            outcome.open().map(|found| format!("{} of {}", found.until, Name(&found.instance))).collect();
        // As far as the heads show, nothing was cut off.
        let or_cut =
            if self.args.heads.heads.is_empty() { ", or whose end was cut off (--heads would tell)" } else { "" };
        let until = match until.len() {
            0 => String::new(),
            _ => {
                format!(
                    ", up to the last line of each start that is still running or crashed{or_cut}: {}",
                    until.join(", ")
                )
            }
        };
        if self.asked.count == 1 {
            return print(format_args!("never{until}"));
        }
        for item in missing {
            print(format_args!("item {item}: never{until}"))?;
        }
        Ok(())
    }
}

fn row([time, mode, client, peer, id]: [&str; 5], items: &str, asked: usize) -> String {
    let mut row = format!("{time:20}  {mode:14}  {client:12}  {peer:15}  {id:32}");
    if asked > 1 {
        row.extend(["  ", items]);
    }
    row.truncate(row.trim_end().len());
    row
}

pub(super) fn run(args: &FindArgs) -> Result<(), Failure> {
    let reads = args.uid.iter().chain(&args.number).filter(|value| *value == STDIN).count();
    if reads + usize::from(args.logs.is_empty()) > 1 {
        return Err(Failure::usage("stdin can be read once: name the logs"));
    }
    if reads < args.uid.len() + args.number.len() {
        warn_of_arguments();
    }
    let key = read_item_key(&args.hmac_key, FileMode::default())?;
    let mut search = Search {
        args,
        asked: Asked::of(args, &key)?,
        key_id: Name(&key.id()).to_string(),
        found: HashSet::new(),
        rows: 0,
        hashed: 0,
        of_other_keys: 0,
        unhashed: 0,
        unrecorded: 0,
    };
    let outcome = Reading::of(&args.logs, &args.heads.heads, |line| search.line(line))?;
    search.conclude(&outcome)
}
