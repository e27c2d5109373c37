//! Keeping an attached sandbox alive while somebody has a handle of it.

use std::sync::{Arc, Weak};
use std::time::Duration;

use sandbox_core::Deadline;

use crate::handle::Inner;

/// The server of an attached sandbox ends it when no client has been connected for
/// `attach_timeout`, and the pool closes idle connections: so ask for a session now and then.
/// The task ends with the last handle, or with the sandbox.
pub(crate) fn keep_attached(inner: &Arc<Inner>, attach_timeout: Duration) {
    let every = (attach_timeout / 3).max(Duration::from_millis(300));
    if let Ok(runtime) = tokio::runtime::Handle::try_current() {
        runtime.spawn(touch(Arc::downgrade(inner), every));
    }
}

async fn touch(inner: Weak<Inner>, every: Duration) {
    loop {
        tokio::time::sleep(every).await;
        let Some(inner) = inner.upgrade().filter(|inner| !inner.is_gone()) else {
            return;
        };
        let session = inner
            .parts
            .sessions
            .session(inner.access.clone(), Deadline::after(every));
        if let Err(error) = session.await {
            tracing::debug!(sandbox.id = %inner.info.id, %error, "no connection to keep the sandbox attached");
        }
    }
}
