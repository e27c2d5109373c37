//! Pauses the sandbox, and resumes it.

use std::sync::Arc;
use std::time::Duration;

use sandbox_core::OnExpiry;
use sandbox_core::guest::{PauseState, StoppedBy};
use tokio::sync::Mutex;
use tokio::task::AbortHandle;

use super::stop::{StopError, StoppedProcesses};
use super::table::ProcessTable;
use crate::config::{Freezer, FreezerRequest};
use crate::lifetime::Lifetime;

/// How often a paused sandbox is looked at for processes that run again after a signal has stopped them.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// Pauses and resumes one sandbox.
pub(crate) struct Pauser {
    processes: Arc<ProcessTable>,
    lifetime: Arc<Lifetime>,
    freezer: Option<Freezer>,
    /// Whether all descendants of this process are the sandbox's.
    is_alone: bool,
    /// The pause, while the sandbox is paused.
    pause: Mutex<Option<Pause>>,
}

/// One pause, and so what has stopped the processes.
enum Pause {
    /// Their control group.
    Frozen(Freezer),
    /// Signals.
    Stopped {
        stopped: Arc<StoppedProcesses>,
        /// Keeps the processes stopped.
        keeper: AbortHandle,
    },
}

impl Pauser {
    pub(crate) fn new(
        processes: Arc<ProcessTable>,
        lifetime: Arc<Lifetime>,
        freezer: Option<Freezer>,
        is_alone: bool,
    ) -> Arc<Self> {
        Arc::new(Self {
            processes,
            lifetime,
            freezer,
            is_alone,
            pause: Mutex::default(),
        })
    }

    /// Stops all processes; none is started from here on. The `ttl` stands still. Changes nothing if the sandbox is
    /// paused.
    ///
    /// # Errors
    ///
    /// If not all processes can be stopped. Then none is.
    pub(crate) async fn pause(self: &Arc<Self>) -> Result<PauseState, StopError> {
        // The task finishes what it has begun, also if the client that asked for it goes away.
        let pauser = Arc::clone(self);
        let paused = tokio::spawn(async move { pauser.stop_all().await });
        paused.await.unwrap_or(Err(StopError::Interrupted))
    }

    /// Continues what the pause has stopped, with a new `ttl` or what is left of the former one. Changes nothing if
    /// the sandbox is not paused.
    ///
    /// # Errors
    ///
    /// If the processes cannot be continued. Then the sandbox is still paused.
    pub(crate) async fn resume(
        self: &Arc<Self>,
        ttl: Option<Duration>,
    ) -> Result<PauseState, StopError> {
        let pauser = Arc::clone(self);
        let resumed = tokio::spawn(async move { pauser.continue_all(ttl).await });
        resumed.await.unwrap_or(Err(StopError::Interrupted))
    }

    /// Continues the processes of a sandbox that ends, so that they can react to that. None is started any more. It
    /// waits at most this long for a pause that is being made, and for the end of the one that there is.
    pub(crate) async fn release(&self, timeout: Duration) {
        let released = tokio::time::timeout(timeout, async {
            match self.pause.lock().await.take() {
                Some(pause) => pause.end().await,
                None => Ok(()),
            }
        });
        match released.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "a paused sandbox ends without continuing"),
            Err(_elapsed) => tracing::warn!("a sandbox ends while it is being paused"),
        }
    }

    /// Sets what happens at the end of the `ttl`.
    pub(crate) fn set_on_expiry(&self, on_expiry: OnExpiry) {
        self.lifetime.set_on_expiry(on_expiry);
    }

    /// Whether the sandbox is paused.
    pub(crate) async fn state(&self) -> PauseState {
        let pause = self.pause.lock().await;
        self.describe(pause.as_ref(), false)
    }

    async fn stop_all(self: Arc<Self>) -> Result<PauseState, StopError> {
        let mut pause = self.pause.lock().await;
        if pause.is_some() {
            return Ok(self.describe(pause.as_ref(), false));
        }
        if !self.is_alone {
            return Err(StopError::Embedded);
        }
        self.processes.forbid_starts();
        self.lifetime.pause();
        match Pause::begin(self.freezer.as_ref()).await {
            Ok(begun) => *pause = Some(begun),
            Err(error) => {
                self.lifetime.resume(None);
                self.processes.allow_starts();
                return Err(error);
            }
        }
        Ok(self.describe(pause.as_ref(), true))
    }

    async fn continue_all(&self, ttl: Option<Duration>) -> Result<PauseState, StopError> {
        let mut pause = self.pause.lock().await;
        let Some(current) = pause.as_ref() else {
            return Ok(self.describe(None, false));
        };
        current.end().await?;
        *pause = None;
        self.lifetime.resume(ttl);
        self.processes.allow_starts();
        Ok(self.describe(None, true))
    }

    fn describe(&self, pause: Option<&Pause>, is_changed: bool) -> PauseState {
        // What is left is rounded up, so that a ttl that has not passed is never zero.
        let left = self.lifetime.ttl_left();
        let seconds = left.map(|left| left.as_secs() + u64::from(left.subsec_nanos() > 0));
        let mut state = PauseState::new(pause.is_some(), is_changed, seconds);
        state.stopped_by = pause.map(|pause| match pause {
            Pause::Frozen(_) => StoppedBy::Freezer,
            Pause::Stopped { .. } => StoppedBy::Signals,
        });
        state
    }
}

impl Pause {
    /// Stops all processes, by the freezer if that works.
    async fn begin(freezer: Option<&Freezer>) -> Result<Self, StopError> {
        if let Some(freezer) = freezer {
            match freezer(FreezerRequest::Freeze).await {
                Ok(()) => return Ok(Self::Frozen(Arc::clone(freezer))),
                Err(error) => {
                    tracing::warn!(%error, "control group not frozen; stopping the processes by signals");
                }
            }
        }
        let stopped = Arc::new(StoppedProcesses::stop_all().await?);
        let keeper = tokio::spawn(keep_stopped(Arc::clone(&stopped))).abort_handle();
        Ok(Self::Stopped { stopped, keeper })
    }

    /// Continues them.
    async fn end(&self) -> Result<(), StopError> {
        match self {
            Self::Frozen(freezer) => freezer(FreezerRequest::Thaw)
                .await
                .map_err(|error| StopError::NotContinued(error.to_string())),
            Self::Stopped { stopped, keeper } => {
                keeper.abort();
                stopped.resume();
                Ok(())
            }
        }
    }
}

/// Keeps processes stopped until the sandbox is resumed.
async fn keep_stopped(stopped: Arc<StoppedProcesses>) {
    loop {
        tokio::time::sleep(CHECK_INTERVAL).await;
        stopped.stop_again();
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Mutex as StdMutex;

    use super::*;
    use crate::config::Freezing;
    use crate::lock::lock;

    /// A freezer that fails as long as there are failures, and the requests that it got.
    fn freezer(failures: usize) -> (Freezer, Arc<StdMutex<Vec<FreezerRequest>>>) {
        let requests = Arc::new(StdMutex::new(Vec::new()));
        let recorded = Arc::clone(&requests);
        let freezer = move |request| {
            let mut recorded = lock(&recorded);
            recorded.push(request);
            let fails = recorded.len() <= failures;
            let result = if fails {
                Err(io::Error::other("refused"))
            } else {
                Ok(())
            };
            Box::pin(std::future::ready(result)) as Freezing
        };
        (Arc::new(freezer), requests)
    }

    #[tokio::test]
    async fn a_pause_that_cannot_end_goes_on() {
        use FreezerRequest::{Freeze, Thaw};
        let (working, requests) = freezer(0);
        let Ok(pause) = Pause::begin(Some(&working)).await else {
            panic!("not paused")
        };
        assert!(matches!(pause, Pause::Frozen(_)));
        pause.end().await.unwrap();
        assert_eq!(*lock(&requests), [Freeze, Thaw]);

        let (failing, requests) = freezer(1);
        let pause = Pause::Frozen(failing);
        let error = pause.end().await.unwrap_err();
        assert!(error.to_string().contains("refused"), "{error}");
        pause.end().await.unwrap();
        assert_eq!(*lock(&requests), [Thaw, Thaw]);
    }
}
