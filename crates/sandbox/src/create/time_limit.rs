//! How long a creation may take.

use std::sync::OnceLock;
use std::time::Duration;

use sandbox_core::{Deadline, SandboxEvent};

/// The time limit of a creation. The time in which the backend has no room for the sandbox may be left out of it.
#[derive(Debug)]
pub(super) struct TimeLimit {
    timeout: Duration,
    waits_for_room: bool,
    /// The end of a creation that does not wait for room.
    first: Deadline,
    /// The end of a creation that never finds room.
    last: Deadline,
    /// The end, once the backend has found room.
    from_room: OnceLock<Deadline>,
}

impl TimeLimit {
    /// Starts a limit of `timeout`, and of `room_timeout` more for the room.
    pub(super) fn start(timeout: Duration, room_timeout: Duration) -> Self {
        Self {
            timeout,
            waits_for_room: !room_timeout.is_zero(),
            first: Deadline::from_now(timeout),
            last: Deadline::from_now(timeout.saturating_add(room_timeout)),
            from_room: OnceLock::new(),
        }
    }

    /// Notes when the backend has found room.
    pub(super) fn observe(&self, event: &SandboxEvent) {
        if event.kind.has_room() {
            self.from_room
                .get_or_init(|| Deadline::from_now(self.timeout).min(self.last));
        }
    }

    /// The end of the step that sends the sandbox to the backend.
    pub(super) fn provisioning(&self) -> Deadline {
        self.first
    }

    /// The end, as far as it is known.
    pub(super) fn current(&self) -> Deadline {
        self.from_room.get().copied().unwrap_or(self.last)
    }

    /// Waits until the end of a creation that waits for room; for ever for others, each step of which is bounded by
    /// the same deadline. The end comes nearer with an event that is observed.
    pub(super) async fn wait_for_end(&self) {
        if self.waits_for_room {
            tokio::time::sleep_until(self.current().instant()).await;
        } else {
            std::future::pending::<()>().await;
        }
    }

    /// Returns the time from the last known beginning to the end.
    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }
}
