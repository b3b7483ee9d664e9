//! `callveil completions`: what makes a shell complete commands and flags.

use clap::Args;
use clap_complete::Shell;

use super::{failure::Failure, help};

#[derive(Args)]
pub(super) struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

pub(super) fn run(args: &CompletionsArgs) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut help::command(), "callveil", &mut script);
    super::say::print(String::from_utf8_lossy(&script).trim_end())
}
