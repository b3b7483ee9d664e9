//! Bulk work on file systems that are full or read-only. The tests mount them in a namespace of their own, which only
//! root may do. For other users these tests do nothing.

use std::{fs, process::Command};

use crate::support::{Folder, callveil, run};

/// Runs a script in its own mount namespace. `$CALLVEIL` is the program. Returns the exit code and all output.
fn mounted(folder: &Folder, script: &str) -> Option<(i32, String)> {
    let unshare = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", script]).env("CALLVEIL", callveil().get_program());
        command.current_dir(folder.path()).output().ok()
    };
    unshare("mkdir -p probe && mount -t tmpfs -o size=64k tmpfs probe").filter(|output| output.status.success())?;
    let output = unshare(&format!("exec 2>&1\n{script}"))?;
    Some((output.status.code()?, String::from_utf8_lossy(&output.stdout).into_owned()))
}

#[test]
fn a_full_disk_loses_nothing() {
    let folder = Folder::new();
    let path = folder.path();
    assert!(run(path, &["tokenize", "--value", "8001"]).status.success());
    // Digits that hardly compress, and rows that fail.
    let row = |at: u64| format!("{:011}\n\u{1}\n", at.wrapping_mul(0x9E37_79B9_7F4A_7C15) % 100_000_000_000);
    fs::write(path.join("in"), (0..40_000).map(row).collect::<String>()).unwrap();
    fs::write(
        path.join("in.csv"),
        format!("a,b\n{}", (0..40_000).map(|at| format!("1,2,{}", row(at))).collect::<String>()),
    )
    .unwrap();
    for args in [
        "in --output full/kept",
        "in --output full/kept.gz",
        "in --output full/kept.zst",
        "in --output out --report full/kept",
        "in --output out --report full/kept.gz",
        "in.csv --format csv --column a --output out --rejects full/kept",
        "in.csv --format csv --column a --output out --rejects full/kept.zst",
    ] {
        let kept = args.split_whitespace().find(|arg| arg.starts_with("full/")).unwrap();
        let size = if kept.contains('.') { "12k" } else { "64k" };
        let script = format!(
            "mkdir -p full && mount -t tmpfs -o size={size} tmpfs full && echo old >{kept} || exit 99
             $CALLVEIL tokenize {args} --on-error blank --quiet; code=$?
             test \"$(cat {kept})\" = old || echo LOST
             test \"$(ls -A full | wc -l)\" = 1 || echo LEFT
             exit $code"
        );
        let Some((code, told)) = mounted(&folder, &script) else { return };
        assert_eq!(code, 1, "{args}: {told}");
        assert!(told.contains("cannot write") && !told.contains("LOST") && !told.contains("LEFT"), "{args}: {told}");
        assert!(!path.join("out").exists(), "{args}: {told}");
    }
}

#[test]
fn who_can_only_read_the_ring_is_told_where_else_a_run_can_be_recorded() {
    let folder = Folder::new();
    let path = folder.path();
    let uids = run(path, &["tokenize", "--value", "8001"]).stdout;
    fs::write(path.join("uids"), uids).unwrap();
    let read_only = "mount --bind keys keys && mount -o remount,bind,ro keys || exit 99\n";
    let remedy = "with --config, audit.to can name a log elsewhere";
    let detokenize = format!("{read_only}exec $CALLVEIL detokenize uids");
    let Some((code, told)) = mounted(&folder, &detokenize) else { return };
    assert!(code == 1 && told.contains("cannot record this") && told.contains(remedy), "{told}");
    folder.config("", "[audit]\nto = \"audit.jsonl\"");
    let (code, told) = mounted(&folder, &format!("{detokenize} --config callveil.toml")).unwrap();
    assert!(code == 0 && told.contains("8001"), "{told}");
    // Where something else is wrong, another place is no remedy.
    folder.config("", "[audit]\nto = \"keys/audit.jsonl\"");
    let (code, told) = mounted(&folder, &format!("{detokenize} --config callveil.toml")).unwrap();
    assert!(code == 1 && told.contains("cannot record this") && !told.contains(remedy), "{told}");
}
