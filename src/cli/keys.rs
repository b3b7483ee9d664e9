//! `callveil keys`: make, rotate and look after the keys.

use anstream::eprintln;
use clap::Subcommand;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::{Failure, RingArgs, countdown, make_folder_of, print, print_table};
use crate::{
    keyring::{Key, KeyRing, Status, file::RingFileError, rotation},
    phone,
};

/// The least lead that lets every replica have the file in time without anybody hurrying.
const LEAD_WARN: SignedDuration = SignedDuration::from_mins(10);

#[derive(Subcommand)]
pub(super) enum KeysCommand {
    /// Make a new key ring with one key
    Init {
        #[command(flatten)]
        ring: RingArgs,
        /// The region whose numbers need no country code (ISO 3166-1)
        #[arg(long, value_name = "CC", default_value = "CN")]
        region: String,
    },
    /// Add a key that becomes the primary at a time ahead, on all replicas by themselves
    Rotate {
        #[command(flatten)]
        ring: RingArgs,
        /// How long until then: time enough to hand the file to every replica
        #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = lead, allow_hyphen_values = true)]
        activate_in: SignedDuration,
        /// When, instead (RFC 3339)
        #[arg(long, value_name = "TIME", conflicts_with = "activate_in")]
        activate_at: Option<Timestamp>,
        /// The new key's region [default: the region of the key made last]
        #[arg(long, value_name = "CC")]
        region: Option<String>,
    },
    /// Show the keys
    List {
        #[command(flatten)]
        ring: RingArgs,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Tell everything that is wrong with the key ring
    Verify {
        #[command(flatten)]
        ring: RingArgs,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
}

fn lead(text: &str) -> Result<SignedDuration, String> {
    let lead: SignedDuration = text.parse().map_err(|_| "a duration is such as 24h, 90m or 2d".to_owned())?;
    if lead.is_negative() { Err("it must not be negative".to_owned()) } else { Ok(lead) }
}

pub(super) fn run(command: KeysCommand) -> Result<(), Failure> {
    let now = Timestamp::now();
    match command {
        KeysCommand::Init { ring, region } => init(&ring, &region, now),
        KeysCommand::Rotate { ring, activate_in, activate_at, region } => {
            let activates = match activate_at {
                Some(time) => time,
                None => now.checked_add(activate_in).map_err(|_| Failure::usage("--activate-in is too far ahead"))?,
            };
            rotate(&ring, region.as_deref(), activates, now)
        }
        KeysCommand::List { ring, json } => list(&ring.file()?.read()?, now, json),
        KeysCommand::Verify { ring, json } => verify(&ring, json),
    }
}

fn init(ring: &RingArgs, region: &str, now: Timestamp) -> Result<(), Failure> {
    check_region(region)?;
    let file = ring.file()?;
    make_folder_of(file.path())?;
    let plain = rotation::init(now, phone::NUMBERS_NEWEST, region).map_err(Failure::failed)?;
    let made = file.create(&plain)?;
    eprintln!("made {} with the key {}, which is active", file.path().display(), made.primary(now).id);
    eprintln!("keep a copy where it cannot be lost: without it no UID can be opened");
    Ok(())
}

fn rotate(ring: &RingArgs, region: Option<&str>, activates: Timestamp, now: Timestamp) -> Result<(), Failure> {
    region.map_or(Ok(()), check_region)?;
    let (made, id) = ring.file()?.update(now, |ring| {
        let newest = ring.keys().iter().max_by_key(|key| key.created).map_or("CN", |key| &key.region);
        rotation::rotate(ring, now, activates, phone::NUMBERS_NEWEST, region.unwrap_or(newest))
    })?;
    let key = made.key(id).expect("it was just made");
    eprintln!("key {id} becomes the primary at {} (in {})", key.activates, countdown(now, key.activates));
    eprintln!("generation {}: hand the file to every replica before then", made.generation());
    if key.activates.duration_since(now) < LEAD_WARN {
        eprintln!("warning: a replica that gets the file later than that refuses the UIDs of the others until it does");
    }
    Ok(())
}

fn check_region(region: &str) -> Result<(), Failure> {
    phone::TrunkZeroRegions::new([region]).map(|_| ()).map_err(Failure::usage)
}

fn list(ring: &KeyRing, now: Timestamp, json: bool) -> Result<(), Failure> {
    let primary = ring.primary(now).id;
    let state = |key: &Key| match key.status {
        Status::Enabled if key.id == primary => "primary".to_owned(),
        Status::Enabled if key.is_pending(now) => format!("pending, in {}", countdown(now, key.activates)),
        status => status.to_string(),
    };
    if json {
        let keys = ring.keys().iter().map(|key| {
            json!({
                "id": key.id.to_string(), "status": key.status, "primary": key.id == primary,
                "pending": key.is_pending(now), "created": key.created.to_string(),
                "activates": key.activates.to_string(), "numbers": key.numbers, "region": key.region,
                "check": key.check.to_string(),
            })
        });
        let keys: Vec<_> = keys.collect();
        return print(json!({
            "ring": ring.ring().to_string(), "generation": ring.generation(), "ring_hash": ring.hash().to_string(),
            "keys": keys,
        }));
    }
    print(format_args!("ring {}  generation {}  hash {}", ring.ring(), ring.generation(), ring.hash()))?;
    let rows: Vec<_> = ring
        .keys()
        .iter()
        .map(|key| {
            let (created, activates) = (key.created.to_string(), key.activates.to_string());
            [key.id.to_string(), state(key), created, activates, key.region.to_string(), key.numbers.to_string()]
        })
        .collect();
    print_table(["KEY", "STATE", "CREATED", "ACTIVATES", "REGION", "NUMBERS"], &rows)
}

fn verify(ring: &RingArgs, json: bool) -> Result<(), Failure> {
    let file = ring.file()?;
    match file.read() {
        Ok(ring) if json => {
            print(json!({"ok": true, "ring": ring.ring().to_string(), "generation": ring.generation()}))
        }
        Ok(ring) => print(format_args!(
            "ok: ring {}, generation {}, {} keys",
            ring.ring(),
            ring.generation(),
            ring.keys().len()
        )),
        Err(RingFileError::Refused { faults, .. }) => {
            let faults: Vec<_> = faults.0.iter().map(ToString::to_string).collect();
            if json {
                print(json!({"ok": false, "faults": faults}))?;
            } else {
                faults.iter().try_for_each(print)?;
            }
            Err(Failure::config(format_args!("{} is refused", file.path().display())))
        }
        Err(error) => Err(error.into()),
    }
}
