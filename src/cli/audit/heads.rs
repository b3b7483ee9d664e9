//! The heads of chains, as logged on stderr.

use std::{
    collections::HashMap,
    io,
    path::PathBuf,
    sync::{Arc, atomic::AtomicU64},
};

use serde::Deserialize;

use super::{source::Source, unwrap::Piece};
use crate::{
    audit::chain::{Head, Instance, LineHash},
    cli::failure::Failure,
};

/// A line of callveil's own log on stderr.
#[derive(Deserialize)]
struct OwnLog<'l> {
    #[expect(dead_code, reason = "it only has to be there")]
    timestamp: &'l str,
    #[expect(dead_code, reason = "it only has to be there")]
    level: &'l str,
    target: &'l str,
    #[serde(default)]
    message: String,
    #[serde(default)]
    instance: String,
    #[serde(default)]
    lines: u64,
    #[serde(default)]
    hash: String,
}

/// Whether this is a line of callveil's own log on stderr, which some collect together with the audit log.
pub(super) fn is_own_log(text: &[u8]) -> bool {
    serde_json::from_slice::<OwnLog<'_>>(text).is_ok_and(|log| log.target.starts_with("callveil"))
}

/// The last head of each chain in the logs of stderr.
pub(super) fn heads_of(logs: &[PathBuf]) -> Result<HashMap<Instance, Head>, Failure> {
    let mut heads: HashMap<Instance, Head> = HashMap::new();
    let read = Arc::new(AtomicU64::new(0));
    for source in Source::all(logs).map_err(Failure::failed)? {
        let read = source.read(0, &read, |_, piece| {
            let (Piece::Message(text) | Piece::Aside(text)) = piece else { return Ok(()) };
            let Ok(log) = serde_json::from_slice::<OwnLog<'_>>(text) else { return Ok(()) };
            if let (Ok(instance), Some(hash), "audit head") =
                (log.instance.as_bytes().try_into(), LineHash::from_hex(log.hash.as_bytes()), &*log.message)
            {
                let head = heads.entry(instance).or_default();
                if head.lines < log.lines {
                    *head = Head { lines: log.lines, hash };
                }
            }
            Ok::<(), io::Error>(())
        });
        read.map_err(|error| Failure::failed(format_args!("cannot read {}: {error}", source.name())))?;
    }
    if heads.is_empty() {
        return Err(Failure::failed("no log of stderr tells of an \"audit head\""));
    }
    Ok(heads)
}
