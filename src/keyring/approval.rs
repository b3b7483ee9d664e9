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

#[cfg(test)]
mod tests {
    use super::{
        super::{
            RING_NAME,
            json::{to_note, with_line},
            key::Status,
            samples::{key, signer},
        },
        *,
    };

    #[test]
    fn a_ring_waits_until_enough_have_signed_it() {
        let people = [signer("alice", 5), signer("bob", 6), signer("carol", 7)];
        let approvers: Vec<Verifier> = people.iter().map(|person| person.verifier().clone()).collect();
        let approval = Approval::new(approvers.clone(), 2);
        assert_eq!((approval.approvers().len(), approval.needed()), (3, 2));
        let mut note = to_note(&signer(RING_NAME, 1), 7, None, &[], &[key("3fa1", Status::Enabled, 0)]);
        let check = |approval: &Approval, note: &[u8]| {
            let ring = KeyRing::from_note(note, |_, _| true, &approvers).expect("a ring");
            approval.check(&ring).map_err(|awaited| awaited.to_string())
        };
        let waits = |given, missing| {
            Err(format!("generation 7 waits for approval: {given} of 2 have signed it; not yet {missing}"))
        };
        assert_eq!(check(&Approval::default(), &note), Ok(()));
        assert_eq!(check(&approval, &note), waits(0, "alice, bob, carol"));
        note = with_line(&note, &people[1]).expect("it is his first");
        assert_eq!(check(&approval, &note), waits(1, "alice, carol"));
        note = with_line(&note, &people[0]).expect("it is her first");
        assert_eq!(check(&approval, &note), Ok(()));
        note = with_line(&note, &people[2]).expect("it is her first");
        assert_eq!(check(&approval, &note), Ok(()));
    }
}
