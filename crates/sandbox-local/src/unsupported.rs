//! The backend on systems other than Linux, where every creation is `Unsupported`.

use std::time::Duration;

use async_trait::async_trait;
use sandbox_core::{
    Access, ByteStream, Capabilities, Connector, Deadline, DeleteOptions, Diagnosis, Endpoint,
    Error, EventStream, Freshness, ListFilter, LogOptions, LogStream, Result, SandboxBackend,
    SandboxId, SandboxInfo, SandboxSpec, SweepOptions, SweepReport,
};

use crate::options::{BACKEND, LocalOptions};

/// Does nothing on this system.
pub fn init() {}

/// Sandboxes on this machine: Linux only.
#[derive(Debug, Clone)]
pub struct LocalBackend(());

/// Opens streams to Unix sockets: Linux only.
#[derive(Debug, Clone, Copy, Default)]
pub struct UnixConnector;

impl UnixConnector {
    /// Creates a connector. Every connection fails.
    pub const fn new() -> Self {
        Self
    }
}

impl LocalBackend {
    /// Fails on this system.
    ///
    /// # Errors
    ///
    /// Always [`Error::Unsupported`].
    pub fn new(_options: LocalOptions) -> Result<Self> {
        Err(unsupported("local sandboxes"))
    }
}

fn unsupported(operation: &str) -> Error {
    Error::unsupported(
        operation,
        "this operating system",
        "use Linux, or the Kubernetes backend (SANDBOX_BACKEND=k8s)",
    )
}

#[async_trait]
impl Connector for UnixConnector {
    async fn connect(
        &self,
        _endpoint: &Endpoint,
        _deadline: Deadline,
    ) -> Result<Box<dyn ByteStream>> {
        Err(unsupported("local sandboxes"))
    }
}

#[async_trait]
impl SandboxBackend for LocalBackend {
    fn name(&self) -> &'static str {
        BACKEND
    }
    fn capabilities(&self) -> Capabilities {
        Capabilities::default()
    }
    async fn create(&self, _spec: SandboxSpec) -> Result<SandboxInfo> {
        Err(unsupported("local sandboxes"))
    }
    async fn get(&self, id: &SandboxId, _freshness: Freshness) -> Result<SandboxInfo> {
        Err(Error::NotFound { id: id.clone() })
    }
    async fn list(&self, _filter: ListFilter) -> Result<Vec<SandboxInfo>> {
        Ok(Vec::new())
    }
    async fn events(&self, id: &SandboxId) -> Result<EventStream> {
        Err(Error::NotFound { id: id.clone() })
    }
    async fn access(&self, id: &SandboxId) -> Result<Access> {
        Err(Error::NotFound { id: id.clone() })
    }
    async fn diagnose(&self, id: &SandboxId) -> Result<Diagnosis> {
        Err(Error::NotFound { id: id.clone() })
    }
    async fn logs(&self, id: &SandboxId, _options: LogOptions) -> Result<LogStream> {
        Err(Error::NotFound { id: id.clone() })
    }
    async fn extend(&self, id: &SandboxId, _ttl: Duration) -> Result<SandboxInfo> {
        Err(Error::NotFound { id: id.clone() })
    }
    async fn delete(&self, _id: &SandboxId, _options: DeleteOptions) -> Result<()> {
        Ok(())
    }
    async fn sweep(&self, _options: SweepOptions) -> Result<SweepReport> {
        Ok(SweepReport::default())
    }
}
