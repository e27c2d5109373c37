//! The gate that pauses reading from a connection.

use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use crate::lock::lock;

/// Pauses reading while any channel has closed it, except while a sender needs a message of the
/// client.
#[derive(Default)]
pub(crate) struct ReadGate(Mutex<State>);

#[derive(Default)]
struct State {
    closed_by: usize,
    held_open_by: usize,
    reader: Option<Waker>,
}

impl ReadGate {
    pub(crate) fn close(&self) {
        lock(&self.0).closed_by += 1;
    }

    pub(crate) fn open(&self) {
        let mut state = lock(&self.0);
        state.closed_by = state.closed_by.saturating_sub(1);
        state.wake();
    }

    /// Opens the gate until the returned guard is dropped, even if channels have closed it.
    pub(crate) fn hold_open(self: &Arc<Self>) -> HeldOpen {
        let mut state = lock(&self.0);
        state.held_open_by += 1;
        state.wake();
        HeldOpen(Arc::clone(self))
    }

    pub(crate) fn poll_open(&self, cx: &Context<'_>) -> Poll<()> {
        let mut state = lock(&self.0);
        if state.is_open() {
            return Poll::Ready(());
        }
        state.reader = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl State {
    fn is_open(&self) -> bool {
        self.closed_by == 0 || self.held_open_by > 0
    }

    fn wake(&mut self) {
        if self.is_open()
            && let Some(reader) = self.reader.take()
        {
            reader.wake();
        }
    }
}

/// Holds a gate open until it is dropped.
pub(crate) struct HeldOpen(Arc<ReadGate>);

impl Drop for HeldOpen {
    fn drop(&mut self) {
        lock(&self.0.0).held_open_by -= 1;
    }
}
