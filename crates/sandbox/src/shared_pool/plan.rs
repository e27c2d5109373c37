//! What a filler does next, from what the backend lists and what the filler knows.

use std::collections::HashSet;
use std::time::{Duration, SystemTime};

use sandbox_core::{PoolKey, PoolMemberState, SandboxId, SandboxInfo, SandboxState, Uid};
use tokio::time::Instant;

use super::member::Members;

/// How long the backend may not list a sandbox that this filler has just created.
const LISTING_DELAY: Duration = Duration::from_secs(30);

/// What a filler knows.
pub(super) struct Knowledge<'a> {
    /// The key of what it fills the pool with.
    pub(super) key: &'a PoolKey,
    pub(super) attached: &'a Members,
    /// The ids of what it is creating.
    pub(super) creating: &'a HashSet<SandboxId>,
    /// What it is adopting, offering or removing.
    pub(super) busy: &'a HashSet<Uid>,
    /// How many it is adopting.
    pub(super) adopting: usize,
    /// How many should wait.
    pub(super) target: usize,
    pub(super) max_age: Duration,
    /// Whether a sandbox that a former filler has not offered may be adopted. If it has to be set up, how far
    /// that has come is not known.
    pub(super) adopts_unoffered: bool,
    pub(super) now: Instant,
    pub(super) clock: SystemTime,
}

/// One instance of a sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Instance {
    pub(super) id: SandboxId,
    pub(super) uid: Uid,
}

/// A sandbox of a former filler.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Orphan {
    pub(super) instance: Instance,
    /// How long it waits.
    pub(super) age: Duration,
    /// Whether it can be claimed already.
    pub(super) is_offered: bool,
}

/// What to do.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// Attached ones that have gone: close the connections, delete nothing.
    pub(super) forget: Vec<Uid>,
    /// Those of a former filler: connect, and offer if they do not wait yet.
    pub(super) adopt: Vec<Orphan>,
    /// Attached ones that are not offered yet.
    pub(super) offer: Vec<Instance>,
    /// Those that wait and are not wanted: make them unclaimable, then delete them.
    pub(super) withdraw: Vec<Instance>,
    /// Those that nobody can claim: delete them.
    pub(super) delete: Vec<Instance>,
    /// How many wait, or are about to.
    pub(super) stock: usize,
}

impl Plan {
    pub(super) fn new(known: &Knowledge<'_>, listed: &[SandboxInfo]) -> Self {
        let mut plan = Self::default();
        // Attached ones that stay, with the time since when they wait.
        let mut kept: Vec<(Instant, Instance)> = Vec::new();
        let mut orphans: Vec<Orphan> = Vec::new();
        let mut present: HashSet<&Uid> = HashSet::new();
        for info in listed {
            present.insert(&info.uid);
            if known.creating.contains(&info.id) {
                // It may be offered already, before the end of its creation is noted.
                continue;
            }
            let Some(member) = &info.pool else { continue };
            let instance = Instance {
                id: info.id.clone(),
                uid: info.uid.clone(),
            };
            let attached = known.attached.get(&info.uid);
            if known.busy.contains(&info.uid) {
                // It is being offered; what is being removed is not attached any more.
                plan.stock += usize::from(attached.is_some());
                continue;
            }
            let is_wanted = member.key == *known.key && info.state != SandboxState::Ended;
            match member.state {
                PoolMemberState::Taken => {}
                PoolMemberState::Draining => plan.delete.push(instance),
                PoolMemberState::Waiting if !is_wanted => plan.withdraw.push(instance),
                PoolMemberState::Waiting => match attached {
                    Some(attached) if known.has_waited_too_long(attached.since) => {
                        plan.withdraw.push(instance);
                    }
                    Some(attached) => kept.push((attached.since, instance)),
                    None => orphans.push(Orphan {
                        instance,
                        age: known.age(info),
                        is_offered: true,
                    }),
                },
                PoolMemberState::Filling if !is_wanted => plan.delete.push(instance),
                PoolMemberState::Filling => match attached {
                    Some(attached) => {
                        kept.push((attached.since, instance.clone()));
                        plan.offer.push(instance);
                    }
                    None if known.adopts_unoffered => orphans.push(Orphan {
                        instance,
                        age: Duration::ZERO,
                        is_offered: false,
                    }),
                    None => plan.delete.push(instance),
                },
            }
        }
        for (uid, attached) in known.attached.iter() {
            if present.contains(uid) || known.busy.contains(uid) {
                continue;
            }
            let waited = known.now.saturating_duration_since(attached.since);
            if attached.was_listed || waited > LISTING_DELAY {
                plan.forget.push(uid.clone());
            } else {
                plan.stock += 1;
            }
        }
        plan.choose(known, kept, orphans);
        plan
    }

    /// Keeps as many as should wait: first those that are attached, the youngest first.
    fn choose(
        &mut self,
        known: &Knowledge<'_>,
        mut kept: Vec<(Instant, Instance)>,
        mut orphans: Vec<Orphan>,
    ) {
        self.stock += kept.len() + known.adopting;
        kept.sort_by_key(|(since, _)| *since);
        for (_, instance) in kept {
            if self.stock <= known.target {
                break;
            }
            self.stock -= 1;
            match self.offer.iter().position(|offered| *offered == instance) {
                Some(index) => self.delete.push(self.offer.swap_remove(index)),
                None => self.withdraw.push(instance),
            }
        }
        orphans.sort_by_key(|orphan| orphan.age);
        for orphan in orphans {
            if self.stock < known.target && orphan.age <= known.max_age {
                self.stock += 1;
                self.adopt.push(orphan);
            } else if orphan.is_offered {
                self.withdraw.push(orphan.instance);
            } else {
                self.delete.push(orphan.instance);
            }
        }
    }
}

impl Knowledge<'_> {
    fn has_waited_too_long(&self, since: Instant) -> bool {
        self.now.saturating_duration_since(since) > self.max_age
    }

    /// How long a sandbox of a former filler waits, by two clocks. A wrong clock costs only these.
    fn age(&self, info: &SandboxInfo) -> Duration {
        self.clock
            .duration_since(info.created_at)
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
