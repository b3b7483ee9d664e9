//! The shell: parses arguments, calls a command, and turns its error into an exit code.

use std::process::ExitCode;

/// Wipes all memory as it is freed, because buffers of hyper, serde and other crates held numbers, passwords and keys
/// too. A build with `--cfg callveil_unwiped` does not wipe, which proves that the tests of the wiping can fail.
#[cfg(not(callveil_unwiped))]
#[global_allocator]
static ALLOCATOR: zeroizing_alloc::ZeroAlloc<std::alloc::System> = zeroizing_alloc::ZeroAlloc(std::alloc::System);

fn main() -> ExitCode {
    callveil::cli::run(std::env::args_os())
}
