//! Locking where what is guarded is whole at any time, also after a thread panicked.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// The lock of `mutex`, poisoned or not.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
