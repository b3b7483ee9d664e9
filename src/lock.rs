//! Locking of data that is consistent at all times, even after a thread has panicked.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks `mutex`, whether it is poisoned or not.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
