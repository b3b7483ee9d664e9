//! Stories of a ring file: the `keys` commands, one after another, on a disk that may lose power between any two calls,
//! be full or read-only, or fail a call.
//!
//! After each command, whatever its outcome: the ring loads. It is the last acknowledged one, or one that was tried
//! since. It has all material except that of keys that were to be destroyed. If it says that a key is destroyed, no
//! file beside it holds any part of that key. And nothing blocks the next command.
//!
//! Each story is determined by its seed, except for the materials of keys. These come from the system, but nothing
//! depends on them.

use std::{
    collections::{BTreeMap, HashMap},
    fmt, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard},
};

use age::secrecy::ExposeSecret as _;
use callveil::{
    disk::{
        Access, Disk, Lock,
        exposure::{AtRest, FileMode},
    },
    ids::KeyId,
    keyring::{
        KeyRing,
        file::{RingFile, RingFileError},
        fingerprint::Fingerprint,
        key::{Key, Status},
        note::{KEY_BYTES, Name, Signer},
        rotation::{self, ChangeError, Export, Haste, Revision},
        sealed::{Identities, at_rest},
    },
};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use zeroize::Zeroizing;

use crate::{
    random::{Random, Run, is_replay, seeds, with_seeded_id},
    rings,
};

const RING: &str = "/keys/keyring.json";

#[test]
fn a_plain_ring_survives_crashes_and_failures() {
    let file = RingFile::new(RING, FileMode::Guarded, |_, _| true, None);
    let total = tell(10_000, &file, &[]);
    assert!(
        total.runs < 10_000
            || total.crashes_old > 1_000 && total.crashes_new > 500 && total.destroyed > 1_000 && total.approved > 500,
        "{total}"
    );
}

#[test]
fn an_encrypted_ring_survives_crashes_and_failures() {
    let people: Vec<_> = (0..2).map(|_| Person::new()).collect();
    // Whoever keeps the ring can open it for whomever it is.
    let both = people.iter().map(|person| person.secret.as_str()).collect::<Vec<_>>().join("\n");
    let identities = Identities::read(both.as_bytes(), None).unwrap();
    let file = RingFile::new(RING, FileMode::Guarded, |_, _| true, Some(identities)).or_plain();
    let total = tell(300, &file, &people);
    assert!(total.runs < 300 || total.crashes_old > 100 && total.crashes_new > 10 && total.destroyed > 10, "{total}");
}

/// Runs `runs` stories, and returns statistics about them.
fn tell(runs: u64, file: &RingFile, people: &[Person]) -> Statistics {
    let mut total = Statistics::default();
    for seed in seeds(runs) {
        let _run = Run(seed);
        let mut story = Story::new(seed, file, people);
        for _ in 0..story.random.within(4..=12) {
            story.step(&mut total);
        }
        total.runs += 1;
    }
    println!("{total}");
    total
}

/// A call that a disk can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    Lock,
    Read,
    Remove,
    Create,
    Sync,
    Rename,
    SyncFolder,
}

/// A failure of the disk.
#[derive(Clone, Copy, Debug)]
enum Trouble {
    /// From here on nothing works until the power is back.
    PowerOff,
    /// From here on there is no room for content, though a part of it may be written.
    Full,
    /// From here on nothing can be changed.
    ReadOnly,
    /// Only this one call fails.
    Hiccup,
}

impl Trouble {
    /// The error of `call`, which comes `later` calls after the trouble began.
    fn strikes(self, call: Call, later: usize) -> Option<io::ErrorKind> {
        match self {
            Self::PowerOff => Some(io::ErrorKind::Other),
            Self::Full => matches!(call, Call::Create | Call::Sync).then_some(io::ErrorKind::StorageFull),
            Self::ReadOnly => matches!(call, Call::Lock | Call::Remove | Call::Create | Call::Rename)
                .then_some(io::ErrorKind::ReadOnlyFilesystem),
            Self::Hiccup => (later == 0).then_some(io::ErrorKind::Other),
        }
    }
}

/// A disk that loses what was not synced when the power fails.
#[derive(Default)]
struct Memory(Mutex<Files>);

/// An index in [`Files::contents`].
type ContentId = usize;

#[derive(Default)]
struct Files {
    /// Every content ever written, and whether it is synced.
    contents: Vec<(Vec<u8>, bool)>,
    /// The names that programs see.
    names: BTreeMap<PathBuf, ContentId>,
    /// The names when the folder was last synced.
    lasting: BTreeMap<PathBuf, ContentId>,
    /// Changes of names since then.
    pending: Vec<Naming>,
    /// The next trouble, and after how many calls it comes.
    trouble: Option<(usize, Trouble)>,
    calls: usize,
    /// The trouble that has come, if any.
    struck: Option<Trouble>,
}

/// A change of names in a folder. A journal keeps it completely or not at all.
#[derive(Clone)]
enum Naming {
    Put(PathBuf, ContentId),
    Remove(PathBuf),
    Move { from: PathBuf, to: PathBuf, content: ContentId },
}

impl Naming {
    fn apply(&self, names: &mut BTreeMap<PathBuf, ContentId>) {
        match self {
            Self::Put(path, content) => drop(names.insert(path.clone(), *content)),
            Self::Remove(path) => drop(names.remove(path)),
            Self::Move { from, to, content } => {
                // Where earlier changes were lost, the old name may be another file's.
                if names.get(from) == Some(content) {
                    names.remove(from);
                }
                names.insert(to.clone(), *content);
            }
        }
    }
}

impl Files {
    fn name(&mut self, naming: Naming) {
        naming.apply(&mut self.names);
        self.pending.push(naming);
    }

    fn content(&self, path: &Path) -> io::Result<ContentId> {
        self.names.get(path).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Makes the power fail and come back.
    fn crash(&mut self, random: &mut Random) {
        // Most file systems keep changes of names in order, and lose the last ones; some keep any of them.
        let kept = random.below(self.pending.len() + 1);
        let any = random.percent(50);
        for (at, naming) in std::mem::take(&mut self.pending).iter().enumerate() {
            let lasts = if any { random.percent(50) } else { at < kept };
            if lasts {
                naming.apply(&mut self.lasting);
            }
        }
        self.names.clone_from(&self.lasting);
        for (content, synced) in self.contents.iter_mut().filter(|(_, synced)| !synced) {
            match random.below(4) {
                0 => content.clear(),
                1 => content.truncate(random.below(content.len() + 1)),
                2 => content.fill(0),
                _ => {}
            }
            *synced = true;
        }
    }

    /// All contents that a file may have after a crash at this moment.
    fn reachable(&self) -> impl Iterator<Item = ContentId> {
        let pending = self.pending.iter().filter_map(|naming| match naming {
            Naming::Put(_, content) | Naming::Move { content, .. } => Some(*content),
            Naming::Remove(_) => None,
        });
        self.lasting.values().copied().chain(self.names.values().copied()).chain(pending)
    }
}

impl Memory {
    fn files(&self) -> MutexGuard<'_, Files> {
        self.0.lock().unwrap()
    }

    /// The files, unless this call fails.
    fn call(&self, call: Call) -> Result<MutexGuard<'_, Files>, (MutexGuard<'_, Files>, io::Error)> {
        let mut files = self.files();
        files.calls += 1;
        let Some((at, trouble)) = files.trouble else { return Ok(files) };
        match (files.calls - 1).checked_sub(at).and_then(|later| trouble.strikes(call, later)) {
            Some(error) => {
                files.struck = Some(trouble);
                Err((files, error.into()))
            }
            None => Ok(files),
        }
    }

    /// Makes trouble come after this many calls.
    fn break_after(&self, calls: usize, trouble: Trouble) {
        let mut files = self.files();
        (files.calls, files.trouble) = (0, Some((calls, trouble)));
    }

    /// Whether something went wrong.
    fn has_failed(&self) -> bool {
        self.files().struck.is_some()
    }

    /// Ends the trouble, and returns it if it had come.
    fn repair(&self) -> Option<Trouble> {
        let mut files = self.files();
        files.trouble = None;
        files.struck.take()
    }

    fn ask(&self, call: Call) -> io::Result<MutexGuard<'_, Files>> {
        self.call(call).map_err(|(_, error)| error)
    }
}

impl Disk for Memory {
    fn resolve(&self, path: &Path) -> PathBuf {
        path.to_owned()
    }

    fn lock(&self, _: &Path, _: Option<Access>, _: &dyn Fn()) -> io::Result<Lock> {
        self.ask(Call::Lock).map(|_| Lock::of_nothing())
    }

    fn exists(&self, path: &Path) -> bool {
        self.files().names.contains_key(path)
    }

    fn read(&self, path: &Path) -> io::Result<(Zeroizing<Vec<u8>>, Access)> {
        let files = self.ask(Call::Read)?;
        let content = files.content(path)?;
        Ok((Zeroizing::new(files.contents[content].0.clone()), Access { mode: 0o600, ..Access::default() }))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut files = self.ask(Call::Remove)?;
        if files.names.contains_key(path) {
            files.name(Naming::Remove(path.to_owned()));
        }
        Ok(())
    }

    fn create(&self, path: &Path, bytes: &[u8], _: Option<Access>) -> io::Result<()> {
        let (mut files, bytes, result) = match self.call(Call::Create) {
            Ok(files) => (files, bytes, Ok(())),
            Err((files, error)) if error.kind() == io::ErrorKind::StorageFull => {
                // It ends at a place that differs from run to run.
                let end = bytes.len() * (files.calls % 5) / 5;
                (files, &bytes[..end], Err(error))
            }
            Err((_, error)) => return Err(error),
        };
        if files.names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let content = files.contents.len();
        files.contents.push((bytes.to_vec(), false));
        files.name(Naming::Put(path.to_owned(), content));
        result
    }

    fn sync(&self, path: &Path) -> io::Result<()> {
        let mut files = self.ask(Call::Sync)?;
        let content = files.content(path)?;
        files.contents[content].1 = true;
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut files = self.ask(Call::Rename)?;
        let content = files.content(from)?;
        files.name(Naming::Move { from: from.to_owned(), to: to.to_owned(), content });
        Ok(())
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        assert_eq!(path, Path::new("/keys"));
        let mut files = self.ask(Call::SyncFolder)?;
        files.lasting = files.names.clone();
        files.pending.clear();
        Ok(())
    }
}

/// A recipient of rings.
struct Person {
    secret: String,
    recipient: String,
    identities: Identities,
}

impl Person {
    fn new() -> Self {
        let identity = age::x25519::Identity::generate();
        let secret = identity.to_string().expose_secret().to_owned();
        let identities = Identities::read(secret.as_bytes(), None).unwrap();
        Self { secret, recipient: identity.to_public().to_string(), identities }
    }
}

/// What a command does to the ring.
#[derive(Clone, Debug)]
enum Operation {
    Rotate,
    Enable(KeyId),
    Disable(KeyId),
    Destroy(KeyId),
    Merge,
    SetRecipients(Vec<String>),
    /// Adds a signature to the same text.
    Approve,
}

impl Operation {
    /// Chooses an operation that makes sense for the ring.
    fn choose(current: &KeyRing, fork: Option<&Written>, story: &Story<'_>, random: &mut Random) -> Self {
        let mut sensible = Vec::new();
        if current.pending(story.now).next().is_none() && current.keys().len() < 10 {
            sensible.extend(vec![Self::Rotate; 3]);
        }
        let primary = current.primary(story.now).id;
        for key in current.keys().iter().filter(|key| key.id != primary) {
            match key.status {
                Status::Enabled => sensible.push(Self::Disable(key.id)),
                Status::Disabled => {
                    sensible.extend([Self::Enable(key.id), Self::Destroy(key.id), Self::Destroy(key.id)])
                }
                Status::Destroyed => {}
            }
        }
        if current.claims().is_empty() {
            sensible.push(Self::Approve);
        }
        if fork.is_some() {
            sensible.extend([Self::Merge, Self::Merge, Self::Merge]);
        }
        let people = story.people.iter().filter(|_| random.percent(60)).map(|person| person.recipient.clone());
        let recipients: Vec<_> = people.collect();
        if !recipients.is_empty() && recipients != current.recipients() {
            sensible.extend(vec![Self::SetRecipients(recipients); 2]);
        }
        random.pick(&sensible).unwrap_or(&Self::Rotate).clone()
    }

    fn change(
        &self,
        ring: &KeyRing,
        fork: Option<&Written>,
        now: Timestamp,
        random: &mut Random,
    ) -> Result<Revision, ChangeError> {
        let later = now + SignedDuration::from_hours(1);
        match self {
            Self::Rotate => {
                let (_, revision) = rotation::rotate(ring, now, later, "rules", "CN", Export::Never)?;
                let next = with_seeded_id(&revision.next, Some(ring), random);
                Ok(Revision { next: Zeroizing::new(next), ..revision })
            }
            Self::Enable(id) => rotation::enable(ring, now, *id, later),
            Self::Disable(id) => rotation::disable(ring, now, *id),
            Self::Destroy(id) => rotation::destroy(ring, now, *id, Haste::Early),
            Self::Merge => {
                rotation::merge(ring, &fork.expect("it was chosen for that").ring, now).map(|merged| merged.revision)
            }
            Self::SetRecipients(recipients) => rotation::set_recipients(ring, recipients),
            Self::Approve => unreachable!("it changes no text"),
        }
    }

    /// Whether it is meant to destroy the key.
    fn destroys(&self, key: KeyId, fork: Option<&Written>) -> bool {
        match self {
            Self::Destroy(id) => *id == key,
            Self::Merge => fork.is_some_and(|fork| fork.status(key) == Some(Status::Destroyed)),
            _ => false,
        }
    }
}

/// A generation: the ring, and the materials in its plain file.
#[derive(Clone)]
struct Written {
    ring: KeyRing,
    /// The text of each key's material, by the key's `check`; `None` if the key is destroyed.
    materials: HashMap<String, Option<String>>,
}

impl Written {
    /// `None` if it is not a ring.
    fn new(plain: &[u8]) -> Option<Self> {
        let json = rings::value(plain);
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let keys = json["keys"].as_array().unwrap().iter();
        let materials = keys.map(|key| (text(&key["check"]).unwrap(), text(&key["material"]))).collect();
        Some(Self { ring: KeyRing::from_note(plain, |_, _| true, &[]).ok()?, materials })
    }

    fn status(&self, key: KeyId) -> Option<Status> {
        self.ring.key(key).map(|key| key.status)
    }

    /// Checks that material is missing exactly for the keys that are destroyed.
    fn check_against(&self, before: &Self, destroyed: impl Fn(&Key) -> bool) {
        for key in before.ring.keys() {
            let (check, now) = (key.check.to_string(), self.ring.key(key.id).expect("keys never vanish"));
            let material = &self.materials[&check];
            assert_eq!(material.is_none(), now.status == Status::Destroyed);
            if now.status == Status::Destroyed {
                assert!(key.status == Status::Destroyed || destroyed(key), "key {} was not to be destroyed", key.id);
            } else {
                assert_eq!(*material, before.materials[&check]);
            }
        }
    }
}

/// One sequence of commands on one disk.
struct Story<'p> {
    random: Random,
    disk: Arc<Memory>,
    file: RingFile,
    people: &'p [Person],
    now: Timestamp,
    /// The generation guaranteed by the last success, or found after the last crash.
    floor: Option<Written>,
    /// Generations that were tried since then and failed. A crash may leave any of them, or the floor.
    attempts: Vec<Written>,
    /// The generation read now: the floor, or one of the attempts.
    current: Option<Written>,
    /// Another copy of the ring, which is changed independently.
    fork: Option<Written>,
    /// The content that has an acknowledged signature of the approver.
    approved: Option<Fingerprint>,
    /// Every material that ever existed, by the key's `check`.
    materials: HashMap<String, String>,
    /// The plain content of encrypted files, and which people could open it.
    opened: HashMap<ContentId, (Vec<u8>, Option<Vec<bool>>)>,
}

impl<'p> Story<'p> {
    fn new(seed: u64, file: &RingFile, people: &'p [Person]) -> Self {
        let disk = Arc::new(Memory::default());
        let file = file.clone().on(disk.clone());
        Self {
            random: Random::new(seed),
            disk,
            file,
            people,
            now: Timestamp::from_second(1_800_000_000).unwrap(),
            floor: None,
            attempts: Vec::new(),
            current: None,
            fork: None,
            approved: None,
            materials: HashMap::new(),
            opened: HashMap::new(),
        }
    }

    /// Runs one command, whatever its outcome, and then checks what it left.
    fn step(&mut self, total: &mut Statistics) {
        self.now += SignedDuration::from_secs(self.random.within(0..=100_000));
        if self.random.percent(65) {
            use Trouble::{Full, Hiccup, PowerOff, ReadOnly};
            let trouble =
                *self.random.pick(&[PowerOff, PowerOff, PowerOff, PowerOff, Full, ReadOnly, Hiccup, Hiccup]).unwrap();
            // A change makes thirteen calls, and the last ones matter most.
            let from = *self.random.pick(&[0, 10]).unwrap();
            let calls = usize::try_from(self.random.within(from..=13)).unwrap();
            self.disk.break_after(calls, trouble);
        }
        let (told, acknowledged) = match self.current.clone() {
            None => ("init".to_owned(), self.init()),
            Some(current) => {
                let mut random = Random::new(self.random.next());
                let operation = Operation::choose(&current.ring, self.fork.as_ref(), self, &mut random);
                let done = match &operation {
                    Operation::Approve => self.approve(&current, total),
                    change => self.update(&current, change, total),
                };
                (format!("{operation:?}"), done)
            }
        };
        let struck = self.disk.repair();
        let crashed = matches!(struck, Some(Trouble::PowerOff)) || self.random.percent(20);
        if crashed {
            self.disk.files().crash(&mut self.random);
        }
        if is_replay() {
            let files = self.disk.files();
            println!("{told}: acknowledged {acknowledged}, {struck:?}, crashed {crashed}: {:?}", files.names);
        }
        total.operations += 1;
        total.acknowledged += u64::from(acknowledged);
        total.failures += u64::from(struck.is_some() && !crashed);
        self.look(crashed, total);
        self.diverge();
    }

    /// Makes the ring. Returns whether the first generation was acknowledged.
    fn init(&mut self) -> bool {
        let recipients: Vec<_> = self.people.iter().take(self.random.below(2)).map(|it| it.recipient.clone()).collect();
        let plain = rotation::init(self.now, "rules", "CN", &recipients, Export::Never).unwrap();
        let plain = with_seeded_id(&plain, None, &mut self.random);
        let attempt = self.remember(Written::new(&plain).unwrap());
        match self.file.create(&plain) {
            Ok(_) => self.acknowledge(attempt),
            Err(RingFileError::Io { .. }) if self.disk.has_failed() => self.attempts.push(attempt),
            Err(error) => panic!("{error}"),
        }
        self.attempts.is_empty()
    }

    /// Signs the ring. Returns whether the signature was acknowledged; from then on it must be there.
    fn approve(&mut self, current: &Written, total: &mut Statistics) -> bool {
        let before: Vec<_> = self.disk.files().names.get(&previous()).copied().into_iter().collect();
        match self.file.approve(&approver(), current.ring.hash()) {
            Ok(signed) => {
                let names: Vec<_> = self.disk.files().names.keys().cloned().collect();
                assert!(
                    names.iter().all(|name| name == Path::new(RING) || name == &previous()),
                    "left over: {names:?}"
                );
                assert_eq!((signed.hash(), signed.claims().len()), (current.ring.hash(), 1));
                assert_eq!(self.disk.files().names.get(&previous()).copied(), before.first().copied());
                let signed = Written { ring: signed, materials: current.materials.clone() };
                self.approved = Some(signed.ring.hash());
                // The ring before may be that of a change that failed: no approval makes that its own.
                self.attempts.clear();
                self.floor = Some(signed);
                total.approved += 1;
                true
            }
            Err(RingFileError::Io { .. }) if self.disk.has_failed() => false,
            // What a failure left may hold it already.
            Err(RingFileError::Change(ChangeError::Approved)) => {
                total.refused += 1;
                false
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// Changes the ring. Returns whether the change was acknowledged.
    fn update(&mut self, before: &Written, operation: &Operation, total: &mut Statistics) -> bool {
        let (now, fork, mut random) = (self.now, self.fork.as_ref(), Random::new(self.random.next()));
        let mut attempt = None;
        let clock = || now;
        let updated = self.file.update(clock, |ring, now| {
            assert_eq!(ring.hash(), before.ring.hash());
            let revision = operation.change(ring, fork, now, &mut random)?;
            attempt = Written::new(&revision.next);
            Ok(((), revision))
        });
        if let Some(next) = &attempt {
            next.check_against(before, |key| operation.destroys(key.id, fork));
            let other = fork.filter(|_| matches!(operation, Operation::Merge));
            if let Some(other) = other {
                next.check_against(other, |key| before.status(key.id) == Some(Status::Destroyed));
            }
            let greatest = other.map_or(0, |other| other.ring.generation()).max(before.ring.generation());
            assert_eq!(next.ring.generation(), greatest + 1);
        }
        match updated {
            Ok((ring, ())) => {
                let next = self.remember(attempt.unwrap());
                assert_eq!(ring.hash(), next.ring.hash());
                self.check_previous(before, &next);
                self.acknowledge(next);
                total.destroyed += u64::from(matches!(operation, Operation::Destroy(_)));
                if matches!(operation, Operation::Merge) {
                    total.merged += 1;
                    self.fork = None;
                }
                true
            }
            Err(RingFileError::Io { .. }) if self.disk.has_failed() => {
                if let Some(next) = attempt {
                    let next = self.remember(next);
                    self.attempts.push(next);
                }
                false
            }
            // Two copies may well have disabled different keys, and so all; and some changes want another moment.
            Err(RingFileError::Change(_)) => {
                total.refused += 1;
                false
            }
            Err(RingFileError::Refused { .. }) if matches!(operation, Operation::Merge) => {
                total.refused += 1;
                self.fork = None;
                false
            }
            Err(error) => panic!("{operation:?} found something in its way: {error}"),
        }
    }

    fn remember(&mut self, written: Written) -> Written {
        let materials =
            written.materials.iter().filter_map(|(check, material)| Some((check.clone(), material.clone()?)));
        self.materials.extend(materials);
        written
    }

    /// Checks what a success guarantees, and requires it of the disk from now on.
    fn acknowledge(&mut self, written: Written) {
        let reachable: Vec<_> = self.disk.files().reachable().collect();
        self.check_wiped(&reachable, &written.ring);
        self.check_readers(&reachable, &written.ring);
        let names = self.disk.files().names.keys().cloned().collect::<Vec<_>>();
        assert!(names.iter().all(|name| name == Path::new(RING) || name == &previous()), "left over: {names:?}");
        self.attempts.clear();
        self.floor = Some(written);
    }

    /// Checks that the previous ring is kept, without the destroyed keys.
    fn check_previous(&self, before: &Written, next: &Written) {
        // The command is over, and with it the trouble it was to have.
        self.disk.files().trouble = None;
        let kept = self.file.read_other(&previous());
        let is_wiped = |key: &Key| next.status(key.id) == Some(Status::Destroyed);
        if matches!(kept, Err(RingFileError::Refused { .. })) && before.ring.enabled_newest_first().all(is_wiped) {
            return;
        }
        let kept = kept.unwrap();
        assert_eq!((kept.generation(), kept.keys().len()), (before.ring.generation(), before.ring.keys().len()));
        for (kept, key) in kept.keys().iter().zip(before.ring.keys()) {
            let status = if is_wiped(key) { Status::Destroyed } else { key.status };
            assert_eq!((kept.id, kept.check, kept.status), (key.id, key.check, status));
        }
    }

    /// Reads the ring as the next command does, and checks it.
    fn look(&mut self, crashed: bool, total: &mut Statistics) {
        let found = match self.file.read() {
            Ok(found) => found,
            Err(RingFileError::Io { error, .. }) if error.kind() == io::ErrorKind::NotFound && self.floor.is_none() => {
                self.current = None;
                if crashed {
                    self.attempts.clear();
                }
                return;
            }
            Err(error) => panic!("{error}"),
        };
        let written = self.attempts.iter().rev().chain(&self.floor).find(|written| written.ring.hash() == found.hash());
        let mut written = written.expect("it is the last one acknowledged, or one that was tried since").clone();
        assert!(self.approved != Some(found.hash()) || found.claims().len() == 1, "a signature was lost");
        written.ring = found.clone();
        assert!(self.floor.as_ref().is_none_or(|floor| floor.ring.generation() <= found.generation()));
        let visible: Vec<_> = self.disk.files().names.values().copied().collect();
        self.check_wiped(&visible, &found);
        if let Some(last) = self.attempts.last() {
            let is_new = last.ring.hash() == found.hash();
            if is_new {
                self.check_readers(&visible, &found);
            }
            total.crashes_new += u64::from(crashed && is_new);
            total.crashes_old += u64::from(crashed && !is_new);
        }
        if self.disk.exists(&previous()) {
            match self.file.read_other(&previous()) {
                // All that was enabled in it may be destroyed since.
                Err(RingFileError::Refused { faults, .. }) => {
                    assert_eq!(faults.to_string(), "no key is enabled");
                }
                other => drop(other.unwrap()),
            }
        }
        if crashed {
            self.floor = Some(written.clone());
            self.attempts.clear();
        }
        self.current = Some(written);
    }

    /// Checks that `contents` hold no part of the material of a key that `ring` says is destroyed.
    fn check_wiped(&mut self, contents: &[ContentId], ring: &KeyRing) {
        let destroyed = ring.keys().iter().filter(|key| key.status == Status::Destroyed);
        let destroyed: Vec<_> =
            destroyed.filter_map(|key| self.materials.get(&key.check.to_string())).cloned().collect();
        if destroyed.is_empty() {
            return;
        }
        for content in contents {
            let plain = self.plain(*content).0;
            let text = str::from_utf8(&plain).unwrap();
            let held = destroyed.iter().find(|material| text.contains(&material[..16]));
            assert!(held.is_none(), "destroyed material is in {:?}", self.disk.files().names);
        }
    }

    /// Checks that only the recipients of `ring` can open any of `contents`.
    fn check_readers(&mut self, contents: &[ContentId], ring: &KeyRing) {
        if ring.recipients().is_empty() {
            return;
        }
        for content in contents {
            let (plain, readers) = self.plain(*content);
            assert!(readers.is_some() || !str::from_utf8(&plain).unwrap().contains("material"), "a plain file is left");
            for (person, reads) in self.people.iter().zip(readers.unwrap_or_default()) {
                assert!(
                    !reads || ring.recipients().contains(&person.recipient),
                    "a file is left for another recipient"
                );
            }
        }
    }

    /// The plain content and, if it is encrypted, which of the people can open it.
    fn plain(&mut self, content: ContentId) -> (Vec<u8>, Option<Vec<bool>>) {
        let (raw, synced) = self.disk.files().contents[content].clone();
        if at_rest(&raw) == AtRest::Plain {
            return (raw, None);
        }
        if let Some(opened) = self.opened.get(&content) {
            return opened.clone();
        }
        let opened: Vec<_> = self.people.iter().map(|person| person.identities.open(&raw).ok()).collect();
        let readers = opened.iter().map(Option::is_some).collect();
        let plain = opened.into_iter().flatten().next().map_or_else(Vec::new, |plain| plain.to_vec());
        let opened = (plain, Some(readers));
        if synced {
            self.opened.insert(content, opened.clone());
        }
        opened
    }

    /// Changes another copy of the ring.
    fn diverge(&mut self) {
        let Some(fork) = &self.fork else {
            self.fork = self.current.clone().filter(|_| self.random.percent(15));
            return;
        };
        let mut random = Random::new(self.random.next());
        let operation = Operation::choose(&fork.ring, None, self, &mut random);
        if matches!(operation, Operation::Approve) {
            return;
        }
        if let Ok(revision) = operation.change(&fork.ring, None, self.now, &mut random) {
            let next = Written::new(&revision.next).unwrap();
            self.fork = Some(self.remember(next));
        }
    }
}

fn approver() -> Signer {
    Signer::new(Name::new("alice").unwrap(), &[5; KEY_BYTES])
}

fn previous() -> PathBuf {
    format!("{RING}.previous").into()
}

/// What happened in all stories.
#[derive(Default)]
struct Statistics {
    runs: u64,
    operations: u64,
    acknowledged: u64,
    /// Refusals by the model, which left the ring unchanged.
    refused: u64,
    /// Failures of the disk while the power was on.
    failures: u64,
    /// Crashes during a write that left the old ring.
    crashes_old: u64,
    /// Crashes that left the new ring.
    crashes_new: u64,
    destroyed: u64,
    merged: u64,
    approved: u64,
}

impl fmt::Display for Statistics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { runs, operations, acknowledged, refused, failures, .. } = self;
        let Self { crashes_old, crashes_new, destroyed, merged, approved, .. } = self;
        write!(
            f,
            "{runs} runs, {operations} operations: {acknowledged} acknowledged ({destroyed} destroyed, {merged} merged, {approved} approved), \
             {refused} refused, {failures} failed, {crashes_old} crashed with the old ring and {crashes_new} with the new"
        )
    }
}
