//! `callveil clients`: manage the clients that may call.

use std::path::PathBuf;

use clap::Subcommand;
use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use serde_json::json;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::{
    failure::Failure,
    say::{print, tell},
};
use crate::{
    audit::journal::Journal,
    config::{Config, Overrides},
    disk::writing::make_folder_of,
};

#[derive(Subcommand)]
pub(super) enum ClientsCommand {
    /// Make a password of 256 random bits, and the line of the configuration that accepts it
    NewPassword {
        /// Record this in the file of this configuration's audit log [default: on stderr]
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
}

pub(super) fn run(command: &ClientsCommand) -> Result<(), Failure> {
    let ClientsCommand::NewPassword { config, json } = command;
    let config = config.as_deref().map(|path| Config::read(path, Overrides::default())).transpose()?;
    let journal = match config.and_then(|config| config.audit.to) {
        Some(path) => {
            make_folder_of(&path).map_err(Failure::failed)?;
            Journal::open("clients new-password", path)?
        }
        None => Journal::on_stderr("clients new-password")?,
    };
    let make = || {
        let mut random = Zeroizing::new([0; 32]);
        getrandom::fill(&mut *random)
            .map_err(|error| Failure::failed(format_args!("no random bytes from the operating system: {error}")))?;
        let password = Zeroizing::new(BASE64URL_NOPAD.encode(&*random));
        let hash = HEXLOWER.encode(&Sha256::digest(password.as_bytes()));
        Ok::<_, Failure>((password, hash))
    };
    // The configuration decides which client gets the password. The hash in both records links them.
    let (password, hash) = journal.around(make, |(_, hash)| json!({"password_sha256": hash}))?;
    if *json {
        return print(json!({"password": *password, "password_sha256": hash}));
    }
    print(format_args!("password: {}", *password))?;
    print(format_args!("password_sha256 = [\"{hash}\"]"))?;
    tell("give the password to the client; put the other line under its [[clients]], beside the old hash while");
    tell("the password is being changed");
    Ok(())
}
