//! Sandboxes that are over: any client that watches removes what is left.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use k8s_openapi::api::core::v1::Pod;
use sandbox_core::{Deadline, Result, SandboxState, Uid};

use crate::api::client::ApiClient;
use crate::api::client::LOOKUP_TIMEOUT;
use crate::observe::status::PodView;

/// How long a Pod that is over is grace by its maker, for whoever wants to know why it ended.
const GRACE: Duration = Duration::from_secs(10);
/// Other clients leave it to its maker for a while: the API server need not be asked by each.
const GRACE_OF_OTHERS: Duration = Duration::from_secs(40);
/// How long after its end a sandbox is given to end by itself.
const OVERDUE_AFTER: Duration = Duration::from_secs(60);

/// Why a sandbox is over; `None` while it is not. Without the API server's time, only that it
/// has ended says so: nobody's own clock ends another's sandbox.
pub(crate) fn removal_reason(view: &PodView, now: Option<SystemTime>) -> Option<&'static str> {
    let past = |end: SystemTime| now.is_some_and(|now| now > end + OVERDUE_AFTER);
    match view.state {
        _ if view.deleting => None,
        SandboxState::Ended => Some("it has ended"),
        _ if !past(view.ends.soft) => None,
        _ if view.started_at.is_none() => Some("its time is over, and it never ran"),
        _ if past(view.ends.hard) => Some("its hard end has passed"),
        _ => Some("its time is over"),
    }
}

/// When each that is over was first seen so.
#[derive(Default)]
pub(crate) struct Sweeper {
    ended_since: HashMap<Uid, Instant>,
    created_here: HashSet<Uid>,
}

impl Sweeper {
    /// It was made here.
    pub(crate) fn record_created(&mut self, uid: &Uid) {
        self.created_here.insert(uid.clone());
    }

    /// Whether any was made by another process that holds a Lease.
    pub(crate) fn any_leased_by_others(&self, all: &[Arc<PodView>]) -> bool {
        all.iter()
            .any(|view| view.has_lease && !self.created_here.contains(&view.uid))
    }

    /// Those that have been over for long enough; `time` is the API server's.
    pub(crate) fn select_due(
        &mut self,
        all: &[Arc<PodView>],
        now: Instant,
        time: Option<SystemTime>,
    ) -> Vec<Arc<PodView>> {
        let present: HashSet<_> = all.iter().map(|view| &view.uid).collect();
        self.created_here.retain(|uid| present.contains(uid));
        let over: Vec<_> = all
            .iter()
            .filter(|view| removal_reason(view, time).is_some())
            .collect();
        self.ended_since
            .retain(|uid, _| over.iter().any(|view| view.uid == *uid));
        let due = over.into_iter().filter(|view| {
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

/// Removes one, if it still is as it was seen. Another client may be faster.
pub(crate) async fn delete(api: &ApiClient, view: &PodView) -> Result<bool> {
    let deadline = Deadline::from_now(LOOKUP_TIMEOUT);
    if !api
        .delete::<Pod>(&view.id, &view.uid, Some(&view.resource_version), deadline)
        .await?
    {
        return Ok(false);
    }
    api.delete_key_secret(&view.id, &view.owner, deadline)
        .await?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::status::view::tests::view;
    use serde_json::json;

    #[test]
    fn only_what_is_over_is_due_and_not_at_once() {
        let ended = Arc::new(view(
            json!({"phase": "Succeeded", "state": {"terminated": {"exitCode": 0}}}),
        ));
        let running = Arc::new(view(json!({"phase": "Running", "state": {"running": {}}})));
        let going = Arc::new(view(
            json!({"phase": "Failed", "deleting": "2026-01-01T00:00:05Z"}),
        ));
        let (mut sweeper, now) = (Sweeper::default(), Instant::now());
        for others in [vec![running], vec![going]] {
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
            "its maker comes first"
        );
        assert_eq!(sweeper.select_due(&all, now + GRACE_OF_OTHERS, None), all);
        // Gone and back in sight: it counts anew.
        assert!(sweeper.select_due(&[], now + GRACE, None).is_empty());
        sweeper.record_created(&all[0].uid);
        assert!(sweeper.select_due(&all, now, None).is_empty());
        assert_eq!(sweeper.select_due(&all, now + GRACE, None), all);
    }

    #[test]
    fn a_sandbox_is_over_by_the_servers_clock_and_by_no_other() {
        // It was made at midnight, with a soft end after 60 s and a hard one after 3600 s.
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
                Some("its time is over"),
                Some("its time is over, and it never ran"),
            ),
            (
                after(3661),
                Some("its hard end has passed"),
                Some("its time is over, and it never ran"),
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
        let going = view(json!({"deleting": "2026-01-01T00:00:05Z"}));
        assert_eq!(removal_reason(&going, after(9999)), None);
    }
}
