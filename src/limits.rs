//! Bounds of everything that a peer can make large, many or long: SPEC 6, `[limits]`.

use std::time::Duration;

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
