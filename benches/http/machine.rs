//! The machine: binds processes to CPUs, and measures what they use.

use std::{
    fs,
    process::{Command, Stdio},
};

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Divides the CPUs between the servers and the load.
pub struct Cpus {
    all: Vec<usize>,
}

impl Cpus {
    /// The CPUs that this process may use.
    pub fn of_this_process() -> Self {
        let set = sched_getaffinity(None).unwrap();
        Self { all: (0..CpuSet::MAX_CPU).filter(|cpu| set.is_set(*cpu)).collect() }
    }

    /// The CPUs for a server with this many threads.
    pub fn server(&self, threads: usize) -> &[usize] {
        &self.all[..threads.min(self.all.len())]
    }

    /// The CPUs for the load on a server with this many threads: as many others, or all if there are no others.
    pub fn load(&self, threads: usize) -> &[usize] {
        let others = &self.all[threads.min(self.all.len())..];
        if others.is_empty() { &self.all } else { &others[..threads.min(others.len())] }
    }
}

/// Binds this thread, and the processes that it starts later, to these CPUs.
pub fn bind(cpus: &[usize]) {
    let mut set = CpuSet::new();
    cpus.iter().for_each(|cpu| set.set(*cpu));
    sched_setaffinity(None, &set).unwrap();
}

/// CPU seconds that the threads of a process have used, in user mode and in the kernel, to the nanosecond.
pub fn cpu_seconds(pid: u32) -> f64 {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    // A thread may end while the list is read.
    let texts = threads.filter_map(|thread| fs::read_to_string(thread.ok()?.path().join("schedstat")).ok());
    texts.map(|text| text.split_once(' ').unwrap().0.parse::<f64>().unwrap()).sum::<f64>() / 1e9
}

/// Gives this thread, and those that it starts later, priority over ordinary threads. Returns whether that was allowed.
pub fn come_first() -> bool {
    let thread = rustix::thread::gettid().as_raw_nonzero().to_string();
    let mut chrt = Command::new("chrt");
    chrt.args(["--fifo", "--pid", "1", &thread]).stdout(Stdio::null()).stderr(Stdio::null());
    chrt.status().is_ok_and(|status| status.success())
}

/// The resident memory of a process, in KiB.
pub fn rss_kib(pid: u32) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// CPU, memory, kernel and compiler, for comparing results.
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
