//! Adds the backend's diagnosis to the error of a lost connection.

use std::fmt;
use std::time::Duration;

use futures_util::StreamExt;
use sandbox_core::{
    BoxError, CommandCause, ConnectionStage, Deadline, Diagnosis, EndCause, Error, Result,
    SandboxBackend, SandboxId,
};

/// How long the diagnosis of a lost connection may take.
const DIAGNOSIS_TIMEOUT: Duration = Duration::from_secs(5);
/// How long to wait for a final event within that time. A connection is lost as soon as the
/// server's process ends, and a kubelet reports the end a moment later.
const FINAL_EVENT_TIMEOUT: Duration = Duration::from_secs(3);

/// Asks the backend why the connection to a sandbox was lost, and adds the answer to the error.
/// Other errors only get the sandbox's id.
pub(crate) async fn add_diagnosis(
    backend: &dyn SandboxBackend,
    id: &SandboxId,
    error: Error,
) -> Error {
    let error = error.with_sandbox(id);
    if !is_lost_connection(&error) {
        return error;
    }
    let diagnosed = Deadline::from_now(DIAGNOSIS_TIMEOUT)
        .bound("the diagnosis", diagnose(backend, id, &error))
        .await;
    match (diagnosed, error) {
        // A backend remembers for a while how what it created has ended. This end leaves nothing to explain.
        (Ok(diagnosis), Error::Connection(_)) if diagnosis.end == Some(EndCause::Deleted) => {
            Error::NotFound { id: id.clone() }
        }
        (Ok(diagnosis), Error::Connection(mut inner)) => {
            // The backend's connector may have found out the same.
            inner.diagnosis = Some(diagnosis.summary)
                .filter(|summary| !summary.is_empty() && !inner.message.contains(summary));
            Error::Connection(inner)
        }
        (Ok(diagnosis), Error::Command { cause, source }) => Error::Command {
            cause,
            source: Diagnosed::wrap(diagnosis.summary, source),
        },
        // "Not found" is more precise, and proves that the request never ran.
        (Err(not_found @ Error::NotFound { .. }), Error::Connection(_)) => not_found,
        // The command may have run, so the error stays one of a command.
        (Err(not_found @ Error::NotFound { .. }), Error::Command { cause, source }) => {
            Error::Command {
                cause,
                source: Diagnosed::wrap(not_found.to_string(), source),
            }
        }
        (_, error) => error,
    }
}

fn is_lost_connection(error: &Error) -> bool {
    match error {
        Error::Connection(inner) => matches!(
            inner.stage,
            ConnectionStage::Dial | ConnectionStage::Channel
        ),
        Error::Command { cause, .. } => *cause == CommandCause::Lost,
        _ => false,
    }
}

/// Returns the backend's diagnosis, if possible one made after the end of the sandbox.
async fn diagnose(
    backend: &dyn SandboxBackend,
    id: &SandboxId,
    error: &Error,
) -> Result<Diagnosis> {
    let first = backend.diagnose(id).await?;
    // Neither a connection that was never established announces an end, nor one whose server refuses a channel.
    let announces_end = match error {
        Error::Connection(inner) => inner.stage != ConnectionStage::Dial && !inner.is_refusal,
        _ => true,
    };
    if first.is_final || !announces_end {
        return Ok(first);
    }
    match tokio::time::timeout(FINAL_EVENT_TIMEOUT, has_final_event(backend, id)).await {
        Ok(true) => backend.diagnose(id).await,
        Ok(false) | Err(_) => Ok(first),
    }
}

/// Waits for a final event; `false` if the events end without one.
async fn has_final_event(backend: &dyn SandboxBackend, id: &SandboxId) -> bool {
    let Ok(mut events) = backend.events(id).await else {
        return false;
    };
    while let Some(Ok(event)) = events.next().await {
        if event.kind.is_final() {
            return true;
        }
    }
    false
}

/// The backend's diagnosis as the cause of an error, with the connection's own error beneath it.
#[derive(Debug)]
struct Diagnosed {
    summary: String,
    cause: Option<BoxError>,
}

impl Diagnosed {
    fn wrap(summary: String, cause: Option<BoxError>) -> Option<BoxError> {
        match cause {
            Some(cause) if summary.is_empty() => Some(cause),
            cause => Some(Box::new(Self { summary, cause })),
        }
    }
}

impl fmt::Display for Diagnosed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.summary)
    }
}

impl std::error::Error for Diagnosed {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.cause.as_deref().map(|cause| cause as _)
    }
}
