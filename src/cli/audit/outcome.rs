//! The outcome of reading logs: what is wrong with them, as text for people.

use super::Name;
use crate::{
    audit::verify::{
        Found,
        fault::{Fault, Location, Wrong},
    },
    cli::{failure::Failure, say::tell},
};

/// Maximum locations that are shown for each kind of trouble.
const SHOWN: usize = 10;

/// One kind of trouble, and where it is.
#[derive(Default)]
pub(super) struct Trouble {
    pub(super) count: u64,
    pub(super) locations: Vec<Location>,
}

impl Trouble {
    pub(super) fn note(&mut self, location: Location) {
        self.count += 1;
        if self.locations.len() < SHOWN {
            self.locations.push(location);
        }
    }
}

/// The outcome of reading logs.
pub(super) struct Outcome {
    /// What is wrong, as text.
    pub(super) wrong: Vec<String>,
    /// Lines that a crash tore, as text.
    pub(super) torn: Vec<String>,
    /// How many things are wrong.
    pub(super) count: u64,
    pub(super) chains: Vec<Found>,
    pub(super) lines: u64,
    pub(super) in_no_chain: u64,
    pub(super) names: Vec<String>,
}

impl Outcome {
    /// The file and line of a location, as text.
    pub(super) fn at(&self, location: Location) -> String {
        format!("{}:{}", self.names[location.file], location.line)
    }

    /// Adds the starts that the logs of stderr do not mention.
    pub(super) fn miss_heads(&mut self) {
        let unknown = self.chains.iter().filter(|found| !found.has_head);
        let told: Vec<_> = unknown
            .map(|found| {
                let (location, name) = (self.at(found.location), Name(&found.instance));
                format!("{location}: the logs from stderr do not mention start {name}")
            })
            .collect();
        self.count += told.len() as u64;
        self.wrong.extend(told);
    }

    /// Starts without a recorded end: each may still be running, or a crash cut it off.
    pub(super) fn open(&self) -> impl Iterator<Item = &Found> {
        self.chains.iter().filter(|found| !found.is_ended)
    }

    /// Reports on stderr what is wrong, and fails if anything is.
    pub(super) fn judge(&self) -> Result<(), Failure> {
        for what in self.torn.iter().chain(&self.wrong) {
            tell(what);
        }
        match self.count + self.torn.len() as u64 {
            0 => Ok(()),
            1 => Err(Failure::failed(
                "these logs are incomplete or damaged: see above (`callveil audit verify` shows more)",
            )),
            count => Err(Failure::failed(format_args!(
                "these logs are incomplete or damaged, for {count} reasons: see above \
                 (`callveil audit verify` shows more)"
            ))),
        }
    }
}

/// A fault, as text.
pub(super) fn told(fault: &Fault, at: &impl Fn(Location) -> String) -> String {
    let location = fault.location.map(|location| format!("{}: ", at(location))).unwrap_or_default();
    let lines = if fault.first == fault.last {
        format!("line {} of {}", fault.first, Name(&fault.instance))
    } else {
        format!("lines {} to {} of {}", fault.first, fault.last, Name(&fault.instance))
    };
    let what = match fault.wrong {
        Wrong::Altered => "does not fit the one before: one of them was altered",
        Wrong::Repeated => "is there twice",
        Wrong::Reordered => "is out of order: it comes after a later line",
        Wrong::Moved => "not here, but in another file",
        Wrong::Missing => "missing before this",
        Wrong::Cut => "missing, although the log on stderr has the head of the last of them",
        Wrong::Remade => "differs from the head in the log on stderr: the chain was rebuilt",
        Wrong::TooMuch => "and more: too many starts, or too many lines out of order, to list",
    };
    format!("{location}{lines}: {what}")
}
