//! The shell: parses arguments, calls a command, and turns its error into an exit code.

use std::process::ExitCode;

/// Wipes all that is freed: buffers of hyper, serde and all others held numbers, passwords and keys, too. A build with
/// `--cfg callveil_unwiped` does not, and shows that the tests of this can fail.
#[cfg(not(callveil_unwiped))]
#[global_allocator]
static ALLOCATOR: zeroizing_alloc::ZeroAlloc<std::alloc::System> = zeroizing_alloc::ZeroAlloc(std::alloc::System);

fn main() -> ExitCode {
    callveil::cli::run(std::env::args_os())
}
