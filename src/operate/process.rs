//! Figures of this process, under the names that Prometheus' own clients give them.

use std::{fs, path::Path};

use rustix::{
    param::{clock_ticks_per_second, page_size},
    process::{Resource, getrlimit},
};

/// What the operating system reports about this process.
pub(super) struct Figures {
    /// User and system time.
    pub(super) cpu_seconds: f64,
    pub(super) threads: u64,
    pub(super) resident_bytes: u64,
    pub(super) open_files: u64,
    pub(super) open_files_max: Option<u64>,
}

impl Figures {
    /// The figures of now, from `/proc`; `None` on systems without it.
    pub(super) fn now() -> Option<Self> {
        let stat = fs::read_to_string("/proc/self/stat").ok()?;
        // The name of the program is in brackets, and may contain anything.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        // proc_pid_stat(5) counts from 1, and the first field behind the name is the third.
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

/// Bytes of memory that this process may use: the least of what the machine has and what its control groups allow.
pub fn memory_limit() -> Option<u64> {
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
        let kib = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
        kib.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
    });
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let limits = groups.lines().flat_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next().unwrap_or_default(), fields.next().unwrap_or_default());
        // cgroups(7): the line of version 2 names no controllers.
        let (root, file) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            "memory" => ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
            _ => return Vec::new(),
        };
        // In a container, the path may be the host's path while the group is mounted as the root.
        let folders = Path::new(path.trim_start_matches('/')).ancestors();
        folders.filter_map(|folder| limit_in(&Path::new(root).join(folder).join(file))).collect()
    });
    limits.chain(machine).min()
}

/// The limit in this file; `None` if there is none.
fn limit_in(file: &Path) -> Option<u64> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}
