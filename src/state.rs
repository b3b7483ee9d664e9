//! What is in use now: the ring, the clients and the terms for answering requests, and counts of what was done with
//! them. Reloads replace them, and requests read them.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use arc_swap::{ArcSwap, Guard};
use jiff::Timestamp;
use tokio::{
    sync::{Notify, watch},
    time::timeout,
};

use crate::{
    auth::Clients,
    ids::KeyId,
    lately::{Decoded, Lately, Opened},
    limits::Terms,
    lock::lock,
    phone::TrunkZeroRegions,
    tokenizer::{Tokenizer, batch::KeyUse},
    usage::Usage,
};

/// The shortest time between two looks at the ring file that requests ask for.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// How long a request waits for such a look.
const LOOK_WAIT: Duration = Duration::from_millis(100);

/// How long a look at the files may take before it is reported as hanging.
pub const LOOK_PATIENCE: Duration = Duration::from_secs(5);

/// The shared state of a replica.
pub struct ReplicaState {
    tokenizer: ArcSwap<Tokenizer>,
    clients: ArcSwap<Clients>,
    terms: Arc<ArcSwap<Terms>>,
    decoded: Mutex<Opened<{ usize::MAX }>>,
    reloads: Mutex<Reloads>,
    looks: Mutex<Looks>,
    look_wanted: Notify,
    looks_done: watch::Sender<u64>,
    /// Random, made at this start. It shows whether two answers come from one process, and the ids of its requests
    /// begin with it.
    pub instance: String,
    /// When this process started.
    pub started: Timestamp,
}

/// The outcome of the last reloads.
#[derive(Clone, Debug, Default)]
pub struct Reloads {
    /// Why the key ring on disk is not in use, if it is not.
    pub ring: Option<NotInUse>,
    /// Why the configuration on disk is not in use, if it is not.
    pub config_refused: Option<String>,
    /// Reloads that were refused, since the start.
    pub failures: u64,
    /// When the ring in use was loaded.
    pub ring_since: Option<Timestamp>,
}

/// Why a key ring is not in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotInUse {
    /// It was refused for this reason.
    Refused(String),
    /// It waits for these signatures.
    Awaits(String),
}

impl Reloads {
    /// Why the key ring on disk is refused, if it is.
    pub fn ring_refused(&self) -> Option<&str> {
        if let Some(NotInUse::Refused(reason)) = &self.ring { Some(reason) } else { None }
    }

    /// Whose signatures the key ring on disk waits for, if it waits for any.
    pub fn ring_awaits(&self) -> Option<&str> {
        if let Some(NotInUse::Awaits(what)) = &self.ring { Some(what) } else { None }
    }
}

#[derive(Default)]
struct Looks {
    /// Whether the last look that a request asked for is still to be done.
    wanted: bool,
    /// When a request last asked for a look.
    last: Option<Instant>,
    /// When the look under way began, whoever asked for it.
    began: Option<Instant>,
}

impl ReplicaState {
    /// The state of a replica that starts with these.
    pub fn new(tokenizer: Tokenizer, clients: Clients, terms: Terms, instance: String, started: Timestamp) -> Self {
        Self {
            tokenizer: ArcSwap::from_pointee(tokenizer),
            clients: ArcSwap::from_pointee(clients),
            terms: Arc::new(ArcSwap::from_pointee(terms)),
            decoded: Mutex::default(),
            reloads: Mutex::new(Reloads { ring_since: Some(started), ..Reloads::default() }),
            looks: Mutex::default(),
            look_wanted: Notify::new(),
            looks_done: watch::channel(0).0,
            instance,
            started,
        }
    }

    /// The current tokenizer. The guard keeps it while a reload puts another in use.
    pub fn tokenizer(&self) -> Guard<Arc<Tokenizer>> {
        self.tokenizer.load()
    }

    /// The current clients.
    pub fn clients(&self) -> Guard<Arc<Clients>> {
        self.clients.load()
    }

    /// The current terms.
    pub fn terms(&self) -> Guard<Arc<Terms>> {
        self.terms.load()
    }

    /// Access to the current terms at any time, for a listener, which needs nothing else of the state.
    pub fn all_terms(&self) -> Arc<ArcSwap<Terms>> {
        self.terms.clone()
    }

    /// Puts another ring in use.
    pub fn use_tokenizer(&self, tokenizer: Tokenizer, now: Timestamp) {
        self.tokenizer.store(Arc::new(tokenizer));
        lock(&self.reloads).ring_since = Some(now);
    }

    /// Makes the ring in use write numbers of these regions with their trunk prefix.
    pub fn use_trunk_zero(&self, regions: TrunkZeroRegions) {
        let ring = self.tokenizer().ring().clone();
        let tokenizer = Tokenizer::without_self_test(ring, regions).expect("this ring is in use");
        tokenizer.warm_up();
        self.tokenizer.store(Arc::new(tokenizer));
    }

    /// Accepts calls on these terms from now on.
    pub fn use_terms(&self, terms: Terms) {
        self.terms.store(Arc::new(terms));
    }

    /// Lets these clients call instead of the earlier ones.
    pub fn use_clients(&self, clients: Clients) {
        self.clients.store(Arc::new(clients));
    }

    /// The outcome of the last reloads.
    pub fn reloads(&self) -> Reloads {
        lock(&self.reloads).clone()
    }

    /// Notes why the ring on disk is not in use, or that it is (`None`). Returns whether that is news.
    pub fn note_ring(&self, reason: Option<NotInUse>) -> bool {
        let mut reloads = lock(&self.reloads);
        let news = reloads.ring != reason;
        reloads.failures += u64::from(news && matches!(reason, Some(NotInUse::Refused(_))));
        reloads.ring = reason;
        news
    }

    /// Notes why the configuration on disk is not in use, or that it is (`None`).
    pub fn note_config(&self, refused: Option<String>) {
        let mut reloads = lock(&self.reloads);
        reloads.failures += u64::from(refused.is_some());
        reloads.config_refused = refused;
    }

    /// Counts that a certificate was refused.
    pub fn count_refused_certificate(&self) {
        lock(&self.reloads).failures += 1;
    }

    /// Counts UIDs that were decoded at `now`, for the replica and for the client whose `usage` this is.
    pub fn count_decoded(&self, uses: &[(usize, KeyId, KeyUse)], usage: &Usage, now: Timestamp) {
        if uses.iter().all(|(.., uses)| uses.opened == 0) {
            return;
        }
        let opened = || uses.iter().map(|(index, id, uses)| (*index, *id, uses.opened));
        lock(&self.decoded).add(opened(), now);
        usage.count_opened(opened(), now);
    }

    /// How much was decoded with the key `id`: since the start, and in the last hour and day before `now`.
    pub fn decoded(&self, id: KeyId, now: Timestamp) -> (Decoded, Lately) {
        lock(&self.decoded).of_key(id, now)
    }

    /// Asks for a look at the ring file now, and waits briefly for it. Returns whether a look finished.
    ///
    /// There is one look at a time, and at most one a second, however many requests ask. No request waits for a look
    /// that hangs.
    pub async fn look(&self) -> bool {
        let mut done = {
            let mut looks = lock(&self.looks);
            let is_recent = looks.last.is_some_and(|last| last.elapsed() < LOOK_INTERVAL);
            if looks.is_stuck() || (is_recent && !looks.wanted) {
                return false;
            }
            if !is_recent {
                // This asks again if the look before never finished.
                (looks.wanted, looks.last) = (true, Some(Instant::now()));
                self.look_wanted.notify_one();
            }
            self.looks_done.subscribe()
        };
        timeout(LOOK_WAIT, done.changed()).await.is_ok()
    }

    /// Completes when a request wants the ring file looked at.
    pub async fn look_wanted(&self) {
        self.look_wanted.notified().await;
    }

    /// Notes that a look begins.
    pub fn look_begins(&self) {
        lock(&self.looks).began = Some(Instant::now());
    }

    /// Notes that a look is over. If it was done for requests, those that wait are told.
    pub fn look_ends(&self, for_requests: bool) {
        let mut looks = lock(&self.looks);
        looks.began = None;
        if for_requests {
            looks.wanted = false;
            self.looks_done.send_modify(|done| *done += 1);
        }
    }

    /// Whether a look at the files has taken too long already.
    pub fn is_look_stuck(&self) -> bool {
        lock(&self.looks).is_stuck()
    }
}

impl Looks {
    fn is_stuck(&self) -> bool {
        self.began.is_some_and(|began| began.elapsed() >= LOOK_PATIENCE)
    }
}
