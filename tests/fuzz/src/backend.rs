//! A backend with one sandbox, which is the hostile server.

use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use sandbox::{
    Access, Capabilities, DeleteOptions, Diagnosis, Endpoint, Error, EventStream, Freshness, Isolation,
    KeyPair, ListFilter, LogOptions, LogStream, Result, SandboxBackend, SandboxId, SandboxInfo, SandboxSpec,
    SandboxState, SweepOptions, SweepReport, Uid,
};

pub(crate) struct Backend {
    /// The server's, and the client's as well.
    keys: KeyPair,
    uid: Uid,
}

impl std::fmt::Debug for Backend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Backend")
    }
}

impl Backend {
    pub(crate) fn new(keys: KeyPair) -> Self {
        Self { keys, uid: Uid::generate().unwrap() }
    }

    pub(crate) fn id() -> SandboxId {
        "sbx-hostile".parse().unwrap()
    }

    fn info(&self) -> SandboxInfo {
        SandboxInfo {
            id: Self::id(),
            uid: self.uid.clone(),
            backend: "fuzz".into(),
            state: SandboxState::Running,
            address: None,
            port: None,
            user: "user".into(),
            home: None,
            image: None,
            labels: Default::default(),
            created_at: SystemTime::UNIX_EPOCH,
            expires_at: None,
            isolation: Isolation { kind: "none".into(), applied: vec![] },
            limits: vec![],
        }
    }
}

fn unsupported<T>(what: &str) -> Result<T> {
    Err(Error::unsupported(what, "the fuzz targets' backend", "use another"))
}

#[async_trait]
impl SandboxBackend for Backend {
    fn name(&self) -> &'static str {
        "fuzz"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::default()
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
        Ok(Access {
            id: Self::id(),
            uid: self.uid.clone(),
            user: "user".into(),
            host_key: self.keys.public.clone(),
            client_key: self.keys.private.clone(),
            endpoint: Endpoint::Memory("hostile".into()),
        })
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
