//! What is known of all sandboxes, and who waits for news of one: a state machine, fed by one
//! watch and by our own writes. It does no I/O and reads no clock.
//!
//! * A sandbox is known by the uid of its Pod; a name alone means whichever Pod has it now.
//! * What we wrote is seen at once. A watch that is behind neither takes it back nor brings back
//!   what we deleted: own writes lie over what the watch shows until it shows them as well.
//! * A watch that was cut is begun anew with a list, which tells nothing of what vanished in
//!   between. So everyone who waits looks again after each list.
//! * Before the first list, and when no watch can be had, the answer to a look is
//!   [`Lookup::Unknown`]: to be asked of the API server.

mod pending_writes;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use sandbox_core::{SandboxId, Uid};

use crate::observe::status::PodView;
use pending_writes::PendingWrites;

/// News from the watch.
#[derive(Debug, Clone)]
pub(crate) enum Event {
    /// A list begins; what is known stays valid until it is complete.
    Init,
    /// A sandbox in the list.
    InitApply(PodView),
    /// The list is complete: what was not in it is gone.
    InitDone,
    /// The watch that goes on from it was accepted.
    WatchStarted,
    /// One was stored or changed.
    Apply(PodView),
    /// One was removed.
    Delete(Uid),
    /// The watch could not be started or broke down, and says why.
    Failed(String),
    /// We may not list or watch, and trying again does not help.
    Forbidden(String),
}

/// Someone who waits for news of one instance.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Waiter(Uid, u64);

/// What can be said of a sandbox without asking anybody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Lookup {
    /// It is there, and this is the last that is known.
    Present(Arc<PodView>),
    /// It is not there, or not any more.
    Missing,
    /// Ask the API server.
    Unknown,
}

/// Whether the index can be trusted to know what there is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Health {
    /// No list is complete yet.
    Starting,
    /// As new as the watch.
    Live,
    /// There is no watch, for this reason.
    Degraded(String),
}

/// Failures of the watch in a row until it counts as not to be had: one is a hiccup.
const FAILURES_TO_DEGRADE: u32 = 3;

/// The index.
#[derive(Debug)]
pub(crate) struct Index {
    pods: HashMap<Uid, Arc<PodView>>,
    names: HashMap<SandboxId, Uid>,
    /// What the list that is being read has shown so far.
    listing: Option<HashSet<Uid>>,
    pending: PendingWrites,
    health: Health,
    was_listed: bool,
    failures: u32,
    waiters: BTreeSet<Waiter>,
    next: u64,
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
        }
    }
}

impl Index {
    /// Whether it can be trusted.
    pub(crate) fn health(&self) -> &Health {
        &self.health
    }

    /// What is known of the sandbox that has this id now.
    pub(crate) fn look_up(&self, id: &SandboxId) -> Lookup {
        match self.names.get(id) {
            Some(uid) => self.look_up_instance(uid),
            None => self.lookup_absent(),
        }
    }

    /// What is known of this very instance.
    pub(crate) fn look_up_instance(&self, uid: &Uid) -> Lookup {
        if self.pending.is_deleted(uid) {
            return Lookup::Missing;
        }
        match self.pods.get(uid) {
            // What we wrote is known before the watch begins; how it went on is not without one.
            Some(_) if matches!(self.health, Health::Degraded(_)) => Lookup::Unknown,
            Some(view) => Lookup::Present(self.pending.overlay(view)),
            None => self.lookup_absent(),
        }
    }

    /// The last that is known of an instance, however long ago that was.
    pub(crate) fn last_view(&self, uid: &Uid) -> Option<Arc<PodView>> {
        self.pods
            .get(uid)
            .filter(|_| !self.pending.is_deleted(uid))
            .map(|view| self.pending.overlay(view))
    }

    /// All that are there, in no order. `None` when the API server has to be asked.
    pub(crate) fn views(&self) -> Option<Vec<Arc<PodView>>> {
        (self.health == Health::Live).then(|| {
            self.pods
                .values()
                .map(|view| self.pending.overlay(view))
                .collect()
        })
    }

    /// Begins to wait for news of an instance. What is known already is for the caller to look
    /// at, after this.
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

    /// Takes in news from the watch, and tells who shall look again. They are to be woken
    /// without waiting for any of them.
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

    /// What the API server answered to our own create or patch. It is seen from now on; but the
    /// watch may have shown it, and more, before the answer came.
    #[must_use]
    pub(crate) fn record_write(&mut self, view: PodView, now: Instant) -> Vec<Waiter> {
        let uid = view.uid.clone();
        if self.pending.is_deleted(&uid) {
            return Vec::new();
        }
        match self.pods.get(&uid) {
            Some(known) if !self.pending.is_unshown(&uid) => {
                self.pending.record_change(known, &view, now);
                self.waiters_of(&uid)
            }
            _ => {
                self.pending.record_create(&view, now);
                self.store(view)
            }
        }
    }

    /// What the API server answered to a look at one sandbox, asked for after
    /// [`unconfirmed`](Self::unconfirmed).
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
            // Who looks by asking is not woken by the same answer, to ask again.
            Some(known) if **known == view => Vec::new(),
            // The watch may be ahead of this answer in all but what it was asked for.
            Some(known) if !unshown && !degraded => {
                if known.ends == view.ends {
                    return Vec::new();
                }
                Arc::make_mut(known).ends = view.ends;
                self.waiters_of(&uid)
            }
            _ => self.store(view),
        }
    }

    /// The API server accepted our delete: the instance is going.
    #[must_use]
    pub(crate) fn record_deletion(&mut self, uid: &Uid, now: Instant) -> Vec<Waiter> {
        self.pending.record_deletion(uid, now);
        self.waiters_of(uid)
    }

    /// There is no such instance (any more), and a list that is behind does not bring it back.
    #[must_use]
    pub(crate) fn record_absence(&mut self, uid: &Uid, now: Instant) -> Vec<Waiter> {
        self.remove(uid);
        self.pending.record_absence(uid, now);
        self.waiters_of(uid)
    }

    /// Own writes that the watch has not shown for [`CONFIRM_AFTER`]: each is to be read, and
    /// the answer given to [`read`](Self::read) or [`gone`](Self::gone). To be called from time
    /// to time: it also forgets what was remembered for [`TOMBSTONE_TTL`].
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

    /// A watch that goes on where it was goes on with everything that happened in between.
    fn mark_live(&mut self) {
        self.failures = 0;
        if self.was_listed && self.listing.is_none() {
            self.health = Health::Live;
        }
    }

    fn apply_view(&mut self, view: PodView) -> Vec<Waiter> {
        // Late news of what is known to be gone.
        if self.pending.is_deleted(&view.uid) {
            return Vec::new();
        }
        self.pending.record_shown(&view);
        if self
            .pods
            .get(&view.uid)
            .is_some_and(|known| **known == view)
        {
            return Vec::new();
        }
        self.store(view)
    }

    /// Keeps a view under its name. Two instances cannot have one name at once: the younger
    /// shows that the elder is gone.
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
                .is_some_and(|known| known.created_at > view.created_at)
            {
                return Vec::new();
            }
            self.remove(&former);
            woken.extend(self.waiters_of(&former));
        }
        self.names.insert(view.id.clone(), view.uid.clone());
        self.pods.insert(view.uid.clone(), Arc::new(view));
        woken
    }

    fn remove(&mut self, uid: &Uid) {
        if let Some(view) = self.pods.remove(uid)
            && self.names.get(&view.id) == Some(uid)
        {
            self.names.remove(&view.id);
        }
        self.pending.confirm(uid);
    }

    fn finish_list(&mut self) -> Vec<Waiter> {
        // An end without a beginning says nothing of what there is.
        let Some(listing) = self.listing.take() else {
            return Vec::new();
        };
        // The list may be older than what we wrote last.
        let vanished = self
            .pods
            .keys()
            .filter(|uid| !listing.contains(*uid) && !self.pending.is_unshown(uid));
        for uid in vanished.cloned().collect::<Vec<_>>() {
            self.remove(&uid);
        }
        self.was_listed = true;
        // A list that no watch follows is soon out of date: without one, only a watch mends that.
        if !matches!(self.health, Health::Degraded(_)) {
            self.mark_live();
        }
        self.waiters.iter().cloned().collect()
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
