//! The events of a creation so far, for its error.

use std::sync::Mutex;

use sandbox_core::SandboxEvent;

use super::builder::EventHook;
use crate::sync::lock;

/// The events of a creation so far, for its error.
pub(super) struct History {
    events: Mutex<Vec<SandboxEvent>>,
    hook: Option<EventHook>,
}

impl History {
    /// Creates a history without events. `hook` is called for each.
    pub(super) fn new(hook: Option<EventHook>) -> Self {
        Self {
            events: Mutex::default(),
            hook,
        }
    }

    pub(super) fn push(&self, event: SandboxEvent) {
        if let Some(hook) = &self.hook {
            hook(&event);
        }
        lock(&self.events).push(event);
    }

    pub(super) fn take(&self) -> Vec<SandboxEvent> {
        std::mem::take(&mut *lock(&self.events))
    }
}
