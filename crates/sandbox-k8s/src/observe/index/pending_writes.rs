//! Own writes that the watch has not shown yet, and instances that were deleted.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sandbox_core::{SandboxState, Uid};

use crate::manifest::labels::{Expiry, Membership};
use crate::observe::status::PodView;

/// A write that the watch has not shown after this time is confirmed by a request.
pub(crate) const CONFIRM_AFTER: Duration = Duration::from_secs(30);
/// How long a deleted instance is remembered, for lists that lag.
pub(crate) const TOMBSTONE_TTL: Duration = Duration::from_secs(600);

/// Own writes, and deleted instances.
#[derive(Debug, Default)]
pub(super) struct PendingWrites {
    writes: HashMap<Uid, Write>,
    deleting: HashMap<Uid, Instant>,
    deleted: HashMap<Uid, Instant>,
}

#[derive(Debug)]
struct Write {
    /// Whether the watch has not shown the instance at all.
    unshown: bool,
    /// The extended end and its resource version, until the watch shows that version.
    ends: Option<(String, Expiry)>,
    /// The state in its pool, until the watch shows that state or a later one.
    pool: Option<Membership>,
    since: Instant,
}

impl PendingWrites {
    pub(super) fn is_deleted(&self, uid: &Uid) -> bool {
        self.deleted.contains_key(uid)
    }

    pub(super) fn is_unshown(&self, uid: &Uid) -> bool {
        self.writes.get(uid).is_some_and(|write| write.unshown)
    }

    /// Returns a view with the own writes applied to it.
    pub(super) fn overlay(&self, view: &Arc<PodView>) -> Arc<PodView> {
        let write = self.writes.get(&view.uid);
        let ends = write
            .and_then(|write| write.ends.as_ref())
            .map(|(_, ends)| *ends);
        let pool = write
            .and_then(|write| write.pool.as_ref())
            .filter(|pool| view.is_before(pool));
        let deleting = self.deleting.contains_key(&view.uid) && !view.deleting;
        if ends.is_none() && pool.is_none() && !deleting {
            return Arc::clone(view);
        }
        let mut changed = (**view).clone();
        changed.ends = ends.unwrap_or(changed.ends);
        if pool.is_some() {
            changed.pool = pool.cloned();
        }
        if deleting {
            changed.deleting = true;
            changed.state = SandboxState::Ended;
        }
        Arc::new(changed)
    }

    pub(super) fn record_create(&mut self, view: &PodView, now: Instant) {
        let ends = Some((view.resource_version.clone(), view.ends));
        self.writes.insert(
            view.uid.clone(),
            Write {
                unshown: true,
                ends,
                pool: None,
                since: now,
            },
        );
    }

    pub(super) fn record_change(&mut self, cached: &PodView, view: &PodView, now: Instant) {
        let pool = view.pool.as_ref().filter(|pool| cached.is_before(pool));
        if cached.resource_version != view.resource_version
            && (cached.ends != view.ends || pool.is_some())
        {
            let ends = Some((view.resource_version.clone(), view.ends));
            self.writes.insert(
                view.uid.clone(),
                Write {
                    unshown: false,
                    ends,
                    pool: pool.cloned(),
                    since: now,
                },
            );
        }
    }

    /// Records that the watch has shown an instance, which ends the overlay of the writes it includes.
    pub(super) fn record_shown(&mut self, view: &PodView) {
        if let Some(write) = self.writes.get_mut(&view.uid) {
            write.unshown = false;
            write
                .ends
                .take_if(|(version, ends)| *version == view.resource_version || *ends == view.ends);
            write.pool.take_if(|pool| !view.is_before(pool));
            if write.ends.is_none() && write.pool.is_none() {
                self.writes.remove(&view.uid);
            }
        }
    }

    pub(super) fn confirm(&mut self, uid: &Uid) {
        self.writes.remove(uid);
    }

    pub(super) fn record_deletion(&mut self, uid: &Uid, now: Instant) {
        self.deleting.insert(uid.clone(), now);
    }

    pub(super) fn record_absence(&mut self, uid: &Uid, now: Instant) {
        self.deleting.remove(uid);
        self.deleted.insert(uid.clone(), now);
    }

    pub(super) fn take_overdue(&mut self, now: Instant) -> Vec<Uid> {
        let old = |since: &Instant, age| now.saturating_duration_since(*since) >= age;
        self.deleted.retain(|_, since| !old(since, TOMBSTONE_TTL));
        self.deleting.retain(|_, since| !old(since, TOMBSTONE_TTL));
        let overdue = self
            .writes
            .iter_mut()
            .filter(|(_, write)| old(&write.since, CONFIRM_AFTER));
        let overdue = overdue.map(|(uid, write)| {
            // If the response is lost, the write is overdue again after the same time.
            write.since = now;
            uid.clone()
        });
        overdue.collect()
    }
}
