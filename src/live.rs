//! What is in use now: the ring that requests map with, and what they did with it. Reloading swaps it, requests read it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use arc_swap::ArcSwap;
use jiff::Timestamp;

use crate::{auth::Clients, ids::KeyId, tokenizer::Tokenizer};

/// The shared state of a replica.
pub struct Live {
    tokenizer: ArcSwap<Tokenizer>,
    clients: ArcSwap<Clients>,
    decoded: Mutex<HashMap<KeyId, Decoded>>,
    /// Random, made at this start, so that two answers can be told to come from one process.
    pub instance: String,
    /// When this process started.
    pub started: Timestamp,
}

/// How much was decoded with one key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Decoded {
    /// UIDs, since the start.
    pub count: u64,
    /// When the last of them was.
    pub last: Option<Timestamp>,
}

impl Live {
    /// A replica that starts with these.
    pub fn new(tokenizer: Tokenizer, clients: Clients, instance: String, started: Timestamp) -> Self {
        Self {
            tokenizer: ArcSwap::from_pointee(tokenizer),
            clients: ArcSwap::from_pointee(clients),
            decoded: Mutex::default(),
            instance,
            started,
        }
    }

    /// The tokenizer of this moment; a request keeps the one it began with.
    pub fn tokenizer(&self) -> Arc<Tokenizer> {
        self.tokenizer.load_full()
    }

    /// The clients of this moment.
    pub fn clients(&self) -> Arc<Clients> {
        self.clients.load_full()
    }

    /// Counts UIDs that were decoded at `now`.
    pub fn count_decoded(&self, opened: impl Iterator<Item = (KeyId, u64)>, now: Timestamp) {
        let mut opened = opened.peekable();
        if opened.peek().is_none() {
            return;
        }
        let mut decoded = self.decoded.lock().unwrap_or_else(PoisonError::into_inner);
        for (id, count) in opened {
            let entry = decoded.entry(id).or_default();
            entry.count += count;
            entry.last = entry.last.max(Some(now));
        }
    }

    /// How much was decoded with the key `id`.
    pub fn decoded(&self, id: KeyId) -> Decoded {
        self.decoded.lock().unwrap_or_else(PoisonError::into_inner).get(&id).copied().unwrap_or_default()
    }
}
