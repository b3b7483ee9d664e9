//! `keys check --html FILE`: the findings as a page.

use std::{io, path::Path};

use http::Uri;
use jiff::Timestamp;

use super::{Fleet, SKEW_MAX, primary_of};
use crate::{
    cli::{bulk, failure::Failure},
    disk::reading,
    keyring::{file::COMPANIONS, key::Status},
    operate::{
        page::{self, Answer, FleetKey, Lag, Span},
        ring_in_use::{KeyInUse, RingInUse},
    },
    version::VERSION,
};

/// Bytes at the beginning of a file that show whether it is one of our pages.
const HEAD_BYTES: u64 = 512;

/// Writes the page completely or not at all. `urls` are the URLs that were asked, in their order.
pub(super) fn write(fleet: &Fleet, urls: &[Uri], path: &Path) -> Result<(), Failure> {
    bulk::write_whole(path, page::fleet(&figures(fleet, urls)).as_bytes())
}

/// Checks that the page may be written to `path`. It may replace another page but nothing else: no key ring, identity,
/// token, configuration or log.
pub(super) fn check(path: &Path) -> Result<(), Failure> {
    let refuse = |why| Err(Failure::usage(format_args!("--html {}: {why}", path.display())));
    let name = path.file_name().unwrap_or_default().as_encoded_bytes();
    if COMPANIONS.iter().any(|suffix| name.ends_with(suffix.as_bytes())) {
        return refuse("files of this name belong to a key ring");
    }
    match reading::start(path, HEAD_BYTES) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        // An empty file may be the lock of a ring, or a log that somebody is about to write.
        Ok(head) if page::is_page(&head) => Ok(()),
        Err(error) if error.kind() != io::ErrorKind::InvalidInput => {
            Err(Failure::failed(format_args!("{}: {error}", path.display())))
        }
        _ => refuse("it is there, and no page that this command wrote"),
    }
}

/// The figures of the page.
fn figures(fleet: &Fleet, urls: &[Uri]) -> page::Fleet {
    let newest = fleet
        .replicas
        .iter()
        .map(|(_, replica)| replica)
        .reduce(|newest, replica| if replica.generation > newest.generation { replica } else { newest });
    let answers = urls.iter().filter_map(|url| {
        let url = url.to_string();
        let silent = fleet.silent.iter().find(|(silent, _)| *silent == url);
        let replica = fleet.replicas.iter().find(|(known, _)| *known == url);
        let answer = match (silent, replica, newest) {
            (Some((_, reason)), _, _) => Err(reason.clone()),
            (None, Some((_, replica)), Some(newest)) => Ok(answer(replica, newest, fleet.asked)),
            // It is the same instance as another, which the notes say.
            _ => return None,
        };
        Some((url, answer))
    });
    page::Fleet {
        now: fleet.asked,
        version: VERSION,
        answers: answers.collect(),
        problems: fleet.problems.clone(),
        notes: to_hand_over(fleet, newest).chain(fleet.notes.iter().cloned()).collect(),
        ring: newest.map(|newest| (newest.ring.clone(), newest.generation, newest.ring_hash.clone())),
        keys: newest.iter().flat_map(|newest| &newest.keys).map(|key| key_of(key, fleet)).collect(),
    }
}

/// The first thing to do: hand the newest ring to every replica that lacks it.
fn to_hand_over<'f>(fleet: &'f Fleet, newest: Option<&'f RingInUse>) -> impl Iterator<Item = String> + use<'f> {
    fleet.replicas.iter().filter_map(move |(url, replica)| {
        let newest = newest.filter(|newest| newest.ring == replica.ring && newest.generation > replica.generation)?;
        let (generation, has) = (newest.generation, replica.generation);
        Some(format!("hand generation {generation} of the key ring to {url}, which has {has}"))
    })
}

fn answer(replica: &RingInUse, newest: &RingInUse, asked: Timestamp) -> Answer {
    let lag = if replica.ring != newest.ring {
        Lag::OtherRing
    } else if replica.generation < newest.generation {
        Lag::Behind(newest.generation - replica.generation)
    } else if replica.ring_hash != newest.ring_hash {
        Lag::Apart
    } else {
        Lag::None
    };
    let ahead = replica.now.duration_since(asked);
    Answer {
        instance: replica.instance.clone(),
        started: replica.started,
        generation: replica.generation,
        hash: replica.ring_hash.clone(),
        primary: primary_of(replica),
        lag,
        refused: replica.refused.clone(),
        awaits: replica.awaits.clone(),
        clock_ahead: (ahead.abs() > SKEW_MAX).then_some(ahead.as_secs()),
    }
}

/// A key of the newest ring, with the figures of all replicas.
fn key_of(key: &KeyInUse, fleet: &Fleet) -> FleetKey {
    let theirs = |replica: &RingInUse| replica.keys.iter().any(|theirs| theirs.id == key.id);
    let missing_on = fleet.replicas.iter().filter(|(_, replica)| !theirs(replica)).map(|(url, _)| url.clone());
    let (opened, last_opened) = fleet.decoded(key.id);
    let span = Span {
        id: key.id.to_string(),
        state: key.state(fleet.asked),
        created: key.created,
        activates: key.activates,
        retired: key.disabled.filter(|_| key.status != Status::Enabled),
    };
    FleetKey { span, missing_on: missing_on.collect(), opened, last_opened }
}
