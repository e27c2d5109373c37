//! A bound on the connections that have not authenticated yet.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tokio_util::sync::CancellationToken;

use crate::lock::lock;

/// The connections that have not authenticated, the oldest first.
pub(crate) struct PendingLogins {
    max: usize,
    next_id: AtomicU64,
    queue: Mutex<VecDeque<(u64, CancellationToken)>>,
}

/// One connection that has not authenticated. Dropping it takes the connection off the list.
pub(crate) struct PendingLogin {
    logins: Arc<PendingLogins>,
    id: u64,
}

impl PendingLogins {
    pub(crate) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self {
            max,
            next_id: AtomicU64::new(0),
            queue: Mutex::default(),
        })
    }

    /// Adds a connection, which `kill` closes. If there are too many, the oldest is closed: a
    /// client that has the key needs only a moment to log in, so it is not the oldest.
    pub(crate) fn add(self: &Arc<Self>, kill: CancellationToken) -> PendingLogin {
        let mut queue = lock(&self.queue);
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        if queue.len() >= self.max
            && let Some((_, oldest)) = queue.pop_front()
        {
            tracing::debug!("too many pending logins; closing the oldest connection");
            oldest.cancel();
        }
        queue.push_back((id, kill));
        PendingLogin {
            logins: Arc::clone(self),
            id,
        }
    }
}

impl Drop for PendingLogin {
    fn drop(&mut self) {
        lock(&self.logins.queue).retain(|(id, _)| *id != self.id);
    }
}
