//! What a connection has not sent yet, and who waits for it to become less.
//!
//! Bytes that the client does not take are kept (see `server/transport.rs`), because russh does not read while it writes. There
//! is room for the windows of some busy channels. A client that serves a port inside may have a thousand: if all of them
//! filled their windows, russh would stop to read, and a client that sends in bulk itself would wait for it for ever. So those
//! channels read nothing from inside while the backlog is long.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

/// The backlog above which nothing is added to it.
const LONG: usize = 16 << 20;

/// The bytes that a connection has not sent yet.
#[derive(Default)]
pub(crate) struct WriteBacklog {
    bytes: AtomicUsize,
    shortened: Notify,
}

impl WriteBacklog {
    /// Records how many bytes there are now.
    pub(crate) fn set(&self, bytes: usize) {
        let before = self.bytes.swap(bytes, Ordering::Relaxed);
        if before > LONG && bytes <= LONG {
            self.shortened.notify_waiters();
        }
    }

    /// Waits while the backlog is long.
    pub(crate) async fn wait_until_short(&self) {
        loop {
            let mut shortened = std::pin::pin!(self.shortened.notified());
            // What happens from here on is noticed.
            shortened.as_mut().enable();
            if self.bytes.load(Ordering::Relaxed) <= LONG {
                return;
            }
            shortened.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::time::timeout;

    #[tokio::test(start_paused = true)]
    async fn channels_wait_while_the_backlog_is_long() {
        let backlog = WriteBacklog::default();
        backlog.wait_until_short().await;
        backlog.set(LONG + 1);
        let waited = timeout(Duration::from_secs(60), backlog.wait_until_short()).await;
        assert!(waited.is_err());
        let (_, ()) = tokio::join!(backlog.wait_until_short(), async {
            backlog.set(LONG + 2);
            tokio::task::yield_now().await;
            backlog.set(LONG);
        });
    }
}
