//! The sandboxes of a shared pool that its filler is connected to.

use std::collections::HashMap;
use std::sync::Arc;

use sandbox_core::{Access, Uid, metrics};
use tokio::time::Instant;

use crate::pool::waiting::Check;

/// A sandbox that waits, and that this filler keeps attached. Dropping it deletes nothing.
pub(super) struct Attached {
    pub(super) access: Arc<Access>,
    /// Since when it waits.
    pub(super) since: Instant,
    /// Whether it can be claimed, as far as this filler knows.
    pub(super) is_offered: bool,
    /// Whether the backend has listed it. It may list a new one late.
    pub(super) was_listed: bool,
    counted: Option<metrics::WaitingSandbox>,
}

/// All of them, by uid.
#[derive(Default)]
pub(super) struct Members(HashMap<Uid, Attached>);

impl Attached {
    pub(super) fn new(access: Arc<Access>, since: Instant, is_offered: bool) -> Self {
        Self {
            access,
            since,
            is_offered,
            was_listed: false,
            counted: is_offered.then(metrics::WaitingSandbox::new),
        }
    }
}

impl Members {
    pub(super) fn insert(&mut self, attached: Attached) {
        self.0.insert(attached.access.uid.clone(), attached);
    }

    pub(super) fn remove(&mut self, uid: &Uid) -> Option<Attached> {
        self.0.remove(uid)
    }

    pub(super) fn get(&self, uid: &Uid) -> Option<&Attached> {
        self.0.get(uid)
    }

    pub(super) fn contains(&self, uid: &Uid) -> bool {
        self.0.contains_key(uid)
    }

    /// Notes that the backend lists it, and whether it can be claimed.
    pub(super) fn note_listed(&mut self, uid: &Uid, is_waiting: bool) {
        if let Some(attached) = self.0.get_mut(uid) {
            attached.was_listed = true;
            if is_waiting {
                attached.set_offered();
            }
        }
    }

    /// Notes that it can be claimed.
    pub(super) fn note_offered(&mut self, uid: &Uid) {
        if let Some(attached) = self.0.get_mut(uid) {
            attached.set_offered();
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Uid, &Attached)> {
        self.0.iter()
    }

    /// Returns the checks of all of them.
    pub(super) fn checks(&self, parts: &Arc<crate::parts::Parts>) -> Vec<Check> {
        let check =
            |attached: &Attached| Check::new(Arc::clone(parts), Arc::clone(&attached.access));
        self.0.values().map(check).collect()
    }

    /// Removes all of them, and returns their uids.
    pub(super) fn clear(&mut self) -> Vec<Uid> {
        std::mem::take(&mut self.0).into_keys().collect()
    }
}

impl Attached {
    fn set_offered(&mut self) {
        self.is_offered = true;
        self.counted
            .get_or_insert_with(metrics::WaitingSandbox::new);
    }
}
