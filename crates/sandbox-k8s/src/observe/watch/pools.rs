//! Waits for changes of the sandboxes of shared pools.

use std::sync::Arc;
use std::time::Duration;

use super::watcher::Watch;
use crate::observe::index::Health;
use crate::observe::status::PodView;

/// How long a wait lasts at most while there is no watch to end it.
const POLL_INTERVAL: Duration = Duration::from_secs(5);

impl Watch {
    /// Waits until the sandboxes of the shared pools may differ from what they were at `since`, and returns the number
    /// of the new state. The first state has the number 1.
    pub(crate) async fn wait_for_pool_change(&self, since: u64) -> u64 {
        self.start();
        let mut states = self.shared.pool_states.subscribe();
        loop {
            let number = *states.borrow_and_update();
            if number != since {
                return number;
            }
            // The sender lives as long as this watch.
            let changed = tokio::time::timeout(POLL_INTERVAL, states.changed()).await;
            if changed.is_err() && !self.is_live() {
                self.shared.pool_states.send_modify(|number| *number += 1);
            }
        }
    }

    /// Returns all sandboxes, if the index is as recent as the watch.
    pub(crate) fn live_views(&self) -> Option<Vec<Arc<PodView>>> {
        self.start();
        self.shared.lock().index.views()
    }

    /// Whether the index is as recent as the watch.
    fn is_live(&self) -> bool {
        *self.shared.lock().index.health() == Health::Live
    }
}
