//! Pauses the sandbox, and resumes it.

use std::sync::Arc;
use std::time::Duration;

use sandbox_core::OnExpiry;
use sandbox_core::guest::PauseState;
use tokio::sync::Mutex;
use tokio::task::AbortHandle;

use super::stop::{StopError, StoppedProcesses};
use super::table::ProcessTable;
use crate::lifetime::Lifetime;

/// How often a paused sandbox is looked at for processes that run again.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// Pauses and resumes one sandbox.
pub(crate) struct Pauser {
    processes: Arc<ProcessTable>,
    lifetime: Arc<Lifetime>,
    /// Whether all descendants of this process are the sandbox's.
    is_alone: bool,
    /// The pause, while the sandbox is paused.
    pause: Mutex<Option<Pause>>,
}

/// One pause.
struct Pause {
    stopped: Arc<StoppedProcesses>,
    /// Keeps the processes stopped.
    keeper: AbortHandle,
}

impl Pauser {
    pub(crate) fn new(
        processes: Arc<ProcessTable>,
        lifetime: Arc<Lifetime>,
        is_alone: bool,
    ) -> Arc<Self> {
        Arc::new(Self {
            processes,
            lifetime,
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
    pub(crate) async fn resume(&self, ttl: Option<Duration>) -> PauseState {
        let mut pause = self.pause.lock().await;
        let is_changed = match pause.take() {
            Some(pause) => {
                pause.keeper.abort();
                self.lifetime.resume(ttl);
                pause.stopped.resume();
                self.processes.allow_starts();
                true
            }
            None => false,
        };
        self.describe(false, is_changed)
    }

    /// Sets what happens at the end of the `ttl`.
    pub(crate) fn set_on_expiry(&self, on_expiry: OnExpiry) {
        self.lifetime.set_on_expiry(on_expiry);
    }

    /// Whether the sandbox is paused.
    pub(crate) async fn state(&self) -> PauseState {
        let is_paused = self.pause.lock().await.is_some();
        self.describe(is_paused, false)
    }

    async fn stop_all(self: Arc<Self>) -> Result<PauseState, StopError> {
        let mut pause = self.pause.lock().await;
        if pause.is_some() {
            return Ok(self.describe(true, false));
        }
        if !self.is_alone {
            return Err(StopError::Embedded);
        }
        self.processes.forbid_starts();
        self.lifetime.pause();
        let stopped = match StoppedProcesses::stop_all().await {
            Ok(stopped) => Arc::new(stopped),
            Err(error) => {
                self.lifetime.resume(None);
                self.processes.allow_starts();
                return Err(error);
            }
        };
        let keeper = tokio::spawn(keep_stopped(Arc::clone(&stopped))).abort_handle();
        *pause = Some(Pause { stopped, keeper });
        Ok(self.describe(true, true))
    }

    fn describe(&self, is_paused: bool, is_changed: bool) -> PauseState {
        // What is left is rounded up, so that a ttl that has not passed is never zero.
        let left = self.lifetime.ttl_left();
        let seconds = left.map(|left| left.as_secs() + u64::from(left.subsec_nanos() > 0));
        PauseState::new(is_paused, is_changed, seconds)
    }
}

/// Keeps processes stopped until the sandbox is resumed.
async fn keep_stopped(stopped: Arc<StoppedProcesses>) {
    loop {
        tokio::time::sleep(CHECK_INTERVAL).await;
        stopped.stop_again();
    }
}
