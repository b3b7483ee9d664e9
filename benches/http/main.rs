//! Benchmarks callveil over HTTP against a bare hyper server and the obvious code: see `benches/README.md`.
//!
//! ```text
//! load (this process) --HTTP/1.1--> A: the binary | B: bare hyper | C: the obvious code | D: B and the mapping
//! ```
//!
//! Each is a separate process. B, C and D are this program again, started with an argument that is not for people.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a benchmark has no callers, a panic is how it fails, and what it rounds is as good as what it measures"
)]

mod bare;
mod beside;
mod callers;
mod connection;
mod live;
mod load;
mod machine;
mod mapping;
mod measures;
mod obvious;
mod process;
mod report;
mod runtime;
mod samples;
mod secure;
mod servers;
mod sleeping;
mod tls;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{Parser, ValueEnum};

use crate::{
    bare::Bare,
    load::Window,
    machine::Cpus,
    mapping::Mapping,
    measures::{Bench, Effort},
    obvious::{Dialling, Obvious},
    servers::Audit,
};

/// Measures callveil over HTTP, beside a bare hyper server and the obvious code
#[derive(Parser)]
struct Options {
    /// Two short rounds: to see that it works, not to quote
    #[arg(long)]
    quick: bool,
    /// How often each server is measured in turn
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    rounds: Option<u16>,
    /// Milliseconds of one measurement
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(50..=60_000))]
    window: Option<u64>,
    /// Only these
    #[arg(long, value_delimiter = ',')]
    only: Vec<Section>,
    /// Where the servers' audit log goes
    #[arg(long, value_enum, default_value = "file")]
    audit: Audit,
    /// Only this build beside another one, whose binary this is
    #[arg(long, value_name = "BINARY", conflicts_with = "only")]
    beside: Option<PathBuf>,
    /// Write the results to this file, too
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// What `cargo bench` says to every benchmark
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Section {
    Single,
    Latency,
    Batches,
    Keys,
    Threads,
    Memory,
    Start,
    Tls,
    Live,
    Sleeping,
    Audit,
}

fn main() {
    let arguments: Vec<_> = std::env::args().collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[1..] {
        ["bare", file] => {
            let bare = Bare::new(&std::fs::read(file).unwrap());
            runtime::serve(1, None, || bare.clone());
        }
        ["bare", file, folder] => {
            let bare = Bare::new(&std::fs::read(file).unwrap());
            runtime::serve(1, Some(tls::server(Path::new(folder))), || bare.clone());
        }
        ["obvious", "digits"] => runtime::serve(1, None, || Obvious::new(Dialling::Digits)),
        ["obvious", "national"] => runtime::serve(1, None, || Obvious::new(Dialling::National)),
        ["mapping"] => runtime::serve(1, None, Mapping::new),
        _ => measure(&Options::parse()),
    }
}

fn measure(options: &Options) {
    let files = rlimit::increase_nofile_limit(u64::MAX).unwrap_or(1024);
    let (rounds, window, warm, starts, idle) =
        if options.quick { (2, 250, 100, 3, 1000) } else { (7, 500, 100, 10, 5000) };
    let effort = Effort {
        rounds: options.rounds.map_or(rounds, usize::from),
        window: Window {
            warm: Duration::from_millis(warm),
            measured: Duration::from_millis(options.window.unwrap_or(window)),
        },
        starts,
        idle_connections: idle.min(usize::try_from(files).unwrap_or(usize::MAX).saturating_sub(200)),
    };
    let mut bench = Bench::new(effort, Cpus::of_this_process(), options.audit);
    let audit = match bench.audit {
        Audit::File => "auth, audit to a file and limits on",
        Audit::Disk => "auth, audit to a file on a disk and limits on",
        Audit::Pipe => "auth, audit to a pipe and limits on",
    };
    bench.report.heading(&format!(
        "{}.\nA: callveil, {audit}. B: bare hyper. C: the obvious code. D: B, one password hash and \
         callveil's mapping, and nothing else. One CPU each. {} rounds of {} ms in turn; \
         medians, and ratios of medians with the least and the greatest ratio of a round.",
        machine::description(),
        bench.effort.rounds,
        bench.effort.window.measured.as_millis(),
    ));
    type Measure = fn(&mut Bench);
    let sections: [(Section, Measure); 11] = [
        (Section::Single, Bench::single),
        (Section::Latency, Bench::latency),
        (Section::Batches, Bench::batches),
        (Section::Keys, Bench::keys),
        (Section::Threads, Bench::threads),
        (Section::Memory, Bench::memory),
        (Section::Start, Bench::start),
        (Section::Tls, Bench::tls),
        (Section::Live, Bench::live),
        (Section::Sleeping, Bench::sleeping),
        (Section::Audit, Bench::audit_logs),
    ];
    for (section, measure) in sections {
        if options.beside.is_none() && (options.only.is_empty() || options.only.contains(&section)) {
            measure(&mut bench);
        }
    }
    if let Some(previous) = &options.beside {
        bench.beside(&std::path::absolute(previous).unwrap());
    }
    if let Some(file) = &options.markdown {
        std::fs::write(file, bench.report.markdown()).unwrap();
    }
}
