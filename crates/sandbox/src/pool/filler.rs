//! Creates the sandboxes of a pool.

use std::sync::Arc;

use sandbox_core::Result;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::creation::create_when_there_is_room;
use super::shared::Shared;
use super::waiting::Waiting;

/// Fills the pool until it is closed. Creations that are in progress then are cancelled.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut fills = JoinSet::new();
    while !shared.is_closed() {
        for _ in 0..shared.start_fills() {
            fills.spawn(fill(Arc::clone(&shared)));
        }
        let backoff = shared.not_before();
        tokio::select! {
            Some(joined) = fills.join_next() => {
                if joined.is_err() {
                    // It panicked: what it counted was not undone.
                    shared.cancel_fill();
                }
            }
            () = shared.wake.notified() => {}
            () = wait_until(backoff) => {}
        }
    }
}

/// Waits until then, or for ever if there is no time: another event wakes the filler.
pub(crate) async fn wait_until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

async fn fill(shared: Arc<Shared>) {
    let start = Instant::now();
    match create(&shared).await {
        Ok(waiting) => shared.add(waiting, start.elapsed()),
        Err(error) => shared.record_failure(&error),
    }
}

async fn create(shared: &Arc<Shared>) -> Result<Waiting> {
    let max_age = shared.settings.max_age;
    let mut template = shared.template.clone();
    // It counts from the creation, and the sandbox may wait as long as this.
    let lifetime = &mut template.spec.lifetime.max_lifetime;
    *lifetime = lifetime.saturating_add(max_age);
    let parts = Arc::clone(&template.parts);
    let for_hook = Arc::clone(shared);
    let on_held = move |message: &str| for_hook.record_held(message);
    let created = create_when_there_is_room(template, max_age, on_held).await?;
    Ok(Waiting::new(created, parts))
}
