//! Options for a sandbox from a pool that another process fills.

use clap::ValueEnum;
use sandbox::{FromPool, OnEmpty, PoolName, SandboxBuilder, SandboxId};

/// Options for a sandbox from a pool.
#[derive(clap::Args)]
pub(crate) struct PoolOptions {
    /// Take a sandbox that waits in this pool, which `sandbox pool run` fills (Kubernetes)
    ///
    /// With --cpu or --memory, the sandbox is resized when it is taken, if the cluster can (Kubernetes
    /// 1.33 and later).
    #[arg(long, value_name = "NAME")]
    pool: Option<PoolName>,
    /// What to do if no sandbox waits in the pool
    ///
    /// wait: until one is ready, for at most the time that a creation may take (SANDBOX_CREATE_TIMEOUT);
    /// fail: exit at once; create: create a sandbox, as without --pool. Only with create, options that
    /// describe the sandbox are accepted, such as --image.
    #[arg(long, value_name = "ACTION", value_enum, requires = "pool")]
    on_empty: Option<Action>,
}

/// What to do if no sandbox waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Action {
    Wait,
    Fail,
    Create,
}

impl PoolOptions {
    /// Returns the pool, if one was given.
    pub(crate) fn name(&self) -> Option<&PoolName> {
        self.pool.as_ref()
    }

    /// Whether a sandbox is created if none waits.
    pub(crate) fn may_create(&self) -> bool {
        self.on_empty == Some(Action::Create)
    }

    /// Describes the claim. If none waits, the sandbox may be created with this id. `None` without a pool.
    pub(crate) fn claim(&self, sandbox: SandboxBuilder, id: &SandboxId) -> Option<FromPool> {
        let name = self.pool.as_ref()?.as_str();
        Some(match self.on_empty {
            // The library waits, too.
            None | Some(Action::Wait) => sandbox.from_pool(name),
            Some(Action::Fail) => sandbox.from_pool(name).on_empty(OnEmpty::Fail),
            Some(Action::Create) => sandbox.id(id).from_pool(name).on_empty(OnEmpty::Create),
        })
    }
}
