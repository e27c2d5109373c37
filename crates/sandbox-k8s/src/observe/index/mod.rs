//! The index of all sandboxes and of the tasks that wait for them: a state machine, fed by one watch and by own writes.
//! It does no I/O and reads no clock.
//!
//! * A sandbox is identified by the uid of its Pod; its name means the Pod that has it now.
//! * Own writes are visible at once, as an overlay over the state that the watch has reported. The overlay ends when the
//!   watch shows the write, so that a watch that lags neither reverts a write nor restores a deleted sandbox.
//! * After an interruption the watch starts with a list, which does not name the Pods that were deleted in between. So
//!   every waiter repeats its lookup after each list.
//! * Before the first list, and while there is no watch, the result of a lookup is [`Lookup::Unknown`]: the caller has to
//!   request the Pod.

mod changed;
mod event;
mod pending_writes;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use sandbox_core::{SandboxId, Uid};

use crate::observe::status::PodView;
use changed::Changed;
pub(crate) use event::Event;
use pending_writes::PendingWrites;

/// The key of a task that waits for events of one instance.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Waiter(Uid, u64);

/// The result of a lookup without a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Lookup {
    /// It exists, with this state.
    Present(Arc<PodView>),
    /// It does not exist.
    Missing,
    /// It has to be requested from the API server.
    Unknown,
}

/// How complete and recent the index is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Health {
    /// No list is complete yet.
    Starting,
    /// It is as recent as the watch.
    Live,
    /// There is no watch, for this reason.
    Degraded(String),
}

/// How many failures of the watch in a row make it unavailable.
const FAILURES_TO_DEGRADE: u32 = 3;

/// The index.
#[derive(Debug)]
pub(crate) struct Index {
    pods: HashMap<Uid, Arc<PodView>>,
    names: HashMap<SandboxId, Uid>,
    /// The uids in the list that is being received.
    listing: Option<HashSet<Uid>>,
    pending: PendingWrites,
    health: Health,
    was_listed: bool,
    failures: u32,
    waiters: BTreeSet<Waiter>,
    next: u64,
    /// How often a member of a shared pool has changed.
    pool_changes: u64,
}

impl Default for Index {
    fn default() -> Self {
        Self {
            pods: HashMap::new(),
            names: HashMap::new(),
            listing: None,
            pending: PendingWrites::default(),
            health: Health::Starting,
            was_listed: false,
            failures: 0,
            waiters: BTreeSet::new(),
            next: 0,
            pool_changes: 0,
        }
    }
}

impl Index {
    /// Returns how complete and recent the index is.
    pub(crate) fn health(&self) -> &Health {
        &self.health
    }

    /// Returns how many sandboxes it has.
    pub(crate) fn len(&self) -> usize {
        self.pods.len()
    }

    /// Returns how often a member of a shared pool may have changed.
    pub(crate) fn pool_changes(&self) -> u64 {
        self.pool_changes
    }

    /// Looks up the sandbox that has this id now.
    pub(crate) fn look_up(&self, id: &SandboxId) -> Lookup {
        match self.names.get(id) {
            Some(uid) => self.look_up_instance(uid),
            None => self.lookup_absent(),
        }
    }

    /// Looks up exactly this instance.
    pub(crate) fn look_up_instance(&self, uid: &Uid) -> Lookup {
        if self.pending.is_deleted(uid) {
            return Lookup::Missing;
        }
        match self.pods.get(uid) {
            // An own write may be stored before the watch begins; without a watch it grows old.
            Some(_) if matches!(self.health, Health::Degraded(_)) => Lookup::Unknown,
            Some(view) => Lookup::Present(self.pending.overlay(view)),
            None => self.lookup_absent(),
        }
    }

    /// Returns the last view of an instance, however old it is.
    pub(crate) fn last_view(&self, uid: &Uid) -> Option<Arc<PodView>> {
        self.pods
            .get(uid)
            .filter(|_| !self.pending.is_deleted(uid))
            .map(|view| self.pending.overlay(view))
    }

    /// Returns all sandboxes, in no order; `None` if they have to be requested.
    pub(crate) fn views(&self) -> Option<Vec<Arc<PodView>>> {
        (self.health == Health::Live).then(|| {
            self.pods
                .values()
                .map(|view| self.pending.overlay(view))
                .collect()
        })
    }

    /// Starts to wait for events of an instance. The caller looks it up afterwards, so that it misses no event.
    pub(crate) fn wait_for(&mut self, uid: Uid) -> Waiter {
        let waiter = Waiter(uid, self.next);
        self.next += 1;
        self.waiters.insert(waiter.clone());
        waiter
    }

    /// Ends a wait.
    pub(crate) fn cancel_wait(&mut self, waiter: &Waiter) {
        self.waiters.remove(waiter);
    }

    /// Applies an event of the watch, and returns the waiters that have to repeat their lookup, to wake without blocking.
    #[must_use]
    pub(crate) fn apply(&mut self, event: Event, now: Instant) -> Vec<Waiter> {
        match event {
            Event::Init => {
                self.listing = Some(HashSet::new());
                Vec::new()
            }
            Event::InitApply(view) => {
                if let Some(listing) = &mut self.listing {
                    listing.insert(view.uid.clone());
                }
                self.apply_view(view)
            }
            Event::InitDone => self.finish_list(),
            Event::Apply(view) => {
                self.mark_live();
                self.apply_view(view)
            }
            Event::Delete(uid) => {
                self.mark_live();
                self.record_absence(&uid, now)
            }
            Event::WatchStarted => {
                self.mark_live();
                Vec::new()
            }
            Event::Failed(why) => self.record_failure(why),
            Event::Forbidden(why) => {
                self.failures = FAILURES_TO_DEGRADE;
                self.record_failure(why)
            }
        }
    }

    /// Records the response to an own create or patch request, which is visible from now on. The watch
    /// may have shown the same or a later state before.
    #[must_use]
    pub(crate) fn record_write(&mut self, view: PodView, now: Instant) -> Vec<Waiter> {
        let uid = view.uid.clone();
        if self.pending.is_deleted(&uid) {
            return Vec::new();
        }
        match self.pods.get(&uid) {
            Some(cached) if !self.pending.is_unshown(&uid) => {
                self.pending.record_change(cached, &view, now);
                self.note_pool_change(&view);
                self.waiters_of(&uid)
            }
            _ => {
                self.pending.record_create(&view, now);
                self.store(view)
            }
        }
    }

    /// Adds the cause that the status of this Pod named before, if it names none any more.
    pub(crate) fn recall_cause(&self, view: &mut PodView) {
        view.recall_cause(self.pods.get(&view.uid));
    }

    /// Records a Pod that was requested after [`unconfirmed_writes`](Self::unconfirmed_writes).
    #[must_use]
    pub(crate) fn record_read(&mut self, view: PodView) -> Vec<Waiter> {
        let uid = view.uid.clone();
        if self.pending.is_deleted(&uid) {
            return Vec::new();
        }
        let unshown = self.pending.is_unshown(&uid);
        self.pending.confirm(&uid);
        let degraded = matches!(self.health, Health::Degraded(_));
        match self.pods.get_mut(&uid) {
            // A waiter that polls is not woken by its own response, or it would poll at once.
            Some(cached) if **cached == view => Vec::new(),
            // The watch may have shown a later state than this response, except for what is unconfirmed.
            Some(cached) if !unshown && !degraded => {
                let pool = view.pool.as_ref().filter(|pool| cached.is_before(pool));
                let changed = Changed::of(&view);
                if changed.is_in(cached) && pool.is_none() {
                    return Vec::new();
                }
                let cached = Arc::make_mut(cached);
                changed.apply_to(cached);
                if pool.is_some() {
                    cached.pool.clone_from(&view.pool);
                }
                self.note_pool_change(&view);
                self.waiters_of(&uid)
            }
            _ => self.store(view),
        }
    }

    /// Records that the API server accepted an own delete request.
    #[must_use]
    pub(crate) fn record_deletion(&mut self, uid: &Uid, now: Instant) -> Vec<Waiter> {
        self.pending.record_deletion(uid, now);
        if let Some(view) = self.pods.get(uid).cloned() {
            self.note_pool_change(&view);
        }
        self.waiters_of(uid)
    }

    /// Records that the instance does not exist. A list that lags does not restore it.
    #[must_use]
    pub(crate) fn record_absence(&mut self, uid: &Uid, now: Instant) -> Vec<Waiter> {
        self.remove(uid);
        self.pending.record_absence(uid, now);
        self.waiters_of(uid)
    }

    /// Returns the own writes that the watch has not shown for [`CONFIRM_AFTER`]. The caller requests
    /// each, and passes the response to [`record_read`](Self::record_read) or
    /// [`record_absence`](Self::record_absence). It is to be called periodically: it also discards what
    /// is older than [`TOMBSTONE_TTL`].
    pub(crate) fn unconfirmed_writes(&mut self, now: Instant) -> Vec<(SandboxId, Uid)> {
        let overdue = self.pending.take_overdue(now);
        overdue
            .into_iter()
            .filter_map(|uid| Some((self.pods.get(&uid)?.id.clone(), uid)))
            .collect()
    }

    fn lookup_absent(&self) -> Lookup {
        if self.health == Health::Live {
            Lookup::Missing
        } else {
            Lookup::Unknown
        }
    }

    /// Records that the watch works. It has continued from its position, so no event was lost.
    fn mark_live(&mut self) {
        self.failures = 0;
        if self.was_listed && self.listing.is_none() {
            self.health = Health::Live;
        }
    }

    fn apply_view(&mut self, mut view: PodView) -> Vec<Waiter> {
        self.recall_cause(&mut view);
        // The event is older than the deletion.
        if self.pending.is_deleted(&view.uid) {
            return Vec::new();
        }
        self.pending.record_shown(&view);
        if self
            .pods
            .get(&view.uid)
            .is_some_and(|cached| **cached == view)
        {
            return Vec::new();
        }
        self.store(view)
    }

    /// Stores a view under its name. Two instances cannot have one name at once, so the younger one
    /// shows that the elder was deleted.
    fn store(&mut self, view: PodView) -> Vec<Waiter> {
        let mut woken = self.waiters_of(&view.uid);
        if let Some(former) = self
            .names
            .get(&view.id)
            .filter(|former| **former != view.uid)
            .cloned()
        {
            if self
                .pods
                .get(&former)
                .is_some_and(|cached| cached.created_at > view.created_at)
            {
                return Vec::new();
            }
            self.remove(&former);
            woken.extend(self.waiters_of(&former));
        }
        self.note_pool_change(&view);
        self.names.insert(view.id.clone(), view.uid.clone());
        self.pods.insert(view.uid.clone(), Arc::new(view));
        woken
    }

    fn remove(&mut self, uid: &Uid) {
        if let Some(view) = self.pods.remove(uid) {
            self.note_pool_change(&view);
            if self.names.get(&view.id) == Some(uid) {
                self.names.remove(&view.id);
            }
        }
        self.pending.confirm(uid);
    }

    fn finish_list(&mut self) -> Vec<Waiter> {
        // The end of a list that did not begin, or was interrupted, has no list to apply.
        let Some(listing) = self.listing.take() else {
            return Vec::new();
        };
        // The list may be older than the own writes.
        let deleted = self
            .pods
            .keys()
            .filter(|uid| !listing.contains(*uid) && !self.pending.is_unshown(uid));
        for uid in deleted.cloned().collect::<Vec<_>>() {
            self.remove(&uid);
        }
        self.was_listed = true;
        // A list without a watch is soon out of date, so a degraded index recovers only with the watch.
        if !matches!(self.health, Health::Degraded(_)) {
            self.mark_live();
        }
        self.waiters.iter().cloned().collect()
    }

    fn note_pool_change(&mut self, view: &PodView) {
        if view.pool.is_some() {
            self.pool_changes += 1;
        }
    }

    fn record_failure(&mut self, why: String) -> Vec<Waiter> {
        self.listing = None;
        self.failures = self.failures.saturating_add(1);
        if self.failures < FAILURES_TO_DEGRADE {
            return Vec::new();
        }
        let before = std::mem::replace(&mut self.health, Health::Degraded(why));
        if matches!(before, Health::Degraded(_)) {
            Vec::new()
        } else {
            self.waiters.iter().cloned().collect()
        }
    }

    fn waiters_of(&self, uid: &Uid) -> Vec<Waiter> {
        self.waiters
            .range(Waiter(uid.clone(), 0)..=Waiter(uid.clone(), u64::MAX))
            .cloned()
            .collect()
    }
}

#[cfg(test)]
mod tests;
