//! Servers to test against, and how to reach them.
#![allow(
    dead_code,
    unused_imports,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "each test program uses a part of it; a test may panic"
)]

pub(crate) mod contract;
pub(crate) mod daemon;
pub(crate) mod delayed_server;
pub(crate) mod dropbear;
pub(crate) mod event_counter;
pub(crate) mod faulty_server;
pub(crate) mod leftovers;
pub(crate) mod openssh;
pub(crate) mod process;
pub(crate) mod raw;
pub(crate) mod run_counter;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use sandbox_core::{
    Access, ByteStream, ConnectionStage, Connector, Deadline, Endpoint, Error, Result, Session,
    SessionSource, Uid,
};
use sandbox_ssh::{SshOptions, SshSessions};
use sandbox_sshd::{Server, ServerConfig};
use sandbox_testkit::faults::{FaultPlan, FaultyConnector};

use daemon::Keys;

/// sandbox-sshd in this process, reached over memory.
#[derive(Clone)]
pub(crate) struct InProcessSshd {
    pub(crate) server: Server,
    pub(crate) access: Arc<Access>,
    pub(crate) home: Arc<tempfile::TempDir>,
    pub(crate) connector: Arc<MemoryConnector>,
}

/// Opens streams to a server in this process, and counts them.
pub(crate) struct MemoryConnector {
    server: Server,
    pub(crate) connections: AtomicUsize,
    pub(crate) served: tokio::sync::Mutex<tokio::task::JoinSet<()>>,
}

impl std::fmt::Debug for MemoryConnector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MemoryConnector")
    }
}

#[async_trait]
impl Connector for MemoryConnector {
    async fn connect(&self, _: &Endpoint, _: Deadline) -> Result<Box<dyn ByteStream>> {
        self.connections.fetch_add(1, Ordering::Relaxed);
        let (near, far) = tokio::io::duplex(256 << 10);
        let server = self.server.clone();
        self.served
            .lock()
            .await
            .spawn(async move { server.serve_stream(far).await });
        Ok(Box::new(near))
    }
}

impl MemoryConnector {
    /// Cuts every connection.
    pub(crate) async fn cut(&self) {
        self.served.lock().await.shutdown().await;
    }
}

impl InProcessSshd {
    pub(crate) fn new() -> Self {
        Self::with_config(|config| config)
    }

    pub(crate) fn with_config(tune: impl FnOnce(ServerConfig) -> ServerConfig) -> Self {
        Self::with_keys(&Keys::new(), tune)
    }

    pub(crate) fn with_keys(keys: &Keys, tune: impl FnOnce(ServerConfig) -> ServerConfig) -> Self {
        let home = tempfile::tempdir().unwrap();
        let path = std::env::var_os("PATH").unwrap_or_default();
        let authorized = vec![keys.user.public.as_str().to_owned()];
        let config = ServerConfig::new(keys.host.private.clone(), authorized, home.path())
            .with_env([("PATH".into(), path)]);
        let server = Server::new(tune(config)).unwrap();
        let connector = MemoryConnector {
            server: server.clone(),
            connections: AtomicUsize::new(0),
            served: Default::default(),
        };
        let endpoint = Endpoint::Memory("sshd".into());
        let access = access(
            keys.host.public.clone(),
            keys.user.private.clone(),
            endpoint,
        );
        Self {
            server,
            access,
            home: Arc::new(home),
            connector: Arc::new(connector),
        }
    }

    pub(crate) fn sessions(&self) -> SshSessions {
        SshSessions::new(Arc::clone(&self.connector) as _, SshOptions::default())
    }

    pub(crate) async fn session(&self) -> Arc<dyn Session> {
        session(&self.sessions(), &self.access).await
    }

    /// Sessions over streams that fail as planned.
    pub(crate) fn faulty(
        &self,
        plans: impl IntoIterator<Item = FaultPlan>,
    ) -> (Arc<FaultyConnector>, SshSessions) {
        self.faulty_with(plans, SshOptions::default())
    }

    pub(crate) fn faulty_with(
        &self,
        plans: impl IntoIterator<Item = FaultPlan>,
        options: SshOptions,
    ) -> (Arc<FaultyConnector>, SshSessions) {
        let connector = FaultyConnector::new(Arc::clone(&self.connector) as _, plans);
        (Arc::clone(&connector), SshSessions::new(connector, options))
    }
}

pub(crate) fn access(
    host_key: sandbox_core::PublicKey,
    client_key: sandbox_core::PrivateKey,
    endpoint: Endpoint,
) -> Arc<Access> {
    Arc::new(Access {
        id: "sbx-test".parse().unwrap(),
        uid: Uid::generate().unwrap(),
        user: user(),
        host_key,
        client_key,
        endpoint,
    })
}

pub(crate) async fn session(sessions: &SshSessions, access: &Arc<Access>) -> Arc<dyn Session> {
    sessions
        .session(
            Arc::clone(access),
            Deadline::from_now(Duration::from_secs(20)),
        )
        .await
        .unwrap()
}

/// The user that runs this test.
pub(crate) fn user() -> String {
    nix::unistd::User::from_uid(nix::unistd::getuid())
        .unwrap()
        .unwrap()
        .name
}

/// The stage of a connection error.
pub(crate) fn stage(error: &Error) -> ConnectionStage {
    match error {
        Error::Connection(error) => error.stage,
        other => panic!("not a connection error: {other:?}"),
    }
}
