//! Keeps an attached sandbox alive while there are handles on it.

use std::sync::Weak;
use std::time::Duration;

use sandbox_core::Deadline;

use super::{Inner, Sandbox};

impl Sandbox {
    /// Keeps an attached sandbox alive while there are handles on it.
    ///
    /// The server of an attached sandbox ends it when no client has been connected for
    /// `attach_timeout`, and the pool closes idle connections. So a task asks for a session from
    /// time to time. The task ends with the last handle, or with the sandbox.
    pub(crate) fn keep_attached(&self, attach_timeout: Duration) {
        let interval = (attach_timeout / 3).max(Duration::from_millis(300));
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(reconnect_periodically(self.downgrade(), interval));
        }
    }
}

async fn reconnect_periodically(inner: Weak<Inner>, interval: Duration) {
    loop {
        tokio::time::sleep(interval).await;
        let Some(inner) = inner.upgrade().filter(|inner| !inner.end.has_ended()) else {
            return;
        };
        let session = inner
            .parts
            .sessions
            .session(inner.access.clone(), Deadline::from_now(interval));
        if let Err(error) = session.await {
            tracing::debug!(sandbox.id = %inner.info.id, %error, "no connection to keep the sandbox attached");
        }
    }
}
