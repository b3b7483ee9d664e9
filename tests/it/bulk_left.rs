//! The report at the end of a run: the result of each value, and numbers that stayed in other columns.

use std::fs;

use serde_json::Value;

use crate::support::{Folder, run};

/// Runs `args` on `content`. Returns the results, the exit code and the messages.
fn map(folder: &Folder, content: &str, args: &[&str]) -> (String, Option<i32>, String) {
    fs::write(folder.path().join("in"), content).unwrap();
    let output = run(folder.path(), &[&[args[0], "in"], &args[1..]].concat());
    let [out, err] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    (out, output.status.code(), err)
}

#[track_caller]
fn check(content: &str, args: &[&str], code: i32, told: &[&str]) -> String {
    let (out, status, err) = map(&Folder::new(), content, args);
    assert_eq!(status, Some(code), "{err}");
    told.iter().for_each(|part| assert!(err.contains(part), "{part:?} is not in\n{err}"));
    out
}

#[test]
fn each_value_is_told_by_what_it_is() {
    let folder = Folder::new();
    let values = "13988888888\n0755-86013388\n10086\n+8610086\nanonymous\n13988888888.0\n13900000000 / 13800000000\n\n";
    let (uids, code, told) = map(&folder, values, &["tokenize"]);
    assert_eq!(code, Some(0), "{told}");
    let counts = "8 rows: 7 mapped (2 E.164, 2 hotline, 3 verbatim, 1 float, 1 two_numbers), 1 empty";
    assert!(told.contains(counts), "{told}");
    let (_, code, told) = map(&folder, &uids, &["tokenize"]);
    assert!(code == Some(0) && told.contains("7 mapped (7 already a UID), 1 empty"), "{told}");
    // So do the marks that contact lists put around them.
    let marked: String =
        uids.lines().filter(|uid| !uid.is_empty()).map(|uid| format!("\u{202a}{uid}\u{202c}\n")).collect();
    let (_, code, told) = map(&folder, &marked, &["tokenize"]);
    assert!(code == Some(0) && told.contains("7 already a UID"), "{told}");
    let (dialled, code, told) = map(&folder, &uids, &["detokenize"]);
    assert!(code == Some(0) && told.contains("(2 E.164, 2 hotline, 3 verbatim,"), "{told}");
    let (again, _, _) = map(&folder, &dialled, &["tokenize"]);
    assert_eq!(again, uids);
    let (json, _, _) = map(&folder, values, &["tokenize", "--dry-run", "--json"]);
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&json["hotlines"], &json["damaged"]["float"]), (&2.into(), &1.into()), "{json}");
}

#[test]
fn damage_is_named_in_the_report_and_mended_where_that_needs_no_guess() {
    let folder = Folder::new();
    let values = "13988888888\n'13988888888\n=\"13988888888\"\n13988888888.0\n电话：13988888888\n1.39889E+10\n8001\n";
    let (_, _, told) = map(&folder, values, &["tokenize", "--report", "report"]);
    let report = fs::read_to_string(folder.path().join("report")).unwrap();
    let named = "row 2: excel_guard\nrow 3: excel_guard\nrow 4: float\nrow 5: label\nrow 6: scientific_notation\n";
    assert_eq!(report, named, "{told}");
    let (uids, code, told) = map(&folder, values, &["tokenize", "--repair"]);
    let uids: Vec<&str> = uids.lines().collect();
    assert!(code == Some(0) && uids[1..5].iter().all(|uid| *uid == uids[0]) && uids[5] != uids[0], "{told}");
    assert!(told.contains("(5 E.164, 2 verbatim, 4 repaired, 1 scientific_notation)"), "{told}");
    let (uids, code, told) = map(&folder, values, &["tokenize", "--repair", "--only-numbers", "--on-error", "keep"]);
    assert!(code == Some(0) && uids.ends_with("\n1.39889E+10\n8001\n"), "{uids}{told}");
    assert!(told.contains("row 6: scientific_notation\n") && told.contains("row 7: not_a_number\n"), "{told}");
    let cells = "id,phone\n1,\"=\"\"13988888888\"\"\"\n2,13988888888.0\n";
    let (csv, _, told) = map(&folder, cells, &["tokenize", "--format", "csv", "--column", "phone", "--repair"]);
    assert!(told.contains("2 mapped (2 E.164, 2 repaired)"), "{told}");
    let (mut found, rows) = (Vec::new(), csv.lines().skip(1));
    rows.for_each(|row| found.push(row[2..].trim_matches('"').to_owned()));
    assert!(found[0] == found[1] && found[0] == uids.lines().next().unwrap(), "{csv}");
}

#[test]
fn numbers_in_other_columns_are_told_by_column_and_row() {
    let csv = ["--format", "csv", "--column", "phone", "--report", "report"];
    let content = "id,phone,note,phone2\n\
        1,13988888888,call 13788888888 or 0755-86013388,13688888888\n\
        2,13988888888,\"born 2026-01-02, see +44 20 7946 0018\",\n\
        3,13988888888,192.168.100.200 1767225600000,13588888888\n";
    let tokenize = |args: &[&'static str]| [&["tokenize"], &csv[..], args].concat();
    let told = "3 rows: 3 mapped (3 E.164)";
    let left = "other columns contain what looks like a phone number: note: 2, phone2: 2";
    let folder = Folder::new();
    let (out, code, err) = map(&folder, content, &tokenize(&[]));
    assert!(code == Some(0) && err.contains(told) && err.contains(left), "{err}");
    assert!(out.contains(",call 13788888888 or 0755-86013388,13688888888\n"), "{out}");
    let report = fs::read_to_string(folder.path().join("report")).unwrap();
    let rows = ["row 2, note", "row 2, phone2", "row 3, note", "row 4, phone2"];
    assert_eq!(report, rows.map(|row| format!("{row}: number_left\n")).concat());
    // Whoever wants to hand it on gets no file.
    let (_, code, err) = map(&folder, content, &tokenize(&["--strict", "--output", "out"]));
    assert!(code == Some(1) && err.contains(left) && !folder.path().join("out").exists(), "{err}");
    let clean = "id,phone,note\n1,13988888888,call\n";
    let (_, code, err) = map(&folder, clean, &tokenize(&["--strict", "--output", "out"]));
    assert!(code == Some(0) && folder.path().join("out").exists(), "{err}");
    check("id,phone\n1,anonymous\n", &tokenize(&["--strict"]), 1, &["1 verbatim"]);
    // A number where a name is wanted is not told.
    let no_header = ["tokenize", "--format", "csv", "--column", "2", "--no-header"];
    check("13788888888,13988888888\n", &no_header, 0, &["number: column 1: 1"]);
}

#[test]
fn numbers_in_digits_of_full_width_and_of_arabic_are_left_as_others_are() {
    let content = "id,phone,note\n1,１３９８８８８８８８８,备注：１３７８８８８８８８８\n2,13988888888,٠٧٥٥٨٦٠١٣٣٨٨\n\
        3,13988888888,二〇二六年，２０２６－０１－０２\n4,13988888888,۱۳۷۸۸۸۸۸۸۸۸\n";
    let args = ["tokenize", "--format", "csv", "--column", "phone", "--strict"];
    check(content, &args, 1, &["4 mapped (4 E.164)", "phone number: note: 3;"]);
}

/// A row is looked through once, however many numbers it has.
#[test]
fn rows_full_of_numbers_take_no_longer_than_others() {
    let numbers = vec!["\"13788888888\""; 60_000].join(",");
    let content = format!("{{\"phone\":\"13988888888\",\"more\":[{numbers}]}}\n");
    check(&content, &["tokenize", "--format", "jsonl", "--column", "/phone"], 0, &["number: more: 1"]);
    let names: String = (0..60_000).map(|at| format!(",n{at}")).collect();
    let content = format!("phone{names}\n13988888888{}\n", ",13788888888".repeat(60_000));
    check(&content, &["tokenize", "--format", "csv", "--column", "phone"], 0, &["number: n0: 1, n1: 1"]);
}

#[test]
fn numbers_elsewhere_in_json_are_told_by_key() {
    let content = "{\"phone\":\"13988888888\",\"more\":{\"mobile\":\"13788888888\",\"at\":1767225600}}\n\
        {\"other\":[\"13588888888\"],\"phone\":\"13988888888\"}\n[\"13488888888\"]\n";
    let args = ["tokenize", "--format", "jsonl", "--column", "/phone"];
    let told = ["2 mapped (2 E.164), 1 failed (1 missing_column)", "number: mobile: 1, other: 1, elsewhere: 1"];
    check(content, &args, 1, &told);
}
