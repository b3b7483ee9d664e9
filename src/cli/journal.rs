//! The record of a command that changes or exports something: who ran it, when, and what came of it.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::{fd::AsFd as _, unix::fs::OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{Failure, make_folder_of};
use crate::{
    audit::{event_line, open},
    keyring::disk::{Disk as _, RealDisk, give_to_owner_of_folder, open_companion},
};

/// How /proc says that nobody logged in for a process.
const NO_LOGIN: u64 = u32::MAX as u64;

/// What is said of a command whose end cannot be recorded.
const DONE_BUT: &str = "it is done, but could not be recorded";

/// Where a command is recorded. It is opened before anything is done: what cannot be recorded is not done.
pub(super) struct Journal {
    command: &'static str,
    path: PathBuf,
    file: File,
}

impl Journal {
    /// In the file that the configuration names.
    pub(super) fn open(command: &'static str, path: PathBuf) -> Result<Self, Failure> {
        Self::opened_by(open, command, path)
    }

    /// In a file beside the ring, which is never a link: who can make one there could have others' files written to.
    pub(super) fn beside(command: &'static str, path: PathBuf) -> Result<Self, Failure> {
        let open = |path: &Path| {
            let is_new = !RealDisk.exists(path);
            let file = open_companion(OpenOptions::new().append(true).create(true).mode(0o640), path)?;
            if is_new {
                give_to_owner_of_folder(&file, path)?;
            }
            Ok(file)
        };
        Self::opened_by(open, command, path).map_err(|failure| Failure {
            message: failure.message + ": the ring's folder cannot be written to? --config FILE names a log elsewhere: to = \"…\" under [audit]",
            ..failure
        })
    }

    fn opened_by(
        open: impl FnOnce(&Path) -> io::Result<File>,
        command: &'static str,
        path: PathBuf,
    ) -> Result<Self, Failure> {
        let failed = |error| Failure::failed(format_args!("cannot record this in {}: {error}", path.display()));
        make_folder_of(&path)?;
        let file = open(&path).map_err(failed)?;
        Ok(Self { command, path, file })
    }

    /// A record on stderr, where no file is named: a service's log, or the person who runs the command.
    pub(super) fn on_stderr(command: &'static str) -> Result<Self, Failure> {
        let file = std::io::stderr().as_fd().try_clone_to_owned().map_err(Failure::failed)?.into();
        Ok(Self { command, path: "stderr".into(), file })
    }

    /// Does `act`, and records what came of it, so that it lasts: `fields` of what was done, or why it was not.
    pub(super) fn around<T>(
        mut self,
        act: impl FnOnce() -> Result<T, Failure>,
        fields: impl FnOnce(&T) -> Value,
    ) -> Result<T, Failure> {
        let acted = act();
        let failed = |failure: &Failure| json!({"failed": failure.message});
        let written = self.write(acted.as_ref().map_or_else(failed, fields));
        match (acted, written) {
            (Ok(_), Err(error)) => Err(self.lacks(DONE_BUT, &error)),
            (acted, _) => acted,
        }
    }

    /// Records, so that it lasts, what is about to be done, where it cannot be taken back if its record then fails.
    pub(super) fn announce(&mut self, mut fields: Value) -> Result<(), Failure> {
        fields["begins"] = true.into();
        self.write(fields).map_err(|error| self.lacks("cannot record this", &error))
    }

    /// Records, so that it lasts, what came of what was announced.
    pub(super) fn conclude(&mut self, mut fields: Value) -> Result<(), Failure> {
        fields["ends"] = true.into();
        self.write(fields).map_err(|error| self.lacks(DONE_BUT, &error))
    }

    fn lacks(&self, what: &str, error: &io::Error) -> Failure {
        Failure::failed(format_args!("{what} in {}: {error}", self.path.display()))
    }

    /// Writes a line with these `fields`.
    fn write(&mut self, fields: Value) -> io::Result<()> {
        let mut line = Map::from_iter([("command".to_owned(), self.command.into())]);
        line.append(&mut who());
        if let Value::Object(mut fields) = fields {
            line.append(&mut fields);
        }
        self.file.write_all(&event_line(Timestamp::now(), "command", line))?;
        sync(&self.file)
    }
}

/// Makes what was written last, where it is a file.
fn sync(file: &File) -> io::Result<()> {
    if file.metadata()?.is_file() { file.sync_all() } else { Ok(()) }
}

/// Who runs this process, as far as the system knows: sudo and su do not change the user who logged in. What the
/// environment says is what somebody claims.
fn who() -> Map<String, Value> {
    let number = |path: &str| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    let login = number("/proc/self/loginuid").filter(|uid| *uid != NO_LOGIN);
    let sudo = std::env::var("SUDO_USER").ok();
    let folder = std::env::current_dir().ok().map(|folder| folder.display().to_string());
    let entries = [
        ("uid", Some(rustix::process::geteuid().as_raw().into())),
        ("real_uid", Some(rustix::process::getuid().as_raw().into())),
        ("login_uid", login.map(Value::from)),
        ("claimed", sudo.map(|sudo| json!({"sudo_user": sudo}))),
        ("folder", folder.map(Value::from)),
    ];
    entries.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}
