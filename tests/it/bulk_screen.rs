//! What a person sees at a terminal while rows are mapped.

use std::{
    fs::OpenOptions,
    io::{Read as _, Write as _},
    process::{Command, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::Instant,
};

use crate::{
    needs::is_here,
    support::{Folder, PATIENCE, callveil},
};

/// The lines on a terminal after this was written to it, as far as bulk work needs to know.
fn screen(written: &str) -> Vec<String> {
    let (mut lines, mut line, mut column) = (vec![Vec::new()], 0, 0);
    let mut rest = written.chars();
    while let Some(c) = rest.next() {
        match c {
            '\r' => column = 0,
            '\n' => {
                line += 1;
                if line == lines.len() {
                    lines.push(Vec::new());
                }
            }
            '\u{1b}' => match (rest.next(), rest.by_ref().find(char::is_ascii_alphabetic)) {
                (Some('['), Some('K')) => lines[line].clear(),
                (Some('['), Some('A')) => line = line.saturating_sub(1),
                (Some('['), Some('B')) => line = (line + 1).min(lines.len() - 1),
                other => panic!("it is not known here what {other:?} does"),
            },
            c => {
                let line: &mut Vec<char> = &mut lines[line];
                line.resize(line.len().max(column + 1), ' ');
                line[column] = c;
                column += 1;
            }
        }
    }
    let lines = lines.into_iter().map(|line| line.into_iter().collect::<String>().trim_end().to_owned());
    lines.filter(|line| !line.is_empty()).collect()
}

#[test]
fn rows_that_are_told_beside_the_bar_do_not_garble_it() {
    if !["script", "mkfifo"].into_iter().all(is_here) {
        return;
    }
    let folder = Folder::new();
    let rows = folder.path().join("rows");
    assert!(Command::new("mkfifo").arg(&rows).status().unwrap().success());
    let run = format!("{} tokenize <rows >/dev/null", callveil().get_program().to_str().unwrap());
    let mut command = Command::new("script");
    command.args(["-qfec", &run, "/dev/null"]).current_dir(folder.path()).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let (mut stdout, written) = (child.stdout.take().unwrap(), Arc::new(Mutex::new(Vec::new())));
    let reads = {
        let written = written.clone();
        thread::spawn(move || {
            let mut room = [0; 4096];
            while let Ok(read @ 1..) = stdout.read(&mut room) {
                written.lock().unwrap().extend_from_slice(&room[..read]);
            }
        })
    };
    let seen = || String::from_utf8_lossy(&written.lock().unwrap()).into_owned();
    let mut rows = OpenOptions::new().write(true).open(rows).unwrap();
    let (mut good, began) = (0, Instant::now());
    while !seen().contains("rows/s") {
        assert!(began.elapsed() < PATIENCE, "no bar: {}", seen());
        rows.write_all("13911111111\n".repeat(100).as_bytes()).unwrap();
        good += 100;
    }
    rows.write_all("\u{1}\n".repeat(25).as_bytes()).unwrap();
    drop(rows);
    child.wait().unwrap();
    reads.join().unwrap();
    let screen = screen(&seen());
    for (at, line) in screen.iter().take(20).enumerate() {
        assert_eq!(*line, format!("row {}: invalid_number", good + at + 1), "{screen:?}");
    }
    let [more, counts, failed] = &screen[20..] else { panic!("{screen:?}") };
    assert_eq!(more, "and 5 more: --report FILE lists them all");
    assert!(counts.starts_with(&format!("{} rows: {good} mapped", good + 25)), "{screen:?}");
    assert!(failed.starts_with("callveil: 25 of "), "{screen:?}");
}
