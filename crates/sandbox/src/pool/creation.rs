//! Creates a sandbox that waits, and holds one for which there is no room yet.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sandbox_core::{Result, SandboxEvent, SandboxEventKind};

use crate::create::Created;
use crate::create::builder::SandboxBuilder;

/// Creates one sandbox. One that the backend has no room for is held for `max_age`, and not replaced by
/// another that would find no room either; `on_held` is called with the reason.
pub(crate) async fn create_when_there_is_room(
    mut template: SandboxBuilder,
    max_age: Duration,
    on_held: impl Fn(&str) + Send + Sync + 'static,
) -> Result<Created> {
    template.room_timeout = max_age;
    let own_hook = template.on_event.clone();
    let has_room = AtomicBool::new(false);
    let template = template.on_event(move |event| {
        observe(event, &has_room, &on_held);
        if let Some(hook) = &own_hook {
            hook(event);
        }
    });
    template.create_without_handle().await
}

/// Notes why the backend has no room for a sandbox.
fn observe(event: &SandboxEvent, has_room: &AtomicBool, on_held: &impl Fn(&str)) {
    if event.kind.has_room() {
        has_room.store(true, Ordering::Relaxed);
    } else if event.kind == SandboxEventKind::Warning && !has_room.load(Ordering::Relaxed) {
        on_held(&event.message);
    }
}
