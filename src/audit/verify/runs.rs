//! The lines of one chain, as far as they were read. Lines that follow each other form a run.

use std::collections::BTreeMap;

use super::{
    Facts,
    fault::{Location, Wrong},
};
use crate::audit::chain::{ChainedLine, Content, LineHash};

/// The most runs of one chain that are told apart. Anything more out of order is not a log.
const RUNS_MAX: usize = 10_000;

#[derive(Default)]
/// The runs of one chain.
pub(super) struct Runs {
    /// The runs, by the numbers of their first lines.
    pub(super) runs: BTreeMap<u64, Run>,
    /// The first line of the run that the last line went to, and the first line of the next run.
    pub(super) current: u64,
    pub(super) limit: u64,
    /// The last line that was in order: its file, and its number.
    pub(super) recent: Option<(usize, u64)>,
    /// Lines that a file lacks between other lines.
    pub(super) jumps: Vec<(u64, u64, Location)>,
    pub(super) reordered: u64,
    pub(super) is_ended: bool,
}

/// Lines that follow each other.
pub(super) struct Run {
    pub(super) last: u64,
    /// What the first line adds to its hash, and the hash that it claims.
    pub(super) opening: (Content, LineHash),
    pub(super) opened: Location,
    pub(super) opened_time: String,
    /// The hash that the last line claims, and the hash that it has if that is another.
    pub(super) claimed: LineHash,
    pub(super) computed: Option<LineHash>,
    pub(super) location: Location,
    pub(super) time: String,
}

impl Runs {
    /// Whether the line stands behind a line of its file that should follow it.
    pub(super) fn order(&mut self, number: u64, location: Location) -> bool {
        let recent = self.recent.filter(|(file, _)| *file == location.file).map(|(_, number)| number);
        if recent.is_some_and(|recent| number <= recent) {
            let is_new = self.covering(number).is_none();
            self.reordered += u64::from(is_new);
            return is_new;
        }
        if let Some(recent) = recent.filter(|recent| recent + 1 < number && self.jumps.len() < RUNS_MAX) {
            self.jumps.push((recent + 1, number - 1, location));
        }
        self.recent = Some((location.file, number));
        false
    }

    /// The run that contains the line.
    fn covering(&self, number: u64) -> Option<&Run> {
        self.runs.range(..=number).next_back().map(|(_, run)| run).filter(|run| number <= run.last)
    }

    /// Adds a line, and returns what is wrong with it.
    pub(super) fn add(&mut self, link: ChainedLine, facts: Facts<'_>) -> Option<Wrong> {
        let number = link.number;
        let is_next = |run: &Run| run.last + 1 == number;
        if !(number < self.limit && self.runs.get(&self.current).is_some_and(is_next)) {
            if self.covering(number).is_some() {
                return Some(Wrong::Repeated);
            }
            self.limit = self.runs.range(number..).next().map_or(u64::MAX, |(first, _)| *first);
            match self.runs.range(..number).next_back().filter(|(_, run)| is_next(run)) {
                Some((first, _)) => self.current = *first,
                None => return self.open(link, facts),
            }
        }
        self.is_ended |= facts.is_end;
        self.runs.get_mut(&self.current).and_then(|run| run.extend(&link, facts))
    }

    /// Begins a run.
    fn open(&mut self, link: ChainedLine, facts: Facts<'_>) -> Option<Wrong> {
        if self.runs.len() >= RUNS_MAX {
            return Some(Wrong::TooMuch);
        }
        self.is_ended |= facts.is_end;
        let computed = (link.number == 1).then(|| link.content.after(LineHash::default()));
        let wrong = computed.filter(|computed| *computed != link.hash).map(|_| Wrong::Altered);
        let run = Run {
            last: link.number,
            opened: facts.location,
            opened_time: facts.time.to_owned(),
            claimed: link.hash,
            computed,
            location: facts.location,
            time: facts.time.to_owned(),
            opening: (link.content, link.hash),
        };
        self.current = link.number;
        self.runs.insert(link.number, run);
        wrong
    }
}

impl Run {
    /// Whether a line with this content and hash follows the last of this run.
    pub(super) fn leads_to(&self, content: &Content, hash: LineHash) -> bool {
        [Some(self.claimed), self.computed].into_iter().flatten().any(|before| content.after(before) == hash)
    }

    fn extend(&mut self, link: &ChainedLine, facts: Facts<'_>) -> Option<Wrong> {
        let computed = link.content.after(self.claimed);
        let fits = computed == link.hash || self.leads_to(&link.content, link.hash);
        (self.last, self.claimed, self.location) = (link.number, link.hash, facts.location);
        self.computed = (computed != link.hash).then_some(computed);
        facts.time.clone_into(&mut self.time);
        (!fits).then_some(Wrong::Altered)
    }
}
