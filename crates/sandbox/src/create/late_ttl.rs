//! The `ttl` of a sandbox whose creation, or hand-over by a pool, takes a while after its server has started.

use std::time::Duration;

use sandbox_core::{
    Assignment, Capabilities, Error, Result, SandboxBackend, SandboxInfo, SandboxSpec, Session,
};

use super::Creation;
use super::builder::Personal;

/// Lets a `ttl` begin when the sandbox is handed out, and returns it, if a proof or initial commands come before. Until
/// then the sandbox has `longest` more, the longest time that the creation takes, in case its creator is killed. Otherwise
/// the `ttl` begins with the server: another one would be a request more, for milliseconds.
pub(super) fn postpone_ttl(
    spec: &mut SandboxSpec,
    personal: &Personal,
    longest: Duration,
    capabilities: impl FnOnce() -> Capabilities,
) -> Option<Duration> {
    let lifetime = &mut spec.lifetime;
    // One that ends no sooner than its hard end has no effect.
    let ttl = lifetime.ttl.filter(|ttl| *ttl < lifetime.max_lifetime)?;
    let takes_a_while = spec.is_offline || !personal.init.is_empty();
    if !takes_a_while {
        return None;
    }
    // An image's own server cannot start one, and the cluster, which ends it then, only lets ends come sooner.
    let Capabilities {
        server_enforces_ttl,
        sandbox_sshd,
        ..
    } = capabilities();
    if !(server_enforces_ttl && sandbox_sshd) {
        return None;
    }
    lifetime.ttl = Some(ttl.saturating_add(longest).min(lifetime.max_lifetime));
    Some(ttl)
}

/// Starts a `ttl` that was postponed. This is the last step before the sandbox is handed out. Returns what the backend
/// says of it then, if it could record it.
pub(crate) async fn start_ttl(
    backend: &dyn SandboxBackend,
    info: &SandboxInfo,
    session: &dyn Session,
    ttl: Duration,
) -> Result<Option<SandboxInfo>> {
    let mut assignment = Assignment::default();
    assignment.ttl = Some(ttl);
    let recorded = match backend.assign(&info.id, &info.uid, assignment).await {
        Err(error @ Error::NotFound { .. }) => return Err(error),
        Err(error) => {
            tracing::warn!(
                sandbox.id = %info.id,
                %error,
                "ttl not recorded; the sandbox ends at it, and is listed with a later end"
            );
            None
        }
        Ok(recorded) => Some(recorded),
    };
    session.start_ttl(ttl).await?;
    Ok(recorded)
}

impl Creation {
    /// Starts the `ttl`, if it was postponed.
    pub(super) async fn start_ttl(&self, info: &SandboxInfo, session: &dyn Session) -> Result<()> {
        if let Some(ttl) = self.postponed_ttl {
            start_ttl(&*self.parts.backend, info, session, ttl).await?;
        }
        Ok(())
    }
}
