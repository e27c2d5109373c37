//! A sandbox whose creation has succeeded, until its caller has it.

use sandbox_core::SandboxInfo;

use super::cleanup::Cleanup;

/// A sandbox that is deleted when dropped, unless it is kept.
pub(super) struct NewSandbox {
    pub(super) info: SandboxInfo,
    pub(super) cleanup: Option<Cleanup>,
}

impl NewSandbox {
    pub(super) fn keep(mut self) -> SandboxInfo {
        self.cleanup = None;
        self.info.clone()
    }
}

impl Drop for NewSandbox {
    fn drop(&mut self) {
        if let Some(cleanup) = self.cleanup.take()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(cleanup.run());
        }
    }
}
