//! `callveil keys verify`: everything that is wrong with a ring.

use serde_json::json;

use crate::{
    cli::{failure::Failure, ring::RingArgs, say::print},
    keyring::file::RingFileError,
};

pub(super) fn verify(ring: &RingArgs, json: bool) -> Result<(), Failure> {
    let (file, config) = ring.file()?;
    let error = match file.read() {
        Ok(ring) => {
            config.check_pins(&ring)?;
            config.check_approval(&ring)?;
            let (id, generation, keys) = (ring.id().to_string(), ring.generation(), ring.keys().len());
            if json {
                return print(json!({"ok": true, "ring": id, "generation": generation, "keys": keys}));
            }
            return print(format_args!("ok: ring {id}, generation {generation}, {keys} keys"));
        }
        Err(error) => error,
    };
    let faults = match &error {
        RingFileError::Refused { faults, .. } => faults.0.iter().map(ToString::to_string).collect(),
        other => vec![other.to_string()],
    };
    if json {
        print(json!({"ok": false, "faults": faults}))?;
    } else {
        faults.iter().try_for_each(print)?;
    }
    Err(Failure::config(format_args!("{} is refused", file.path().display())))
}
