//! The waiting sandboxes that claims of this process try at this moment, so that they do not get in each other's way.

use std::collections::HashSet;
use std::sync::Mutex;

use sandbox_core::Uid;

use crate::lock::lock;

/// The sandboxes that are being claimed.
#[derive(Default)]
pub(super) struct Reservations(Mutex<HashSet<Uid>>);

impl Reservations {
    /// Reserves a sandbox until the result is dropped.
    pub(super) fn reserve(&self, uid: &Uid) -> Reservation<'_> {
        lock(&self.0).insert(uid.clone());
        Reservation {
            all: self,
            uid: uid.clone(),
        }
    }

    /// Whether another claim tries this sandbox.
    pub(super) fn has(&self, uid: &Uid) -> bool {
        lock(&self.0).contains(uid)
    }
}

/// A reserved sandbox.
pub(super) struct Reservation<'a> {
    all: &'a Reservations,
    uid: Uid,
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        lock(&self.all.0).remove(&self.uid);
    }
}
