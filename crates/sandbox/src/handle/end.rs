//! Whether a sandbox has ended, as its handle and its session found out.

use std::sync::atomic::{AtomicBool, Ordering};

/// Records that a sandbox was deleted or found missing.
pub(crate) struct EndState {
    has_ended: AtomicBool,
    on_end: Box<dyn Fn() + Send + Sync>,
}

impl EndState {
    /// `on_end` removes the handle from the client's cache.
    pub(crate) fn new(on_end: Box<dyn Fn() + Send + Sync>) -> Self {
        Self {
            has_ended: AtomicBool::new(false),
            on_end,
        }
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.has_ended.load(Ordering::Relaxed)
    }

    /// Stops keeping the sandbox attached. Its handle stays cached until the deletion is done.
    pub(crate) fn stop_attaching(&self) {
        self.has_ended.store(true, Ordering::Relaxed);
    }

    /// Records the end, and removes the handle from the client's cache.
    pub(crate) fn record(&self) {
        self.stop_attaching();
        (self.on_end)();
    }
}
