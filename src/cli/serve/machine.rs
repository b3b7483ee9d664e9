//! What the machine allows this process: memory and open files.

use std::num::NonZeroUsize;

use tracing::{info, warn};

use super::listen::ADMIN_CONNECTIONS_MAX;
use crate::{
    config::Config,
    limits::{Limits, Load},
    operate::process::memory_limit,
};

/// Open files besides connections: logs, the ring, and sockets of the runtime.
const FILES_OF_OUR_OWN: usize = 64;

/// Logs how much memory the configuration may take, and warns if there is less.
pub(super) fn tell_memory(config: &Config, threads: NonZeroUsize, keys: usize) {
    let load = Load { threads: threads.get(), over_tls: config.tls.is_some(), keys };
    let memory_max_bytes = config.terms.limits.memory_max(&load);
    match memory_limit() {
        Some(limit) if limit < memory_max_bytes => warn!(
            memory_max_bytes,
            memory_limit_bytes = limit,
            "less memory than the configuration may take: lower limits.connections or limits.buffered_bytes"
        ),
        limit => info!(memory_max_bytes, memory_limit_bytes = limit, "memory"),
    }
}

/// Raises the limit of open files as far as the system allows, and lowers the maximum of connections to fit it. A
/// process without free file descriptors cannot even accept a connection to refuse it.
pub(super) fn raise_open_files(limits: &mut Limits) {
    let Ok(files) = rlimit::increase_nofile_limit(u64::MAX) else { return };
    let room =
        usize::try_from(files).unwrap_or(usize::MAX).saturating_sub(ADMIN_CONNECTIONS_MAX + FILES_OF_OUR_OWN).max(1);
    if room < limits.connections {
        warn!(
            open_files = files,
            connections = room,
            "fewer connections than configured: raise the limit of open files"
        );
        limits.connections = room;
    }
}
