//! Loads a new key ring and a changed configuration while requests go on.
//!
//! The content of the file is compared, not its times: watches and times miss Kubernetes' symlink swaps and writes
//! within one tick of the clock. If a new ring is refused, the ring in use stays.

use std::{
    fmt::Display,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::{
    signal::unix::Signal,
    sync::Notify,
    task::{JoinError, JoinHandle, spawn_blocking},
    time::{MissedTickBehavior, interval, timeout},
};
use tracing::{info, warn};

use crate::{
    audit::Audit,
    auth::Clients,
    config::{Config, Overrides, Settings},
    keyring::file::{ContentHash, RingFile},
    limits::Terms,
    memory,
    phone::TrunkZeroRegions,
    server::tls::Tls,
    state::{LOOK_PATIENCE, NotInUse, ReplicaState},
    tokenizer::Tokenizer,
};

/// How often the file is looked at.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Keeps a replica up to date.
pub struct Reloader {
    /// The state that requests use.
    pub state: Arc<ReplicaState>,
    /// Where the ring is.
    pub ring: RingFile,
    /// The regions whose numbers are dialled with their trunk prefix.
    pub trunk_zero: TrunkZeroRegions,
    /// Where the configuration is, if it is in a file.
    pub config: Option<ConfigFile>,
    /// The certificates in use.
    pub tls: Vec<Arc<Tls>>,
    /// The log that records what was taken up or refused.
    pub audit: Arc<Audit>,
    /// The hash of the content that was last looked at, whether it is in use or refused.
    pub seen: Option<ContentHash>,
}

/// The configuration of a running replica.
pub struct ConfigFile {
    /// Where it is.
    pub path: PathBuf,
    /// The settings that flags override.
    pub overrides: Overrides,
    /// The settings that are in use.
    pub settings: Settings,
}

impl Reloader {
    /// Looks at the files on each `hangup`, every second, and when a request asks for it. The task ends only if a look
    /// panics.
    pub fn start(mut self, mut hangup: Signal) -> JoinHandle<()> {
        let (asked, audit) = (Arc::new(Notify::new()), self.audit.clone());
        let ask = asked.clone();
        tokio::spawn(async move {
            // SIGHUP is handled even while a look hangs: somebody moved the audit log away and waits for a new one.
            while hangup.recv().await.is_some() {
                info!("SIGHUP: reloading");
                audit.reopen();
                ask.notify_one();
            }
        });
        let mut poll = interval(POLL_INTERVAL);
        poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let state = self.state.clone();
        tokio::spawn(async move {
            loop {
                let (is_asked, for_requests) = tokio::select! {
                    () = asked.notified() => (true, false),
                    // A request waits only for a look that began after the request asked for it.
                    () = state.look_wanted() => (false, true),
                    _ = poll.tick() => (false, false),
                };
                state.look_begins();
                // The file system may be slow, or gone for a while, and no request may wait for it.
                let looked = finish(spawn_blocking(move || {
                    self.look_at_all(is_asked);
                    // On this thread, keys were set up and old keys were read once more.
                    memory::wipe_stack();
                    self
                }));
                // The panic was already reported where it happened.
                let Ok(reloader) = looked.await else { return };
                self = reloader;
                state.look_ends(for_requests);
            }
        })
    }

    /// Runs in a stack frame of its own, which is wiped afterwards.
    #[inline(never)]
    fn look_at_all(&mut self, is_asked: bool) {
        if is_asked {
            self.seen = None;
            self.reload_config();
        }
        self.look();
        self.look_at_certificates();
    }

    fn look(&mut self) {
        match self.ring.read_if_other_than(self.seen) {
            Ok(None) => {}
            Ok(Some((ring, hash))) => {
                self.seen = Some(hash);
                let (now, current) = (Timestamp::now(), self.state.tokenizer());
                if let Err(error) = current.ring().check_successor(&ring, now) {
                    return self.refuse(error);
                }
                if let Err(awaited) = self.ring.approval().check(&ring) {
                    return self.note(Some(NotInUse::Awaits(awaited.to_string())));
                }
                if ring.hash() == current.ring().hash() {
                    return self.note(None);
                }
                let tokenizer = match Tokenizer::new(ring, self.trunk_zero.clone()) {
                    Ok(tokenizer) => tokenizer,
                    Err(error) => return self.refuse(error),
                };
                tokenizer.warm_up();
                self.state.use_tokenizer(tokenizer, now);
                self.note(None);
                // This is reported only now, so that everyone who reads it finds the ring in use.
                let tokenizer = self.state.tokenizer();
                let ring = tokenizer.ring();
                self.record(
                    "keyring",
                    json!({
                        "generation": ring.generation(), "ring_hash": ring.hash().to_string(),
                        "primary": ring.primary(now).id.to_string(),
                    }),
                );
                info!(generation = ring.generation(), ring_hash = %ring.hash(), primary = %ring.primary(now).id,
                    pending = ring.pending(now).next().map(|key| key.id.to_string()), "key ring reloaded");
            }
            Err(refused) => {
                self.seen = refused.content;
                self.note(Some(NotInUse::Refused(refused.error.to_string())));
            }
        }
    }

    /// Records that `what` was taken up or refused.
    fn record(&self, what: &str, mut fields: Value) {
        fields["what"] = what.into();
        if let Value::Object(fields) = fields {
            self.audit.event("reload", fields);
        }
    }

    fn refuse(&self, reason: impl Display) {
        let reason = format!("key ring {} is refused: {reason}", self.ring.path().display());
        self.note(Some(NotInUse::Refused(reason)));
    }

    fn note(&self, reason: Option<NotInUse>) {
        if !self.state.note_ring(reason.clone()) {
            return;
        }
        match reason {
            Some(NotInUse::Refused(reason)) => {
                self.record("keyring", json!({"refused": reason}));
                warn!(reason, "keeping the key ring in use");
            }
            Some(NotInUse::Awaits(reason)) => {
                self.record("keyring", json!({"awaits": reason}));
                warn!(reason, "the key ring waits for approval");
            }
            None => info!("the key ring file is the ring in use again"),
        }
    }

    fn look_at_certificates(&self) {
        for tls in &self.tls {
            let Some(taken) = tls.reload_if_changed(Timestamp::now()) else { continue };
            let path = tls.path().display();
            match taken {
                Ok(()) => {
                    self.record("certificate", json!({"file": path.to_string()}));
                    info!(%path, "certificate reloaded");
                }
                Err(error) => {
                    self.state.count_refused_certificate();
                    self.record("certificate", json!({"refused": error.to_string()}));
                    warn!(reason = %error, "keeping the certificate in use");
                }
            }
        }
    }

    /// Takes up those settings that can change while running. All others need a restart.
    fn reload_config(&mut self) {
        let Some(ConfigFile { path, overrides, settings }) = &mut self.config else { return };
        let config = match Config::read(path, overrides.clone()) {
            Ok(config) => config,
            Err(error) => {
                self.state.note_config(Some(error.to_string()));
                self.record("clients", json!({"refused": error.to_string()}));
                warn!(%error, "keeping the configuration in use");
                return;
            }
        };
        config.doubts().iter().for_each(|doubt| warn!("{doubt}"));
        let (changed, restart_wanted) = settings.take_up(config.settings);
        if self.trunk_zero != config.trunk_zero_regions {
            self.trunk_zero = config.trunk_zero_regions;
            self.state.use_trunk_zero(self.trunk_zero.clone());
        }
        let limits = Arc::new(config.terms.limits.taken_up_by(&self.state.terms().limits));
        self.state.use_terms(Terms { limits, ..config.terms });
        let names: Vec<_> = config.clients.iter().map(|client| client.username.as_str()).collect();
        self.record("clients", json!({"clients": names, "changed": changed, "restart_wanted": restart_wanted}));
        let clients = config.clients.len();
        let before = self.state.clients();
        self.state.use_clients(Clients::new(config.clients).continuing(&before, Instant::now()));
        self.state.note_config(None);
        if !restart_wanted.is_empty() {
            let keys = restart_wanted.join(", ");
            warn!(keys, "settings changed that take effect only at the start: restart this replica");
        }
        info!(clients, changed = changed.join(", "), "configuration reloaded");
    }
}

/// Waits for the end of a look, however long it takes, and reports a look that takes too long.
async fn finish(mut look: JoinHandle<Reloader>) -> Result<Reloader, JoinError> {
    if let Ok(done) = timeout(LOOK_PATIENCE, &mut look).await {
        return done;
    }
    warn!(seconds = LOOK_PATIENCE.as_secs(), "reading the files on disk hangs: changes are not loaded until it ends");
    let done = look.await;
    info!("reading the files on disk has ended");
    done
}
