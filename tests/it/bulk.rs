//! Bulk work on the command line: which bytes survive, what is reported, and what is left behind.

use std::{
    fmt::Write as _,
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Child, ChildStdin, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{
    random::Random,
    support::{Folder, PATIENCE, callveil, pipe, run, send},
};

/// Rows of the generated files: several blocks of them.
const ROWS: usize = 20_000;

/// One of this many rows is bad.
const BAD_EVERY: usize = 100;

/// The name of a result that is not complete.
const PARTIAL: &str = ".out.callveil-partial";

#[track_caller]
fn check(folder: &Path, args: &[&str], code: i32, says: &[&str]) -> String {
    let output = run(folder, args);
    let (out, err) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!(output.status.code(), Some(code), "{args:?}\n{err}");
    for part in says {
        assert!(err.contains(part), "{args:?} does not say {part:?}:\n{err}");
    }
    out
}

/// A file to tokenize and the expected output. Both are made together, so that no code reads what it wrote itself.
struct Made {
    input: String,
    output: String,
    report: String,
}

/// A row of a [`Made`] file: the text before and after its cell, and how the cell is written.
struct Row<'a> {
    before: String,
    cell: &'a str,
    after: String,
    /// Writes the cell for a UID.
    write: fn(&str) -> String,
}

impl Made {
    fn new(head: &str) -> Self {
        Self { input: head.to_owned(), output: head.to_owned(), report: String::new() }
    }

    fn push(&mut self, row: &Row<'_>, uid: &str) {
        let Row { before, cell, after, write } = row;
        self.input += &format!("{before}{cell}{after}");
        self.output += &format!("{before}{}{after}", write(uid));
    }
}

/// The UIDs of numbers, made with the format `lines`.
fn uids(folder: &Folder, numbers: &[String]) -> Vec<String> {
    let lines = pipe(folder.path(), &["tokenize", "--threads", "1"], &(numbers.join("\n") + "\n"));
    lines.lines().map(str::to_owned).collect()
}

/// One mobile number for each row.
fn numbers(random: &mut Random) -> Vec<String> {
    (0..ROWS).map(|_| format!("13{:09}", random.below(1_000_000_000))).collect()
}

/// Six columns of texts that spreadsheets write, and of texts that they do not. The number is in the third.
fn awkward_csv(numbers: &[String], uids: &[String], random: &mut Random, delimiter: char, line_end: &str) -> Made {
    let d = delimiter;
    let mut made = Made::new(&format!("\u{FEFF}id{d}\"full \"\"name\"\"\"{d}phone{d}note{d}city{d}{line_end}"));
    let texts =
        ["", "plain", "\"\"", "\"a \"\"quoted\"\" word\"", "\"two\nlines\"", "\"all, of; it\t|\"", "王伟", "x'y"];
    for at in 0..numbers.len() {
        let mut text = || texts[random.below(texts.len())].replace('\n', line_end);
        let before = format!("{at}{d}{}{d}", text());
        let after = format!("{d}{}{d}{}{d}{line_end}", text(), text());
        let number = &numbers[at];
        if at % BAD_EVERY == 1 {
            let cell = ["\"139\n888\"", "\"\t\"", "1\u{1}3"][random.below(3)];
            let write = if cell.starts_with('"') { |_: &str| "\"\"".to_owned() } else { |_: &str| String::new() };
            made.push(&Row { before, cell, after, write }, "");
            writeln!(made.report, "row {}: invalid_number", at + 2).unwrap();
            continue;
        }
        let bare = |uid: &str| uid.to_owned();
        let quoted = |uid: &str| format!("\"{uid}\"");
        let (cell, write): (String, fn(&str) -> String) = match random.below(6) {
            0 => (String::new(), |_| String::new()),
            1 => ("\"\"".to_owned(), |_| "\"\"".to_owned()),
            2 => (format!("\"{number}\""), quoted),
            3 => (format!("  {number} "), bare),
            4 => (r"\N".to_owned(), |_| r"\N".to_owned()),
            _ => (number.clone(), bare),
        };
        made.push(&Row { before, cell: &cell, after, write }, &uids[at]);
    }
    made
}

#[test]
fn every_byte_of_csv_outside_the_column_survives() {
    let folder = Folder::new();
    let mut random = Random::new(7);
    let numbers = numbers(&mut random);
    let uids = uids(&folder, &numbers);
    for (delimiter, line_end, column, threads) in
        [(',', "\r\n", "phone", "1"), (';', "\n", "3", "2"), ('\t', "\r\n", "phone", "7")]
    {
        let mut made = awkward_csv(&numbers, &uids, &mut random, delimiter, line_end);
        // The last row needs no line end.
        made.input.truncate(made.input.trim_end_matches(['\r', '\n']).len());
        made.output.truncate(made.output.trim_end_matches(['\r', '\n']).len());
        fs::write(folder.path().join("in.csv"), &made.input).unwrap();
        let delimiter = delimiter.to_string();
        let mut args = vec!["tokenize", "in.csv", "--format", "csv", "--column", column, "--delimiter", &delimiter];
        args.extend(["--threads", threads, "--report", "report", "--output", "out.csv"]);
        check(folder.path(), &args, 1, &["200 of 20000 failed", "200 failed (200 invalid_number)"]);
        let output = fs::read_to_string(folder.path().join("out.csv")).unwrap();
        let differs = made.output.lines().zip(output.lines()).find(|(made, output)| made != output);
        assert_eq!(differs, None);
        assert!(made.output == output, "delimiter {delimiter:?}");
        assert_eq!(fs::read_to_string(folder.path().join("report")).unwrap(), made.report);
    }
}

#[test]
fn every_byte_of_json_outside_the_string_survives() {
    let folder = Folder::new();
    let mut random = Random::new(8);
    let numbers = numbers(&mut random);
    let uids = uids(&folder, &numbers);
    let mut made = Made::new("\u{FEFF}");
    for at in 0..ROWS {
        let odd =
            ["1e3", "[\"}\", {\"tel/nr\": 1}]", "\"\\\"tel/nr\\\":\"", " null", "{\"a\":[[],{}]}"][random.below(5)];
        let line_end = ["\n", " \r\n"][random.below(2)];
        let key = ["tel/nr", "te\\u006c/nr"][random.below(2)];
        let before = format!("{{\"id\": {at},\t\"x\":{odd},\"customer\":[{{}}, {{\"y\":{odd} ,\"{key}\" :");
        let after = format!("}}, {odd}] , \"tel/nr\":\"\u{1F4DE}\"}}{line_end}");
        let number = &numbers[at];
        let quoted = |uid: &str| format!("\"{uid}\"");
        if at % BAD_EVERY == 1 {
            let (cell, error) =
                [("[1]", "not_a_string"), ("1.5", "not_a_string"), ("\" \"", "invalid_number")][random.below(3)];
            made.push(&Row { before, cell, after, write: quoted }, "");
            writeln!(made.report, "row {}: {error}", at + 1).unwrap();
            continue;
        }
        let cell = match random.below(4) {
            0 => format!("\"\\u0031{}\"", &number[1..]),
            1 => number.clone(),
            _ => quoted(number),
        };
        made.push(&Row { before, cell: &cell, after, write: quoted }, &uids[at]);
    }
    fs::write(folder.path().join("in"), &made.input).unwrap();
    for threads in ["1", "5"] {
        let args = ["tokenize", "in", "--format", "jsonl", "--column", "/customer/1/tel~1nr", "--report", "report"];
        let args = [&args[..], &["--threads", threads, "--output", "out"]].concat();
        check(folder.path(), &args, 1, &["200 of 20000 failed"]);
        assert!(fs::read_to_string(folder.path().join("out")).unwrap() == made.output);
        assert_eq!(fs::read_to_string(folder.path().join("report")).unwrap(), made.report);
    }
}

#[test]
fn there_and_back_in_every_format() {
    let folder = Folder::new();
    let texts = ["008613988888888", "0086075586013388", "anonymous", "a,\"b\"", "sip:x@y\\z"];
    let csv = format!("n,phone\n1,{}\n2,{}\n3,{}\n4,\"a,\"\"b\"\"\"\n5,{}\n", texts[0], texts[1], texts[2], texts[4]);
    let jsonl: String = texts.iter().map(|text| serde_json::json!({"phone": text}).to_string() + "\n").collect();
    for (format, column, text) in [("csv", "phone", csv), ("jsonl", "/phone", jsonl)] {
        let there = pipe(folder.path(), &["tokenize", "--format", format, "--column", column], &text);
        assert!(!there.contains("anonymous"), "{there}");
        assert_eq!(pipe(folder.path(), &["rewrap", "--format", format, "--column", column], &there), there);
        assert_eq!(pipe(folder.path(), &["detokenize", "--format", format, "--column", column], &there), text);
    }
    let there = pipe(folder.path(), &["tokenize", "--format", "csv", "--column", "1", "--no-header"], "\"x,y\"\r\nx;y");
    assert_eq!(there.matches('"').count(), 2, "{there}");
    // What comes back may hold what was no delimiter before.
    let back = ["detokenize", "--format", "csv", "--column", "1", "--no-header", "--delimiter", ";"];
    assert_eq!(pipe(folder.path(), &back, &there), "\"x,y\"\r\n\"x;y\"");
}

#[test]
fn what_becomes_of_rows_that_fail() {
    let folder = Folder::new();
    let rows =
        "{\"p\":\"8001\"}\n{\"p\":\"\\t\"}\nnot json\n{\"p\":{}}\n{}\n{\"p\":\"1\",\"p\":\"2\"}\n\n{\"p\":\"8001\"}";
    fs::write(folder.path().join("in"), rows).unwrap();
    let uid = check(folder.path(), &["tokenize", "--value", "8001"], 0, &[]);
    let good = format!("{{\"p\":\"{}\"}}", uid.trim_end());
    let args = |on_error| ["tokenize", "in", "--format", "jsonl", "--column", "/p", "--on-error", on_error];
    let says = [
        "row 2: invalid_number",
        "row 3: not_json",
        "row 4: not_a_string",
        "row 5: missing_column",
        "row 6: repeated_key",
    ];
    let out = check(folder.path(), &args("blank"), 0, &says);
    assert_eq!(out, format!("{good}\n{{\"p\":\"\"}}\n\n{{\"p\":\"\"}}\n{{}}\n\n\n{good}"));
    let out = check(folder.path(), &args("keep"), 0, &says);
    assert_eq!(out, rows.replace("{\"p\":\"8001\"}", &good));
    let out = check(folder.path(), &args("drop"), 0, &says);
    assert_eq!(out, format!("{good}\n\n{good}"));
    let out = check(folder.path(), &args("fail"), 1, &["row 2: invalid_number", "stopped at row 2"]);
    assert_eq!(out, format!("{good}\n"));
    let to_file = [&args("fail")[..], &["--output", "out"]].concat();
    check(folder.path(), &to_file, 1, &["stopped at row 2"]);
    assert!(!folder.path().join("out").exists() && !folder.path().join(PARTIAL).exists());

    let out =
        check(folder.path(), &["tokenize", "--value", "8001", "--value", "", "--on-error", "drop"], 0, &["row 2"]);
    assert_eq!(out, uid);
    let out = run(folder.path(), &[&args("keep")[..], &["--show-values"]].concat());
    let told = String::from_utf8(out.stderr).unwrap();
    assert!(
        told.contains("row 2: invalid_number: \"\\\\t\"\n") && told.contains("row 4: not_a_string: \"{}\"\n"),
        "{told}"
    );
    fs::write(folder.path().join("many"), " \n".repeat(100)).unwrap();
    let told = String::from_utf8(run(folder.path(), &["tokenize", "many"]).stderr).unwrap();
    assert!(told.matches("row ").count() == 20 && told.contains("and 80 more: --report"), "{told}");
}

#[test]
fn what_cannot_be_asked_for_and_what_cannot_be_read() {
    let folder = Folder::new();
    let path = folder.path();
    fs::write(path.join("in"), "id,phone,phone\n1,13988888888,2\n").unwrap();
    fs::write(path.join("open"), format!("id,phone\n1,13988888888\n2,\"139{}", ",x\n3,y".repeat(1000))).unwrap();
    fs::write(path.join("long"), format!("8001\n{}\n8001\n", "8".repeat(2_000_000))).unwrap();
    let csv = |more: &[&'static str]| [&["tokenize", "in", "--format", "csv"][..], more].concat();
    check(path, &csv(&[]), 2, &["--column"]);
    check(path, &csv(&["--column", "name"]), 1, &["no column has that name; row 1 has 3 columns"]);
    check(path, &csv(&["--column", "phone"]), 1, &["several columns"]);
    check(path, &csv(&["--column", "4"]), 1, &["no column has that name"]);
    check(path, &csv(&["--column", "phone", "--no-header"]), 2, &["a number"]);
    check(path, &csv(&["--column", "4", "--no-header"]), 1, &["there is no column 4: row 1 has 3"]);
    check(path, &csv(&["--column", "2", "--delimiter", "ab"]), 2, &["one ASCII character"]);
    check(path, &csv(&["--column", "2", "--json"]), 2, &["--json"]);
    check(path, &["tokenize", "in", "--column", "2"], 2, &["--format"]);
    check(path, &["tokenize", "in", "--format", "jsonl", "--column", "phone"], 2, &["a JSON pointer such as /phone"]);
    check(path, &["tokenize", "in", "--format", "jsonl", "--column", "/~2"], 2, &["a JSON pointer"]);
    check(path, &["tokenize", "in", "--dry-run", "--output", "out"], 2, &["cannot be used with"]);
    check(path, &["tokenize", "."], 1, &["cannot read", "directory"]);
    check(path, &["tokenize", "in", "--output", "."], 1, &["no file that could be replaced"]);
    check(path, &["tokenize", "in", "--output", "gone/out"], 1, &["gone/out", "No such file"]);
    let open = ["tokenize", "open", "--format", "csv", "--column", "phone"];
    check(path, &open, 1, &["row 3: wrong_quoting", "1000 of 1002 failed"]);
    let rows = check(path, &["tokenize", "long", "--rejects", "rejects"], 1, &["row 2: too_long", "1 of 3 failed"]);
    assert_eq!(rows.lines().map(str::len).collect::<Vec<_>>(), [40, 0, 40]);
    assert_eq!(fs::metadata(path.join("rejects")).unwrap().len(), 2_000_001);
    // A pointer that points nowhere would let every number through.
    fs::write(path.join("in"), "{\"phone\":\"13988888888\"}\n{}\n\n").unwrap();
    let nowhere = ["tokenize", "in", "--format", "jsonl", "--column", "/phones", "--output", "out"];
    check(path, &nowhere, 1, &["none of the 3 rows has that column"]);
    assert!(!path.join("out").exists() && !path.join(PARTIAL).exists());
    assert_eq!(check(path, &["tokenize", "/dev/null", "--format", "csv", "--column", "2", "--no-header"], 0, &[]), "");
}

#[test]
fn a_dry_run_tells_what_would_happen() {
    let folder = Folder::new();
    let old = pipe(folder.path(), &["tokenize"], "13988888888\n8001\nanonymous\n");
    check(folder.path(), &["keys", "rotate", "--activate-in", "0s"], 0, &[]);
    let deadline = Instant::now() + PATIENCE;
    let new = loop {
        let new = pipe(folder.path(), &["tokenize"], "13988888888\n8001\nanonymous\n");
        if new != old {
            break new;
        }
        assert!(Instant::now() < deadline, "the new key is never the primary");
    };
    fs::write(folder.path().join("in"), format!("{old}{}x\n", new.to_uppercase())).unwrap();
    let told =
        check(folder.path(), &["rewrap", "in", "--dry-run", "--json"], 1, &["row 7: malformed_uid", "1 of 7 would"]);
    let told: Value = serde_json::from_str(&told).unwrap();
    for (name, count) in [("rows", 7), ("mapped", 6), ("unchanged", 3), ("failed", 1)] {
        assert_eq!(told[name], count, "{name}: {told}");
    }
    let rewrapped = run(folder.path(), &["rewrap", "in"]).stdout;
    assert_eq!(told["bytes_out"], rewrapped.len());
    assert_eq!(String::from_utf8(rewrapped).unwrap(), format!("{new}{}\n", new.to_uppercase()));
    let told = check(folder.path(), &["detokenize", "in", "--dry-run"], 1, &[]);
    assert!(told.contains("7 rows: 6 mapped (2 E.164, 4 verbatim), 1 failed (1 malformed_uid)\n"), "{told}");

    // Left alone is only what the key made.
    let forged = new.lines().next().unwrap().chars().rev().collect::<String>();
    let forged = new[..4].to_owned() + &forged[..36];
    check(folder.path(), &["rewrap", "--value", &forged], 1, &["row 1: not_authentic"]);
}

/// Starts the binary with pipes for stdin, stdout and stderr.
fn spawn(folder: &Path, args: &[&str]) -> (Child, ChildStdin) {
    let mut command = callveil();
    command.args(args).current_dir(folder).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let stdin = child.stdin.take().unwrap();
    (child, stdin)
}

/// Starts a run that has written some of its output and waits for more input.
fn half_way(folder: &Path) -> (Child, ChildStdin) {
    let (child, mut stdin) = spawn(folder, &["tokenize", "--output", "out"]);
    stdin.write_all("8001\n".repeat(200_000).as_bytes()).unwrap();
    let deadline = Instant::now() + PATIENCE;
    while fs::metadata(folder.join(PARTIAL)).map_or(0, |partial| partial.len()) == 0 {
        assert!(Instant::now() < deadline, "it writes nothing");
        thread::sleep(Duration::from_millis(5)); // Other tests want the processor too.
    }
    (child, stdin)
}

fn names(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.filter(|name| name != "keys").collect();
    names.sort();
    names
}

#[test]
fn whoever_writes_to_a_pipe_may_wait_for_each_answer() {
    let folder = Folder::new();
    let (mut child, mut stdin) = spawn(folder.path(), &["tokenize", "--on-error", "fail"]);
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    for number in ["8001", "13988888888", "8001"] {
        writeln!(stdin, "{number}").unwrap();
        let mut uid = String::new();
        stdout.read_line(&mut uid).unwrap();
        assert_eq!(uid.len(), 41, "{number}");
    }
    // It does not wait for the end of what it no longer wants.
    writeln!(stdin, "\t").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr).unwrap().contains("stopped at row 4"));
    drop(stdin);
}

#[test]
fn half_a_file_never_has_its_final_name() {
    let folder = Folder::new();
    let path = folder.path();
    let (mut child, stdin) = half_way(path);
    let mode = fs::metadata(path.join(PARTIAL)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    check(path, &["tokenize", "--value", "1"], 0, &[]);
    fs::write(path.join("in"), "8001\n").unwrap();
    check(path, &["tokenize", "in", "--output", "out"], 1, &["another run is writing it"]);
    child.kill().unwrap();
    child.wait().unwrap();
    drop(stdin);
    assert_eq!(names(path), [PARTIAL, "in"]);

    // What a crash left is in nobody's way, and the file is replaced as a whole; also where it is the input.
    check(path, &["tokenize", "in", "--output", "out"], 0, &[]);
    assert_eq!(names(path), ["in", "out"]);
    check(path, &["detokenize", "out", "--output", "out"], 0, &[]);
    assert_eq!(fs::read_to_string(path.join("out")).unwrap(), "8001\n");
    std::os::unix::fs::symlink("out", path.join("link")).unwrap();
    check(path, &["tokenize", "in", "--output", "link"], 0, &[]);
    assert!(path.join("link").is_symlink() && fs::read_to_string(path.join("out")).unwrap().len() == 41);

    for (signal, number) in [("INT", 2), ("TERM", 15)] {
        let (mut child, stdin) = half_way(path);
        send(child.id(), signal);
        let status = child.wait().unwrap();
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(number));
        drop(stdin);
        assert_eq!(names(path), ["in", "link", "out"], "after SIG{signal}");
    }
}

#[test]
fn a_reader_that_goes_away_and_a_disk_that_is_full() {
    let folder = Folder::new();
    fs::write(folder.path().join("in"), "8001\n".repeat(200_000)).unwrap();
    let (mut child, _) = spawn(folder.path(), &["tokenize", "in"]);
    child.stdout.take().unwrap().read_exact(&mut [0; 100]).unwrap();
    let Output { status, stderr, .. } = child.wait_with_output().unwrap();
    assert_eq!((status.code(), String::from_utf8(stderr).unwrap().as_str()), (Some(1), ""));

    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut command = callveil();
    let output = command.args(["tokenize", "in"]).current_dir(folder.path()).stdout(full).output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(told.contains("callveil: cannot write the results: No space left on device"), "{told}");
}
