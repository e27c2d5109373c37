//! Sending the events of a process to a client that is attached to it.

use std::sync::Arc;

use sandbox_core::guest::{FrameKind, ProcessEnd, ProcessStarted, Refusal, RefusalCode};

use super::process::SharedProcess;
use super::start::FailedStart;
use super::subscribers::{Outcome, PATIENCE, Subscription};
use crate::guest::Stop;
use crate::guest::client::{Client, ClientSender};

/// A client's attachment to a process.
pub(super) struct Attached {
    pub(super) process: Arc<SharedProcess>,
    pub(super) subscription: Subscription,
}

/// Sends the start, the output from now on, and the end.
pub(super) async fn send_events(
    mut attached: Attached,
    client: &mut Client<'_>,
) -> Result<(), Stop> {
    let (sender, violation) = client.split();
    let too_slow = attached.subscription.too_slow.clone();
    tokio::select! {
        biased;
        () = too_slow.cancelled() => Err(Stop::Refused(Refusal::new(
            RefusalCode::TooSlow,
            format!(
                "this client has not read the output of process {} for {PATIENCE:?}, and was detached",
                attached.process.pid(),
            ),
        ))),
        stop = violation => Err(stop),
        sent = forward(&attached.process, &mut attached.subscription, sender) => sent,
    }
}

async fn forward(
    process: &SharedProcess,
    subscription: &mut Subscription,
    sender: &ClientSender<'_>,
) -> Result<(), Stop> {
    sender.send(&ProcessStarted::new(process.pid())).await?;
    while let Some(chunk) = subscription.chunks.recv().await {
        sender.send_content(chunk.kind, &chunk.data).await?;
    }
    match process.outcome() {
        Some(Outcome::Ended(end)) => sender.send(&end).await,
        Some(Outcome::TimedOut) => Err(process.timed_out().into()),
        // The sender of the chunks is dropped only at the end of the process, or of the subscription.
        None => Err(Stop::Closed),
    }
}

/// Sends the end of a process that could not be started.
pub(super) async fn send_failure(failure: &FailedStart, client: &Client<'_>) -> Result<(), Stop> {
    client.send(&ProcessStarted::new(0)).await?;
    let kind = if failure.is_terminal {
        FrameKind::Terminal
    } else {
        FrameKind::Stderr
    };
    let line_end = if failure.is_terminal { "\r\n" } else { "\n" };
    let message = format!("sandbox-sshd: {}{line_end}", failure.error.message);
    client.send_content(kind, message.as_bytes()).await?;
    let end = ProcessEnd::Exited(failure.error.exit_code);
    client.send(&end).await
}
