//! Locks.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks a mutex. What it guards is consistent after every statement, so a panic of another holder spoils nothing.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
