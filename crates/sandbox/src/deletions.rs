//! Deletions that run in the background, because a future was dropped.

use tokio::sync::watch;

/// Counts the deletions in the background.
#[derive(Debug, Default)]
pub(crate) struct Deletions(watch::Sender<usize>);

/// One deletion, until it is dropped.
pub(crate) struct Deletion(watch::Sender<usize>);

impl Deletions {
    /// Counts one more.
    pub(crate) fn begin(&self) -> Deletion {
        self.0.send_modify(|count| *count += 1);
        Deletion(self.0.clone())
    }

    /// Waits until none runs.
    pub(crate) async fn wait_until_done(&self) {
        // It fails only if the sender is dropped, which `self` has.
        let mut count = self.0.subscribe();
        let _none = count.wait_for(|count| *count == 0).await;
    }
}

impl Drop for Deletion {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}
