//! Figures of this process, under the names that Prometheus' own clients give them.

use std::fs;

use rustix::{
    param::{clock_ticks_per_second, page_size},
    process::{Resource, getrlimit},
};

/// What the operating system says of this process, where it does.
pub(super) struct Figures {
    /// User and system.
    pub(super) cpu_seconds: f64,
    pub(super) threads: u64,
    pub(super) resident_bytes: u64,
    pub(super) open_files: u64,
    pub(super) open_files_max: Option<u64>,
}

impl Figures {
    /// Those of now, from `/proc`; `None` on systems without it.
    pub(super) fn now() -> Option<Self> {
        let stat = fs::read_to_string("/proc/self/stat").ok()?;
        // The name of the program stands in brackets, and may hold anything.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        // proc_pid_stat(5) counts from 1, and the first behind the name is the third.
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        let ticks = field(14)? + field(15)?;
        Some(Self {
            cpu_seconds: ticks as f64 / clock_ticks_per_second() as f64,
            threads: field(20)?,
            resident_bytes: field(24)? * page_size() as u64,
            open_files: fs::read_dir("/proc/self/fd").ok()?.count() as u64,
            open_files_max: getrlimit(Resource::Nofile).current,
        })
    }
}
