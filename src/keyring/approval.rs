//! Approval by m of n: the signatures that a replica requires on a ring besides the ring's own.

use std::fmt;

use super::{
    KeyRing,
    note::{Name, Verifier},
};

/// The approvers, and how many of them must have signed a ring. The default requires none.
#[derive(Clone, Debug, Default)]
pub struct Approval {
    approvers: Vec<Verifier>,
    needed: usize,
}

impl Approval {
    /// Requires `needed` of `approvers`. There must be at least that many approvers.
    pub fn new(approvers: Vec<Verifier>, needed: usize) -> Self {
        Self { approvers, needed }
    }

    /// The approvers.
    pub fn approvers(&self) -> &[Verifier] {
        &self.approvers
    }

    /// How many of them must sign.
    pub fn needed(&self) -> usize {
        self.needed
    }

    /// Whether enough of them have signed `ring`, which must have been read with these approvers.
    ///
    /// # Errors
    /// [`Awaited`] if more signatures are needed.
    pub fn check(&self, ring: &KeyRing) -> Result<(), Awaited> {
        if ring.approvals().len() >= self.needed {
            return Ok(());
        }
        let names = self.approvers.iter().map(Verifier::name).filter(|name| !ring.approvals().contains(name));
        let (generation, given) = (ring.generation(), ring.approvals().len());
        Err(Awaited { generation, given, needed: self.needed, missing: names.cloned().collect() })
    }
}

/// A ring that waits for approvals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Awaited {
    generation: u64,
    given: usize,
    needed: usize,
    missing: Vec<Name>,
}

impl fmt::Display for Awaited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { generation, given, needed, missing } = self;
        write!(f, "generation {generation} waits for approval: {given} of {needed} have signed it; not yet")?;
        missing.iter().enumerate().try_for_each(|(at, name)| write!(f, "{} {name}", if at == 0 { "" } else { "," }))
    }
}

impl std::error::Error for Awaited {}
