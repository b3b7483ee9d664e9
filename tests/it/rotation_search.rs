//! Every small world there is: three replicas, and a ring that is rotated twice.
//!
//! `simulation.rs` draws large worlds at random. This file tries all orders of events, breadth first. Files come late, out
//! of order, again, or not at all if a newer one comes in time. Replicas look late, and stop and start at any time. The
//! writer rotates twice and retires the first key, each as soon as the rules allow or a second later. The real functions
//! make, compare and ask the rings. The claim and its terms are those of `simulation.rs`, in whole seconds.

use std::{
    collections::{HashMap, HashSet},
    path::PathBuf,
};

use callveil::{
    config::KeyringConfig,
    keyring::{
        KeyRing,
        key::{Key, Status},
        rotation::{self, ChangeError, Export},
    },
};
use jiff::Timestamp;

use crate::simulation::Carriage;

/// Seconds from writing a file until it, or a newer one, is in place everywhere.
const DELAY: i8 = 1;
/// Seconds between two clocks, at most.
const SKEW: i8 = 1;
/// Seconds until a running replica looks at a file that changed.
const LOOK: i8 = 1;
/// The last second. By then all that the writer does is in use everywhere.
const END: i8 = 13;
/// What the writer's clock shows at second 0.
const EPOCH: i64 = 1_800_000_000;
/// Rotations of the ring.
const ROTATIONS: usize = 2;

/// The rules that the writer follows.
#[derive(Clone, Copy)]
struct Terms {
    /// Seconds from a rotation to the activation of its key.
    lead: i8,
    /// Seconds from the primary's activation until another key is retired.
    settled: i8,
    carriage: Carriage,
}

impl Terms {
    /// The minimum that is claimed to be enough. Events of one second come in any order, hence a second more.
    fn kept(carriage: Carriage) -> Self {
        Self { lead: DELAY + LOOK + SKEW + 1, settled: SKEW, carriage }
    }
}

/// How far the clocks of the replicas are from the writer's: all that are wrong are a second fast, or a second slow.
const CLOCKS: [[i8; 3]; 7] =
    [[0, 0, 0], [0, 0, SKEW], [0, SKEW, SKEW], [SKEW; 3], [-SKEW, 0, 0], [-SKEW, -SKEW, 0], [-SKEW; 3]];

/// Searches all worlds with these clocks, and returns how many there are.
fn search(carriage: Carriage, clocks: &[[i8; 3]]) -> usize {
    let found = Search::new(Terms::kept(carriage), clocks).run();
    let worlds = found.unwrap_or_else(|world| panic!("{carriage:?}: {world}"));
    println!("{carriage:?}: {worlds} worlds");
    worlds
}

#[test]
fn no_order_of_events_loses_a_uid() {
    assert!(search(Carriage::Ordered, &CLOCKS) > 200_000);
    assert!(search(Carriage::Pinned, &CLOCKS[1..2]) > 1_000_000);
}

#[test]
#[ignore = "two minutes and 3 GiB"]
fn no_order_of_events_loses_a_uid_by_any_clocks() {
    for carriage in [Carriage::Ordered, Carriage::Pinned, Carriage::Careful] {
        search(carriage, &CLOCKS);
    }
}

#[test]
fn each_term_is_needed() {
    let kept = Terms::kept(Carriage::Ordered);
    let broken = [
        Terms { lead: kept.lead - 1, ..kept },
        Terms { settled: kept.settled - 1, ..kept },
        Terms { carriage: Carriage::Careless, ..kept },
    ];
    for (at, terms) in broken.into_iter().enumerate() {
        let world = Search::new(terms, &CLOCKS).run().expect_err(&format!("a counterexample of {at}"));
        println!("{world}");
    }
}

fn timestamp(second: i8) -> Timestamp {
    Timestamp::from_second(EPOCH + i64::from(second)).unwrap()
}

fn seconds(time: Timestamp) -> i64 {
    time.as_second() - EPOCH
}

/// The generations of a ring so far, and when each was written.
#[derive(Clone)]
struct History {
    rings: Vec<KeyRing>,
    written: Vec<i8>,
}

impl History {
    fn newest(&self) -> &KeyRing {
        self.rings.last().unwrap()
    }

    fn with(&self, plain: &[u8], now: i8) -> Self {
        let next = KeyRing::from_note(plain, |_, _| true, &[]).unwrap();
        self.newest().check_successor(&next, timestamp(now)).unwrap();
        let mut history = self.clone();
        history.rings.push(next);
        history.written.push(now);
        history
    }

    /// What follows at `now`: a rotation, or the retirement of the first key once it is primary no more. The writer does
    /// not wait for longer than a second.
    fn successors(&self, terms: Terms, now: i8) -> Vec<Self> {
        let earliest = self.written.last().expect("the first is written");
        let may_wait = (*earliest..now - 1).all(|earlier| self.possible(terms, earlier).is_empty());
        if may_wait { self.possible(terms, now) } else { Vec::new() }
    }

    fn possible(&self, terms: Terms, now: i8) -> Vec<Self> {
        let (ring, time) = (self.newest(), timestamp(now));
        let mut successors = Vec::new();
        if ring.keys().len() <= ROTATIONS && ring.pending(time).next().is_none() {
            let activates = timestamp(now + terms.lead);
            let (_, revision) = rotation::rotate(ring, time, activates, "rules", "CN", Export::Never).unwrap();
            successors.push(self.with(&revision.next, now));
        }
        let is_settled = seconds(ring.primary(time).activates) + i64::from(terms.settled) <= i64::from(now);
        let retired = |key: &&Key| key.status == Status::Enabled && key.activates <= time;
        for key in ring.keys().iter().take(1).filter(retired).filter(|_| is_settled) {
            match rotation::disable(ring, time, key.id) {
                Ok(revision) => successors.push(self.with(&revision.next, now)),
                Err(ChangeError::Primary(_) | ChangeError::LastEnabled(_)) => {}
                Err(error) => panic!("{error}"),
            }
        }
        successors
    }
}

/// One of the replicas. A file is the index of a generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Replica {
    /// Its clock minus the writer's, in seconds.
    offset: i8,
    /// The file in place.
    disk: u8,
    /// For how many seconds the file has been in place without a look at it; none where there was one.
    unseen: Option<i8>,
    /// The ring in use, while it runs.
    used: Option<u8>,
    /// The newest file that was ever in place.
    delivered: u8,
}

/// All that there is at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct World {
    second: i8,
    history: usize,
    /// In an order of their own, since it does not matter which of them is which.
    replicas: [Replica; 3],
}

struct Search {
    terms: Terms,
    histories: Vec<History>,
    /// The histories that may follow each of these at each second, once they were asked for.
    followers: HashMap<(usize, i8), Vec<usize>>,
    seen: HashSet<World>,
    next: Vec<World>,
    pins: KeyringConfig,
}

impl Search {
    fn new(terms: Terms, clocks: &[[i8; 3]]) -> Self {
        // The first key is active by all clocks.
        let plain = rotation::init(timestamp(-SKEW), "rules", "CN", &[], Export::Never).unwrap();
        let ring = KeyRing::from_note(&plain, |_, _| true, &[]).unwrap();
        let pins = KeyringConfig { ring_id: Some(ring.id()), ..KeyringConfig::at(PathBuf::new()) };
        let histories = vec![History { rings: vec![ring], written: vec![0] }];
        let mut search =
            Self { terms, histories, followers: HashMap::new(), seen: HashSet::new(), next: Vec::new(), pins };
        let replica = |offset| Replica { offset, disk: 0, unseen: None, used: Some(0), delivered: 0 };
        for offsets in clocks {
            search.add(World { second: 0, history: 0, replicas: offsets.map(replica) });
        }
        search
    }

    /// Goes through all worlds, and returns how many there are, or the first in which a UID cannot be opened.
    fn run(mut self) -> Result<usize, String> {
        while !self.next.is_empty() {
            for world in std::mem::take(&mut self.next) {
                if let Some(key) = self.lost_key(&world) {
                    return Err(format!("UIDs of {key} are made that somebody cannot open: {world:?}"));
                }
                self.expand(world);
            }
        }
        Ok(self.seen.len())
    }

    fn add(&mut self, mut world: World) {
        world.replicas.sort_unstable();
        if self.seen.insert(world) {
            self.next.push(world);
        }
    }

    /// A key with which some running replica makes UIDs and that another one does not have.
    fn lost_key(&self, world: &World) -> Option<String> {
        let rings = &self.histories[world.history].rings;
        let running = || world.replicas.iter().filter_map(|it| Some((it, &rings[usize::from(it.used?)])));
        running().find_map(|(it, ring)| {
            let key = ring.primary(timestamp(world.second + it.offset)).id;
            let opens = |ring: &KeyRing| ring.key(key).and_then(Key::material).is_some();
            running().any(|(_, other)| !opens(other)).then(|| key.to_string())
        })
    }

    /// Adds all worlds that may come next.
    fn expand(&mut self, world: World) {
        for history in self.followers(&world) {
            self.add(World { history, ..world });
        }
        for at in 0..world.replicas.len() {
            for changed in self.changes(&world, world.replicas[at]) {
                let mut next = world;
                next.replicas[at] = changed;
                self.add(next);
            }
        }
        if world.second < END && world.replicas.iter().all(|it| self.may_wait(&world, it)) {
            let older = |it: Replica| Replica { unseen: it.unseen.map(|age| (age + 1).min(LOOK)), ..it };
            self.add(World { second: world.second + 1, replicas: world.replicas.map(older), ..world });
        }
    }

    fn followers(&mut self, world: &World) -> Vec<usize> {
        let place = (world.history, world.second);
        if !self.followers.contains_key(&place) {
            let found = self.histories[world.history].successors(self.terms, world.second);
            let first = self.histories.len();
            self.histories.extend(found);
            self.followers.insert(place, (first..self.histories.len()).collect());
        }
        self.followers[&place].clone()
    }

    /// Whether a second may pass before anything else happens to this replica.
    fn may_wait(&self, world: &World, it: &Replica) -> bool {
        let written = &self.histories[world.history].written;
        let due = written.iter().rposition(|written| written + DELAY <= world.second).unwrap_or(0);
        let looks_in_time = it.used.is_none() || it.unseen.is_none_or(|age| age < LOOK);
        usize::from(it.delivered) >= due && looks_in_time
    }

    /// What may become of a replica within this second.
    fn changes(&self, world: &World, it: Replica) -> Vec<Replica> {
        let rings = &self.histories[world.history].rings;
        let mut changes = Vec::new();
        for file in (0..u8::try_from(rings.len()).unwrap()).filter(|file| *file != it.disk) {
            let awaited = it.unseen.is_some() && it.used.is_some_and(|used| it.disk > used);
            let is_out_of_order = self.terms.carriage == Carriage::Ordered && file < it.delivered;
            if file > it.disk || !awaited && !is_out_of_order {
                // A newer file does not put the look off.
                let unseen = Some(it.unseen.unwrap_or(0));
                changes.push(Replica { disk: file, unseen, delivered: it.delivered.max(file), ..it });
            }
        }
        let found = &rings[usize::from(it.disk)];
        let Some(used) = it.used else {
            if self.starts(it, found, &rings[usize::from(it.delivered)]) {
                changes.push(Replica { used: Some(it.disk), unseen: None, ..it });
            }
            return changes;
        };
        changes.push(Replica { used: None, ..it });
        if it.unseen.is_some() {
            let time = timestamp(world.second + it.offset);
            let is_taken = rings[usize::from(used)].check_successor(found, time).is_ok();
            changes.push(Replica { unseen: None, used: Some(if is_taken { it.disk } else { used }), ..it });
        }
        changes
    }

    /// Whether a replica is started on the file in place.
    fn starts(&self, it: Replica, found: &KeyRing, delivered: &KeyRing) -> bool {
        match self.terms.carriage {
            Carriage::Ordered | Carriage::Careless => true,
            Carriage::Careful => it.disk == it.delivered,
            Carriage::Pinned => {
                let pins = KeyringConfig { min_generation: delivered.generation(), ..self.pins.clone() };
                pins.check_pins(found).is_ok()
            }
        }
    }
}
