//! Waiting for what a command may not have.

use sandbox_core::ControlMessage;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

pub(super) async fn receive(
    control: &mut Option<mpsc::Receiver<ControlMessage>>,
) -> Option<ControlMessage> {
    match control {
        Some(control) => control.recv().await,
        None => std::future::pending().await,
    }
}

pub(super) async fn sleep_until_some(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}
