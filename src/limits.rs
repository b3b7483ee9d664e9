//! Limits on everything that a peer can make large, many or long (`[limits]` of the configuration), and the other terms
//! on which calls are accepted.

use std::{sync::Arc, time::Duration};

use ipnet::IpNet;

/// The terms on which calls are accepted. They can be replaced while a replica runs.
#[derive(Default)]
pub struct Terms {
    /// The one path that is answered.
    pub path: String,
    /// Peers that may connect. If it is empty, all peers may.
    pub allow_from: Vec<IpNet>,
    /// Proxies that connect on behalf of many peers, and whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Limits on sizes, counts and times.
    pub limits: Arc<Limits>,
}

/// Limits on everything that a peer can make large, many or long.
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
    /// Time from the first byte of a request's head to the last byte of the head.
    pub header: Duration,
    /// Time from the end of the head until the answer is made, and again until the peer has taken the answer.
    pub request: Duration,
    /// Time that a connection may be idle between requests.
    pub idle: Duration,
    /// Time after SIGTERM during which connections are still accepted.
    pub drain_delay: Duration,
    /// Time after `drain_delay` until the remaining connections are cut.
    pub drain: Duration,
}

/// Bytes of an idle process that has read a ring and the metadata of all regions.
const PROCESS_BYTES: u64 = 64 << 20;

/// Bytes of a thread: its stack, and the room that it keeps for large batches.
const THREAD_BYTES: u64 = 4 << 20;

/// Bytes of a busy connection: 16 KiB for a head, as much for an answer, a parsed head, and its tasks.
const CONNECTION_BYTES: u64 = 40 << 10;

/// Bytes that TLS adds to a connection: an incoming record and the outgoing data.
const TLS_BYTES: u64 = 24 << 10;

/// Bytes of an enabled key, set up for a dozen contexts.
const KEY_BYTES: u64 = 16 << 10;

/// The factors, besides its limits, that a process's use of memory depends on.
pub struct Load {
    /// Threads that serve connections.
    pub threads: usize,
    /// Whether connections speak TLS.
    pub over_tls: bool,
    /// Keys of the ring.
    pub keys: usize,
}

impl Limits {
    /// These limits, as a replica that runs with `ours` can adopt them: it keeps its limits on connections and buffered
    /// bytes.
    #[must_use]
    pub fn taken_up_by(&self, ours: &Self) -> Self {
        let Self { buffered_bytes, connections, connections_per_peer, .. } = *ours;
        Self { buffered_bytes, connections, connections_per_peer, ..self.clone() }
    }

    /// The most memory that a process with these limits takes, in bytes.
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
