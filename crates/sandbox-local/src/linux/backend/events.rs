//! The events of a sandbox: those of its start, and its end.

use std::io;
use std::time::SystemTime;

use sandbox_core::{EventStream, Result, SandboxEvent, SandboxEventKind, SandboxId};
use tokio::sync::mpsc;

use super::channel_stream::ChannelStream;
use super::file_access::backend_error;
use super::lookup::find;
use crate::linux::record::Record;
use crate::linux::state::{LockState, SandboxDir, StateDir};
use crate::linux::sys;

/// Streams the events of a running sandbox, up to its deletion.
pub(super) async fn stream_events(state: &StateDir, id: &SandboxId) -> Result<EventStream> {
    let record = find(state, id).await?;
    let dir = state.sandbox(id);
    let (sender, receiver) = mpsc::channel(8);
    for event in start_events(&record) {
        // The channel has room for all of them.
        drop(sender.try_send(Ok(event)));
    }
    tokio::spawn(async move {
        tokio::select! {
            () = sender.closed() => {}
            ended = wait_for_supervisor(&dir) => {
                let event = ended
                    .map(|()| new_event(SandboxEventKind::Deleted, SystemTime::now(), "the sandbox has ended"))
                    .map_err(|error| backend_error("watch the sandbox", error));
                // The receiver may have been dropped in the meantime.
                drop(sender.send(event).await);
            }
        }
    });
    Ok(Box::pin(ChannelStream(receiver)))
}

/// Returns the events that every running sandbox has behind it.
pub(super) fn start_events(record: &Record) -> Vec<SandboxEvent> {
    let created_at = record.info.created_at;
    let isolation = format!("isolation: {}", record.info.isolation.kind);
    let address = record.info.address.clone().unwrap_or_default();
    vec![
        new_event(SandboxEventKind::Created, created_at, ""),
        new_event(SandboxEventKind::Started, created_at, isolation),
        new_event(SandboxEventKind::Addressed, created_at, address),
    ]
}

/// Waits until the supervisor has ended.
pub(super) async fn wait_for_supervisor(dir: &SandboxDir) -> io::Result<()> {
    let LockState::Locked(Some(supervisor)) = dir.lock_state()? else {
        return Ok(());
    };
    let Some(pidfd) = supervisor.open_pidfd()? else {
        return Ok(());
    };
    sys::wait_for_end(pidfd).await
}

fn new_event(kind: SandboxEventKind, at: SystemTime, message: impl Into<String>) -> SandboxEvent {
    SandboxEvent {
        at,
        kind,
        message: message.into(),
    }
}
