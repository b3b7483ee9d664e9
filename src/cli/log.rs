//! Logs on stderr: text on a terminal, JSON otherwise. A panic is logged with its place but without its message.

use std::{
    io::{self, IsTerminal as _},
    panic::PanicHookInfo,
};

use tracing::{error, level_filters::LevelFilter};
use tracing_subscriber::{filter::Targets, fmt, layer::SubscriberExt as _, util::SubscriberInitExt as _};

use super::{failure::Failure, say::tell};

/// The variable that says how much is logged.
const LEVEL_VARIABLE: &str = "CALLVEIL_LOG";

/// Starts logging.
///
/// Only callveil's own records are shown: those of libraries may quote a number or a header.
pub(super) fn init() -> Result<(), Failure> {
    let level = match std::env::var(LEVEL_VARIABLE) {
        Err(_) => LevelFilter::INFO,
        Ok(level) => level.parse().map_err(|_| {
            Failure::config(format_args!("{LEVEL_VARIABLE} must be off, error, warn, info, debug or trace"))
        })?,
    };
    let targets = Targets::new().with_target("callveil", level);
    let registry = tracing_subscriber::registry().with(targets);
    if io::stderr().is_terminal() {
        registry.with(fmt::layer().with_writer(io::stderr).with_target(false)).init();
    } else {
        registry.with(fmt::layer().json().flatten_event(true).with_writer(io::stderr)).init();
    }
    Ok(())
}

/// A panic's message may quote the number that a library panicked on, so only its place is logged.
pub(super) fn panic_without_payload(info: &PanicHookInfo<'_>) {
    let place = info.location().map(|at| format!("{}:{}", at.file(), at.line())).unwrap_or_default();
    if tracing::dispatcher::has_been_set() {
        error!(place, "panic");
    } else {
        tell(format_args!("callveil: panic at {place}: please report it"));
    }
}
