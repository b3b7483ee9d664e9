//! The record of what people do with a ring, by commands or from Python: who did what, when, and what came of it.

use std::{
    fmt::{self, Display},
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::{fd::AsFd as _, unix::fs::OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{event_line, open};
use crate::disk::{
    Disk as _, RealDisk, give_to_owner_of_folder,
    reading::{self, open_companion},
    with_suffix,
};

/// The suffix that is added to a ring's name for the file beside it.
const BESIDE: &str = ".audit";

/// The login uid in /proc of a process for which nobody logged in.
const NO_LOGIN: u64 = u32::MAX as u64;

/// The message about a command that cannot be recorded.
const CANNOT: &str = "cannot record this";

/// The message about a command whose end cannot be recorded.
const DONE_BUT: &str = "it is done, but could not be recorded";

/// A record that could not be written.
#[derive(Debug)]
pub struct NotRecorded {
    what: &'static str,
    path: PathBuf,
    error: io::Error,
}

impl NotRecorded {
    /// Whether the place cannot be written to, so that another one would do.
    pub fn is_read_only(&self) -> bool {
        matches!(self.error.kind(), io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied)
    }
}

impl Display for NotRecorded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in {}: {}", self.what, self.path.display(), self.error)
    }
}

impl std::error::Error for NotRecorded {}

/// Bytes of a record that are searched for the name of its ring.
const LOOKED_AT_BYTES: u64 = 1024 * 1024;

/// The record beside the ring at `ring`, if there is one, and the name of the ring that it is about.
pub fn ring_beside(ring: &Path) -> Option<(PathBuf, String)> {
    let path = with_suffix(&RealDisk.resolve(ring), BESIDE);
    let text = reading::start(&path, LOOKED_AT_BYTES).ok()?;
    let of_line = |line: &[u8]| Some(serde_json::from_slice::<Value>(line).ok()?.get("ring")?.as_str()?.to_owned());
    let ring = text.split(|byte| *byte == b'\n').find_map(of_line)?;
    Some((path, ring))
}

/// The file in which a command is recorded. It is opened before anything is done: what cannot be recorded is not done.
pub struct Journal {
    command: &'static str,
    path: PathBuf,
    file: File,
}

impl Journal {
    /// Records in this file, such as the one that the configuration names.
    ///
    /// # Errors
    /// [`NotRecorded`].
    pub fn open(command: &'static str, path: PathBuf) -> Result<Self, NotRecorded> {
        Self::opened_by(open, command, path)
    }

    /// Records in the file beside the ring at `ring`. That file may not be a link: someone who can make a link there
    /// could have other people's files written to.
    ///
    /// # Errors
    /// [`NotRecorded`].
    pub fn beside(command: &'static str, ring: &Path) -> Result<Self, NotRecorded> {
        let open = |path: &Path| {
            let is_new = !RealDisk.exists(path);
            let file = open_companion(OpenOptions::new().append(true).create(true).mode(0o640), path)?;
            if is_new {
                give_to_owner_of_folder(&file, path)?;
            }
            Ok(file)
        };
        Self::opened_by(open, command, with_suffix(&RealDisk.resolve(ring), BESIDE))
    }

    fn opened_by(
        open: impl FnOnce(&Path) -> io::Result<File>,
        command: &'static str,
        path: PathBuf,
    ) -> Result<Self, NotRecorded> {
        match open(&path) {
            Ok(file) => Ok(Self { command, path, file }),
            Err(error) => Err(NotRecorded { what: CANNOT, path, error }),
        }
    }

    /// Records on stderr, if no file is named: to the log of a service, or to the person who runs the command.
    ///
    /// # Errors
    /// [`NotRecorded`] if there is no stderr.
    pub fn on_stderr(command: &'static str) -> Result<Self, NotRecorded> {
        let path = PathBuf::from("stderr");
        match io::stderr().as_fd().try_clone_to_owned() {
            Ok(file) => Ok(Self { command, path, file: file.into() }),
            Err(error) => Err(NotRecorded { what: CANNOT, path, error }),
        }
    }

    /// Does `act`, and records what came of it so that the record lasts: `fields` of what was done, or why it was not.
    ///
    /// # Errors
    /// The error of `act`, or [`NotRecorded`].
    pub fn around<T, E: Display + From<NotRecorded>>(
        mut self,
        act: impl FnOnce() -> Result<T, E>,
        fields: impl FnOnce(&T) -> Value,
    ) -> Result<T, E> {
        let acted = act();
        let failed = |failure: &E| json!({"failed": failure.to_string()});
        let written = self.write(acted.as_ref().map_or_else(failed, fields));
        match (acted, written) {
            (Ok(_), Err(error)) => Err(self.lacks(DONE_BUT, error).into()),
            (acted, _) => acted,
        }
    }

    /// Records what is about to be done, so that the record lasts. This is for acts that cannot be undone if their
    /// record then fails.
    ///
    /// # Errors
    /// [`NotRecorded`].
    pub fn announce(&mut self, mut fields: Value) -> Result<(), NotRecorded> {
        fields["begins"] = true.into();
        self.write(fields).map_err(|error| self.lacks(CANNOT, error))
    }

    /// Records what came of what was announced, so that the record lasts.
    ///
    /// # Errors
    /// [`NotRecorded`].
    pub fn conclude(&mut self, mut fields: Value) -> Result<(), NotRecorded> {
        fields["ends"] = true.into();
        self.write(fields).map_err(|error| self.lacks(DONE_BUT, error))
    }

    fn lacks(&self, what: &'static str, error: io::Error) -> NotRecorded {
        NotRecorded { what, path: self.path.clone(), error }
    }

    /// Writes a line with these `fields`.
    fn write(&mut self, fields: Value) -> io::Result<()> {
        self.file.write_all(&line(self.command, fields))?;
        sync(&self.file)
    }
}

/// The line of a record: the command, who runs it, and `fields` about what is done.
pub fn line(command: &str, fields: Value) -> Vec<u8> {
    let mut line = Map::from_iter([("command".to_owned(), command.into())]);
    line.append(&mut who());
    if let Value::Object(mut fields) = fields {
        line.append(&mut fields);
    }
    event_line(Timestamp::now(), "command", line)
}

/// Makes the content last, if this is a file.
fn sync(file: &File) -> io::Result<()> {
    if file.metadata()?.is_file() { file.sync_all() } else { Ok(()) }
}

/// Who runs this process, as far as the system knows: sudo and su do not change the user who logged in. What the
/// environment says is only a claim.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_recorded_beside_their_ring() {
        let folder = tempfile::tempdir().expect("a folder");
        let ring = folder.path().join("ring.json");
        assert_eq!(ring_beside(&ring), None);
        let mut journal = Journal::beside("keys destroy", &ring).expect("the folder is ours");
        journal.announce(json!({"key": "3fa1"})).expect("the file is ours");
        journal.conclude(json!({"ring": "r"})).expect("the file is ours");
        let path = with_suffix(&RealDisk.resolve(&ring), BESIDE);
        let open = || Journal::open("export", path.clone()).expect("the file is ours");
        assert!(
            open().around(|| Ok::<_, NotRecorded>(7), |count| json!({"count": count})).is_ok_and(|count| count == 7)
        );
        let fails =
            || Err::<(), _>(NotRecorded { what: "no", path: "there".into(), error: io::ErrorKind::NotFound.into() });
        assert_eq!(
            open().around(fails, |()| json!({})).expect_err("it fails").to_string(),
            "no in there: entity not found"
        );
        let text = fs::read_to_string(&path).expect("text");
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        let uid = rustix::process::geteuid().as_raw();
        assert!(lines.iter().all(|line| line["event"] == "command" && line["uid"] == uid), "{text}");
        assert_eq!(lines.len(), 4);
        assert_eq!((&lines[0]["begins"], &lines[0]["key"]), (&true.into(), &"3fa1".into()));
        assert_eq!((&lines[1]["ends"], &lines[1]["command"]), (&true.into(), &"keys destroy".into()));
        assert_eq!((&lines[2]["count"], &lines[2]["command"]), (&7.into(), &"export".into()));
        assert_eq!(lines[3]["failed"], "no in there: entity not found");
        assert_eq!(ring_beside(&ring), Some((path, "r".to_owned())));
    }

    #[test]
    fn another_place_helps_only_where_this_one_cannot_be_written() {
        let is_read_only =
            |error: io::ErrorKind| NotRecorded { what: CANNOT, path: "x".into(), error: error.into() }.is_read_only();
        assert!(is_read_only(io::ErrorKind::ReadOnlyFilesystem) && is_read_only(io::ErrorKind::PermissionDenied));
        assert!(!is_read_only(io::ErrorKind::StorageFull));
    }
}
