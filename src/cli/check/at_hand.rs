//! Compares the replicas with the ring at hand: the file that they are to get.

use std::path::PathBuf;

use jiff::Timestamp;

use super::Fleet;
use crate::{
    cli::{failure::Failure, ring::RingArgs, say::countdown},
    keyring::KeyRing,
    operate::ring_in_use::RingInUse,
};

/// The ring at hand.
pub(super) enum AtHand {
    /// The ring that was read from the file at this path.
    Ring(PathBuf, Box<KeyRing>),
    /// The ring could not be read, for this reason.
    Unread(String),
    /// No ring was named, and there is none at the default path.
    Nothing,
}

/// The ring that `args` name, or the one at the default path if it exists and can be read.
///
/// # Errors
/// A ring that is named cannot be read.
pub(super) fn read(args: &RingArgs) -> Result<AtHand, Failure> {
    let path = args.locate()?.0.path;
    let is_named = args.keyring.is_some() || args.config.is_some();
    if !is_named && !path.exists() {
        return Ok(AtHand::Nothing);
    }
    match args.ring() {
        Ok(ring) => Ok(AtHand::Ring(path, Box::new(ring))),
        Err(failure) if is_named => Err(failure),
        Err(failure) => Ok(AtHand::Unread(failure.message)),
    }
}

impl Fleet {
    /// Reports replicas whose ring differs from the ring at hand.
    pub(super) fn compare(&mut self, at_hand: &AtHand) {
        let (path, ring) = match at_hand {
            AtHand::Ring(path, ring) => (path.display(), ring),
            AtHand::Unread(reason) => return self.notes.push(format!("not compared with the ring at hand: {reason}")),
            AtHand::Nothing => return,
        };
        let (id, hash, generation) = (ring.id().to_string(), ring.hash().to_string(), ring.generation());
        let mut problems = Vec::new();
        for (url, replica) in &self.replicas {
            let theirs = replica.generation;
            if replica.ring != id {
                problems.push(format!("{url} uses another ring than {path}"));
            } else if theirs < generation {
                problems.push(format!("{url} is behind: it has generation {theirs}, and {path} has {generation}"));
            } else if theirs > generation {
                problems.push(format!("{url} is ahead: it has generation {theirs}, and {path} has only {generation}"));
            } else if replica.ring_hash != hash {
                problems.push(format!(
                    "{url} and {path} have generation {generation} with different content: two copies were \
                     changed (`keys merge` joins them)"
                ));
            }
        }
        if problems.is_empty() && !self.replicas.is_empty() {
            self.notes.push(format!("those that answered have generation {generation}, as {path} has"));
        }
        // A key that no replica has is in none of their answers.
        for key in ring.pending(Timestamp::now()) {
            let is_known = |replica: &RingInUse| replica.keys.iter().any(|theirs| theirs.id == key.id);
            if !self.replicas.is_empty() && !self.replicas.iter().any(|(_, replica)| is_known(replica)) {
                let left = countdown(self.asked, key.activates);
                problems.push(format!("key {} of {path} activates in {left}, and no replica has it", key.id));
            }
        }
        self.problems.append(&mut problems);
    }
}
