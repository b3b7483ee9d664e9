//! The command line: one file a command. It talks to people and owns stdout.

mod approve;
mod audit;
mod bulk;
mod check;
mod clients;
mod completions;
mod configuration;
mod connector;
mod container;
mod doctor;
mod export;
mod help;
mod inspect;
mod keys;
mod list;
mod log;
mod man;
mod recipients;
mod serve;
mod table;

use std::{
    cell::OnceCell,
    ffi::OsString,
    fmt::{self, Display},
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use age::{NoCallbacks, secrecy::SecretString};
use anstream::{stderr, stdout};
use clap::{Args, FromArgMatches as _, Parser, Subcommand};
use jiff::Timestamp;

pub use self::help::command;
use crate::{
    audit::{
        ItemKey,
        journal::{Journal, NotRecorded},
    },
    config::{Config, ConfigError, KeyringConfig, Overrides},
    keyring::{
        KeyRing,
        disk::{Disk as _, RealDisk, folder_of, give_to_owner_of_folder, open_at_once},
        file::{Content, FileMode, RingFile, RingFileError},
        identity,
        rotation::ChangeError,
        sealed::Identities,
    },
    memory,
    phone::TrunkZeroRegions,
    secret,
    tokenizer::{self, Tokenizer},
    version,
};

/// Where the key ring is, unless told.
const KEYRING_DEFAULT: &str = "keys/keyring.json";

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
    /// Answer CCC
    Serve(serve::ServeArgs),
    /// Make, rotate and look after the keys
    #[command(subcommand)]
    Keys(keys::KeysCommand),
    /// Look after those who may call
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

/// Runs the command that `args` tell, and gives the exit code of the process.
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
            // Nothing can be done about a terminal that does not take the message.
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
        Command::Tokenize(args) => bulk::run(&args, tokenizer::Mode::PhoneToUid),
        Command::Detokenize(args) => bulk::run(&args, tokenizer::Mode::UidToPhone),
        Command::Rewrap(args) => bulk::run(&args, tokenizer::Mode::RewrapUid),
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

/// Why a command did not do what it was asked.
struct Failure {
    code: u8,
    message: String,
}

impl Failure {
    const FAILED: u8 = 1;
    const USAGE: u8 = 2;
    /// `EX_CONFIG` of sysexits.h.
    const CONFIG: u8 = 78;

    fn failed(message: impl Display) -> Self {
        Self { code: Self::FAILED, message: message.to_string() }
    }

    fn usage(message: impl Display) -> Self {
        Self { code: Self::USAGE, message: message.to_string() }
    }

    fn config(message: impl Display) -> Self {
        Self { code: Self::CONFIG, message: message.to_string() }
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<NotRecorded> for Failure {
    fn from(error: NotRecorded) -> Self {
        Self::failed(error)
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::config(error)
    }
}

impl From<RingFileError> for Failure {
    fn from(error: RingFileError) -> Self {
        if let RingFileError::Change(ChangeError::Unconfirmed(_)) = error {
            return Self::usage(error);
        }
        if error.is_bad_ring() { Self::config(error) } else { Self::failed(error) }
    }
}

impl From<io::Error> for Failure {
    /// Standard output failed. A reader that has gone away, such as `head`, wants no message.
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self { code: Self::FAILED, message: String::new() };
        }
        Self::failed(format_args!("cannot write the results: {error}"))
    }
}

/// Which key ring to use.
#[derive(Args)]
struct RingArgs {
    /// The key ring file [default: keys/keyring.json]
    #[arg(long, value_name = "FILE")]
    keyring: Option<PathBuf>,
    /// The age identity that opens an encrypted key ring
    #[arg(long, value_name = "FILE")]
    identity: Option<PathBuf>,
    /// Take the key ring, its identity, and how numbers are dialled, from this configuration
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// What it says, once it was read: all of one command is done by the same.
    #[arg(skip)]
    read: OnceCell<Config>,
}

impl RingArgs {
    /// The configuration, where there is one, with what the other flags say instead of it.
    fn configuration(&self) -> Result<Option<&Config>, Failure> {
        let Some(path) = &self.config else { return Ok(None) };
        if self.read.get().is_none() {
            // A service may get its configuration through a pipe. A command waits for none.
            open_at_once(path)
                .map_err(|error| Failure::config(format_args!("configuration: {}: {error}", path.display())))?;
            let overrides = Overrides { listen: None, keyring: self.keyring.clone(), identity: self.identity.clone() };
            // Nobody else could have set it.
            let _ = self.read.set(Config::read(path, overrides)?);
        }
        Ok(self.read.get())
    }

    /// The ring's place, and the regions whose numbers are dialled with their trunk prefix.
    fn locate(&self) -> Result<(KeyringConfig, TrunkZeroRegions), Failure> {
        if let Some(config) = self.configuration()? {
            return Ok((config.keyring.clone(), config.trunk_zero_regions.clone()));
        }
        let path = self.keyring.clone().unwrap_or_else(|| KEYRING_DEFAULT.into());
        let identity = self.identity.clone();
        Ok((KeyringConfig { identity, ..KeyringConfig::at(path) }, trunk_zero_default()))
    }

    /// The ring file, and what the configuration says of it. A passphrase is asked for here, and only here.
    fn file(&self) -> Result<(RingFile, KeyringConfig), Failure> {
        let config = self.locate()?.0;
        Ok((ring_file(&config, Asking::OnTheTerminal)?, config))
    }

    /// Where commands that change or export something are recorded: the file of the configuration's audit log, or one
    /// beside the ring.
    fn journal(&self, command: &'static str) -> Result<Journal, Failure> {
        Ok(self.open_journal(command)??)
    }

    /// The same, with what the system says where there can be none.
    fn open_journal(&self, command: &'static str) -> Result<Result<Journal, NotRecorded>, Failure> {
        match self.configuration()?.and_then(|config| config.audit.to.clone()) {
            Some(log) => {
                make_folder_of(&log)?;
                Ok(Journal::open(command, log))
            }
            None => {
                let ring = self.locate()?.0.path;
                make_folder_of(&ring)?;
                Ok(Journal::beside(command, &ring))
            }
        }
    }

    /// The ring, if it is one that the configuration allows, whether or not it is approved of.
    fn ring(&self) -> Result<KeyRing, Failure> {
        let (file, config) = self.file()?;
        let ring = file.read()?;
        config.check_pins(&ring)?;
        Ok(ring)
    }

    /// What maps as replicas do, with a ring that they would use.
    fn tokenizer(&self) -> Result<Tokenizer, Failure> {
        let (config, trunk_zero) = self.locate()?;
        let ring = self.ring()?;
        config.check_approval(&ring)?;
        Ok(Tokenizer::new(ring, trunk_zero))
    }
}

/// Whether there is somebody to ask for a passphrase.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asking {
    OnTheTerminal,
    Nobody,
}

/// Where plugins of age talk to people, and ask them for PINs.
#[derive(Clone, Copy)]
struct Terminal;

impl age::Callbacks for Terminal {
    fn display_message(&self, message: &str) {
        tell(message.replace(|c: char| c.is_control(), " "));
    }

    fn confirm(&self, _message: &str, _yes: &str, _no: Option<&str>) -> Option<bool> {
        None
    }

    fn request_public_string(&self, _description: &str) -> Option<String> {
        None
    }

    fn request_passphrase(&self, description: &str) -> Option<SecretString> {
        let prompt = description.replace(|c: char| c.is_control(), " ");
        rpassword::prompt_password(format!("{prompt}: ")).ok().map(SecretString::from)
    }
}

/// The ring file of `config`. Without an identity there, systemd's credential of that name is one.
fn ring_file(config: &KeyringConfig, asking: Asking) -> Result<RingFile, Failure> {
    let credential = || {
        let path = Path::new(&std::env::var_os("CREDENTIALS_DIRECTORY")?).join("identity");
        // One that is there and cannot be used must be told of, not passed over.
        let missing = path.symlink_metadata().is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
        (!missing).then_some(path)
    };
    let identity = config.identity.clone().or_else(credential);
    let identities = identity.map(|path| read_identities(&path, config.mode, asking)).transpose()?;
    let file = RingFile::new(&config.path, config.mode, tokenizer::knows, identities);
    let waiting = |lock: &Path| tell(format_args!("waiting for {}, which another command holds", lock.display()));
    Ok(file.approved_by(config.approval.clone()).telling_of_waiting(waiting))
}

fn read_identities(path: &Path, mode: FileMode, asking: Asking) -> Result<Identities, Failure> {
    let ask = || rpassword::prompt_password("Passphrase of the identity: ").map(SecretString::from);
    let identities = match asking {
        Asking::OnTheTerminal => identity::read(path, mode, Some(&ask), Terminal),
        Asking::Nobody => identity::read(path, mode, None, NoCallbacks),
    };
    identities.map_err(Failure::config)
}

/// The key under which the audit log hashes items.
fn read_item_key(path: &Path, mode: FileMode) -> Result<ItemKey, Failure> {
    let failed = |reason: &dyn Display| Failure::config(format_args!("hmac_key {}: {reason}", path.display()));
    let (file, access) = RealDisk.read(path).map_err(|error| failed(&error))?;
    if let Some(how) = mode.exposure(access, Content::Plain) {
        return Err(failed(&format_args!("it {how}")));
    }
    let bytes = file.first_chunk().filter(|bytes| bytes.len() == file.len());
    Ok(ItemKey::new(bytes.ok_or_else(|| failed(&"it is not a file of 32 bytes (head -c 32 /dev/urandom makes one)"))?))
}

/// Refuses arguments among which there is a secret key, which others have seen by now, and shows none of them.
fn refuse_secrets(args: &[OsString]) -> Result<(), Failure> {
    match args.iter().find_map(|argument| secret::found_in(&argument.to_string_lossy())) {
        None => Ok(()),
        Some(what) => Err(Failure::usage(format_args!(
            "an argument holds {what}: other users of this machine can see it, and the shell may keep it, so make another. Where a public key is wanted, age's begin with age1"
        ))),
    }
}

fn trunk_zero_default() -> TrunkZeroRegions {
    TrunkZeroRegions::new(["CN"]).expect("China is a region")
}

/// Tells people something, on stderr. A terminal that does not take it changes nothing of what was done.
fn tell(message: impl Display) {
    let _ = writeln!(stderr(), "{message}");
}

/// Warns of values that were given as arguments.
fn warn_of_arguments() {
    tell("other users of this machine can see the arguments of a command, and so the values: stdin keeps them private");
}

/// Writes one result, as a line.
fn print(result: impl Display) -> Result<(), Failure> {
    writeln!(stdout(), "{result}").map_err(Failure::from)
}

/// `now` to `later`, in the two largest units that it has.
fn countdown(now: Timestamp, later: Timestamp) -> String {
    let seconds = later.as_second().saturating_sub(now.as_second()).max(0);
    let units = [("d", seconds / 86_400), ("h", seconds / 3_600 % 24), ("m", seconds / 60 % 60), ("s", seconds % 60)];
    let first = units.iter().position(|(_, count)| *count > 0).unwrap_or(units.len() - 1);
    let shown = units[first..].iter().take(2).filter(|(_, count)| *count > 0 || first == units.len() - 1);
    shown.map(|(unit, count)| format!("{count}{unit}")).collect::<Vec<_>>().join(" ")
}

/// Makes the folder of a file that is about to be made, for its owner alone, so that it lasts.
fn make_folder_of(path: &Path) -> Result<(), Failure> {
    use std::os::unix::fs::DirBuilderExt as _;
    let Some(folder) = path.parent().filter(|folder| *folder != Path::new("") && !folder.exists()) else {
        return Ok(());
    };
    let failed = |error| Failure::failed(format_args!("cannot make the folder {}: {error}", folder.display()));
    let missing: Vec<_> =
        folder.ancestors().take_while(|folder| *folder != Path::new("") && !folder.exists()).collect();
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
    // The outermost first, whose owner the others get, too.
    for made in missing.into_iter().rev() {
        std::fs::File::open(made).and_then(|file| give_to_owner_of_folder(&file, made)).map_err(failed)?;
        RealDisk.sync_folder(folder_of(made)).map_err(failed)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn countdowns_have_two_units() {
        let at = |second| Timestamp::from_second(second).expect("a time");
        for (seconds, text) in
            [(0, "0s"), (59, "59s"), (60, "1m"), (61, "1m 1s"), (86_399, "23h 59m"), (90_061, "1d 1h"), (-5, "0s")]
        {
            assert_eq!(countdown(at(0), at(seconds)), text);
        }
    }
}
