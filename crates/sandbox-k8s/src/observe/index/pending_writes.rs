//! What we wrote ourselves and the watch has not shown yet, and what is gone for good.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sandbox_core::{SandboxState, Uid};

use crate::manifest::labels::Expiry;
use crate::observe::status::PodView;

/// A write that no watch has shown after this long is looked up.
pub(crate) const CONFIRM_AFTER: Duration = Duration::from_secs(30);
/// What is gone is remembered this long, for lists that are behind.
pub(crate) const TOMBSTONE_TTL: Duration = Duration::from_secs(600);

#[derive(Debug, Default)]
pub(super) struct PendingWrites {
    writes: HashMap<Uid, Write>,
    deleting: HashMap<Uid, Instant>,
    deleted: HashMap<Uid, Instant>,
}

#[derive(Debug)]
struct Write {
    /// The watch has shown nothing of this instance.
    unshown: bool,
    /// Ends that were put off, until the watch shows this version.
    ends: Option<(String, Expiry)>,
    since: Instant,
}

impl PendingWrites {
    pub(super) fn is_deleted(&self, uid: &Uid) -> bool {
        self.deleted.contains_key(uid)
    }

    pub(super) fn is_unshown(&self, uid: &Uid) -> bool {
        self.writes.get(uid).is_some_and(|write| write.unshown)
    }

    /// What the watch shows, with what we know better.
    pub(super) fn overlay(&self, view: &Arc<PodView>) -> Arc<PodView> {
        let ends = self
            .writes
            .get(&view.uid)
            .and_then(|write| write.ends.as_ref())
            .map(|(_, ends)| *ends);
        let deleting = self.deleting.contains_key(&view.uid) && !view.deleting;
        if ends.is_none() && !deleting {
            return Arc::clone(view);
        }
        let mut known = (**view).clone();
        known.ends = ends.unwrap_or(known.ends);
        if deleting {
            known.deleting = true;
            known.state = SandboxState::Ended;
        }
        Arc::new(known)
    }

    pub(super) fn record_create(&mut self, view: &PodView, now: Instant) {
        let ends = Some((view.resource_version.clone(), view.ends));
        self.writes.insert(
            view.uid.clone(),
            Write {
                unshown: true,
                ends,
                since: now,
            },
        );
    }

    pub(super) fn record_change(&mut self, known: &PodView, view: &PodView, now: Instant) {
        if known.resource_version != view.resource_version && known.ends != view.ends {
            let ends = Some((view.resource_version.clone(), view.ends));
            self.writes.insert(
                view.uid.clone(),
                Write {
                    unshown: false,
                    ends,
                    since: now,
                },
            );
        }
    }

    /// The watch shows an instance: what it shows we need not know better any more.
    pub(super) fn record_shown(&mut self, view: &PodView) {
        if let Some(write) = self.writes.get_mut(&view.uid) {
            write.unshown = false;
            write
                .ends
                .take_if(|(version, ends)| *version == view.resource_version || *ends == view.ends);
            if write.ends.is_none() {
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
            // Should the answer be lost, it is overdue for again.
            write.since = now;
            uid.clone()
        });
        overdue.collect()
    }
}
