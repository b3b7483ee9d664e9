//! Audit logs in a real journal, written by systemd's own program and read with `journalctl`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::{
    audit_reading::{audit, audited, end},
    needs::{is_here, miss},
    support::Folder,
};

/// Debian's folders for the program that writes journals, which is in no PATH.
const FOLDERS: [&str; 3] = ["/usr/lib/systemd", "/lib/systemd", ""];

/// The program that writes journals. CI has it.
fn writer() -> Option<PathBuf> {
    let programs = FOLDERS.map(|folder| Path::new(folder).join("systemd-journal-remote"));
    let found = programs.into_iter().find(|program| {
        let mut command = Command::new(program);
        command.arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|done| done.success())
    });
    if found.is_none() {
        miss("systemd-journal-remote", "systemd-journal-remote");
    }
    found
}

#[test]
fn what_journalctl_prints_is_understood() {
    let (Some(writer), true) = (writer(), is_here("journalctl")) else { return };
    let folder = Folder::new();
    let (server, path) = (audited(&folder), folder.path());
    let uids = server.values("PhoneToUID", &["13988888888"; 400]);
    server.values("UIDToPhone", &[&uids[0]]);
    let heads = end(server);
    let log = fs::read_to_string(path.join("audit.log")).unwrap();
    // As systemd has them: what a service writes to both streams, and what systemd itself tells of it.
    let entry = |(at, (transport, message)): (usize, (&str, &str))| {
        let time = 1_764_144_000_000_000 + at;
        format!("__REALTIME_TIMESTAMP={time}\nMESSAGE={message}\nPRIORITY=6\n_TRANSPORT={transport}\n\n")
    };
    let started = [("journal", "Started callveil.service - A stateless tokenizer.")];
    let (aside, lines) = (heads.lines().map(|line| ("stdout", line)), log.lines().map(|line| ("stdout", line)));
    let entries: String = started.into_iter().chain(lines).chain(aside).enumerate().map(entry).collect();
    fs::write(path.join("entries"), entries).unwrap();
    let written = Command::new(writer).args(["-o", "x.journal", "entries"]).current_dir(path).output().unwrap();
    assert!(written.status.success(), "{}", String::from_utf8_lossy(&written.stderr));
    for (name, form) in [("export", &["-o", "export"][..]), ("json", &["-o", "json", "--all"])] {
        let mut command = Command::new("journalctl");
        command.args(["--file", "x.journal", "--no-pager"]).args(form).current_dir(path);
        fs::write(path.join(name), command.output().unwrap().stdout).unwrap();
        let find = |by: &str, what: &str| audit(path, &["find", name, "--hmac-key", "audit.key", by, what]);
        let (code, told) = find("--uid", &uids[0]);
        assert!(code == Some(0) && told.contains("PhoneToUID") && told.contains("UIDToPhone"), "{name}: {told}");
        assert_eq!(find("--number", "13688888888"), (Some(0), "never\n".to_owned()), "{name}");
        let (code, told) = audit(path, &["verify", name, "--heads", name]);
        assert!(code == Some(0) && told.contains("nothing is wrong"), "{name}: {told}");
    }
    // Without --all, the journal leaves long lines out of JSON, and then nobody is told never.
    let output = Command::new("journalctl").args(["--file", "x.journal", "-o", "json"]).current_dir(path).output();
    fs::write(path.join("short"), output.unwrap().stdout).unwrap();
    let (code, told) = audit(path, &["find", "short", "--hmac-key", "audit.key", "--number", "13688888888"]);
    assert!(code == Some(1) && !told.contains("never"), "{told}");
}
