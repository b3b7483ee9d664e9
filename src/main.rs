//! The shell: parses arguments, calls a command, and turns its error into an exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    callveil::cli::run(std::env::args_os())
}
