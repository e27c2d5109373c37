//! One sandbox of a session, from the beginning of its creation.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use sandbox::{Error, Forward, Sandbox, SandboxBuilder, SandboxId, SandboxState};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::failure::Failure;
use crate::sync::lock;

/// How long a deletion may take.
const DELETE_TIMEOUT: Duration = Duration::from_secs(40);
/// How long a question about the state of a sandbox may take.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);
/// The most ports of one sandbox that are open on this machine.
const MAX_FORWARDS: usize = 16;

/// One sandbox of a session, from the beginning of its creation.
pub(crate) struct Slot {
    id: SandboxId,
    image: Option<String>,
    begun: SystemTime,
    state: watch::Receiver<State>,
    cancel: CancellationToken,
    /// When its end was last postponed.
    renewed: Mutex<Instant>,
    forwards: tokio::sync::Mutex<HashMap<u16, Forward>>,
    /// Given back when nothing is left of the sandbox.
    room: Mutex<Option<OwnedSemaphorePermit>>,
}

#[derive(Clone)]
enum State {
    Creating,
    Ready(Sandbox),
    Failed(Arc<str>),
}

/// How a sandbox is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Standing {
    Creating,
    Ready {
        expires_at: Option<SystemTime>,
    },
    /// Its backend did not answer.
    Unknown,
    Failed,
    Ended,
}

impl Standing {
    /// Whether nothing is left of it.
    pub(crate) fn has_ended(&self) -> bool {
        match self {
            Self::Failed | Self::Ended => true,
            Self::Creating | Self::Ready { .. } | Self::Unknown => false,
        }
    }
}

impl Slot {
    /// Begins a creation in the background, until `closing` is cancelled.
    pub(super) fn create(
        id: SandboxId,
        image: Option<String>,
        builder: SandboxBuilder,
        room: OwnedSemaphorePermit,
        tasks: &TaskTracker,
        closing: &CancellationToken,
    ) -> Arc<Self> {
        let (report, state) = watch::channel(State::Creating);
        let cancel = closing.child_token();
        let cancelled = cancel.clone();
        tasks.spawn(async move {
            let created = tokio::select! {
                created = builder.create() => created,
                // Dropping the creation deletes what there is of it.
                () = cancelled.cancelled() => return,
            };
            let result = match created {
                Ok(sandbox) => State::Ready(sandbox),
                Err(error) => State::Failed(Failure::from(error).message().into()),
            };
            // The caller may have left. Then the sandbox is dropped, and ends because no client is attached.
            report.send_replace(result);
        });
        Arc::new(Self {
            id,
            image,
            begun: SystemTime::now(),
            state,
            cancel,
            renewed: Mutex::new(Instant::now()),
            forwards: tokio::sync::Mutex::default(),
            room: Mutex::new(Some(room)),
        })
    }

    pub(crate) fn id(&self) -> &SandboxId {
        &self.id
    }

    pub(crate) fn image(&self) -> Option<&str> {
        self.image.as_deref()
    }

    pub(crate) fn begun(&self) -> SystemTime {
        self.begun
    }

    /// Waits until the sandbox can be used. `None` if it is still being created at the deadline.
    ///
    /// # Errors
    ///
    /// If the creation has failed.
    pub(crate) async fn wait_until_ready(
        &self,
        deadline: Instant,
    ) -> Result<Option<Sandbox>, Failure> {
        let mut state = self.state.clone();
        let settled = async {
            state
                .wait_for(|state| !matches!(state, State::Creating))
                .await
                .map(|state| state.clone())
        };
        match tokio::time::timeout_at(deadline, settled).await {
            Err(_) => Ok(None),
            Ok(Ok(State::Ready(sandbox))) => Ok(Some(sandbox)),
            Ok(Ok(State::Failed(message))) => Err(Failure::new(&*message)),
            Ok(Ok(State::Creating) | Err(_)) => Err(Failure::new(format!(
                "the creation of sandbox {} was cancelled, because it is being deleted",
                self.id
            ))),
        }
    }

    /// Asks the backend how the sandbox is.
    pub(crate) async fn standing(&self) -> Standing {
        let state = self.state.borrow().clone();
        let sandbox = match state {
            State::Creating => return Standing::Creating,
            State::Failed(_) => return Standing::Failed,
            State::Ready(sandbox) => sandbox,
        };
        match tokio::time::timeout(LOOKUP_TIMEOUT, sandbox.refresh()).await {
            Ok(Ok(info)) => match info.state {
                SandboxState::Ended => Standing::Ended,
                SandboxState::Pending | SandboxState::Running => Standing::Ready {
                    expires_at: info.expires_at,
                },
                // A state that this server does not know.
                _ => Standing::Unknown,
            },
            Ok(Err(Error::NotFound { .. })) => Standing::Ended,
            Ok(Err(_)) | Err(_) => Standing::Unknown,
        }
    }

    /// Postpones the end of a sandbox that is used, in the background and not more often than it must be.
    pub(crate) fn renew(&self, sandbox: &Sandbox, ttl: Duration, tasks: &TaskTracker) {
        {
            let mut renewed = lock(&self.renewed);
            if renewed.elapsed() < ttl / 4 {
                return;
            }
            *renewed = Instant::now();
        }
        let sandbox = sandbox.clone();
        tasks.spawn(async move {
            match tokio::time::timeout(LOOKUP_TIMEOUT, sandbox.extend(ttl)).await {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => {
                    tracing::warn!(sandbox = %sandbox.id(), %error, "end of the sandbox not postponed");
                }
                Err(_) => {
                    tracing::warn!(sandbox = %sandbox.id(), "end of the sandbox not postponed in time");
                }
            }
        });
    }

    /// Opens a port of the sandbox on this machine's loopback interface, and returns the local port. The same port is
    /// opened once.
    ///
    /// # Errors
    ///
    /// If too many are open, or this machine has no port left.
    pub(crate) async fn open_port(&self, sandbox: &Sandbox, port: u16) -> Result<u16, Failure> {
        let mut forwards = self.forwards.lock().await;
        if let Some(forward) = forwards.get(&port) {
            return Ok(forward.local_addr().port());
        }
        if forwards.len() >= MAX_FORWARDS {
            return Err(Failure::new(format!(
                "{MAX_FORWARDS} ports of this sandbox are open already, the most there can be; use one of them"
            )));
        }
        let forward = sandbox.forward(port).await?;
        let local = forward.local_addr().port();
        forwards.insert(port, forward);
        Ok(local)
    }

    /// Deletes the sandbox, or cancels its creation.
    ///
    /// # Errors
    ///
    /// If it may still exist.
    pub(crate) async fn delete(&self) -> sandbox::Result<()> {
        self.end().await?;
        lock(&self.room).take();
        Ok(())
    }

    async fn end(&self) -> sandbox::Result<()> {
        self.cancel.cancel();
        self.forwards.lock().await.clear();
        let mut state = self.state.clone();
        // The sender is dropped when the creation is cancelled.
        let settled = state
            .wait_for(|state| !matches!(state, State::Creating))
            .await
            .map(|state| state.clone());
        let sandbox = match settled {
            Ok(State::Ready(sandbox)) => sandbox,
            Ok(State::Creating | State::Failed(_)) | Err(_) => return Ok(()),
        };
        match tokio::time::timeout(DELETE_TIMEOUT, sandbox.delete()).await {
            Ok(deleted) => deleted,
            Err(_) => Err(Error::Deletion {
                id: self.id.clone(),
                message: format!("it took longer than {} s", DELETE_TIMEOUT.as_secs()),
                source: None,
            }),
        }
    }
}
