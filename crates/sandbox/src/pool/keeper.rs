//! Keeps the waiting sandboxes of a pool attached, and replaces those that ended or are too old.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, stream};

use super::shared::Shared;

/// How many sandboxes are checked at once.
const CONCURRENCY: usize = 32;

/// Checks the waiting sandboxes at this interval until the pool is closed.
pub(super) async fn run(shared: Arc<Shared>, interval: Duration) {
    let mut changes = shared.changes();
    loop {
        tokio::select! {
            () = tokio::time::sleep(interval) => {}
            _closed = changes.wait_for(|status| status.is_closed) => return,
        }
        // Dropping a waiting sandbox deletes it in the background.
        drop(shared.remove_surplus());
        stream::iter(shared.checks())
            .for_each_concurrent(CONCURRENCY, |check| {
                let shared = &shared;
                async move {
                    if let Err(error) = check.run(interval).await {
                        tracing::info!(%error, "replacing a waiting sandbox that does not answer");
                        drop(shared.remove(check.uid()));
                    }
                }
            })
            .await;
    }
}

/// How often waiting sandboxes are checked: often enough to keep them attached.
pub(crate) fn check_interval(attach_timeout: Duration, max_age: Duration) -> Duration {
    (attach_timeout / 3)
        .min(max_age / 4)
        .max(Duration::from_millis(100))
}
