//! Chains, read back from logs in any order: what of them was altered, taken out, put in or moved. Pure.
//!
//! Lines that follow each other are a run. Of a run only its ends are kept, so that memory grows with what is wrong, and not
//! with the logs; runs whose ends meet are joined when all is read.

use std::collections::{BTreeMap, HashMap, hash_map::Entry};

use super::chain::{Content, Head, Instance, LineHash, Link};

/// Chains that are told apart.
const CHAINS_MAX: usize = 100_000;

/// Runs of one chain that are told apart: logs that are so out of order are none.
const RUNS_MAX: usize = 10_000;

/// Faults that are kept; others are only counted.
const FAULTS_MAX: usize = 1000;

/// A line of a file, both counted from where the caller likes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Which file.
    pub file: usize,
    /// Which line of it.
    pub line: u64,
}

/// What is wrong with lines of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// The line does not fit the one before: one of them was altered.
    Altered,
    /// The line is there twice.
    Repeated,
    /// The line stands behind one that follows it.
    Reordered,
    /// The lines stand in another file than those around them.
    Moved,
    /// The lines are not there.
    Missing,
    /// The lines are not there, and the log on stderr tells of the last of them.
    Cut,
    /// The line is another than the one of which the log on stderr tells: the chain was made anew.
    Remade,
    /// There is more than can be told.
    TooMuch,
}

/// Something that is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What it is.
    pub wrong: Wrong,
    /// Of which chain.
    pub instance: Instance,
    /// The first line of the chain that it is about.
    pub first: u64,
    /// And the last.
    pub last: u64,
    /// Where it shows.
    pub place: Option<Place>,
}

/// What is read of a line besides its link.
#[derive(Clone, Copy)]
pub struct Facts<'l> {
    /// Where it stands.
    pub place: Place,
    /// Its time.
    pub time: &'l str,
    /// Whether it is the one that ends a start.
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
    pub place: Place,
    /// When the first was written.
    pub since: String,
    /// When the last was written.
    pub until: String,
    /// Whether it has an end.
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
pub struct Report {
    /// The chains, by when they began.
    pub chains: Vec<Found>,
    /// The first faults.
    pub faults: Vec<Fault>,
    /// How many faults there are.
    pub count: u64,
}

#[derive(Default)]
struct Runs {
    /// By their first lines.
    runs: BTreeMap<u64, Run>,
    /// The run to which the last line went, and the first line of the next run.
    current: u64,
    limit: u64,
    /// The last line, and the file that it is in.
    recent: Option<(usize, u64)>,
    /// Lines that a file lacks in the midst of others.
    jumps: Vec<(u64, u64, Place)>,
    reordered: u64,
    is_ended: bool,
}

/// Lines that follow each other.
struct Run {
    last: u64,
    /// What the first line adds to its hash, and the hash that it says it has.
    opening: (Content, LineHash),
    opened: Place,
    opened_time: String,
    /// The hash that the last line says it has, and the one that it has, where that is another.
    claimed: LineHash,
    computed: Option<LineHash>,
    place: Place,
    time: String,
}

impl Chains {
    /// Chains whose last known heads are these.
    pub fn new(heads: HashMap<Instance, Head>) -> Self {
        Self { heads, ..Self::default() }
    }

    /// Adds a line.
    pub fn add(&mut self, link: Link, facts: Facts<'_>) {
        let (instance, number, place) = (link.instance, link.number, facts.place);
        let is_full = self.chains.len() >= CHAINS_MAX;
        let runs = match self.chains.entry(instance) {
            Entry::Occupied(runs) => runs.into_mut(),
            Entry::Vacant(_) if is_full => return self.note(Wrong::TooMuch, instance, number, place),
            Entry::Vacant(vacant) => vacant.insert(Runs::default()),
        };
        let is_remade = self.heads.get(&instance).is_some_and(|head| head.lines == number && head.hash != link.hash);
        let is_reordered = runs.order(number, place);
        let wrong = runs.add(link, facts);
        let others = [is_remade.then_some(Wrong::Remade), is_reordered.then_some(Wrong::Reordered)];
        for wrong in others.into_iter().chain([wrong]).flatten() {
            self.note(wrong, instance, number, place);
        }
    }

    fn note(&mut self, wrong: Wrong, instance: Instance, number: u64, place: Place) {
        self.fault(Fault { wrong, instance, first: number, last: number, place: Some(place) });
    }

    fn fault(&mut self, fault: Fault) {
        self.count += 1;
        if self.faults.len() < FAULTS_MAX {
            self.faults.push(fault);
        }
    }

    /// Joins the runs, and tells what there is.
    pub fn finish(mut self) -> Report {
        let mut found: Vec<Found> = Vec::new();
        for (instance, runs) in std::mem::take(&mut self.chains) {
            let head = self.heads.remove(&instance);
            found.extend(self.join(instance, &runs, head));
        }
        let mut absent: Vec<_> = std::mem::take(&mut self.heads).into_iter().collect();
        absent.sort_unstable_by_key(|(instance, _)| *instance);
        for (instance, head) in absent.into_iter().filter(|(_, head)| head.lines > 0) {
            self.fault(Fault { wrong: Wrong::Cut, instance, first: 1, last: head.lines, place: None });
        }
        found.sort_by(|one, other| (&one.since, one.instance).cmp(&(&other.since, other.instance)));
        let at = |fault: &Fault| fault.place.map_or((usize::MAX, 0), |place| (place.file, place.line));
        self.faults.sort_by_key(|fault| (at(fault), fault.instance, fault.first));
        Report { chains: found, faults: self.faults, count: self.count }
    }

    fn join(&mut self, instance: Instance, runs: &Runs, head: Option<Head>) -> Option<Found> {
        let mut before: Option<&Run> = None;
        let mut missing = Vec::new();
        for (first, run) in &runs.runs {
            let next = before.map_or(1, |before| before.last + 1);
            if *first > next {
                missing.push((next, first - 1));
                let (wrong, last, place) = (Wrong::Missing, first - 1, Some(run.opened));
                self.fault(Fault { wrong, instance, first: next, last, place });
            } else if let Some(before) = before
                && !before.leads_to(&run.opening.0, run.opening.1)
            {
                self.note(Wrong::Altered, instance, *first, run.opened);
            }
            before = Some(run);
        }
        for (first, last, place) in runs.jumps.iter().filter(|_| runs.reordered == 0) {
            if !missing.iter().any(|(from, to)| from <= last && first <= to) {
                let (wrong, first, last, place) = (Wrong::Moved, *first, *last, Some(*place));
                self.fault(Fault { wrong, instance, first, last, place });
            }
        }
        let (last, opened) = (before?, runs.runs.first_key_value()?);
        if let Some(head) = head.filter(|head| head.lines > last.last) {
            let (wrong, first, place) = (Wrong::Cut, last.last + 1, Some(last.place));
            self.fault(Fault { wrong, instance, first, last: head.lines, place });
        }
        Some(Found {
            instance,
            first: *opened.0,
            last: last.last,
            place: last.place,
            since: opened.1.opened_time.clone(),
            until: last.time.clone(),
            is_ended: runs.is_ended,
            has_head: head.is_some(),
        })
    }
}

impl Runs {
    /// Whether the line stands behind one of its file that follows it.
    fn order(&mut self, number: u64, place: Place) -> bool {
        let recent = self.recent.filter(|(file, _)| *file == place.file).map(|(_, number)| number);
        if recent.is_some_and(|recent| number <= recent) {
            let is_new = self.covering(number).is_none();
            self.reordered += u64::from(is_new);
            return is_new;
        }
        if let Some(recent) = recent.filter(|recent| recent + 1 < number && self.jumps.len() < RUNS_MAX) {
            self.jumps.push((recent + 1, number - 1, place));
        }
        self.recent = Some((place.file, number));
        false
    }

    /// The run that has the line.
    fn covering(&self, number: u64) -> Option<&Run> {
        self.runs.range(..=number).next_back().map(|(_, run)| run).filter(|run| number <= run.last)
    }

    fn add(&mut self, link: Link, facts: Facts<'_>) -> Option<Wrong> {
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
    fn open(&mut self, link: Link, facts: Facts<'_>) -> Option<Wrong> {
        if self.runs.len() >= RUNS_MAX {
            return Some(Wrong::TooMuch);
        }
        self.is_ended |= facts.is_end;
        let computed = (link.number == 1).then(|| link.content.after(LineHash::default()));
        let wrong = computed.filter(|computed| *computed != link.hash).map(|_| Wrong::Altered);
        let run = Run {
            last: link.number,
            opened: facts.place,
            opened_time: facts.time.to_owned(),
            claimed: link.hash,
            computed,
            place: facts.place,
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
    fn leads_to(&self, content: &Content, hash: LineHash) -> bool {
        [Some(self.claimed), self.computed].into_iter().flatten().any(|before| content.after(before) == hash)
    }

    fn extend(&mut self, link: &Link, facts: Facts<'_>) -> Option<Wrong> {
        let computed = link.content.after(self.claimed);
        let fits = computed == link.hash || self.leads_to(&link.content, link.hash);
        (self.last, self.claimed, self.place) = (link.number, link.hash, facts.place);
        self.computed = (computed != link.hash).then_some(computed);
        facts.time.clone_into(&mut self.time);
        (!fits).then_some(Wrong::Altered)
    }
}

#[cfg(test)]
mod tests {
    use super::{super::chain::Chain, *};

    const INSTANCE: Instance = *b"0123456789abcdef";

    fn log(lines: u64) -> Vec<Vec<u8>> {
        let mut chain = Chain::new(INSTANCE);
        let line = |number| {
            let mut line = Vec::new();
            chain.seal(format!("{{\"line\":{number}}}").as_bytes(), &mut line);
            line.pop();
            line
        };
        (1..=lines).map(line).collect()
    }

    /// Reads files of lines, by their numbers, of a chain of nine; what is found, as it is told of.
    fn check(files: &[&[usize]], alter: impl Fn(&mut Vec<Vec<u8>>), head: u64, expected: &[(Wrong, u64, u64)]) {
        let mut lines = log(9);
        let hash = Link::of(&lines[8]).expect("a link").hash;
        alter(&mut lines);
        let heads = HashMap::from_iter((head > 0).then_some((INSTANCE, Head { lines: head, hash })));
        let mut chains = Chains::new(heads);
        for (file, numbers) in files.iter().enumerate() {
            for (number, line) in numbers.iter().zip(1..) {
                let place = Place { file, line };
                let link = Link::of(&lines[number - 1]).expect("a link");
                chains.add(link, Facts { place, time: "", is_end: *number == 9 });
            }
        }
        let report = chains.finish();
        let found: Vec<_> = report.faults.iter().map(|fault| (fault.wrong, fault.first, fault.last)).collect();
        assert_eq!((&*found, report.count), (expected, expected.len() as u64), "{files:?}");
    }

    #[test]
    fn whole_chains_in_any_order_of_their_files() {
        for files in [
            &[&[1, 2, 3, 4, 5, 6, 7, 8, 9][..]][..],
            &[&[7, 8, 9], &[4, 5, 6], &[1, 2, 3]],
            &[&[4, 5], &[8, 9], &[1, 2, 3], &[6, 7]],
            &[&[1, 2, 3], &[4, 5, 6, 7, 8, 9]],
        ] {
            check(files, |_| {}, 9, &[]);
        }
    }

    #[test]
    fn what_is_wrong_is_told_where_it_is() {
        use Wrong::{Altered, Cut, Missing, Moved, Remade, Reordered, Repeated};
        let none = |_: &mut Vec<Vec<u8>>| {};
        check(&[&[1, 2, 3, 5, 6, 7, 8, 9]], none, 0, &[(Missing, 4, 4)]);
        check(&[&[1, 2, 3], &[6, 7, 8, 9]], none, 0, &[(Missing, 4, 5)]);
        check(&[&[3, 4, 5, 6, 7, 8, 9]], none, 0, &[(Missing, 1, 2)]);
        check(&[&[1, 2, 3, 4, 5, 6, 7]], none, 0, &[]);
        check(&[&[1, 2, 3, 4, 5, 6, 7]], none, 9, &[(Cut, 8, 9)]);
        check(&[], none, 9, &[(Cut, 1, 9)]);
        check(&[&[1, 2, 3, 3, 4, 5, 6, 7, 8, 9]], none, 0, &[(Repeated, 3, 3)]);
        check(&[&[1, 2, 3, 4, 5, 6, 2, 7, 8, 9]], none, 0, &[(Repeated, 2, 2)]);
        check(&[&[1, 2, 4, 3, 5, 6, 7, 8, 9]], none, 0, &[(Reordered, 3, 3)]);
        check(&[&[1, 3, 4, 5, 6, 7, 8, 9, 2]], none, 0, &[(Reordered, 2, 2)]);
        check(&[&[1, 2, 4, 5, 6, 7, 8, 9], &[3]], none, 0, &[(Moved, 3, 3)]);
        let altered = |at: usize, byte: usize| {
            move |lines: &mut Vec<Vec<u8>>| {
                let line = &mut lines[at - 1];
                let byte = if byte < 40 { byte } else { line.len() - 3 };
                line[byte] = if line[byte] == b'7' { b'8' } else { b'7' };
            }
        };
        for byte in [8, 40] {
            check(&[&[1, 2, 3, 4, 5, 6, 7, 8, 9]], altered(1, byte), 0, &[(Altered, 1, 1)]);
            check(&[&[1, 2, 3, 4, 5, 6, 7, 8, 9]], altered(4, byte), 0, &[(Altered, 4, 4)]);
            // Where nothing before it is known yet, the line after one whose hash was altered does not fit either.
            let both = [(Altered, 5, 5), (Altered, 6, 6)];
            let found = if byte == 40 { &both[..] } else { &both[..1] };
            check(&[&[5, 6, 7, 8, 9], &[1, 2, 3, 4]], altered(5, byte), 0, found);
            check(&[&[5, 6, 7, 8, 9], &[1, 2, 3, 4]], altered(4, byte), 0, &[(Altered, 4, 4)]);
        }
        let remade = |lines: &mut Vec<Vec<u8>>| {
            let mut chain = Chain::new(INSTANCE);
            for (line, number) in lines.iter_mut().zip(1..) {
                line.clear();
                chain.seal(format!("{{\"other\":{number}}}").as_bytes(), line);
                line.pop();
            }
        };
        check(&[&[1, 2, 3, 4, 5, 6, 7, 8, 9]], remade, 0, &[]);
        check(&[&[1, 2, 3, 4, 5, 6, 7, 8, 9]], remade, 9, &[(Remade, 9, 9)]);
    }
}
