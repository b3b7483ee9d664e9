//! Follows `deploy/engines.md`: data engines that pass rows to callveil through pipes.

use std::fs;

use crate::{
    needs::{is_here, python_has},
    runbook::{Rehearsal, Step, Terminal, steps},
    support::{callveil, check_log},
};

const PAGE: &str = include_str!("../../deploy/engines.md");
const NAME: &str = "deploy/engines.md";

/// The number of ways on the page. Each ends with a comment that says where its results are.
const WAYS: usize = 5;

/// The end of each comment that says where the results of the page's rows are.
const CAME_OF: &str = "what came of seven rows: ";

#[test]
fn every_engine_gets_a_row_for_each_row() {
    if !is_here("java") || !python_has("pyspark, chdb, duckdb, polars, pyarrow") {
        return;
    }
    let mut rehearsal = Rehearsal::new(NAME);
    let mut looked = 0;
    for step in steps(PAGE) {
        match step {
            Step::Run(line, block) => rehearsal.run(line, &block, Terminal::None),
            Step::Do(told) => {
                let file = told.strip_prefix(CAME_OF).unwrap_or_else(|| panic!("{told}"));
                check_rows(&rehearsal, file);
                looked += 1;
            }
        }
    }
    assert_eq!(looked, WAYS);
    assert!(include_str!("../../README.md").contains("(deploy/engines.md)"), "nobody would find the page");
}

/// Checks the results of the page's seven rows: three have UIDs, one is reported as failed, and those without a value
/// have none.
#[track_caller]
fn check_rows(rehearsal: &Rehearsal, file: &str) {
    let came = fs::read_to_string(rehearsal.path(file)).unwrap();
    let values = ["--value", "13988888888", "--value", "anonymous", "--value", "ext. \"8001\""];
    let output = callveil().arg("tokenize").args(values).current_dir(rehearsal.path("")).output().unwrap();
    check_log(&String::from_utf8_lossy(&output.stderr));
    let uids = String::from_utf8(output.stdout).unwrap();
    let [mobile, anonymous, text] = uids.lines().collect::<Vec<_>>()[..] else { panic!("{uids}") };
    let wanted = ["1 ", mobile, "\n2 None\n3 \n4 \n5 ", anonymous, "\n6 ", text, "\n7 \\N\nfailed: [4]\n"].concat();
    assert_eq!(came, wanted, "{file}");
}
