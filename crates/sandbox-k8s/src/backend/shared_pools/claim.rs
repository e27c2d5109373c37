//! Claims a sandbox: finds those that wait, and tries them one after the other.
//!
//! A task of its own does this, so that a claim that succeeds after its caller has stopped waiting is undone.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use k8s_openapi::api::core::v1::Pod;
use sandbox_core::{
    Assignment, Claimed, Deadline, Error, PoolClaim, PoolMemberState, Result, SandboxSpec,
    TrackedWork, Uid,
};
use tokio::sync::oneshot;

use super::claimed::{ClaimGuard, ClaimedSandbox, describe, resolve_later};
use super::members;
use crate::api::client::LOOKUP_TIMEOUT;
use crate::api::json_patch::Patched;
use crate::backend::shared::Shared;
use crate::manifest::secret::StoredKeys;
use crate::names::BACKEND;
use crate::observe::status::{PodView, managed_view};
use crate::pool::candidates::{self, Candidates};
use crate::pool::claiming::{Claiming, End, PatchResult, ReadResult, Step};
use crate::pool::ends::RequestedEnds;
use crate::pool::patches;

/// Claims a sandbox. If the returned future is dropped, a claimed sandbox is deleted.
pub(super) async fn claim(shared: &Arc<Shared>, claim: PoolClaim) -> Result<Option<Claimed>> {
    check(&claim)?;
    let (_waiter, tracked) = shared.leftovers.track();
    let attempt = ClaimAttempt {
        shared: Arc::clone(shared),
        tracked,
        word: Uid::generate()?.as_str().to_owned(),
        ends: RequestedEnds {
            ttl: claim.ttl,
            max_lifetime: claim.max_lifetime,
        },
        claim,
    };
    let (sender, receiver) = oneshot::channel();
    tokio::spawn(async move {
        let result = attempt.run(&sender).await;
        // Without a receiver, the claimed sandbox is dropped and deletes itself.
        drop(sender.send(result));
    });
    match receiver.await {
        Ok(result) => Ok(result?.map(ClaimedSandbox::keep)),
        Err(_) => Err(Error::Backend {
            backend: BACKEND,
            operation: "claim a sandbox of a pool",
            message: "the runtime has ended".into(),
            transient: false,
            source: None,
        }),
    }
}

/// Checks labels, annotations and lifetimes as for a new sandbox.
fn check(claim: &PoolClaim) -> Result<()> {
    let mut spec = SandboxSpec::default();
    spec.labels.clone_from(&claim.labels);
    spec.annotations.clone_from(&claim.annotations);
    spec.lifetime.ttl = claim.ttl;
    spec.lifetime.max_lifetime = claim.max_lifetime.unwrap_or(
        spec.lifetime
            .max_lifetime
            .max(claim.ttl.unwrap_or_default()),
    );
    spec.validate()
}

/// One claim.
struct ClaimAttempt {
    shared: Arc<Shared>,
    tracked: TrackedWork,
    claim: PoolClaim,
    /// The word by which this claim recognises its own patch.
    word: String,
    ends: RequestedEnds,
}

impl ClaimAttempt {
    async fn run(
        self,
        waiting: &oneshot::Sender<Result<Option<ClaimedSandbox>>>,
    ) -> Result<Option<ClaimedSandbox>> {
        let deadline = Deadline::from_now(LOOKUP_TIMEOUT);
        let waits = Some(PoolMemberState::Waiting);
        let views = members::views(&self.shared, Some(&self.claim.name), waits).await?;
        let Candidates { usable, too_short } = candidates::select(
            views,
            &self.claim.name,
            self.ends.longest(),
            self.now(),
            random_below,
        );
        if let (true, Some(left)) = (usable.is_empty(), too_short) {
            return Err(self.too_long(left));
        }
        // All that wait have the same annotations.
        if let Some(view) = usable.first() {
            let mut assignment = Assignment::default();
            assignment.annotations.clone_from(&self.claim.annotations);
            assignment.merge_annotations(&view.annotations)?;
        }
        let mut claiming = Claiming::new(self.free_first(usable));
        let mut step = claiming.first_step();
        // What the latest requests have returned.
        let (mut keys, mut seen, mut error) = (None, None, None);
        loop {
            step = match step {
                Step::Patch(_) if waiting.is_closed() => return Ok(None),
                // Another claim has won it since it was chosen, or an earlier patch of this one was applied late.
                Step::Patch(view) if self.find_lost(&view).is_some() => {
                    claiming.step_after_patch(view, PatchResult::NotApplied)
                }
                Step::Patch(view) => {
                    let _reservation = self.shared.reservations.reserve(&view.uid);
                    let (patched, read) = tokio::join!(
                        self.send_patch(&view, deadline),
                        self.shared.read_keys(&view)
                    );
                    let (result, changed) = patched.unwrap_or_else(|failure| {
                        error = Some(failure);
                        (PatchResult::Unknown, None)
                    });
                    (keys, seen) = (Some(read), changed);
                    claiming.step_after_patch(view, result)
                }
                Step::Read(view) => {
                    let (result, found) = self.read(&view).await.unwrap_or_else(|failure| {
                        error = Some(failure);
                        (ReadResult::Unknown, None)
                    });
                    seen = found;
                    claiming.step_after_read(view, result)
                }
                Step::Finish(End::Won(view)) => {
                    let view = seen.take().unwrap_or(view);
                    if let Some(sandbox) = self.take(&view, keys.take()).await? {
                        return Ok(Some(sandbox));
                    }
                    claiming.step_after_forgery()
                }
                Step::Finish(End::NoneLeft) => return Ok(None),
                Step::Finish(End::Refused) => {
                    return Err(members::not_accepted("claim a sandbox of a pool"));
                }
                Step::Finish(End::Unknown(view)) => {
                    resolve_later(&self.shared, &view, self.word);
                    return Err(
                        error.unwrap_or_else(|| members::not_accepted("claim a sandbox of a pool"))
                    );
                }
            };
        }
    }

    /// Puts what no other claim of this process tries first.
    fn free_first(&self, mut views: Vec<Arc<PodView>>) -> Vec<Arc<PodView>> {
        views.sort_by_cached_key(|view| self.shared.reservations.has(&view.uid));
        views
    }

    /// Returns the API server's time. The local time is used only if a proxy has removed the header `Date`.
    fn now(&self) -> SystemTime {
        let time = self.shared.api().clock.now();
        time.unwrap_or_else(SystemTime::now)
    }

    async fn send_patch(
        &self,
        view: &PodView,
        deadline: Deadline,
    ) -> Result<(PatchResult, Option<Arc<PodView>>)> {
        let ends = self.ends.compute(&view.ends, view.created_at, self.now());
        let patch = patches::claim(
            &view.uid,
            &self.word,
            &ends,
            &self.claim.labels,
            &self.claim.annotations,
            self.claim.on_expiry,
        );
        let patched = self
            .shared
            .api()
            .json_patch::<Pod>(&view.id, &patch, deadline)
            .await?;
        Ok(match patched {
            Patched::Applied(pod) => {
                let changed = managed_view(&pod);
                if let Some(view) = &changed {
                    self.shared.watch.record_created(view.clone());
                }
                (PatchResult::Applied, changed.map(Arc::new))
            }
            Patched::NotApplied => (PatchResult::NotApplied, None),
            Patched::Missing => {
                self.shared.watch.record_absence(&view.uid);
                (PatchResult::Missing, None)
            }
        })
    }

    /// Returns what the watch has reported of a sandbox, if it does not wait any more.
    fn find_lost(&self, view: &PodView) -> Option<Arc<PodView>> {
        let latest = self.shared.watch.last_view(&view.uid);
        latest.filter(|latest| candidates::is_lost(latest))
    }

    async fn read(&self, view: &PodView) -> Result<(ReadResult, Option<Arc<PodView>>)> {
        let found = match self.find_lost(view) {
            Some(latest) => Some(latest),
            None => self.shared.watch.fetch(&view.id).await?,
        };
        let found = found.filter(|found| found.uid == view.uid);
        Ok(match found {
            Some(found) if found.claim() == Some(self.word.as_str()) => {
                (ReadResult::Mine, Some(found))
            }
            Some(found) if candidates::is_claimable(&found, &self.claim.name) => {
                (ReadResult::Waits, None)
            }
            Some(_) | None => (ReadResult::Gone, None),
        })
    }

    /// Takes over a sandbox that the patch has claimed; `None` if its Secret shows that it was never created for this
    /// pool. Such a Pod belongs to somebody else, and stays.
    async fn take(
        &self,
        view: &Arc<PodView>,
        keys: Option<Result<StoredKeys>>,
    ) -> Result<Option<ClaimedSandbox>> {
        // From here on, whatever fails deletes the sandbox.
        let guard = ClaimGuard::new(&self.shared, view, self.tracked.clone());
        let keys = match keys {
            Some(Ok(keys)) => keys,
            None | Some(Err(_)) => self.shared.read_keys(view).await?,
        };
        let pool = view.pool.as_ref().map(|member| &member.pool);
        if keys.pool.as_ref() != pool {
            tracing::warn!(
                k8s.pod = %view.id, pool = %self.claim.name,
                "a Pod has the labels of a pool that it was not created for; ignoring it"
            );
            guard.disarm();
            return Ok(None);
        }
        let claimed = describe(&self.shared, view, &keys, &self.claim, &self.word)?;
        Ok(Some(ClaimedSandbox { claimed, guard }))
    }

    fn too_long(&self, left: Duration) -> Error {
        let requested = self.ends.longest();
        Error::invalid(
            "lifetime",
            format!("{requested:?}"),
            format!(
                "the sandboxes that wait in the pool {} end in {left:?} at the latest; ask for less, or fill the pool \
                 with a longer max_lifetime",
                self.claim.name
            ),
        )
    }
}

/// Returns a random number below `limit`. Without a source of randomness, clients only get in each other's way more
/// often.
fn random_below(limit: usize) -> usize {
    let mut bytes = [0; 4];
    if getrandom::fill(&mut bytes).is_err() || limit == 0 {
        return 0;
    }
    let number = usize::try_from(u32::from_le_bytes(bytes)).unwrap_or_default();
    number % limit
}
