//! No run loses a file: neither its input, nor the ring, nor somebody else's file.

use std::{
    ffi::OsStr,
    fs,
    io::Write as _,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use flate2::{Compression, write::GzEncoder};

use crate::support::{Folder, PATIENCE, callveil, run, send};

#[track_caller]
fn check(folder: &Folder, args: &[&str], code: i32, says: &str) {
    let output = run(folder.path(), args);
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{args:?}\n{told}");
    assert!(told.contains(says), "{args:?} does not say {says:?}:\n{told}");
}

#[test]
fn what_is_written_is_nothing_that_is_needed() {
    let folder = Folder::new();
    let path = folder.path();
    fs::write(path.join("in"), "8001\n").unwrap();
    fs::hard_link(path.join("in"), path.join("again")).unwrap();
    std::os::unix::fs::symlink("keys/keyring.json", path.join("link")).unwrap();
    fs::write(path.join("callveil.toml"), "[audit]\nto = \"audit.jsonl\"\n").unwrap();
    let ring = fs::read(folder.ring()).unwrap();
    for flag in ["--output", "--report", "--rejects"] {
        for (file, says) in [
            ("keys/keyring.json", "is the key ring"),
            ("./keys/../keys/keyring.json", "is the key ring"),
            ("link", "is the key ring"),
            ("keys/keyring.json.lock", "belongs to it"),
            ("keys/keyring.json.previous", "belongs to it"),
            ("keys/keyring.json.audit", "belongs to it"),
        ] {
            check(&folder, &["tokenize", "in", flag, file], 2, says);
        }
        check(&folder, &["tokenize", "in", flag, "id", "--identity", "id"], 2, "is an identity");
    }
    for flag in ["--report", "--rejects"] {
        for file in ["in", "again", "./in"] {
            check(&folder, &["tokenize", "in", flag, file], 2, "is the input");
        }
    }
    check(&folder, &["tokenize", "in", "--output", "out", "--report", "./out"], 2, "the same file as --output");
    check(&folder, &["tokenize", "in", "--report", "out", "--rejects", "out"], 2, "the same file as --report");
    assert_eq!(fs::read(folder.ring()).unwrap(), ring);
    assert_eq!(fs::read_to_string(path.join("in")).unwrap(), "8001\n");
    assert!(!path.join("out").exists());

    // A shell's redirection is looked at too.
    let input = fs::OpenOptions::new().append(true).open(path.join("in")).unwrap();
    let mut command = callveil();
    let output = command.args(["tokenize", "in"]).current_dir(path).stdout(input).stderr(Stdio::piped()).output();
    let output = output.unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(fs::read_to_string(path.join("in")).unwrap(), "8001\n");
}

#[test]
fn an_input_with_rows_that_failed_is_replaced_only_where_somebody_said_so() {
    let folder = Folder::new();
    let file = folder.path().join("in");
    fs::write(&file, "8001\n13988888888\n").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    check(&folder, &["tokenize", "in", "--output", "in"], 0, "2 mapped");
    let uids = fs::read_to_string(&file).unwrap();
    let metadata = fs::metadata(&file).unwrap();
    assert_eq!((metadata.mode() & 0o7777, uids.lines().count()), (0o640, 2));
    let wrong = ["detokenize", "in", "--context", "other", "--output", "in"];
    check(&folder, &wrong, 1, "the input is not replaced");
    assert_eq!(fs::read_to_string(&file).unwrap(), uids);
    check(&folder, &[&wrong[..], &["--on-error", "keep"]].concat(), 0, "2 failed");
    assert_eq!(fs::read_to_string(&file).unwrap(), uids);
}

/// Names of inputs and outputs, compressed or not.
const PACKED: [&str; 3] = ["in.csv", "in.csv.gz", "in.csv.zst"];

/// Writes enough rows for several blocks, a few of which fail, compressed as the name says.
fn write_rows(path: &Path, rows: usize) -> Vec<u8> {
    let mut text = "id,phone\n".to_owned();
    (0..rows).for_each(|id| text += &if id % 100 == 7 { format!("{id}\n") } else { format!("{id},139{id:08}\n") });
    let packed = match path.extension().and_then(OsStr::to_str) {
        Some("gz") => {
            let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
            packed.write_all(text.as_bytes()).unwrap();
            packed.finish().unwrap()
        }
        Some("zst") => zstd::encode_all(text.as_bytes(), 1).unwrap(),
        _ => text.into_bytes(),
    };
    fs::write(path, &packed).unwrap();
    packed
}

/// The names in a folder, with the files' modes.
fn listing(folder: &Path) -> Vec<(String, u32)> {
    let entry =
        |entry: fs::DirEntry| (entry.file_name().into_string().unwrap(), entry.metadata().unwrap().mode() & 0o777);
    let mut listing: Vec<_> = fs::read_dir(folder).unwrap().map(|found| entry(found.unwrap())).collect();
    listing.sort();
    listing
}

/// Starts a run in place, with a report and rejects, and waits until some of its results are in the file.
fn start_in_place(folder: &Folder, name: &str) -> Child {
    let mut command = callveil();
    command.args(["tokenize", name, "--format", "csv", "--column", "phone", "--output", name, "--on-error", "drop"]);
    command.args(["--report", "report.gz", "--rejects", "rejects.zst", "--threads", "1"]);
    let mut child = command.current_dir(folder.path()).stderr(Stdio::null()).spawn().unwrap();
    let partial = folder.path().join(format!(".{name}.callveil-partial"));
    let began = Instant::now();
    while !fs::metadata(&partial).is_ok_and(|metadata| metadata.len() > 100_000) {
        assert!(
            child.try_wait().unwrap().is_none() && began.elapsed() < PATIENCE,
            "{name}: it did not begin, or is over"
        );
        thread::sleep(Duration::from_millis(1));
    }
    child
}

#[test]
fn runs_that_are_killed_leave_all_as_it_was() {
    for name in PACKED {
        let folder = Folder::new();
        let content = write_rows(&folder.path().join(name), 400_000);
        let before = listing(folder.path());
        for signal in ["TERM", "INT", "KILL"] {
            let mut child = start_in_place(&folder, name);
            send(child.id(), signal);
            assert_eq!(child.wait().unwrap().code(), None, "{name}: {signal}");
            assert!(fs::read(folder.path().join(name)).unwrap() == content, "{name}: {signal}");
            let left: Vec<_> = listing(folder.path()).into_iter().filter(|file| !before.contains(file)).collect();
            // What nobody can clear away says what it is, and is for nobody else.
            let is_harmless = |file: &(String, u32)| file.0.ends_with(".callveil-partial") && file.1 == 0o600;
            assert!(left.iter().all(is_harmless) && (signal == "KILL" || left.is_empty()), "{signal}: {left:?}");
        }
        // The next run clears that away.
        let args = ["tokenize", name, "--format", "csv", "--column", "phone", "--output", name, "--on-error", "drop"];
        check(&folder, &[&args[..], &["--report", "report.gz", "--rejects", "rejects.zst"]].concat(), 0, "failed");
        let names: Vec<_> = listing(folder.path()).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, [name, "keys", "rejects.zst", "report.gz"], "{names:?}");
    }
}

/// Files that may not grow stand for a full disk: writing fails in the midst.
#[test]
fn runs_whose_files_cannot_be_written_leave_all_as_it_was() {
    for name in PACKED {
        for (written, kib) in [(["--output", name], 200), (["--report", "report"], 8), (["--rejects", "rejects"], 1)] {
            let folder = Folder::new();
            let content = write_rows(&folder.path().join(name), 40_000);
            let before = listing(folder.path());
            let mut command = Command::new("bash");
            // bash counts KiB; the signal would end the run where an error should.
            command.args(["-c", &format!("trap '' XFSZ; ulimit -f {kib}; exec \"$@\""), "bash"]);
            command.args([env!("CARGO_BIN_EXE_callveil"), "tokenize", name, "--format", "csv", "--column", "phone"]);
            command.args(["--on-error", "drop"]).args(written).current_dir(folder.path());
            if written[0] != "--output" {
                command.stdout(Stdio::null());
            }
            let output = command.output().unwrap();
            let told = String::from_utf8(output.stderr).unwrap();
            assert!(output.status.code() == Some(1) && told.contains("File too large"), "{written:?}: {told}");
            assert!(fs::read(folder.path().join(name)).unwrap() == content, "{name}");
            assert_eq!(listing(folder.path()), before, "{written:?}");
        }
    }
}
