//! Pausing and resuming a sandbox in place.

use std::time::Duration;

use sandbox_core::guest::{GuestRequest, PauseState, SandboxRequest};
use sandbox_core::{Assignment, Error, OnExpiry, Result, Session};

use super::Sandbox;

/// Pausing.
impl Sandbox {
    /// Pauses the sandbox: stops all of its processes where they are, as `docker pause` does. Memory and files stay, and
    /// so do connections, so that an attached sandbox stays attached. Returns `false` if it was paused already.
    ///
    /// While it is paused,
    ///
    /// * its `ttl` and its idle timeout stand still; its `max_lifetime` does not, and ends it;
    /// * files can be read and written, and logs of jobs can be read;
    /// * commands and jobs are not started: they have the exit code 126, and a message that says why;
    /// * running commands are silent. A command whose client leaves is hung up when the sandbox is resumed;
    /// * connections to its ports are accepted by the kernel, but nothing answers.
    ///
    /// Programs are stopped by SIGSTOP and continued by SIGCONT, which some observe; their clocks go on, so timeouts of
    /// theirs may have passed when they continue. What was stopped before the pause stays stopped after it.
    ///
    /// If the future is dropped, it is not known whether the sandbox is paused: [`pause_state`](Self::pause_state)
    /// tells.
    ///
    /// ```no_run
    /// # async fn example(sbx: sandbox::Sandbox) -> sandbox::Result<()> {
    /// sbx.pause().await?;
    /// // Later, in any process that is connected to it:
    /// sbx.resume(None).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// * [`Error::Unsupported`](crate::Error::Unsupported) with an image's own SSH server;
    /// * [`Error::Refused`](crate::Error::Refused) if not all processes can be stopped: none is then. Local sandboxes
    ///   without namespaces but with Landlock refuse it, because they have no `/proc`;
    /// * [`Error::NotFound`](crate::Error::NotFound) if it has ended.
    pub async fn pause(&self) -> Result<bool> {
        let channel = self.session().open_guest().await?;
        // Nobody may delete the sandbox at the end of a ttl that stands still.
        self.mark_paused(true, None).await?;
        let request = GuestRequest::Sandbox(SandboxRequest::Pause);
        let paused = channel.call::<PauseState>(&request).await;
        match self.inner.diagnoser.diagnose_result(paused).await {
            Ok(state) => Ok(state.is_changed),
            Err(error) => {
                // After another error it may be paused.
                if matches!(error, Error::Refused(_) | Error::Unsupported(_))
                    && let Err(error) = self.mark_paused(false, None).await
                {
                    let id = self.id();
                    tracing::warn!(sandbox.id = %id, %error, "a sandbox is marked as paused, but is not");
                }
                Err(error)
            }
        }
    }

    /// Resumes a paused sandbox: continues its processes, and its `ttl`. `ttl` sets how long it lives from now on;
    /// without it what was left counts, or if nothing was left, because it was paused at the end of its `ttl`, the whole
    /// `ttl` again. Returns `false` if it was not paused, and changes nothing then.
    ///
    /// If the future is dropped, it is not known whether the sandbox is paused.
    ///
    /// # Errors
    ///
    /// As [`pause`](Self::pause).
    pub async fn resume(&self, ttl: Option<Duration>) -> Result<bool> {
        let ttl_seconds = ttl.map(|ttl| ttl.as_secs() + u64::from(ttl.subsec_nanos() > 0));
        let state = self.request(SandboxRequest::Resume { ttl_seconds }).await?;
        let left = state.ttl_seconds.map(Duration::from_secs);
        self.mark_paused(false, left).await?;
        Ok(state.is_changed)
    }

    /// Asks the sandbox's server whether it is paused, and what is left of its `ttl`.
    ///
    /// # Errors
    ///
    /// As [`pause`](Self::pause).
    pub async fn pause_state(&self) -> Result<PauseState> {
        self.request(SandboxRequest::State).await
    }

    /// Sets what happens at the end of the `ttl`, as
    /// [`SandboxBuilder::on_expiry`](crate::SandboxBuilder::on_expiry).
    ///
    /// # Errors
    ///
    /// As [`pause`](Self::pause).
    pub async fn set_on_expiry(&self, on_expiry: OnExpiry) -> Result<()> {
        self.request(SandboxRequest::SetOnExpiry { on_expiry })
            .await?;
        let mut assignment = Assignment::default();
        assignment.on_expiry = Some(on_expiry);
        self.assign(assignment).await.map(drop)
    }

    async fn request(&self, sent: SandboxRequest) -> Result<PauseState> {
        let state = request(&**self.session(), sent).await;
        self.inner.diagnoser.diagnose_result(state).await
    }

    async fn mark_paused(&self, is_paused: bool, ttl: Option<Duration>) -> Result<()> {
        let mut assignment = Assignment::default();
        assignment.is_paused = Some(is_paused);
        assignment.ttl = ttl;
        self.assign(assignment).await.map(drop)
    }
}

/// Has a sandbox's server do this at the end of the `ttl`.
pub(crate) async fn set_on_expiry(session: &dyn Session, on_expiry: OnExpiry) -> Result<()> {
    request(session, SandboxRequest::SetOnExpiry { on_expiry })
        .await
        .map(drop)
}

async fn request(session: &dyn Session, request: SandboxRequest) -> Result<PauseState> {
    let channel = session.open_guest().await?;
    channel.call(&GuestRequest::Sandbox(request)).await
}
