//! The memory that the bodies and answers of all requests share.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// A bound on bytes that are held at once.
#[derive(Debug)]
pub struct Budget {
    max: usize,
    held: AtomicUsize,
}

impl Budget {
    /// A bound of `max` bytes.
    pub fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { max, held: AtomicUsize::new(0) })
    }

    /// A share that holds no bytes yet.
    pub fn share(self: &Arc<Self>) -> Share {
        Share { budget: self.clone(), bytes: 0 }
    }

    /// The largest share that there can be, in bytes.
    pub fn max(&self) -> usize {
        self.max
    }
}

/// There is no room for so many bytes now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exhausted;

/// The part of a budget that one request holds. Dropping it gives that part back.
#[derive(Debug)]
pub struct Share {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Share {
    /// Takes `bytes` more.
    ///
    /// # Errors
    /// [`Exhausted`], with nothing taken.
    pub fn add(&mut self, bytes: usize) -> Result<(), Exhausted> {
        let room = |held: usize| held.checked_add(bytes).filter(|held| *held <= self.budget.max);
        self.budget.held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room).map_err(|_| Exhausted)?;
        self.bytes += bytes;
        Ok(())
    }

    /// Gives back all but `bytes`.
    pub fn shrink_to(&mut self, bytes: usize) {
        let excess = self.bytes.saturating_sub(bytes);
        self.budget.held.fetch_sub(excess, Ordering::Relaxed);
        self.bytes -= excess;
    }

    /// How many bytes it holds.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.shrink_to(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_never_exceed_the_budget_and_come_back() {
        let budget = Budget::new(100);
        let (mut one, mut other) = (budget.share(), budget.share());
        assert_eq!(one.add(60), Ok(()));
        assert_eq!(other.add(41), Err(Exhausted));
        assert_eq!(other.add(usize::MAX), Err(Exhausted));
        assert_eq!(other.add(40), Ok(()));
        one.shrink_to(10);
        assert_eq!((one.bytes(), other.add(50)), (10, Ok(())));
        drop((one, other));
        assert_eq!(budget.share().add(100), Ok(()));
    }
}
