//! How many sandboxes a key has.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The creations of each key that are under way at this replica, and so are not listed yet.
#[derive(Debug, Default)]
pub(crate) struct Creations {
    running: Mutex<HashMap<String, usize>>,
}

/// Counts as a sandbox until it is dropped.
#[derive(Debug)]
pub(crate) struct Place<'a> {
    creations: &'a Creations,
    owner: String,
}

impl Creations {
    /// Takes a place, if the key has fewer sandboxes than its limit. `listed` is how many there are besides.
    pub(crate) fn take_place(&self, owner: &str, listed: usize, limit: usize) -> Option<Place<'_>> {
        let mut running = self.lock();
        let count = running.entry(owner.to_owned()).or_default();
        if listed + *count >= limit {
            return None;
        }
        *count += 1;
        Some(Place {
            creations: self,
            owner: owner.to_owned(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, usize>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut running = self.creations.lock();
        if let Some(count) = running.get_mut(&self.owner) {
            *count -= 1;
            if *count == 0 {
                running.remove(&self.owner);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn creations_under_way_count() {
        let creations = Creations::default();
        let first = creations.take_place("ci", 1, 3).unwrap();
        let second = creations.take_place("ci", 1, 3).unwrap();
        assert!(creations.take_place("ci", 1, 3).is_none());
        assert!(creations.take_place("other", 1, 3).is_some());
        drop((first, second));
        assert!(creations.lock().is_empty());
    }
}
