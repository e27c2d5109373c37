//! Creates the sandboxes of a pool.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use sandbox_core::{Result, SandboxEvent, SandboxEventKind};
use tokio::task::JoinSet;
use tokio::time::Instant;

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
async fn wait_until(time: Option<Instant>) {
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

/// Creates one sandbox. One that the backend has no room for is held as long as it may wait in the pool, and not replaced
/// by another that would find no room either.
async fn create(shared: &Arc<Shared>) -> Result<Waiting> {
    let mut template = shared.template.clone();
    let max_age = shared.settings.max_age;
    // It counts from the creation, and the sandbox may wait as long as this.
    let lifetime = &mut template.spec.lifetime.max_lifetime;
    *lifetime = lifetime.saturating_add(max_age);
    template.room_timeout = max_age;
    let parts = Arc::clone(&template.parts);
    let own_hook = template.on_event.clone();
    let for_hook = Arc::clone(shared);
    let has_room = AtomicBool::new(false);
    let template = template.on_event(move |event| {
        observe(event, &has_room, &for_hook);
        if let Some(hook) = &own_hook {
            hook(event);
        }
    });
    let created = template.create_without_handle().await?;
    Ok(Waiting::new(created, parts))
}

/// Notes why the backend has no room for a sandbox.
fn observe(event: &SandboxEvent, has_room: &AtomicBool, shared: &Shared) {
    if event.kind.has_room() {
        has_room.store(true, Ordering::Relaxed);
    } else if event.kind == SandboxEventKind::Warning && !has_room.load(Ordering::Relaxed) {
        shared.record_held(&event.message);
    }
}
