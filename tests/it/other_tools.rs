//! Follows `deploy/other-tools.md`: keys and UIDs in Python.

use std::net::TcpListener;

use crate::{
    needs::{is_here, python_has},
    runbook::{Rehearsal, Step, Terminal, steps},
};

const PAGE: &str = include_str!("../../deploy/other-tools.md");
const NAME: &str = "deploy/other-tools.md";

/// If fewer blocks are found, something is wrong with finding them.
const BLOCKS_MIN: usize = 5;

/// A port that is free now. If another program takes it first, the program that was to have it reports that.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[test]
fn every_command_of_the_page_works() {
    if !["age", "age-keygen", "jq"].into_iter().all(is_here) || !python_has("tink, cryptography") {
        return;
    }
    let steps = steps(PAGE);
    assert!(steps.len() >= BLOCKS_MIN, "only {} blocks", steps.len());
    assert_eq!(PAGE.matches("```").count(), 2 * (steps.len() + PAGE.matches("```sql").count()));
    let mut rehearsal = Rehearsal::new(NAME);
    for step in &steps {
        let Step::Run(line, block) = step else { panic!("nothing is done by hand here: {step:?}") };
        rehearsal.run(*line, block, Terminal::None);
    }
    assert!(include_str!("../../README.md").contains("(deploy/other-tools.md)"), "nobody would find the page");
}
