//! Our own client, as a program would use it: through the facade.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result};
use async_trait::async_trait;
use futures_util::future::try_join_all;
use sandbox::{
    Access, ByteStream, Capabilities, Client, ConnectionStage, Connector, Deadline, Defaults, DeleteOptions,
    Diagnosis, Endpoint, Error, EventStream, ExecRequest, Freshness, Isolation, ListFilter, LogOptions,
    LogStream, PrivateKey, Sandbox, SandboxBackend, SandboxId, SandboxInfo, SandboxSpec, SandboxState,
    SessionSource, SweepOptions, SweepReport, Uid,
};
use sandbox_ssh::{SshOptions, SshSessions, TcpConnector};

use crate::bench::ssh::protocol::{Op, Target};

const ID: &str = "sbx-bench";
const DEADLINE: Duration = Duration::from_secs(30);

pub(super) struct Ours {
    server: Arc<Server>,
    warm: Option<Sandbox>,
}

impl Ours {
    pub(super) fn new(target: Target) -> Result<Self> {
        let id = ID.parse()?;
        Ok(Self { server: Arc::new(Server { id, uid: Uid::generate()?, target }), warm: None })
    }

    pub(super) async fn perform(&mut self, op: Op) -> Result<u64> {
        match op {
            Op::Handshake => {
                let access = Arc::new(self.server.access()?);
                Self::sessions(TcpConnector).session(access, Deadline::after(DEADLINE)).await?;
            }
            Op::Warm => self.warm = Some(self.connect().await?),
            Op::Exec { .. } => exec(self.warm.as_ref().context("it is not connected")?).await?,
            Op::Many { callers, seconds } => {
                let sandbox = self.warm.as_ref().context("it is not connected")?;
                let until = Instant::now() + Duration::from_secs_f64(seconds);
                let caller = |_| async {
                    let mut count = 0;
                    while Instant::now() < until {
                        exec(sandbox).await?;
                        count += 1;
                    }
                    Ok::<u64, anyhow::Error>(count)
                };
                return Ok(try_join_all((0..callers).map(caller)).await?.iter().sum());
            }
            Op::Put { local, remote } => drop(self.connect_few().await?.upload(local, remote).await?),
            Op::Get { remote, local } => drop(self.connect_few().await?.download(remote, local).await?),
            Op::Puttree { local, remote } => drop(self.connect().await?.upload_dir(local, remote).await?),
            Op::Gettree { remote, local } => drop(self.connect().await?.download_dir(remote, local).await?),
        }
        Ok(0)
    }

    async fn connect(&self) -> Result<Sandbox> {
        self.connect_by(TcpConnector).await
    }

    /// With as many connections for files as the row says, and one for commands. How many are used
    /// the engine decides by the round trip.
    async fn connect_few(&self) -> Result<Sandbox> {
        self.connect_by(Few { left: AtomicUsize::new(1 + self.server.target.stripes) }).await
    }

    async fn connect_by(&self, connector: impl Connector) -> Result<Sandbox> {
        let backend = Arc::clone(&self.server) as Arc<dyn SandboxBackend>;
        let client = Client::with_parts(backend, Arc::new(Self::sessions(connector)), Defaults::default());
        Ok(client.connect(&self.server.id).await?)
    }

    fn sessions(connector: impl Connector) -> SshSessions {
        SshSessions::new(Arc::new(connector), SshOptions::default())
    }
}

/// Opens so many connections and no more.
#[derive(Debug)]
struct Few {
    left: AtomicUsize,
}

#[async_trait]
impl Connector for Few {
    async fn connect(&self, endpoint: &Endpoint, deadline: Deadline) -> sandbox::Result<Box<dyn ByteStream>> {
        match self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)) {
            Ok(_) => TcpConnector.connect(endpoint, deadline).await,
            Err(_) => Err(Error::connection(ConnectionStage::Dial, "this row has no more connections", None)),
        }
    }
}

async fn exec(sandbox: &Sandbox) -> Result<()> {
    let output = sandbox.session().output(ExecRequest::argv(["/bin/true"]), 1000).await?;
    output.check()?;
    Ok(())
}

/// A backend with one sandbox, the server under test, which it neither made nor takes away.
#[derive(Debug)]
struct Server {
    id: SandboxId,
    uid: Uid,
    target: Target,
}

impl Server {
    fn access(&self) -> Result<Access> {
        let read = |name: &str| std::fs::read_to_string(Path::new(&self.target.directory).join(name));
        Ok(Access {
            id: self.id.clone(),
            uid: self.uid.clone(),
            user: self.target.user.clone(),
            host_key: PrivateKey::from_openssh(read("host")?)?.public_key()?,
            client_key: PrivateKey::from_openssh(read("user")?)?,
            endpoint: Endpoint::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, self.target.port))),
        })
    }

    fn info(&self) -> SandboxInfo {
        SandboxInfo {
            id: self.id.clone(),
            uid: self.uid.clone(),
            backend: self.name().into(),
            state: SandboxState::Running,
            address: Some(Ipv4Addr::LOCALHOST.to_string()),
            port: Some(self.target.port),
            user: self.target.user.clone(),
            home: None,
            image: None,
            labels: Default::default(),
            created_at: SystemTime::now(),
            expires_at: None,
            isolation: Isolation { kind: "none".into(), applied: vec![] },
            limits: vec![],
        }
    }
}

fn unsupported<T>(what: &str) -> sandbox::Result<T> {
    Err(Error::unsupported(what.to_owned(), "the benchmark's backend", "use another"))
}

#[async_trait]
impl SandboxBackend for Server {
    fn name(&self) -> &'static str {
        "bench"
    }

    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::default();
        capabilities.own_server = self.target.own;
        capabilities
    }

    async fn create(&self, _: SandboxSpec) -> sandbox::Result<SandboxInfo> {
        unsupported("create")
    }

    async fn get(&self, _: &SandboxId, _: Freshness) -> sandbox::Result<SandboxInfo> {
        Ok(self.info())
    }

    async fn list(&self, _: ListFilter) -> sandbox::Result<Vec<SandboxInfo>> {
        Ok(vec![self.info()])
    }

    async fn events(&self, _: &SandboxId) -> sandbox::Result<EventStream> {
        unsupported("events")
    }

    async fn access(&self, _: &SandboxId) -> sandbox::Result<Access> {
        Self::access(self).map_err(|error| Error::Backend {
            backend: "bench",
            operation: "read the keys",
            message: error.to_string(),
            transient: false,
            source: None,
        })
    }

    async fn diagnose(&self, _: &SandboxId) -> sandbox::Result<Diagnosis> {
        Ok(Diagnosis::default())
    }

    async fn logs(&self, _: &SandboxId, _: LogOptions) -> sandbox::Result<LogStream> {
        unsupported("logs")
    }

    async fn extend(&self, _: &SandboxId, _: Duration) -> sandbox::Result<SandboxInfo> {
        Ok(self.info())
    }

    async fn delete(&self, _: &SandboxId, _: DeleteOptions) -> sandbox::Result<()> {
        Ok(())
    }

    async fn sweep(&self, _: SweepOptions) -> sandbox::Result<SweepReport> {
        Ok(SweepReport::default())
    }
}
