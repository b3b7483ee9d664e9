//! The machine: which CPU does what, and what a process has used.

use std::{fs, process::Command};

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Which CPUs the servers have, and which the load.
pub struct Cpus {
    all: Vec<usize>,
}

impl Cpus {
    /// Those that this process may use.
    pub fn of_this_process() -> Self {
        let set = sched_getaffinity(None).unwrap();
        Self { all: (0..CpuSet::MAX_CPU).filter(|cpu| set.is_set(*cpu)).collect() }
    }

    /// As many for a server.
    pub fn server(&self, threads: usize) -> &[usize] {
        &self.all[..threads.min(self.all.len())]
    }

    /// For the load on a server of so many threads: the others, as many as it has, or all where none are left.
    pub fn load(&self, threads: usize) -> &[usize] {
        let others = &self.all[threads.min(self.all.len())..];
        if others.is_empty() { &self.all } else { &others[..threads.min(others.len())] }
    }
}

/// Binds this thread, and the processes that it will start, to these CPUs.
pub fn bind(cpus: &[usize]) {
    let mut set = CpuSet::new();
    cpus.iter().for_each(|cpu| set.set(*cpu));
    sched_setaffinity(None, &set).unwrap();
}

/// CPU seconds that a process has used, in user mode and in the kernel.
pub fn cpu_seconds(pid: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // The fields after the name, which may hold anything: utime and stime are the 14th and 15th of all.
    let fields: Vec<_> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks = fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap();
    ticks / rustix::param::clock_ticks_per_second() as f64
}

/// Memory of a process that is in RAM, in KiB.
pub fn rss_kib(pid: u32) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// CPU, memory, kernel and compiler, for whoever compares results.
pub fn description() -> String {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let (cpuinfo, meminfo) = (read("/proc/cpuinfo"), read("/proc/meminfo"));
    let value = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.split_once(':')).map_or("unknown", |(_, value)| value.trim()).to_owned()
    };
    let cpus = cpuinfo.lines().filter(|line| line.starts_with("processor")).count();
    let rustc = Command::new("rustc").arg("--version").output().map(|output| output.stdout).unwrap_or_default();
    format!(
        "{}, {cpus} CPUs, {} of memory, Linux {}, {}",
        value(&cpuinfo, "model name"),
        value(&meminfo, "MemTotal"),
        read("/proc/sys/kernel/osrelease").trim(),
        String::from_utf8_lossy(&rustc).trim()
    )
}
