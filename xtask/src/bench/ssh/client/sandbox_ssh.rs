//! Our client, used through the facade as a program does.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use async_trait::async_trait;
use futures_util::future::try_join_all;
use sandbox::{
    Access, ByteStream, Client, ConnectionStage, Connector, Deadline, Defaults, Endpoint, Error,
    ExecRequest, PrivateKey, Sandbox, SandboxBackend, SessionSource, Uid,
};
use sandbox_ssh::{SshOptions, SshSessions, TcpConnector};
use sandbox_testkit::SingleSandboxBackend;

use crate::bench::ssh::protocol::{Op, Target};

const ID: &str = "sbx-bench";
const DEADLINE: Duration = Duration::from_secs(30);

pub(super) struct SandboxSsh {
    access: Arc<Access>,
    backend: Arc<SingleSandboxBackend>,
    stripes: usize,
    warm: Option<Sandbox>,
}

impl SandboxSsh {
    pub(super) fn new(target: Target) -> Result<Self> {
        let access = access(&target)?;
        let backend =
            Arc::new(SingleSandboxBackend::new(&access).with_sandbox_sshd(target.is_sandbox_sshd));
        Ok(Self {
            access: Arc::new(access),
            backend,
            stripes: target.stripes,
            warm: None,
        })
    }

    pub(super) async fn perform(&mut self, op: Op) -> Result<u64> {
        match op {
            Op::Handshake => {
                let access = Arc::clone(&self.access);
                Self::sessions(TcpConnector)
                    .session(access, Deadline::from_now(DEADLINE))
                    .await?;
            }
            Op::Warm => self.warm = Some(self.connect().await?),
            Op::Exec { .. } => exec(self.warm.as_ref().context("not connected")?).await?,
            Op::Many { callers, seconds } => {
                let sandbox = self.warm.as_ref().context("not connected")?;
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
            Op::Put { local, remote } => {
                self.connect_limited().await?.upload(local, remote).await?;
            }
            Op::Get { remote, local } => {
                self.connect_limited()
                    .await?
                    .download(remote, local)
                    .await?;
            }
            Op::Puttree { local, remote } => {
                self.connect().await?.upload_dir(local, remote).await?;
            }
            Op::Gettree { remote, local } => {
                self.connect().await?.download_dir(remote, local).await?;
            }
        }
        Ok(0)
    }

    async fn connect(&self) -> Result<Sandbox> {
        self.connect_with(TcpConnector).await
    }

    /// Connects with a limit of as many connections for files as the row says, and one for
    /// commands. The client decides by the round trip how many of them it uses.
    async fn connect_limited(&self) -> Result<Sandbox> {
        self.connect_with(LimitedConnector {
            left: AtomicUsize::new(1 + self.stripes),
        })
        .await
    }

    async fn connect_with(&self, connector: impl Connector) -> Result<Sandbox> {
        let backend = Arc::clone(&self.backend) as Arc<dyn SandboxBackend>;
        let client = Client::with_parts(
            backend,
            Arc::new(Self::sessions(connector)),
            Defaults::default(),
        );
        Ok(client.connect(&self.access.id).await?)
    }

    fn sessions(connector: impl Connector) -> SshSessions {
        SshSessions::new(Arc::new(connector), SshOptions::default())
    }
}

/// Opens a limited number of connections.
#[derive(Debug)]
struct LimitedConnector {
    left: AtomicUsize,
}

#[async_trait]
impl Connector for LimitedConnector {
    async fn connect(
        &self,
        endpoint: &Endpoint,
        deadline: Deadline,
    ) -> sandbox::Result<Box<dyn ByteStream>> {
        match self
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                left.checked_sub(1)
            }) {
            Ok(_) => TcpConnector.connect(endpoint, deadline).await,
            Err(_) => Err(Error::connection(
                ConnectionStage::Dial,
                "the connections of this row are used up",
                None,
            )),
        }
    }
}

async fn exec(sandbox: &Sandbox) -> Result<()> {
    let output = sandbox
        .session()
        .output(ExecRequest::from_argv(["/bin/true"]), 1000)
        .await?;
    output.check()?;
    Ok(())
}

/// The access to the server under test.
fn access(target: &Target) -> Result<Access> {
    let read = |name: &str| std::fs::read_to_string(Path::new(&target.directory).join(name));
    Ok(Access {
        id: ID.parse()?,
        uid: Uid::generate()?,
        user: target.user.clone(),
        host_key: PrivateKey::from_openssh(read("host")?)?.public_key()?,
        client_key: PrivateKey::from_openssh(read("user")?)?,
        endpoint: Endpoint::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, target.port))),
    })
}
