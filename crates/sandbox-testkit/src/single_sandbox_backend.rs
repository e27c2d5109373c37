//! A backend with one sandbox: a server that a test or benchmark has started and uses through the facade.

use std::fmt;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use sandbox_core::{
    Access, Capabilities, DeleteOptions, Diagnosis, Error, EventStream, Freshness, Isolation,
    ListFilter, LogOptions, LogStream, Result, SandboxBackend, SandboxId, SandboxInfo, SandboxSpec,
    SandboxState, SweepOptions, SweepReport,
};

/// A backend with exactly one sandbox, which always runs.
pub struct SingleSandboxBackend {
    access: Access,
    capabilities: Capabilities,
}

impl SingleSandboxBackend {
    /// Creates a backend whose sandbox has this access.
    pub fn new(access: &Access) -> Self {
        Self {
            access: copy_access(access),
            capabilities: Capabilities::default(),
        }
    }

    /// Sets whether the server is `sandbox-sshd`.
    #[must_use]
    pub fn with_sandbox_sshd(mut self, sandbox_sshd: bool) -> Self {
        self.capabilities.sandbox_sshd = sandbox_sshd;
        self
    }

    /// Returns what it says of its sandbox.
    pub fn info(&self) -> SandboxInfo {
        SandboxInfo {
            id: self.access.id.clone(),
            uid: self.access.uid.clone(),
            backend: "one-server".into(),
            state: SandboxState::Running,
            address: None,
            port: None,
            user: self.access.user.clone(),
            home: None,
            image: None,
            labels: Default::default(),
            annotations: Default::default(),
            created_at: SystemTime::UNIX_EPOCH,
            expires_at: None,
            on_expiry: Default::default(),
            is_marked_paused: false,
            isolation: Isolation {
                kind: "none".into(),
                applied: vec![],
            },
            limits: vec![],
            end: None,
            pool: None,
        }
    }
}

/// Copies an access. The type is not `Clone` because it holds a private key.
fn copy_access(access: &Access) -> Access {
    Access {
        id: access.id.clone(),
        uid: access.uid.clone(),
        user: access.user.clone(),
        host_key: access.host_key.clone(),
        client_key: access.client_key.clone(),
        endpoint: access.endpoint.clone(),
    }
}

fn unsupported<T>(operation: &str) -> Result<T> {
    Err(Error::unsupported(
        operation,
        "the backend of a single sandbox",
        "use another backend",
    ))
}

impl fmt::Debug for SingleSandboxBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SingleSandboxBackend")
            .field("id", &self.access.id)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl SandboxBackend for SingleSandboxBackend {
    fn name(&self) -> &'static str {
        "one-server"
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    async fn create(&self, _: SandboxSpec) -> Result<SandboxInfo> {
        unsupported("create")
    }

    async fn get(&self, _: &SandboxId, _: Freshness) -> Result<SandboxInfo> {
        Ok(self.info())
    }

    async fn list(&self, _: ListFilter) -> Result<Vec<SandboxInfo>> {
        Ok(vec![self.info()])
    }

    async fn events(&self, _: &SandboxId) -> Result<EventStream> {
        unsupported("events")
    }

    async fn access(&self, _: &SandboxId) -> Result<Access> {
        Ok(copy_access(&self.access))
    }

    async fn diagnose(&self, _: &SandboxId) -> Result<Diagnosis> {
        Ok(Diagnosis::default())
    }

    async fn logs(&self, _: &SandboxId, _: LogOptions) -> Result<LogStream> {
        unsupported("logs")
    }

    async fn extend(&self, _: &SandboxId, _: Duration) -> Result<SandboxInfo> {
        Ok(self.info())
    }

    async fn delete(&self, _: &SandboxId, _: DeleteOptions) -> Result<()> {
        Ok(())
    }

    async fn sweep(&self, _: SweepOptions) -> Result<SweepReport> {
        Ok(SweepReport::default())
    }
}
