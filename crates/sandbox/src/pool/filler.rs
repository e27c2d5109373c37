//! Creates the sandboxes of a pool.

use std::sync::Arc;

use sandbox_core::{Error, Result, SandboxEvent, SandboxEventKind};
use tokio::sync::watch;
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

/// Creates one sandbox. It may take as long as a sandbox may wait in the pool while the backend has
/// no room for it, and the timeout of a creation after that. So a sandbox that cannot be scheduled
/// is held, and not replaced by another that cannot be scheduled either.
async fn create(shared: &Arc<Shared>) -> Result<Waiting> {
    let (has_room, mut has_room_changes) = watch::channel(false);
    let timeout = shared.template.create_timeout;
    let mut template = shared.template.clone();
    // It counts from the creation, and the sandbox may wait as long as this.
    let lifetime = &mut template.spec.lifetime.max_lifetime;
    *lifetime = lifetime.saturating_add(shared.settings.max_age);
    let parts = Arc::clone(&template.parts);
    let own_hook = template.on_event.clone();
    let for_hook = Arc::clone(shared);
    let template = template
        .create_timeout(shared.settings.max_age + timeout)
        .on_event(move |event| {
            observe(event, &has_room, &for_hook);
            if let Some(hook) = &own_hook {
                hook(event);
            }
        });
    let started_too_late = async {
        // It fails only if the creation is dropped.
        if has_room_changes
            .wait_for(|has_room| *has_room)
            .await
            .is_err()
        {
            std::future::pending::<()>().await;
        }
        tokio::time::sleep(timeout).await;
    };
    let creation = template.create_without_handle();
    tokio::select! {
        created = creation => Ok(Waiting::new(created?, parts)),
        () = started_too_late => Err(Error::Timeout {
            operation: "creating a sandbox for the pool",
            after: timeout,
        }),
    }
}

/// Notes when the backend has found room for a sandbox, and why it has not.
fn observe(event: &SandboxEvent, has_room: &watch::Sender<bool>, shared: &Shared) {
    match event.kind {
        SandboxEventKind::Scheduled
        | SandboxEventKind::Pulling
        | SandboxEventKind::Started
        | SandboxEventKind::Addressed
        | SandboxEventKind::Ready => {
            has_room.send_replace(true);
        }
        SandboxEventKind::Warning if !*has_room.borrow() => shared.record_held(&event.message),
        _ => {}
    }
}
