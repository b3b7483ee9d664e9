//! `callveil audit sum`: how many items were mapped for each client.

use std::{collections::BTreeMap, path::PathBuf};

use clap::Args;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Period, plain,
    reading::{Line, Reading, Sense},
};
use crate::cli::{
    failure::Failure,
    say::{print, tell},
};

/// The table's width in characters.
const WIDTH: usize = 80;

/// Minimum characters of a client's name.
const CLIENT_MIN: usize = 6;

/// Maximum rows. Days, clients and modes are few, so a log with more is not one of callveil's.
const ROWS_MAX: usize = 1_000_000;

/// Characters of the day, at the beginning of a time.
const DAY: usize = "2026-11-26".len();

#[derive(Args)]
pub(in crate::cli) struct SumArgs {
    /// Logs, and folders of them, in any order; plain, gzip or zstd [default: stdin]
    logs: Vec<PathBuf>,
    #[command(flatten)]
    period: Period,
    /// As JSON, with the keys that were used
    #[arg(long, conflicts_with = "csv")]
    json: bool,
    /// As CSV
    #[arg(long)]
    csv: bool,
}

/// The counts of a line. Lines of requests lack some of them.
#[derive(Deserialize)]
struct LineCounts<'l> {
    client: Option<String>,
    #[serde(default)]
    mode: &'l str,
    #[serde(default)]
    part: u64,
    #[serde(default)]
    items: u64,
    #[serde(default)]
    mapped: u64,
    #[serde(default)]
    passed: u64,
    #[serde(default)]
    limit: Option<&'l str>,
    #[serde(default, borrow)]
    errors: BTreeMap<&'l str, u64>,
    #[serde(default, borrow)]
    keys: BTreeMap<&'l str, u64>,
    #[serde(default)]
    requests: u64,
    /// How many requests without a client the line stands for.
    #[serde(default)]
    count: u64,
}

/// What one client did on one day in one mode.
#[derive(Default)]
struct Sum {
    requests: u64,
    items: u64,
    mapped: u64,
    passed: u64,
    failed: u64,
    limited: u64,
    keys: BTreeMap<String, u64>,
}

#[derive(Default)]
struct Sums {
    /// The sums by day, client and mode.
    rows: BTreeMap<(String, String, String), Sum>,
    unrecorded: u64,
}

impl Sums {
    fn add(&mut self, line: Line<'_>) -> Result<Sense, Failure> {
        if !matches!(line.event, "request" | "strangers" | "dropped") {
            return Ok(Sense::Made);
        }
        let Ok(counts) = serde_json::from_slice::<LineCounts<'_>>(line.text) else { return Ok(Sense::None) };
        if line.event == "dropped" {
            self.unrecorded += counts.requests;
            return Ok(Sense::Made);
        }
        let day = line.time.get(..DAY).unwrap_or_default().to_owned();
        let row = (day, counts.client.unwrap_or_default(), counts.mode.to_owned());
        if self.rows.len() >= ROWS_MAX && !self.rows.contains_key(&row) {
            return Err(Failure::failed("these logs have too many days, clients and modes"));
        }
        let sum = self.rows.entry(row).or_default();
        sum.requests += counts.count + u64::from(line.event == "request" && counts.part <= 1);
        sum.items += counts.items;
        sum.mapped += counts.mapped;
        sum.passed += counts.passed;
        sum.failed += counts.errors.values().sum::<u64>();
        sum.limited += if counts.limit.is_some() { counts.items } else { 0 };
        for (key, count) in counts.keys {
            *sum.keys.entry(key.to_owned()).or_default() += count;
        }
        Ok(Sense::Made)
    }

    fn print_json(&self) -> Result<(), Failure> {
        let sums = self.rows.iter().map(|((day, client, mode), sum)| {
            json!({
                "day": day, "client": client, "mode": mode, "requests": sum.requests, "items": sum.items,
                "mapped": sum.mapped, "passed": sum.passed, "failed": sum.failed, "limited": sum.limited,
                "keys": sum.keys,
            })
        });
        print(json!({"sums": sums.collect::<Vec<Value>>(), "unrecorded": self.unrecorded}))
    }

    fn print_csv(&self) -> Result<(), Failure> {
        print("day,client,mode,requests,items,mapped,passed,failed,limited")?;
        for ((day, client, mode), sum) in &self.rows {
            // A name may contain commas and quotes.
            let client = format!("\"{}\"", client.replace('"', "\"\""));
            let Sum { requests, items, mapped, passed, failed, limited, .. } = sum;
            print(format_args!("{day},{client},{mode},{requests},{items},{mapped},{passed},{failed},{limited}"))?;
        }
        Ok(())
    }

    /// Prints a table that fits a terminal: the client's name gets the remaining columns.
    fn print_table(&self) -> Result<(), Failure> {
        let heading = ["DAY", "CLIENT", "MODE", "REQUESTS", "MAPPED", "PASSED", "FAILED", "LIMITED"].map(str::to_owned);
        let or_none = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
        let row = |((day, client, mode), sum): (&(String, String, String), &Sum)| {
            let [requests, mapped, passed, failed, limited] =
                [sum.requests, sum.mapped, sum.passed, sum.failed, sum.limited].map(|count| count.to_string());
            [or_none(day), or_none(&plain(client)), or_none(&plain(mode)), requests, mapped, passed, failed, limited]
        };
        let rows: Vec<_> = [heading].into_iter().chain(self.rows.iter().map(row)).collect();
        let mut widths = [0; 8];
        for row in &rows {
            widths.iter_mut().zip(row).for_each(|(width, cell)| *width = cell.chars().count().max(*width));
        }
        let others: usize = widths.iter().sum::<usize>() - widths[1] + widths.len() - 1;
        widths[1] = widths[1].min(WIDTH.saturating_sub(others).max(CLIENT_MIN));
        for row in &rows {
            let cells = row.iter().zip(widths).enumerate().map(|(column, (cell, width))| {
                // Texts are aligned left, numbers right.
                if column < 3 { format!("{:width$}", shorten(cell, width)) } else { format!("{cell:>width$}") }
            });
            print(cells.collect::<Vec<_>>().join(" ").trim_end())?;
        }
        Ok(())
    }
}

/// `text` shortened to this many columns.
fn shorten(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

pub(super) fn run(args: &SumArgs) -> Result<(), Failure> {
    let mut sums = Sums::default();
    let outcome =
        Reading::of(&args.logs, &[], |line| if args.period.has(line.time) { sums.add(line) } else { Ok(Sense::Made) })?;
    match (args.json, args.csv) {
        (true, _) => sums.print_json()?,
        (_, true) => sums.print_csv()?,
        _ => sums.print_table()?,
    }
    if sums.unrecorded > 0 {
        tell(format_args!("{} requests went unrecorded while the log could not be written", sums.unrecorded));
    }
    outcome.judge()
}
