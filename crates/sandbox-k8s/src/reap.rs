//! Sandboxes that have ended by themselves: any client that watches removes what is left.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{Pod, Secret};
use sandbox_core::{Deadline, Result, SandboxState, Uid};

use crate::call::Caller;
use crate::status::PodView;
use crate::watch::ASK;

/// How long an ended Pod is kept, for whoever wants to know why it ended.
const KEPT: Duration = Duration::from_secs(10);

/// When each that has ended was first seen so.
#[derive(Default)]
pub(crate) struct Reaper {
    ended: HashMap<Uid, Instant>,
}

impl Reaper {
    /// Those that have been over for long enough.
    pub(crate) fn due(&mut self, all: &[Arc<PodView>], now: Instant) -> Vec<Arc<PodView>> {
        let over: Vec<_> =
            all.iter().filter(|view| view.state == SandboxState::Ended && !view.deleting).collect();
        self.ended.retain(|uid, _| over.iter().any(|view| view.uid == *uid));
        let due = over.into_iter().filter(|view| {
            let since = *self.ended.entry(view.uid.clone()).or_insert(now);
            now.saturating_duration_since(since) >= KEPT
        });
        due.cloned().collect()
    }
}

/// Removes one, if it still is as it was seen. Another client may be faster.
pub(crate) async fn remove(caller: &Caller, view: &PodView) -> Result<bool> {
    let deadline = Deadline::after(ASK);
    if !caller.delete::<Pod>(&view.id, &view.uid, Some(&view.resource_version), deadline).await? {
        return Ok(false);
    }
    caller.delete::<Secret>(&view.id, &view.owner, None, deadline).await?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::view::tests::view;
    use serde_json::json;

    #[test]
    fn only_what_has_ended_by_itself_is_due_and_not_at_once() {
        let ended = Arc::new(view(json!({"phase": "Succeeded", "state": {"terminated": {"exitCode": 0}}})));
        let running = Arc::new(view(json!({"phase": "Running", "state": {"running": {}}})));
        let going = Arc::new(view(json!({"phase": "Failed", "deleting": "2026-01-01T00:00:05Z"})));
        let (mut reaper, now) = (Reaper::default(), Instant::now());
        for others in [vec![running], vec![going]] {
            assert!(reaper.due(&others, now).is_empty());
            assert!(reaper.due(&others, now + 2 * KEPT).is_empty());
        }
        let all = vec![ended];
        assert!(reaper.due(&all, now).is_empty());
        assert_eq!(reaper.due(&all, now + KEPT), all);
        // Gone and back in sight: it counts anew.
        assert!(reaper.due(&[], now + KEPT).is_empty());
        assert!(reaper.due(&all, now + KEPT).is_empty());
    }
}
