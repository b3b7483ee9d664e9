//! `callveil inspect`: what a UID shows without being decrypted.

use clap::Args;
use jiff::Timestamp;
use serde_json::json;

use super::{failure::Failure, ring::RingArgs, say::print};
use crate::uid::Uid;

#[derive(Args)]
pub(super) struct InspectArgs {
    /// The UID
    uid: String,
    #[command(flatten)]
    ring: RingArgs,
    /// As JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &InspectArgs) -> Result<(), Failure> {
    let uid = Uid::parse(&args.uid).map_err(|error| Failure::failed(format_args!("malformed_uid: {error}")))?;
    let (ring, now) = (args.ring.ring()?, Timestamp::now());
    let Some(key) = ring.key(uid.key_id) else {
        return Err(Failure::failed(format_args!("unknown_key: key {} is not in this ring", uid.key_id)));
    };
    let state = ring.state(key, now).name();
    if args.json {
        return print(json!({
            "key": key.id.to_string(), "state": state, "created": key.created.to_string(),
            "activates": key.activates.to_string(), "region": key.region, "numbers": key.numbers,
        }));
    }
    print(format_args!("key {}: {state}, made {}, region {}, {}", key.id, key.created, key.region, key.numbers))
}
