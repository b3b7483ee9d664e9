//! Checks chains that are read back from logs in any order: what was altered, removed, inserted or moved. Pure.
//!
//! Lines that follow each other form a run. Only the ends of a run are kept, so that memory grows with what is wrong
//! and not with the logs. Runs whose ends meet are joined when everything has been read.

pub mod fault;
mod runs;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, hash_map::Entry};

use self::{
    fault::{Fault, Location, Wrong},
    runs::{Run, Runs},
};
use super::chain::{ChainedLine, Head, Instance};

/// The most chains that are told apart.
const CHAINS_MAX: usize = 100_000;

/// The most faults that are kept. Others are only counted.
const FAULTS_MAX: usize = 1000;

/// What is read from a line besides its link.
#[derive(Clone, Copy)]
pub struct Facts<'l> {
    /// Where it stands.
    pub location: Location,
    /// Its time.
    pub time: &'l str,
    /// Whether it is the line that ends a start.
    pub is_end: bool,
}

/// A chain, as far as it was found.
#[derive(Clone, Debug)]
pub struct Found {
    /// Its name.
    pub instance: Instance,
    /// Its first line that was found.
    pub first: u64,
    /// And its last.
    pub last: u64,
    /// Where the last stands.
    pub location: Location,
    /// When the first was written.
    pub since: String,
    /// When the last was written.
    pub until: String,
    /// Whether it has a line that ends it.
    pub is_ended: bool,
    /// Whether a head of it was known.
    pub has_head: bool,
}

/// All chains of some logs.
#[derive(Default)]
pub struct Chains {
    chains: HashMap<Instance, Runs>,
    heads: HashMap<Instance, Head>,
    faults: Vec<Fault>,
    count: u64,
}

/// What was found.
#[derive(Debug)]
pub struct Findings {
    /// The chains, in the order in which they began.
    pub chains: Vec<Found>,
    /// The first faults.
    pub faults: Vec<Fault>,
    /// How many faults there are.
    pub count: u64,
}

impl Chains {
    /// A check of chains whose last known heads are these.
    pub fn new(heads: HashMap<Instance, Head>) -> Self {
        Self { heads, ..Self::default() }
    }

    /// Adds a line.
    pub fn add(&mut self, link: ChainedLine, facts: Facts<'_>) {
        let (instance, number, location) = (link.instance, link.number, facts.location);
        let is_full = self.chains.len() >= CHAINS_MAX;
        let runs = match self.chains.entry(instance) {
            Entry::Occupied(runs) => runs.into_mut(),
            Entry::Vacant(_) if is_full => return self.note(Wrong::TooMuch, instance, number, location),
            Entry::Vacant(vacant) => vacant.insert(Runs::default()),
        };
        let is_remade = self.heads.get(&instance).is_some_and(|head| head.lines == number && head.hash != link.hash);
        let is_reordered = runs.order(number, location);
        let wrong = runs.add(link, facts);
        let others = [is_remade.then_some(Wrong::Remade), is_reordered.then_some(Wrong::Reordered)];
        for wrong in others.into_iter().chain([wrong]).flatten() {
            self.note(wrong, instance, number, location);
        }
    }

    fn note(&mut self, wrong: Wrong, instance: Instance, number: u64, location: Location) {
        self.fault(Fault { wrong, instance, first: number, last: number, location: Some(location) });
    }

    fn fault(&mut self, fault: Fault) {
        self.count += 1;
        if self.faults.len() < FAULTS_MAX {
            self.faults.push(fault);
        }
    }

    /// Joins the runs, and returns what was found.
    pub fn finish(mut self) -> Findings {
        let mut found: Vec<Found> = Vec::new();
        for (instance, runs) in std::mem::take(&mut self.chains) {
            let head = self.heads.remove(&instance);
            found.extend(self.join(instance, &runs, head));
        }
        let mut absent: Vec<_> = std::mem::take(&mut self.heads).into_iter().collect();
        absent.sort_unstable_by_key(|(instance, _)| *instance);
        for (instance, head) in absent.into_iter().filter(|(_, head)| head.lines > 0) {
            self.fault(Fault { wrong: Wrong::Cut, instance, first: 1, last: head.lines, location: None });
        }
        found.sort_by(|one, other| (&one.since, one.instance).cmp(&(&other.since, other.instance)));
        let at = |fault: &Fault| fault.location.map_or((usize::MAX, 0), |location| (location.file, location.line));
        self.faults.sort_by_key(|fault| (at(fault), fault.instance, fault.first));
        Findings { chains: found, faults: self.faults, count: self.count }
    }

    fn join(&mut self, instance: Instance, runs: &Runs, head: Option<Head>) -> Option<Found> {
        let mut before: Option<&Run> = None;
        let mut missing = Vec::new();
        for (first, run) in &runs.runs {
            let next = before.map_or(1, |before| before.last + 1);
            if *first > next {
                missing.push((next, first - 1));
                let (wrong, last, location) = (Wrong::Missing, first - 1, Some(run.opened));
                self.fault(Fault { wrong, instance, first: next, last, location });
            } else if let Some(before) = before
                && !before.leads_to(&run.opening.0, run.opening.1)
            {
                self.note(Wrong::Altered, instance, *first, run.opened);
            }
            before = Some(run);
        }
        for (first, last, location) in runs.jumps.iter().filter(|_| runs.reordered == 0) {
            if !missing.iter().any(|(from, to)| from <= last && first <= to) {
                let (wrong, first, last, location) = (Wrong::Moved, *first, *last, Some(*location));
                self.fault(Fault { wrong, instance, first, last, location });
            }
        }
        let (last, opened) = (before?, runs.runs.first_key_value()?);
        if let Some(head) = head.filter(|head| head.lines > last.last) {
            let (wrong, first, location) = (Wrong::Cut, last.last + 1, Some(last.location));
            self.fault(Fault { wrong, instance, first, last: head.lines, location });
        }
        Some(Found {
            instance,
            first: *opened.0,
            last: last.last,
            location: last.location,
            since: opened.1.opened_time.clone(),
            until: last.time.clone(),
            is_ended: runs.is_ended,
            has_head: head.is_some(),
        })
    }
}
