//! Bounds of everything that a peer can make large, many or long, `[limits]` of the configuration; and the other terms on
//! which calls are taken.

use std::{sync::Arc, time::Duration};

use ipnet::IpNet;

/// On which terms calls are taken. A running replica may be given others.
#[derive(Default)]
pub struct Terms {
    /// The one path that is answered.
    pub path: String,
    /// Peers that may connect; all where it is empty.
    pub allow_from: Vec<IpNet>,
    /// Proxies, which connect for many peers, and whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Bounds of everything.
    pub limits: Arc<Limits>,
}

/// Bounds of everything that a peer can make large, many or long.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Bytes of one request body.
    pub body_bytes: usize,
    /// Bytes of all request bodies together.
    pub buffered_bytes: usize,
    /// Items of one request.
    pub numbers: usize,
    /// Open connections.
    pub connections: usize,
    /// Open connections of one peer address.
    pub connections_per_peer: usize,
    /// From the first byte of a request's head to its last.
    pub header: Duration,
    /// From the end of the head to the end of the body, and again to the end of the answer.
    pub request: Duration,
    /// Without a request.
    pub idle: Duration,
    /// After SIGTERM, still taking connections, until they are refused.
    pub drain_delay: Duration,
    /// After that, until the last connections are cut.
    pub drain: Duration,
}

/// Bytes of a process that has read a ring and the metadata of all regions, and has nothing to do.
const PROCESS_BYTES: u64 = 64 << 20;

/// Bytes of a thread: its stack, and the room that it keeps for large batches.
const THREAD_BYTES: u64 = 4 << 20;

/// Bytes of a busy connection: 16 KiB of a head, as much of an answer, a parsed head, and its tasks.
const CONNECTION_BYTES: u64 = 40 << 10;

/// What TLS adds to it: a record on its way in, and what is on its way out.
const TLS_BYTES: u64 = 24 << 10;

/// Bytes of an enabled key, set up for a dozen contexts.
const KEY_BYTES: u64 = 16 << 10;

/// What the memory of a process depends on, besides its limits.
pub struct Load {
    /// Threads that serve connections.
    pub threads: usize,
    /// Whether connections speak TLS.
    pub over_tls: bool,
    /// Keys of the ring.
    pub keys: usize,
}

impl Limits {
    /// These, as far as a replica that runs with `ours` can take them up: the room for connections and bodies stays.
    #[must_use]
    pub fn taken_up_by(&self, ours: &Self) -> Self {
        let Self { buffered_bytes, connections, connections_per_peer, .. } = *ours;
        Self { buffered_bytes, connections, connections_per_peer, ..self.clone() }
    }

    /// Bytes of memory that a process with these limits takes at most.
    pub fn memory_max(&self, load: &Load) -> u64 {
        let times = |count: usize, bytes: u64| u64::try_from(count).unwrap_or(u64::MAX).saturating_mul(bytes);
        let connection = CONNECTION_BYTES + if load.over_tls { TLS_BYTES } else { 0 };
        PROCESS_BYTES
            .saturating_add(times(load.threads, THREAD_BYTES))
            .saturating_add(times(load.keys, KEY_BYTES))
            .saturating_add(times(self.connections, connection))
            .saturating_add(times(self.buffered_bytes, 1))
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: 1 << 20,
            buffered_bytes: 1 << 28,
            numbers: 10_000,
            connections: 10_000,
            connections_per_peer: 2_000,
            header: Duration::from_secs(10),
            request: Duration::from_secs(10),
            idle: Duration::from_secs(75),
            drain_delay: Duration::from_secs(5),
            drain: Duration::from_secs(20),
        }
    }
}
