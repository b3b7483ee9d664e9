//! Follows `docs/data-team.md`.

use crate::{
    needs::is_here,
    runbook::{Rehearsal, Step, Terminal, steps},
};

const PAGE: &str = include_str!("../../docs/data-team.md");
const NAME: &str = "docs/data-team.md";

#[test]
fn every_command_of_the_data_teams_page_works() {
    if !["gzip", "iconv"].into_iter().all(is_here) {
        return;
    }
    let steps = steps(PAGE);
    assert_eq!(PAGE.matches("```").count(), 2 * steps.len());
    let mut rehearsal = Rehearsal::new(NAME);
    for step in &steps {
        let Step::Run(line, block) = step else { panic!("nothing is done by hand here: {step:?}") };
        rehearsal.run(*line, block, Terminal::None);
    }
    assert!(include_str!("../../README.md").contains("(docs/data-team.md)"), "nobody would find the page");
}
