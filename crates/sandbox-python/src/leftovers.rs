//! What interrupted calls have left: calls that are still to be dropped, and sandboxes that are still to be deleted.
//!
//! The client knows only what was left by calls that are dropped. An event loop cancels a call before that, and a sandbox
//! can be ready at the moment when its caller leaves.

use std::sync::{Arc, OnceLock, Weak};

use tokio::sync::watch;

/// Counts what interrupted calls of this process have left.
static COUNT: OnceLock<watch::Sender<usize>> = OnceLock::new();

fn count() -> &'static watch::Sender<usize> {
    COUNT.get_or_init(watch::Sender::default)
}

/// Something that an interrupted call has left, until it is dropped.
pub(crate) struct Leftover(());

impl Leftover {
    pub(crate) fn new() -> Self {
        count().send_modify(|count| *count += 1);
        Self(())
    }
}

impl Drop for Leftover {
    fn drop(&mut self) {
        count().send_modify(|count| *count -= 1);
    }
}

/// Waits until nothing is left.
pub(crate) async fn wait_until_none() {
    let mut counted = count().subscribe();
    // The sender is never dropped, so that this does not fail.
    let _none = counted.wait_for(|count| *count == 0).await;
}

/// Belongs to a call that can be interrupted, and then to its outcome, until a caller has that.
#[derive(Default)]
pub(crate) struct Interruptible(Arc<OnceLock<Leftover>>);

/// Interrupts a call unless its outcome was handed over.
pub(crate) struct Interrupter(Weak<OnceLock<Leftover>>);

impl Interruptible {
    pub(crate) fn interrupter(&self) -> Interrupter {
        Interrupter(Arc::downgrade(&self.0))
    }
}

impl Interrupter {
    /// Counts the call as left until it, or its outcome, is dropped.
    pub(crate) fn interrupt(&self) {
        if let Some(call) = self.0.upgrade() {
            call.get_or_init(Leftover::new);
        }
    }
}
