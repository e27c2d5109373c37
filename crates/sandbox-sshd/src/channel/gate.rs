//! The gate that slows reading from a connection down.

use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::Sleep;

use crate::lock::lock;

/// Pauses reading for moments. It never stays closed, because other channels and the client's
/// keepalives need the connection, too.
#[derive(Default)]
pub(crate) struct ReadGate(Mutex<Option<Pin<Box<Sleep>>>>);

impl ReadGate {
    /// Closes the gate for this time from now on.
    pub(crate) fn pause(&self, time: Duration) {
        *lock(&self.0) = Some(Box::pin(tokio::time::sleep(time)));
    }

    pub(crate) fn poll_open(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut pause = lock(&self.0);
        if let Some(sleep) = pause.as_mut() {
            ready!(sleep.as_mut().poll(cx));
            *pause = None;
        }
        Poll::Ready(())
    }
}
