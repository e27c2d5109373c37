//! Errors that say what became of the sandbox.

use std::fmt;
use std::time::Duration;

use futures_util::StreamExt;
use sandbox_core::{
    CommandCause, ConnectionStage, Deadline, DeleteOptions, Diagnosis, Error, Result, SandboxId,
    Uid, measure,
};
use tracing::Instrument;

use crate::client::Parts;

/// How long a lost connection may take to be explained.
const PATIENCE: Duration = Duration::from_secs(5);
/// And of that, how long the news of an end may take: a connection goes with the process, and a
/// kubelet tells a moment later.
const NEWS: Duration = Duration::from_secs(3);

impl Parts {
    /// Asks the backend what became of a sandbox whose connection failed, and adds the answer
    /// to the error. Other errors pass as they are.
    pub(crate) async fn explain(&self, id: &SandboxId, error: Error) -> Error {
        let error = error.with_sandbox(id);
        let lost = match &error {
            Error::Connection(inner) => {
                matches!(
                    inner.stage,
                    ConnectionStage::Dial | ConnectionStage::Channel
                )
            }
            Error::Command {
                cause: CommandCause::Lost,
                ..
            } => true,
            _ => false,
        };
        if !lost {
            return error;
        }
        let asked = Deadline::after(PATIENCE)
            .bound("diagnose", self.diagnose(id, &error))
            .await;
        match (asked, error) {
            (Ok(diagnosis), Error::Connection(mut inner)) => {
                inner.diagnosis = Some(diagnosis.summary).filter(|summary| !summary.is_empty());
                Error::Connection(inner)
            }
            (Ok(diagnosis), Error::Command { cause, source }) => Error::Command {
                cause,
                source: Some(Explained::over(diagnosis.summary, source)),
            },
            // Nothing was done, for there is nothing: that is the better error.
            (Err(gone @ Error::NotFound { .. }), Error::Connection(_)) => gone,
            (Err(gone @ Error::NotFound { .. }), Error::Command { cause, source }) => {
                Error::Command {
                    cause,
                    source: Some(Explained::over(gone.to_string(), source)),
                }
            }
            (_, error) => error,
        }
    }

    /// What became of it, as soon as that is known.
    async fn diagnose(&self, id: &SandboxId, error: &Error) -> Result<Diagnosis> {
        let now = self.backend.diagnose(id).await?;
        let dialled =
            matches!(error, Error::Connection(inner) if inner.stage == ConnectionStage::Dial);
        if now.is_final || dialled {
            return Ok(now);
        }
        let ended = async {
            let mut events = self.backend.events(id).await.ok()?;
            while let Some(Ok(event)) = events.next().await {
                if event.kind.is_final() {
                    return Some(());
                }
            }
            None
        };
        match tokio::time::timeout(NEWS, ended).await {
            Ok(Some(())) => self.backend.diagnose(id).await,
            Ok(None) | Err(_) => Ok(now),
        }
    }

    /// Deletes by id: connections first, then the sandbox.
    pub(crate) async fn delete(&self, id: &SandboxId, options: DeleteOptions) -> Result<()> {
        let backend = self.backend.name();
        let measured = measure::delete(backend);
        let span =
            tracing::debug_span!("sandbox.delete", sandbox.backend = backend, sandbox.id = %id);
        let deleted = async {
            if let Some(uid) = &options.uid {
                self.sessions.evict(uid).await;
            }
            self.backend.delete(id, options).await
        }
        .instrument(span)
        .await;
        measured.ended(&deleted);
        deleted
    }
}

type Cause = Box<dyn std::error::Error + Send + Sync>;

/// What became of the sandbox, above what the connection itself says.
#[derive(Debug)]
struct Explained {
    summary: String,
    cause: Option<Cause>,
}

impl Explained {
    fn over(summary: String, cause: Option<Cause>) -> Cause {
        match cause {
            Some(cause) if summary.is_empty() => cause,
            cause => Box::new(Self { summary, cause }),
        }
    }
}

impl fmt::Display for Explained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.summary)
    }
}

impl std::error::Error for Explained {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.cause.as_deref().map(|cause| cause as _)
    }
}

/// How long a failed creation waits for its traces to go.
pub(crate) const UNDO_WAIT: Duration = Duration::from_secs(10);

/// Deletes an instance unless disarmed: what a failed or dropped creation leaves.
pub(crate) struct DeleteOnDrop {
    target: Option<(std::sync::Arc<Parts>, SandboxId, Uid)>,
}

impl DeleteOnDrop {
    pub(crate) fn new(parts: std::sync::Arc<Parts>, id: SandboxId, uid: Uid) -> Self {
        Self {
            target: Some((parts, id, uid)),
        }
    }

    /// The sandbox is in good hands.
    pub(crate) fn disarm(mut self) {
        self.target = None;
    }

    /// Deletes now, so that nothing is left when an error is returned; what takes longer than `wait` (a
    /// machine that is away, say) goes on by itself. Returns whether it is gone.
    pub(crate) async fn delete(mut self, wait: Duration) -> bool {
        let Some((parts, id, uid)) = self.target.take() else {
            return true;
        };
        let about = id.clone();
        let removal =
            tokio::spawn(async move { parts.delete(&id, DeleteOptions::instance(uid)).await });
        match tokio::time::timeout(wait, removal).await {
            Ok(Ok(Ok(()))) => true,
            Ok(Ok(Err(error))) => {
                tracing::warn!(sandbox.id = %about, %error, "a failed creation could not be undone; the sandbox ends by itself");
                false
            }
            Ok(Err(error)) => {
                tracing::warn!(sandbox.id = %about, %error, "a failed creation was not undone; the sandbox ends by itself");
                false
            }
            Err(_elapsed) => {
                tracing::warn!(sandbox.id = %about, "the traces of a failed creation are still being removed");
                false
            }
        }
    }
}

impl Drop for DeleteOnDrop {
    fn drop(&mut self) {
        let Some((parts, id, uid)) = self.target.take() else {
            return;
        };
        // Without a runtime the sandbox ends by itself: nobody attaches to it.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                if let Err(error) = parts.delete(&id, DeleteOptions::instance(uid)).await {
                    tracing::warn!(sandbox.id = %id, %error, "a dropped creation could not be undone; the sandbox ends by itself");
                }
            });
        }
    }
}
