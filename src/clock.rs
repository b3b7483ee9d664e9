//! A clock for whatever need not be told more closely than by some milliseconds.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Time since the machine started, as of the kernel's last tick: at most some milliseconds ago, and a quarter of the
/// price of the exact time.
pub(crate) fn coarse() -> Duration {
    clock_gettime(ClockId::MonotonicCoarse).try_into().unwrap_or_default()
}
