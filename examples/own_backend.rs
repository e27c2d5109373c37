//! Your own backend: `cargo run --example own_backend`.
//!
//! This one isolates nothing: each sandbox is the SDK's SSH server, in this process, on a loopback
//! port, with a directory as its home. It shows everything that a backend has to do: create a
//! sandbox, say how to reach it, and delete it. Commands, files, jobs and ports work over SSH.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use sandbox::prelude::*;
use sandbox::{
    Access, Capabilities, Defaults, DeleteOptions, Diagnosis, Endpoint, EventStream, Freshness,
    Isolation, KeyPair, ListFilter, LogOptions, LogStream, PrivateKey, PublicKey, SandboxBackend,
    SandboxEvent, SandboxEventKind, SandboxSpec, SandboxState, SweepOptions, SweepReport, Uid,
};
use sandbox_ssh::{SshOptions, SshSessions, TcpConnector};
use sandbox_sshd::{Server, ServerConfig};
use tokio::net::TcpListener;
use tokio::task::AbortHandle;

/// The backend, with its sandboxes by id.
#[derive(Debug, Default)]
struct InProcess(Mutex<HashMap<SandboxId, Running>>);

/// A running sandbox.
#[derive(Debug)]
struct Running {
    info: SandboxInfo,
    host_key: PublicKey,
    client_key: PrivateKey,
    endpoint: Endpoint,
    serving: AbortHandle,
    home: tempfile::TempDir,
}

impl InProcess {
    fn lock(&self) -> MutexGuard<'_, HashMap<SandboxId, Running>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the state of a sandbox.
    fn read<T>(&self, id: &SandboxId, read: impl FnOnce(&Running) -> T) -> Result<T> {
        self.lock()
            .get(id)
            .map(read)
            .ok_or_else(|| Error::NotFound { id: id.clone() })
    }
}

#[async_trait]
impl SandboxBackend for InProcess {
    fn name(&self) -> &'static str {
        "in-process"
    }

    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::default();
        (capabilities.network, capabilities.sandbox_sshd) = (true, true);
        capabilities
    }

    /// Returns before the server answers. The client then connects, and retries until it does.
    async fn create(&self, spec: SandboxSpec) -> Result<SandboxInfo> {
        let id = spec.id.map_or_else(SandboxId::generate, Ok)?;
        let host = KeyPair::generate()?;
        let user = KeyPair::generate()?;
        let home = tempfile::tempdir().map_err(|error| failed("create a home directory", error))?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let listener = listener.map_err(|error| failed("listen", error))?;
        let address = listener
            .local_addr()
            .map_err(|error| failed("listen", error))?;

        let path = std::env::var_os("PATH").unwrap_or_default();
        let config = ServerConfig::new(host.private, vec![user.public.to_string()], home.path())
            .with_env([("PATH".into(), path)])
            .with_max_lifetime(spec.lifetime.max_lifetime);
        let server = Server::new(config).map_err(|error| failed("set up the server", error))?;
        let serving =
            tokio::spawn(async move { server.serve_tcp(listener, std::future::pending()).await });

        let info = SandboxInfo {
            id: id.clone(),
            uid: Uid::generate()?,
            backend: self.name().into(),
            state: SandboxState::Running,
            address: Some(address.ip().to_string()),
            port: Some(address.port()),
            user: "sandbox".into(),
            home: Some(home.path().display().to_string()),
            image: None,
            labels: spec.labels,
            annotations: spec.annotations,
            created_at: SystemTime::now(),
            expires_at: SystemTime::now().checked_add(spec.lifetime.max_lifetime),
            on_expiry: Default::default(),
            is_marked_paused: false,
            isolation: Isolation {
                kind: "none".into(),
                applied: Vec::new(),
            },
            limits: Vec::new(),
            end: None,
            pool: None,
        };
        let running = Running {
            info: info.clone(),
            host_key: host.public,
            client_key: user.private,
            endpoint: Endpoint::Tcp(address),
            serving: serving.abort_handle(),
            home,
        };
        self.lock().insert(id, running);
        Ok(info)
    }

    async fn get(&self, id: &SandboxId, _: Freshness) -> Result<SandboxInfo> {
        self.read(id, |running| running.info.clone())
    }

    async fn list(&self, filter: ListFilter) -> Result<Vec<SandboxInfo>> {
        let mut found: Vec<_> = self
            .lock()
            .values()
            .map(|running| running.info.clone())
            .collect();
        found.retain(|info| filter.matches(&info.labels));
        found.sort_by_key(|info| info.created_at);
        Ok(found)
    }

    /// A creation reads these events while it connects. A final event ends it, with its message.
    async fn events(&self, id: &SandboxId) -> Result<EventStream> {
        let at = self.read(id, |running| running.info.created_at)?;
        let event = SandboxEvent {
            at,
            kind: SandboxEventKind::Addressed,
            message: "listening".into(),
        };
        // There are no other events until the sandbox is deleted.
        Ok(Box::pin(futures_util::stream::once(async { Ok(event) })))
    }

    async fn access(&self, id: &SandboxId) -> Result<Access> {
        self.read(id, |running| Access {
            id: id.clone(),
            uid: running.info.uid.clone(),
            user: running.info.user.clone(),
            host_key: running.host_key.clone(),
            client_key: running.client_key.clone(),
            endpoint: running.endpoint.clone(),
        })
    }

    async fn diagnose(&self, id: &SandboxId) -> Result<Diagnosis> {
        self.read(id, |_| Diagnosis::default())
    }

    async fn logs(&self, id: &SandboxId, _: LogOptions) -> Result<LogStream> {
        self.read(id, |_| -> LogStream {
            Box::pin(futures_util::stream::empty())
        })
    }

    async fn extend(&self, _: &SandboxId, _: Duration) -> Result<SandboxInfo> {
        Err(Error::unsupported("a ttl", self.name(), "use max_lifetime"))
    }

    /// Deleting a sandbox that no longer exists succeeds.
    async fn delete(&self, id: &SandboxId, options: DeleteOptions) -> Result<()> {
        let mut all = self.lock();
        let is_instance = |running: &Running| {
            options
                .uid
                .as_ref()
                .is_none_or(|uid| *uid == running.info.uid)
        };
        if all.get(id).is_some_and(is_instance) {
            let removed = all.remove(id);
            drop(all);
            if let Some(running) = removed {
                running.serving.abort();
                running
                    .home
                    .close()
                    .map_err(|error| failed("remove the home directory", error))?;
            }
        }
        Ok(())
    }

    async fn sweep(&self, _: SweepOptions) -> Result<SweepReport> {
        Ok(SweepReport::default())
    }
}

fn failed(operation: &'static str, error: impl std::error::Error + Send + Sync + 'static) -> Error {
    let message = error.to_string();
    Error::Backend {
        backend: "in-process",
        operation,
        message,
        transient: false,
        source: Some(Box::new(error)),
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let backend = Arc::new(InProcess::default());
    let sessions = Arc::new(SshSessions::new(
        Arc::new(TcpConnector),
        SshOptions::default(),
    ));
    let client = Client::with_parts(backend, sessions, Defaults::default());

    let sbx = client.sandbox().label("kind", "example").create().await?;
    let port = sbx
        .info()
        .port
        .map_or_else(|| "no port".to_owned(), |port| format!("port {port}"));
    println!("created {} at {port}", sbx.id());
    let out = sbx.shell("echo hello from $PWD").output().await?.check()?;
    print!("{}", out.stdout_lossy());
    sbx.files().write("note", "kept").await?;
    println!(
        "its file says {:?}",
        sbx.files().read_to_string("note").await?
    );
    sbx.delete().await?;
    println!("left: {}", client.list(ListFilter::default()).await?.len());
    Ok(())
}
