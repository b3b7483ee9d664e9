//! The command line: one file a command. It talks to people and owns stdout.

mod approve;
mod audit;
mod bulk;
mod change;
mod check;
mod clients;
mod completions;
mod configuration;
mod connector;
mod container;
mod doctor;
mod export;
mod failure;
mod help;
mod inspect;
mod keys;
mod list;
mod log;
mod man;
mod recipients;
mod ring;
mod say;
mod serve;
mod table;

use std::{ffi::OsString, process::ExitCode};

use clap::{FromArgMatches as _, Parser, Subcommand};

pub use self::help::command;
use self::{failure::Failure, say::tell};
use crate::{item::Mode, memory, secret, version};

/// A stateless tokenizer of phone numbers for Tencent Cloud Contact Center
///
/// Agents see a user ID (UID) instead of a customer's number. Callveil is the endpoint that turns one into the other on
/// the way of a call, and does the same for files. A UID is the number, encrypted under a key of a small key ring: there
/// is no table to keep, and whoever has the ring file gives the same answers.
#[derive(Parser)]
#[command(name = "callveil", version = version::LONG, arg_required_else_help = true, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str =
    "Exit codes: 0 done, 1 failed, 2 wrong usage, 78 bad configuration or key ring. More, with examples: --help";

#[derive(Subcommand)]
enum Command {
    /// Run the endpoint that CCC calls
    Serve(serve::ServeArgs),
    /// Make, rotate and manage the keys
    #[command(subcommand)]
    Keys(keys::KeysCommand),
    /// Manage the clients that may call
    #[command(subcommand)]
    Clients(clients::ClientsCommand),
    /// Write and check the configuration of `serve`
    #[command(subcommand)]
    Config(configuration::ConfigCommand),
    /// Ask audit logs who decoded what, and how much
    #[command(subcommand)]
    Audit(audit::AuditCommand),
    /// Phone numbers to UIDs
    Tokenize(bulk::BulkArgs),
    /// UIDs to phone numbers, as CCC dials them
    Detokenize(bulk::BulkArgs),
    /// UIDs under any enabled key to UIDs under the primary key
    Rewrap(bulk::BulkArgs),
    /// Show which key made a UID and that key's state, without decrypting
    Inspect(inspect::InspectArgs),
    /// Look at an endpoint from outside: is it ready for CCC?
    Doctor(doctor::DoctorArgs),
    /// Print a script that makes a shell complete commands and flags
    Completions(completions::CompletionsArgs),
    /// Print the manual page, or write those of all commands into a folder
    Man(man::ManArgs),
}

/// Runs the command in `args` and returns the exit code of the process.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    std::panic::set_hook(Box::new(log::panic_without_payload));
    let lacking = memory::harden();
    let args: Vec<_> = args.into_iter().collect();
    if let Err(failure) = refuse_secrets(&args) {
        tell(format_args!("callveil: {failure}"));
        return ExitCode::from(failure.code);
    }
    let cli = match help::command().try_get_matches_from(args).and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(cli) => cli,
        Err(error) => {
            // If the terminal does not take the message, nothing can be done.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(Failure::USAGE));
        }
    };
    let done = match cli.command {
        Command::Serve(args) => serve::run(args, lacking),
        Command::Keys(command) => keys::run(command),
        Command::Clients(command) => clients::run(&command),
        Command::Config(command) => configuration::run(&command),
        Command::Audit(command) => audit::run(&command),
        Command::Tokenize(args) => bulk::run(&args, Mode::PhoneToUid),
        Command::Detokenize(args) => bulk::run(&args, Mode::UidToPhone),
        Command::Rewrap(args) => bulk::run(&args, Mode::RewrapUid),
        Command::Inspect(args) => inspect::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Completions(args) => completions::run(&args),
        Command::Man(args) => man::run(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !failure.message.is_empty() {
                tell(format_args!("callveil: {}", failure.message));
            }
            ExitCode::from(failure.code)
        }
    }
}

/// Refuses arguments that contain a secret key, and shows none of them. Other users may have seen that key already.
fn refuse_secrets(args: &[OsString]) -> Result<(), Failure> {
    match args.iter().find_map(|argument| secret::found_in(&argument.to_string_lossy())) {
        None => Ok(()),
        Some(what) => Err(Failure::usage(format_args!(
            "an argument holds {what}: other users of this machine can see it, and the shell may keep it, so make another. Where a public key is wanted, age's begin with age1"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        command().debug_assert();
    }
}
