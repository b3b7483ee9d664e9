//! Approval by m of n: whose signatures a replica wants on a ring besides the ring's own.

use std::fmt;

use super::{
    KeyRing,
    note::{Name, Verifier},
};

/// So many of these have to have signed a ring. The default wants nobody.
#[derive(Clone, Debug, Default)]
pub struct Approval {
    approvers: Vec<Verifier>,
    needed: usize,
}

impl Approval {
    /// `needed` of `approvers`, who are as many, or more.
    pub fn new(approvers: Vec<Verifier>, needed: usize) -> Self {
        Self { approvers, needed }
    }

    /// Who may approve.
    pub fn approvers(&self) -> &[Verifier] {
        &self.approvers
    }

    /// How many have to.
    pub fn needed(&self) -> usize {
        self.needed
    }

    /// Whether enough of them have signed `ring`, which was read with them.
    ///
    /// # Errors
    /// [`Awaited`], where some more have to.
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
