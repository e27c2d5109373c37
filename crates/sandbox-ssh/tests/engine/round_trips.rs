//! How many round trips an operation takes, over a transport of a long delay and by a clock that only advances while
//! everything waits.

use std::sync::Arc;
use std::time::Duration;

use sandbox_core::guest::{GuestRequest, PauseState, SandboxRequest};
use sandbox_core::{Result, Session};
use sandbox_ssh::{SshOptions, SshSessions};
use tokio::time::Instant;

use crate::support::delayed_server::{DELAY, DelayedConnector};
use crate::support::{self, InProcessSshd};

/// Operations before channels are prewarmed, and connections exist.
const WARM_UP: usize = 4;

async fn session(sshd: &InProcessSshd, prewarm_latency: Option<Duration>) -> Arc<dyn Session> {
    let mut options = SshOptions::default();
    options.prewarm_latency = prewarm_latency;
    let connector = DelayedConnector(Arc::clone(&sshd.connector) as _);
    let sessions = SshSessions::new(Arc::new(connector), options);
    support::session(&sessions, &sshd.access).await
}

async fn operate(session: &dyn Session) -> Result<PauseState> {
    let channel = session.open_guest().await?;
    let request = GuestRequest::Sandbox(SandboxRequest::State);
    channel.call(&request).await
}

/// The round trips that the operation takes.
async fn count<T>(operation: impl Future<Output = Result<T>>) -> u128 {
    let begun = Instant::now();
    operation.await.unwrap();
    // A timer is up to a millisecond late, on each way.
    let round_trip = 2 * DELAY.as_millis();
    (begun.elapsed().as_millis() + round_trip / 3) / round_trip
}

#[tokio::test(start_paused = true)]
async fn an_operation_of_the_guest_takes_as_many_as_a_command() {
    let sshd = InProcessSshd::new();
    let session = session(&sshd, None).await;
    for _ in 0..WARM_UP {
        operate(&*session).await.unwrap();
        session.jobs().await.unwrap();
    }
    // One opens the channel. A list of jobs is requested as a command is, and starts no program.
    assert_eq!(count(session.jobs()).await, 2);
    assert_eq!(count(operate(&*session)).await, 2);
}

#[tokio::test(start_paused = true)]
async fn the_channel_of_an_operation_is_prewarmed_as_that_of_a_command() {
    let sshd = InProcessSshd::new();
    let session = session(&sshd, Some(Duration::ZERO)).await;
    for _ in 0..WARM_UP {
        operate(&*session).await.unwrap();
        session.jobs().await.unwrap();
        tokio::time::sleep(4 * DELAY).await;
    }
    assert_eq!(count(session.jobs()).await, 1);
    assert_eq!(count(operate(&*session)).await, 1);
}
