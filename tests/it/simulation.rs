//! Many small worlds: replicas with their own clocks and disks, and a ring that is rotated in the meantime.
//!
//! The model is the real one. Time, disks, people and the look of `operate::reload` at the file are simulated. Each
//! world is determined by its seed, except for the materials of keys. These come from the system, but nothing depends
//! on them.
//!
//! # The claim
//! At any instant, every running replica can open the UIDs that any running replica would make, if
//!
//! 1. **Clocks**: no two clocks, including that of the ring's writer, differ by more than `skew`.
//! 2. **Delivery**: at most `delay` after a generation is written, it or a newer one is in place for each replica.
//!    Only newer files replace it until a running replica has looked at it ([`LOOK`]). After that any file may
//!    replace it, since a replica keeps what it has ([`KeyRing::check_successor`]).
//! 3. **Lead**: a new key activates at least `delay + LOOK + skew` after it is written, and a second more, because
//!    activations are whole seconds, rounded down. So everybody has the key when the fastest clock reaches its time,
//!    even if it was made at the last moment. A pending key is only disabled, or enabled again, while its activation
//!    *so far* is more than `delay + LOOK + skew` ahead. Later, some replicas may already use it while others no longer
//!    have it, and a replica whose clock has passed that activation refuses a ring that moves it.
//! 4. **Retirement**: a key that has been active is only disabled, or enabled again, when the primary has been active
//!    for `skew`. Before that, the slowest clock has not reached the primary's time and still uses the key before.
//! 5. **Restarts** forget the ring in use, so only the file in place tells the new process what it knew. That file must
//!    be genuine, and at least as new as the newest that was in place before. One of these ensures it ([`Carriage`]):
//!    files arrive in order; or `ring_id` and `min_generation` are pinned, and the latter is raised with each
//!    delivery, so that a replica does not start with an older file; or a replica is only started while the newest file
//!    is there.
//!
//! Every running replica refuses a file that has the ring's own id and a high enough generation but altered or missing
//! keys. A starting replica cannot refuse it, whatever its pins. So nothing starts on such a file in these worlds, and
//! 5 demands that the file is genuine.

use std::{fmt, path::PathBuf};

use callveil::{
    config::KeyringConfig,
    ids::KeyId,
    keyring::{
        KeyRing,
        key::{Key, Status},
        rotation::{self, ChangeError, Export, Haste},
        successor::NotASuccessor,
    },
};
use jiff::Timestamp;
use serde_json::Value;

use crate::{
    random::{Random, Run, is_replay, seeds, with_seeded_id},
    rings,
};

/// Milliseconds. Instants count from the making of the ring, by the writer's clock.
type Millis = i64;

/// How long a running replica may take to look at a file that changed (specification, section 4.4).
const LOOK: Millis = 2_000;

/// The instant 0: in the middle of a second, so that it is not a whole second.
const EPOCH: Millis = 1_800_000_000_500;

/// How many worlds test the claim.
const RUNS: u64 = 120_000;

/// How many rings' histories the worlds share, since making keys is slow.
const HISTORIES: u64 = 600;

#[test]
fn every_replica_opens_what_any_replica_makes() {
    let mut total = Statistics::default();
    let mut histories: Vec<Option<History>> = (0..HISTORIES).map(|_| None).collect();
    for seed in seeds(RUNS) {
        let _run = Run(seed);
        let place = usize::try_from(seed % HISTORIES).unwrap();
        let history = histories[place].get_or_insert_with(|| History::new(seed % HISTORIES, Terms::kept));
        if let Some(found) = World::new(history, seed, Carriage::any).run(&mut total) {
            panic!("{found}\n{}", history.told());
        }
    }
    println!("{total}");
    if total.runs >= RUNS {
        assert!(total.refused.iter().all(|refused| *refused > 1000), "{total}");
        assert_eq!((total.wrongly_taken, total.wrongly_refused), (0, 0), "{total}");
        assert!(total.taken > 100_000 && total.started > 10_000 && total.pinned_out > 1000, "{total}");
    }
}

/// Runs worlds with other terms, some of which must be counterexamples. Returns how many are.
fn counterexamples(terms: fn(&mut Random) -> Terms, carriage: fn(&mut Random) -> Carriage) -> usize {
    const RUNS: u64 = 6_000;
    const HISTORIES: u64 = 60;
    let histories: Vec<_> = (0..HISTORIES).map(|seed| History::new(seed, terms)).collect();
    let mut total = Statistics::default();
    let found: Vec<_> = (0..RUNS)
        .filter_map(|seed| {
            let history = &histories[usize::try_from(seed % HISTORIES).unwrap()];
            World::new(history, seed, carriage).run(&mut total).map(|found| (seed, found))
        })
        .collect();
    let (seed, first) = found.first().expect("a counterexample");
    println!("{total}; {} counterexamples, the first with seed {seed}: {first}", found.len());
    found.len()
}

#[test]
fn a_lead_that_is_a_second_too_short_is_found() {
    // Another second is the one that rounding may take.
    let terms = |random: &mut Random| {
        let kept = Terms::kept(random);
        Terms { lead: kept.lead - 2_000, ..kept }
    };
    assert!(counterexamples(terms, Carriage::any) > 10);
}

#[test]
fn a_key_that_is_retired_a_second_too_early_is_found() {
    let terms = |random: &mut Random| {
        let kept = Terms::kept(random);
        Terms { settled: (kept.settled - 1_000).max(0), ..kept }
    };
    assert!(counterexamples(terms, Carriage::any) > 10);
}

#[test]
fn a_pending_key_that_is_changed_too_late_is_found() {
    let terms = |random: &mut Random| Terms { recall: 1, ..Terms::kept(random) };
    assert!(counterexamples(terms, Carriage::any) > 10);
}

#[test]
fn restarts_on_older_files_are_found() {
    assert!(counterexamples(Terms::kept, |_| Carriage::Careless) > 10);
}

/// The rules that the people who manage a ring and its replicas follow.
#[derive(Clone, Copy, Debug)]
struct Terms {
    /// From writing a file until it is in place everywhere.
    delay: Millis,
    /// The greatest difference between any two clocks.
    skew: Millis,
    /// From a rotation to the requested activation.
    lead: Millis,
    /// From the primary's activation until another key is retired or returns.
    settled: Millis,
    /// From the change of a pending key to its activation so far.
    recall: Millis,
}

impl Terms {
    /// The minimum that is claimed to be enough.
    fn kept(random: &mut Random) -> Self {
        let delay = *random.pick(&[0, 700, 10_000, 300_000, 3_600_000, 43_200_000]).unwrap();
        let skew = *random.pick(&[0, 900, 2_000, 10_000, 60_000, 600_000]).unwrap();
        let lead = delay + LOOK + skew + 1_000;
        Self { delay, skew, lead, settled: skew, recall: delay + LOOK + skew + 1 }
    }
}

/// How files reach replicas, and when replicas start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carriage {
    /// Older files never replace newer ones.
    Ordered,
    /// Files come in any order. Replicas have pins, and `min_generation` is raised with each delivery.
    Pinned,
    /// Files come in any order. A replica is only started while the newest delivered file is in place.
    Careful,
    /// Files come in any order, and a replica is started on whatever is in place.
    Careless,
}

impl Carriage {
    /// One of those that are claimed to be enough.
    fn any(random: &mut Random) -> Self {
        *random.pick(&[Self::Ordered, Self::Pinned, Self::Careful]).unwrap()
    }
}

/// The defect of a file that no running replica may accept.
#[derive(Clone, Copy, Debug)]
enum Forgery {
    Torn,
    OtherRing,
    Twin,
    Vanished,
    Altered,
}

impl Forgery {
    const ALL: [Self; 5] = [Self::Torn, Self::OtherRing, Self::Twin, Self::Vanished, Self::Altered];
}

/// An index in [`History::files`].
type FileId = usize;

/// The generations of a ring, and files that only look like one.
struct History {
    terms: Terms,
    /// The generations from 1 on; then, for each of them, its forgeries. `None` is not a ring.
    files: Vec<Option<KeyRing>>,
    /// When each generation was written.
    written: Vec<Millis>,
    /// All instants at which a key activates, by the clock of the replica that looks.
    activations: Vec<Millis>,
    /// What was done.
    steps: Vec<String>,
}

impl History {
    fn new(seed: u64, terms: fn(&mut Random) -> Terms) -> Self {
        let mut random = Random::new(seed ^ 0x4869_7374_6f72_7900);
        let terms = terms(&mut random);
        let mut writer = Writer::new(terms, &mut random);
        for _ in 0..random.within(3..=10) {
            writer.now += random_gap(&mut random, terms);
            while !writer.step(&mut random) {}
        }
        let Writer { ring, plains, written, mut activations, steps, .. } = writer;
        let stranger = rotation::init(timestamp(0), "rules", "CN", &[], Export::Never).unwrap();
        let stranger = with_seeded_id(&stranger, Some(&ring), &mut random);
        let forged = |generation: usize| Forgery::ALL.map(|forgery| forge(forgery, &plains, generation, &stranger));
        let forged: Vec<_> = (0..plains.len()).flat_map(forged).collect();
        let files = plains.iter().chain(&forged).map(|plain| KeyRing::from_note(plain, |_, _| true, &[]).ok());
        activations.sort_unstable();
        activations.dedup();
        Self { terms, files: files.collect(), written, activations, steps }
    }

    fn generations(&self) -> usize {
        self.written.len()
    }

    fn ring(&self, file: FileId) -> &KeyRing {
        self.files[file].as_ref().unwrap()
    }

    fn is_genuine(&self, file: FileId) -> bool {
        file < self.generations()
    }

    fn forged(&self, like: FileId, forgery: Forgery) -> FileId {
        self.generations() + like * Forgery::ALL.len() + forgery as usize
    }

    fn end(&self) -> Millis {
        let last = self.written.iter().chain(&self.activations).max();
        last.expect("there is a first generation") + 2 * self.terms.lead
    }

    fn told(&self) -> String {
        format!("{:?}\n{}", self.terms, self.steps.join("\n"))
    }
}

fn random_gap(random: &mut Random, terms: Terms) -> Millis {
    let most = *random.pick(&[0, terms.delay / 8, terms.lead, 2 * terms.lead]).unwrap();
    random.within(0..=most)
}

fn timestamp(time: Millis) -> Timestamp {
    Timestamp::from_millisecond(EPOCH + time).unwrap()
}

fn millis(time: Timestamp) -> Millis {
    time.as_millisecond() - EPOCH
}

/// A plain file that a replica with the generation `like` must not accept.
fn forge(forgery: Forgery, plains: &[Vec<u8>], like: usize, stranger: &[u8]) -> Vec<u8> {
    if matches!(forgery, Forgery::Torn) {
        return plains[like][..plains[like].len() * (like + 1) / (plains.len() + 1)].to_vec();
    }
    let (mut ring, mut stranger) = (rings::value(&plains[like]), rings::value(stranger));
    let next = (ring["generation"].as_u64().unwrap() + 1).into();
    let keys = ring["keys"].as_array_mut().unwrap();
    let (place, destroyed) = (like % keys.len(), keys.iter().position(|key| key["status"] == "destroyed"));
    match forgery {
        Forgery::Torn => {}
        Forgery::OtherRing => {
            // The same keys, and newer: the name, and who signs, is all that tells.
            ring["ring"] = stranger["ring"].clone();
            ring["signing_key"] = stranger["signing_key"].clone();
            ring["generation"] = next;
        }
        Forgery::Twin => ring["parent"] = "0123456789abcdef".into(),
        Forgery::Vanished => {
            keys[place] = stranger["keys"][0].take();
            ring["generation"] = next;
        }
        Forgery::Altered => {
            match destroyed {
                Some(place) => keys[place] = revived(plains, &keys[place]),
                None if like.is_multiple_of(2) => keys[place]["region"] = "US".into(),
                None => {
                    keys[place]["material"] = stranger["keys"][0]["material"].take();
                    keys[place]["check"] = stranger["keys"][0]["check"].take();
                }
            }
            ring["generation"] = next;
        }
    }
    rings::signed(&ring)
}

/// The destroyed key as it was before it was destroyed.
fn revived(plains: &[Vec<u8>], key: &Value) -> Value {
    plains
        .iter()
        .map(|plain| rings::value(plain))
        .find_map(|mut ring| {
            let keys = ring["keys"].as_array_mut().unwrap();
            keys.iter_mut().find(|old| old["id"] == key["id"] && old["status"] == "enabled").map(Value::take)
        })
        .unwrap()
}

/// The person who manages the ring and follows the terms. Instants count by the writer's clock.
struct Writer {
    terms: Terms,
    now: Millis,
    ring: KeyRing,
    plains: Vec<Vec<u8>>,
    written: Vec<Millis>,
    activations: Vec<Millis>,
    steps: Vec<String>,
}

impl Writer {
    fn new(terms: Terms, random: &mut Random) -> Self {
        let plain = rotation::init(timestamp(0), "rules", "CN", &[], Export::Never).unwrap();
        let plain = with_seeded_id(&plain, None, random);
        let ring = KeyRing::from_note(&plain, |_, _| true, &[]).unwrap();
        let steps = vec![format!("0: made with the key {}", ring.keys()[0].id)];
        // The first key is active for all clocks before anything starts.
        let now = terms.skew + 1_000;
        Self { terms, now, ring, plains: vec![plain], written: vec![0], activations: Vec::new(), steps }
    }

    /// Tries one permitted change. Returns whether it was made.
    fn step(&mut self, random: &mut Random) -> bool {
        match random.below(100) {
            0..40 => self.rotate(random),
            40..62 => {
                self.settle(random);
                self.change(random, "disable", |key, now| key.status == Status::Enabled && key.activates <= now)
            }
            62..74 => self.change(random, "disable", |key, now| key.is_pending(now)),
            74..82 => {
                self.settle(random);
                self.change(random, "enable", |key, now| key.status == Status::Disabled && key.activates <= now)
            }
            82..92 => self.change(random, "enable", |key, now| key.status == Status::Disabled && key.activates > now),
            _ => self.change(random, "destroy", |key, _| key.status == Status::Disabled),
        }
    }

    fn rotate(&mut self, random: &mut Random) -> bool {
        if let Some(pending) = self.ring.pending(timestamp(self.now)).next() {
            self.now = millis(pending.activates) + random_gap(random, self.terms);
        }
        let activates = self.activation(random);
        let (_, revision) =
            rotation::rotate(&self.ring, timestamp(self.now), activates, "rules", "CN", Export::Never).unwrap();
        let plain = with_seeded_id(&revision.next, Some(&self.ring), random);
        let ring = KeyRing::from_note(&plain, |_, _| true, &[]).unwrap();
        let newest = ring.keys().last().expect("it was added").id;
        self.publish("rotate", newest, plain)
    }

    /// The activation of a new key: often as early as permitted.
    fn activation(&self, random: &mut Random) -> Timestamp {
        let more = if random.percent(50) { 0 } else { random.within(0..=4 * self.terms.lead) };
        timestamp(self.now + self.terms.lead + more)
    }

    /// Waits until the primary has been active for long enough, often not longer.
    fn settle(&mut self, random: &mut Random) {
        let waited = if random.percent(50) { 0 } else { random_gap(random, self.terms) };
        loop {
            let settled = millis(self.ring.primary(timestamp(self.now)).activates) + self.terms.settled;
            if settled <= self.now {
                break;
            }
            self.now = settled + waited;
        }
    }

    /// Does `what` to one of the keys that are `fit` for it, if there are any.
    fn change(&mut self, random: &mut Random, what: &str, fit: fn(&Key, Timestamp) -> bool) -> bool {
        let now = timestamp(self.now);
        let keys: Vec<_> = self.ring.keys().iter().filter(|key| fit(key, now)).collect();
        let Some(key) = random.pick(&keys) else { return false };
        let (id, ahead) = (key.id, millis(key.activates) - self.now);
        if what != "destroy" && ahead > 0 && ahead < self.terms.recall {
            return false;
        }
        let changed = match what {
            "disable" => rotation::disable(&self.ring, now, id),
            "enable" => rotation::enable(&self.ring, now, id, self.activation(random)),
            _ => rotation::destroy(&self.ring, now, id, Haste::Early),
        };
        match changed {
            Ok(revision) => self.publish(what, id, revision.next.to_vec()),
            Err(
                ChangeError::Primary(_)
                | ChangeError::PrimaryAtOnce(_)
                | ChangeError::LastEnabled(_)
                | ChangeError::Pending { .. },
            ) => false,
            Err(error) => panic!("{what} {id}: {error}"),
        }
    }

    fn publish(&mut self, what: &str, id: KeyId, plain: Vec<u8>) -> bool {
        let next = KeyRing::from_note(&plain, |_, _| true, &[]).unwrap();
        self.ring.check_successor(&next, timestamp(self.now)).unwrap();
        self.ring = next;
        self.plains.push(plain);
        self.written.push(self.now);
        let activates = millis(self.ring.key(id).unwrap().activates);
        self.activations.push(activates);
        self.steps.push(format!(
            "{}: generation {}: {what} {id}, which activates at {activates}",
            self.now,
            self.ring.generation()
        ));
        true
    }
}

/// An event of one replica.
#[derive(Clone, Copy, Debug)]
enum Event {
    /// A generation is put in place, for the first time or again.
    Arrive(FileId),
    /// A forgery of the newest delivered file is put in place. Nobody should accept it.
    Forge(Forgery),
    Look,
    Stop,
    Start,
    /// The replica's clock reaches the activation of a key.
    Activate,
}

struct Replica {
    /// Its clock minus the writer's.
    offset: Millis,
    /// The file in place.
    disk: FileId,
    /// The last file that the replica looked at.
    seen: FileId,
    /// The ring in use, while it runs.
    ring: Option<FileId>,
    /// The newest generation that was ever in place.
    delivered: FileId,
    /// Whether it is to be started as soon as possible.
    wanted: bool,
}

/// One run.
struct World<'h> {
    history: &'h History,
    carriage: Carriage,
    replicas: Vec<Replica>,
    /// Sorted by time: when, to which replica, and what.
    events: Vec<(Millis, usize, Event)>,
    pins: KeyringConfig,
    minted: Vec<KeyId>,
}

impl<'h> World<'h> {
    fn new(history: &'h History, seed: u64, carriage: fn(&mut Random) -> Carriage) -> Self {
        let mut random = Random::new(seed);
        let (carriage, skew) = (carriage(&mut random), history.terms.skew);
        // The writer's clock is 0, and one of them.
        let (lowest, between) = (random.within(-skew..=0), random.within(0..=skew));
        let lowest = *random.pick(&[-skew, 0, lowest]).unwrap();
        let replicas = (0..random.within(2..=6)).map(|_| {
            let offset = lowest + *random.pick(&[0, skew, between]).unwrap();
            Replica { offset, disk: 0, seen: 0, ring: Some(0), delivered: 0, wanted: false }
        });
        let replicas: Vec<_> = replicas.collect();
        let pins = KeyringConfig { ring_id: Some(history.ring(0).id()), ..KeyringConfig::at(PathBuf::new()) };
        let mut world = Self { history, carriage, replicas, events: Vec::new(), pins, minted: Vec::new() };
        for replica in 0..world.replicas.len() {
            world.schedule(replica, &mut random);
        }
        world.events.sort_by_key(|(time, ..)| *time);
        world
    }

    /// Schedules the events of one replica.
    fn schedule(&mut self, replica: usize, random: &mut Random) {
        let (history, terms) = (self.history, self.history.terms);
        let (begin, end) = (terms.skew, history.end());
        let mut arrivals: Vec<(Millis, Event)> = Vec::new();
        let mut next_arrival = None;
        for (file, written) in history.written.iter().enumerate().skip(1).rev() {
            // Not at all, where a newer one comes in time.
            if next_arrival.is_some_and(|next| next <= written + terms.delay) && random.percent(30) {
                next_arrival = None;
                continue;
            }
            let delay = if random.percent(40) { terms.delay } else { random.within(0..=terms.delay) };
            next_arrival = Some(written + delay);
            arrivals.push((written + delay, Event::Arrive(file)));
            if random.percent(25) {
                arrivals.push((random.within(*written..=end), Event::Arrive(file)));
            }
        }
        for _ in 0..random.below(4) {
            arrivals.push((random.within(begin..=end), Event::Forge(*random.pick(&Forgery::ALL).unwrap())));
        }
        if random.percent(50) {
            for _ in 0..=random.below(3) {
                let stop = self.moment(begin, end, random);
                let down =
                    if random.percent(50) { random.within(0..=5_000) } else { random.within(0..=2 * terms.lead) };
                self.events.extend([(stop, replica, Event::Stop), (stop + down, replica, Event::Start)]);
            }
        }
        for (time, event) in arrivals {
            let look = if random.percent(40) { LOOK } else { random.within(0..=LOOK) };
            self.events.extend([(time, replica, event), (time + look, replica, Event::Look)]);
        }
        let offset = self.replicas[replica].offset;
        self.events.extend(history.activations.iter().map(|time| (time - offset, replica, Event::Activate)));
    }

    /// Any instant, or one close to an activation.
    fn moment(&self, begin: Millis, end: Millis, random: &mut Random) -> Millis {
        let near = random.pick(&self.history.activations).filter(|_| random.percent(50));
        let skew = self.history.terms.skew;
        near.map_or(random.within(begin..=end), |time| time + random.within(-skew - 5_000..=skew + 5_000)).max(begin)
    }

    /// Runs all events, up to the first counterexample.
    fn run(mut self, total: &mut Statistics) -> Option<Counterexample> {
        total.runs += 1;
        let replay = is_replay();
        for (time, replica, event) in std::mem::take(&mut self.events) {
            let changed = match event {
                Event::Arrive(file) => self.arrive(replica, file, total),
                Event::Forge(forgery) => {
                    let file = self.history.forged(self.replicas[replica].delivered, forgery);
                    self.arrive(replica, file, total)
                }
                Event::Look => self.look(replica, time, total),
                Event::Stop => self.replicas[replica].ring.take().is_some(),
                Event::Start => self.start(replica, total),
                Event::Activate => self.replicas[replica].ring.is_some(),
            };
            if replay {
                let Replica { disk, ring, .. } = self.replicas[replica];
                println!("{time}: replica {replica}: {event:?}: now {disk} in place, {ring:?} in use");
            }
            // Nothing changes between events, nor at one that changes nothing: so this is every instant.
            if changed && let Some(found) = self.check(time, total) {
                return Some(found);
            }
        }
        None
    }

    /// Puts a file in place, unless the claim excludes that. Returns whether another ring came into use.
    fn arrive(&mut self, replica: usize, file: FileId, total: &mut Statistics) -> bool {
        let (history, carriage) = (self.history, self.carriage);
        let it = &mut self.replicas[replica];
        let is_newer = history.is_genuine(file) && file > it.disk;
        let awaited = it.disk != it.seen && history.is_genuine(it.disk) && it.ring.is_some_and(|used| it.disk > used);
        let is_out_of_order = history.is_genuine(file) && file < it.delivered;
        if awaited && !is_newer || carriage == Carriage::Ordered && is_out_of_order {
            return false;
        }
        it.disk = file;
        if history.is_genuine(file) {
            it.delivered = it.delivered.max(file);
        }
        it.wanted && self.start(replica, total)
    }

    /// Does what `operate::reload` does every second.
    fn look(&mut self, replica: usize, time: Millis, total: &mut Statistics) -> bool {
        let history = self.history;
        let it = &mut self.replicas[replica];
        let Some(used) = it.ring else { return false };
        if it.disk == it.seen {
            return false;
        }
        it.seen = it.disk;
        if it.disk == used {
            return false;
        }
        let Some(next) = &history.files[it.disk] else {
            total.refused[0] += 1;
            return false;
        };
        let Err(reason) = history.ring(used).check_successor(next, timestamp(time + it.offset)) else {
            it.ring = Some(it.disk);
            total.taken += 1;
            total.wrongly_taken += u64::from(!history.is_genuine(it.disk));
            return true;
        };
        total.refused[match reason {
            NotASuccessor::OtherRing => 1,
            NotASuccessor::LowerGeneration { .. } => 2,
            NotASuccessor::SameGeneration(_) => 3,
            NotASuccessor::Vanished(_) => 4,
            NotASuccessor::Altered(_) => 5,
            _ => panic!("{reason}"),
        }] += 1;
        total.wrongly_refused += u64::from(history.is_genuine(it.disk) && it.disk > used);
        false
    }

    /// Starts a replica on the file in place. If it cannot start, it is started again when another file comes.
    fn start(&mut self, replica: usize, total: &mut Statistics) -> bool {
        let history = self.history;
        let it = &mut self.replicas[replica];
        let (Some(found), None) = (&history.files[it.disk], it.ring) else {
            it.wanted = it.ring.is_none();
            return false;
        };
        self.pins.min_generation = history.ring(it.delivered).generation();
        let starts = match self.carriage {
            Carriage::Pinned if self.pins.check_pins(found).is_err() => {
                total.pinned_out += 1;
                false
            }
            Carriage::Pinned | Carriage::Ordered => history.is_genuine(it.disk),
            Carriage::Careful => it.disk == it.delivered,
            Carriage::Careless => true,
        };
        it.wanted = !starts;
        if starts {
            (it.ring, it.seen) = (Some(it.disk), it.disk);
            total.started += 1;
        }
        starts
    }

    /// Checks whether all running replicas can open what any of them makes at this instant.
    fn check(&mut self, time: Millis, total: &mut Statistics) -> Option<Counterexample> {
        let running = || self.replicas.iter().filter_map(|it| Some((it, self.history.ring(it.ring?))));
        self.minted.clear();
        for (it, ring) in running() {
            let primary = ring.primary(timestamp(time + it.offset)).id;
            if !self.minted.contains(&primary) {
                self.minted.push(primary);
            }
        }
        let replicas = u64::try_from(running().count()).unwrap();
        total.instants += 1;
        total.mints += replicas * replicas;
        self.minted.iter().find_map(|key| {
            let (_, opener) = running().find(|(_, ring)| ring.key(*key).and_then(Key::material).is_none())?;
            let status = opener.key(*key).map(|key| key.status);
            Some(Counterexample { time, key: *key, generation: opener.generation(), status })
        })
    }
}

/// One replica could not open what another one made.
struct Counterexample {
    time: Millis,
    key: KeyId,
    /// The generation of the replica that was to open it.
    generation: u64,
    /// The key's status in that generation, if it is there.
    status: Option<Status>,
}

impl fmt::Display for Counterexample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = self.status.map_or("unknown".to_owned(), |status| status.to_string());
        write!(
            f,
            "at {} a UID is made with key {}, which is {status} in generation {}",
            self.time, self.key, self.generation
        )
    }
}

/// What happened in all worlds.
#[derive(Default)]
struct Statistics {
    runs: u64,
    instants: u64,
    /// Pairs of a replica that makes a UID and one that is to open it.
    mints: u64,
    taken: u64,
    /// Torn, another ring, older, a twin, a key vanished, a key altered.
    refused: [u64; 6],
    /// Forgeries that were accepted.
    wrongly_taken: u64,
    /// Newer generations that were refused.
    wrongly_refused: u64,
    started: u64,
    pinned_out: u64,
}

impl fmt::Display for Statistics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { runs, instants, mints, taken, refused, started, pinned_out, .. } = self;
        write!(
            f,
            "{runs} runs, {instants} instants, {mints} mints checked, {taken} files taken, {refused:?} refused (torn, another \
             ring, older, twin, vanished, altered), {started} restarts, {pinned_out} kept from starting by pins"
        )
    }
}
