//! Own writes that the watch has not shown yet, and instances that were deleted.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sandbox_core::{SandboxState, Uid};

use super::changed::Changed;
use crate::manifest::labels::Membership;
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
    /// What was changed, and the resource version that has it, until the watch shows one or the other.
    changed: Option<(String, Changed)>,
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
        let written = write.and_then(|write| write.changed.as_ref());
        let pool = write
            .and_then(|write| write.pool.as_ref())
            .filter(|pool| view.is_before(pool));
        let deleting = self.deleting.contains_key(&view.uid) && !view.deleting;
        if written.is_none() && pool.is_none() && !deleting {
            return Arc::clone(view);
        }
        let mut changed = (**view).clone();
        if let Some((_, written)) = written {
            written.apply_to(&mut changed);
        }
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
        self.writes.insert(
            view.uid.clone(),
            Write {
                unshown: true,
                changed: Some((view.resource_version.clone(), Changed::of(view))),
                pool: None,
                since: now,
            },
        );
    }

    pub(super) fn record_change(&mut self, cached: &PodView, view: &PodView, now: Instant) {
        let pool = view.pool.as_ref().filter(|pool| cached.is_before(pool));
        let changed = Changed::of(view);
        // What the watch has shown may still be without an earlier write, which this one includes.
        let is_covered = changed.is_in(cached) && !self.writes.contains_key(&view.uid);
        if cached.resource_version != view.resource_version && (!is_covered || pool.is_some()) {
            self.writes.insert(
                view.uid.clone(),
                Write {
                    unshown: false,
                    changed: Some((view.resource_version.clone(), changed)),
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
            write.changed.take_if(|(version, changed)| {
                *version == view.resource_version || changed.is_in(view)
            });
            write.pool.take_if(|pool| !view.is_before(pool));
            if write.changed.is_none() && write.pool.is_none() {
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
