//! Sandboxes that have ended or expired: any client that watches deletes what is left of them.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use k8s_openapi::api::core::v1::Pod;
use sandbox_core::{Deadline, Result, SandboxState, Uid};

use crate::api::client::ApiClient;
use crate::api::client::LOOKUP_TIMEOUT;
use crate::observe::status::PodView;

/// How long the creating client keeps an ended Pod, so that the reason of its end can be read.
const GRACE: Duration = Duration::from_secs(10);
/// How long other clients leave it to the creating client, to save the API server requests.
const GRACE_OF_OTHERS: Duration = Duration::from_secs(40);
/// How long after its soft or hard end a sandbox may take to end by itself.
const OVERDUE_AFTER: Duration = Duration::from_secs(60);

/// Returns why a sandbox is to be deleted; `None` if it is not. `now` is the API server's time. Without
/// it, only sandboxes that have ended are deleted, because the local clock may be wrong.
pub(crate) fn removal_reason(view: &PodView, now: Option<SystemTime>) -> Option<&'static str> {
    let past = |end: SystemTime| now.is_some_and(|now| now > end + OVERDUE_AFTER);
    match view.state {
        _ if view.deleting => None,
        SandboxState::Ended => Some("it has ended"),
        // Its creator was killed meanwhile. One that runs ends by itself.
        _ if view.started_at.is_none() && view.ends.ready.is_some_and(past) => {
            Some("it was not ready by the deadline of its creation")
        }
        _ if !past(view.ends.soft) => None,
        _ if view.started_at.is_none() => Some("its soft end has passed, and it never ran"),
        _ if past(view.ends.hard) => Some("its hard end has passed"),
        _ if view.outlives_soft_end() => None,
        _ => Some("its soft end has passed"),
    }
}

/// Remembers since when each sandbox is to be deleted.
#[derive(Default)]
pub(crate) struct Sweeper {
    ended_since: HashMap<Uid, Instant>,
    created_here: HashSet<Uid>,
}

impl Sweeper {
    /// Records that this client created the instance.
    pub(crate) fn record_created(&mut self, uid: &Uid) {
        self.created_here.insert(uid.clone());
    }

    /// Whether another process that holds a Lease created any of these.
    pub(crate) fn any_leased_by_others(&self, all: &[Arc<PodView>]) -> bool {
        all.iter()
            .any(|view| view.has_lease && !self.created_here.contains(&view.uid))
    }

    /// Returns those whose grace has passed; `time` is the API server's.
    pub(crate) fn select_due(
        &mut self,
        all: &[Arc<PodView>],
        now: Instant,
        time: Option<SystemTime>,
    ) -> Vec<Arc<PodView>> {
        let present: HashSet<_> = all.iter().map(|view| &view.uid).collect();
        self.created_here.retain(|uid| present.contains(uid));
        let removable: Vec<_> = all
            .iter()
            .filter(|view| removal_reason(view, time).is_some())
            .collect();
        let still_removable: HashSet<_> = removable.iter().map(|view| &view.uid).collect();
        self.ended_since
            .retain(|uid, _| still_removable.contains(uid));
        let due = removable.into_iter().filter(|view| {
            let since = *self.ended_since.entry(view.uid.clone()).or_insert(now);
            let grace = if self.created_here.contains(&view.uid) {
                GRACE
            } else {
                GRACE_OF_OTHERS
            };
            now.saturating_duration_since(since) >= grace
        });
        due.cloned().collect()
    }
}

/// Deletes a sandbox if it has not changed since `view`; `false` if another client was faster.
pub(crate) async fn delete(api: &ApiClient, view: &PodView) -> Result<bool> {
    let deadline = Deadline::from_now(LOOKUP_TIMEOUT);
    if !api
        .delete::<Pod>(&view.id, &view.uid, Some(&view.resource_version), deadline)
        .await?
    {
        return Ok(false);
    }
    api.delete_key_secret(&view.owner, deadline).await?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::status::view::tests::view;
    use serde_json::json;

    #[test]
    fn only_ended_sandboxes_are_due_and_not_at_once() {
        let ended = Arc::new(view(
            json!({"phase": "Succeeded", "state": {"terminated": {"exitCode": 0}}}),
        ));
        let running = Arc::new(view(json!({"phase": "Running", "state": {"running": {}}})));
        let deleting = Arc::new(view(
            json!({"phase": "Failed", "deleting": "2026-01-01T00:00:05Z"}),
        ));
        let (mut sweeper, now) = (Sweeper::default(), Instant::now());
        for others in [vec![running], vec![deleting]] {
            assert!(sweeper.select_due(&others, now, None).is_empty());
            assert!(
                sweeper
                    .select_due(&others, now + 2 * GRACE_OF_OTHERS, None)
                    .is_empty()
            );
        }
        let all = vec![ended];
        assert!(sweeper.select_due(&all, now, None).is_empty());
        assert!(
            sweeper.select_due(&all, now + GRACE, None).is_empty(),
            "the creating client comes first"
        );
        assert_eq!(sweeper.select_due(&all, now + GRACE_OF_OTHERS, None), all);
        // It was missing in between, so its grace starts anew.
        assert!(sweeper.select_due(&[], now + GRACE, None).is_empty());
        sweeper.record_created(&all[0].uid);
        assert!(sweeper.select_due(&all, now, None).is_empty());
        assert_eq!(sweeper.select_due(&all, now + GRACE, None), all);
    }

    #[test]
    fn a_sandbox_expires_by_the_servers_clock_only() {
        // It was created at midnight, with a soft end after 60 s and a hard one after 3600 s.
        let running = json!({"phase": "Running", "state": {"running": {"startedAt": "2026-01-01T00:00:02Z"}}});
        let running = view(running);
        let pending = view(json!({"conditions": [{"type": "PodScheduled", "status": "False"}]}));
        let after = |seconds| Some(running.created_at + Duration::from_secs(seconds));
        for (time, run, never_ran) in [
            (None, None, None),
            (after(0), None, None),
            (after(120), None, None),
            (
                after(121),
                Some("its soft end has passed"),
                Some("its soft end has passed, and it never ran"),
            ),
            (
                after(3661),
                Some("its hard end has passed"),
                Some("its soft end has passed, and it never ran"),
            ),
        ] {
            assert_eq!(
                (
                    removal_reason(&running, time),
                    removal_reason(&pending, time)
                ),
                (run, never_ran),
                "{time:?}"
            );
        }
        let mut paused = running.clone();
        paused.is_marked_paused = true;
        assert_eq!(removal_reason(&paused, after(121)), None);
        assert_eq!(
            removal_reason(&paused, after(3661)),
            Some("its hard end has passed")
        );
        let never_ready = |view: &PodView| {
            let mut view = view.clone();
            view.ends.ready = Some(view.created_at + Duration::from_secs(30));
            view
        };
        let (used, pending) = (never_ready(&running), never_ready(&pending));
        for (time, reason) in [
            (None, None),
            (after(90), None),
            (
                after(91),
                Some("it was not ready by the deadline of its creation"),
            ),
        ] {
            assert_eq!(removal_reason(&pending, time), reason, "{time:?}");
            assert_eq!(removal_reason(&used, time), None, "{time:?}");
        }
        let deleting = view(json!({"deleting": "2026-01-01T00:00:05Z"}));
        assert_eq!(removal_reason(&deleting, after(9999)), None);
    }
}
