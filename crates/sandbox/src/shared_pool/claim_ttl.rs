//! When the `ttl` of a claimed sandbox begins.

use std::time::Duration;

use sandbox_core::Resources;

use crate::create::builder::SandboxBuilder;

/// The `ttl` that a claim sets, and the one that begins when the sandbox is handed out.
#[derive(Debug, Clone, Copy)]
pub(super) struct ClaimTtl {
    pub(super) now: Option<Duration>,
    /// `None` if the former is the one that was asked for.
    pub(super) later: Option<Duration>,
}

impl ClaimTtl {
    /// Lets the `ttl` begin after what takes a while: a resize, a proof or initial commands. Until then the sandbox has the
    /// time of its setup more, in case its claimer is killed.
    pub(super) fn new(sandbox: &SandboxBuilder, size: Option<&Resources>) -> Self {
        let ttl = sandbox.spec.lifetime.ttl;
        let may_prove = sandbox.egress.is_served();
        let takes_a_while = size.is_some() || may_prove || !sandbox.personal.init.is_empty();
        let later = ttl.filter(|_| takes_a_while);
        Self {
            now: later
                .map(|ttl| ttl.saturating_add(sandbox.create_timeout))
                .or(ttl),
            later,
        }
    }
}
