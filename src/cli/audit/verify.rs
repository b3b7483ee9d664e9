//! `callveil audit verify`: are the logs complete and unaltered?

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use super::{
    Heads, Name,
    reading::{Reading, Sense, quantity},
};
use crate::{
    audit::verify::Found,
    cli::{failure::Failure, say::print},
};

#[derive(Args)]
pub(in crate::cli) struct VerifyArgs {
    /// Logs, and folders of them, in any order; plain, gzip or zstd [default: stdin]
    logs: Vec<PathBuf>,
    #[command(flatten)]
    heads: Heads,
    /// As JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &VerifyArgs) -> Result<(), Failure> {
    let outcome = Reading::of(&args.logs, &args.heads.heads, |_| Ok(Sense::Made))?;
    let open = |found: &Found| {
        let (place, name) = (outcome.at(found.location), Name(&found.instance));
        let (last, until) = (found.last, &found.until);
        let but = if found.has_head { "" } else { ", or its end was cut off (--heads would tell)" };
        format!(
            "{place}: {name} has no end record after line {last} ({until}): it is still running, or it crashed{but}"
        )
    };
    let open: Vec<_> = outcome.open().map(open).collect();
    if args.json {
        let chains = outcome.chains.iter().map(|found| {
            json!({
                "instance": Name(&found.instance).to_string(), "first": found.first, "last": found.last,
                "since": found.since, "until": found.until, "ended": found.is_ended, "head": found.has_head,
            })
        });
        print(json!({
            "lines": outcome.lines, "in_no_chain": outcome.in_no_chain, "chains": chains.collect::<Vec<Value>>(),
            "open": open, "torn": outcome.torn, "wrong": outcome.wrong, "faults": outcome.count,
        }))?;
    } else {
        outcome.wrong.iter().chain(&outcome.torn).chain(&open).try_for_each(print)?;
        let starts = quantity(outcome.chains.len() as u64, "start");
        let commands = quantity(outcome.in_no_chain, "line");
        let verdict = if outcome.count == 0 { "nothing is wrong" } else { "NOT WHOLE" };
        let lines = quantity(outcome.lines, "line");
        print(format_args!("{lines} of {starts} ({commands} of commands, which are in no chain): {verdict}"))?;
    }
    match outcome.count {
        0 => Ok(()),
        1 => Err(Failure::failed("one thing is wrong with these logs")),
        count => Err(Failure::failed(format_args!("{count} things are wrong with these logs"))),
    }
}
