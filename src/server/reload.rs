//! Picking up a new key ring, and changed clients, while requests go on.
//!
//! The file's content is looked at, not its times: watches and times miss Kubernetes' symlink swaps and writes within
//! one tick of the clock. The ring in use stays on any refusal.

use std::{fmt::Display, io, path::PathBuf, sync::Arc, time::Duration};

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::{
    signal::unix::{SignalKind, signal},
    time::{MissedTickBehavior, interval},
};
use tracing::{info, warn};

use crate::{
    audit::Audit,
    auth::Clients,
    config::{Config, Overrides},
    keyring::{
        approval::Awaited,
        file::{ContentHash, RingFile},
    },
    live::Live,
    memory,
    phone::TrunkZeroRegions,
    server::tls::Tls,
    tokenizer::Tokenizer,
};

/// How often the file is looked at.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Keeps a replica up to date.
pub struct Reloader {
    /// What is in use.
    pub live: Arc<Live>,
    /// Where the ring is.
    pub ring: RingFile,
    /// The regions whose numbers are dialled with their trunk prefix.
    pub trunk_zero: TrunkZeroRegions,
    /// Where the clients are, if they are in a file, and what the flags said instead of it.
    pub config: Option<(PathBuf, Overrides)>,
    /// The certificate in use, if there is one.
    pub tls: Option<Arc<Tls>>,
    /// Where what was taken up, or refused, is recorded.
    pub audit: Arc<Audit>,
    /// The content that was last looked at, in use or refused.
    pub seen: Option<ContentHash>,
}

impl Reloader {
    /// Looks on SIGHUP, every second, and when a request wants it; for good.
    ///
    /// # Errors
    /// The operating system's, where it takes no signal handler.
    pub fn start(mut self) -> io::Result<()> {
        let mut hangup = signal(SignalKind::hangup())?;
        let mut poll = interval(POLL_INTERVAL);
        poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let live = self.live.clone();
        tokio::spawn(async move {
            loop {
                let (asked, wanted) = tokio::select! {
                    _ = hangup.recv() => {
                        info!("SIGHUP: reloading");
                        self.audit.reopen();
                        self.seen = None;
                        (true, false)
                    }
                    // Only a look that began after a request asked for it is the one that it waits for.
                    () = live.look_wanted() => (false, true),
                    _ = poll.tick() => (false, false),
                };
                // The file system may be slow, or gone for a while: no request is to wait for it.
                let looked = tokio::task::spawn_blocking(move || {
                    self.look_at_all(asked);
                    // Keys were set up, and old ones read once more, on this thread.
                    memory::wipe_stack();
                    self
                });
                match looked.await {
                    Ok(reloader) => self = reloader,
                    Err(error) => {
                        let reason = "the reloader ended: restart this replica to change its keys";
                        live.note_ring(Some(reason.to_owned()));
                        warn!(panicked = error.is_panic(), reason);
                        return;
                    }
                }
                if wanted {
                    live.look_done();
                }
            }
        });
        Ok(())
    }

    /// In a frame of its own, which is wiped after it.
    #[inline(never)]
    fn look_at_all(&mut self, asked: bool) {
        if asked {
            self.reload_clients();
        }
        self.look();
        self.look_at_certificate();
    }

    fn look(&mut self) {
        match self.ring.read_if_other_than(self.seen) {
            Ok(None) => {}
            Ok(Some((ring, hash))) => {
                self.seen = Some(hash);
                let (now, current) = (Timestamp::now(), self.live.tokenizer());
                if let Err(error) = current.ring().check_successor(&ring, now) {
                    return self.refuse(error);
                }
                if let Err(awaited) = self.ring.approval().check(&ring) {
                    return self.wait_for(&awaited);
                }
                if ring.hash() == current.ring().hash() {
                    return self.note(None);
                }
                let tokenizer = Tokenizer::new(ring, self.trunk_zero.clone());
                if let Err(error) = tokenizer.self_test() {
                    return self.refuse(error);
                }
                tokenizer.warm_up();
                self.live.use_tokenizer(tokenizer, now);
                self.note(None);
                // Told only now: whoever reads it finds it so.
                let tokenizer = self.live.tokenizer();
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
                self.note(Some(refused.error.to_string()));
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
        self.note(Some(format!("key ring {} is refused: {reason}", self.ring.path().display())));
    }

    fn wait_for(&self, awaited: &Awaited) {
        self.live.note_ring(None);
        if self.live.note_awaited(Some(awaited.to_string())) {
            self.record("keyring", json!({"awaits": awaited.to_string()}));
            warn!(reason = %awaited, "the key ring waits for approval");
        }
    }

    fn note(&self, refused: Option<String>) {
        let reason = refused.clone();
        let awaited = self.live.note_awaited(None);
        if self.live.note_ring(refused) || awaited && reason.is_none() {
            match reason {
                Some(reason) => {
                    self.record("keyring", json!({"refused": reason}));
                    warn!(reason, "keeping the key ring in use");
                }
                None => info!("the key ring file is the ring in use again"),
            }
        }
    }

    fn look_at_certificate(&self) {
        let Some(tls) = &self.tls else { return };
        match tls.reload_if_changed() {
            None => {}
            Some(Ok(())) => {
                self.live.note_certificate(None);
                self.record("certificate", json!({}));
                info!("certificate reloaded");
            }
            Some(Err(error)) if self.live.note_certificate(Some(error.to_string())) => {
                self.record("certificate", json!({"refused": error.to_string()}));
                warn!(%error, "keeping the certificate in use");
            }
            Some(Err(_)) => {}
        }
    }

    /// Takes up the clients of the configuration; all else in it wants a restart.
    fn reload_clients(&self) {
        let Some((path, overrides)) = &self.config else { return };
        match Config::read(path, overrides.clone()) {
            Ok(config) => {
                let names: Vec<_> = config.clients.iter().map(|client| client.username.as_str()).collect();
                self.record("clients", json!({"clients": names}));
                let clients = config.clients.len();
                self.live.use_clients(Clients::new(config.clients).continuing(&self.live.clients()));
                self.live.note_config(None);
                info!(clients, "clients reloaded");
            }
            Err(error) => {
                self.live.note_config(Some(error.to_string()));
                self.record("clients", json!({"refused": error.to_string()}));
                warn!(%error, "keeping the clients in use");
            }
        }
    }
}
