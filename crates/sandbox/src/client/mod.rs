//! The client: creates, finds and deletes sandboxes.

mod by_id;
mod other_clients;
mod pools;

use std::ffi::OsString;
use std::fmt;
use std::future::Future;
use std::path::Path;
use std::sync::Arc;

use sandbox_config::Settings;
use sandbox_core::{
    Capabilities, Deadline, Env, Error, Freshness, Leftovers, ListFilter, LogOptions, LogStream,
    Result, SandboxBackend, SandboxId, SandboxInfo, SessionSource, SweepOptions, SweepReport,
};

use crate::backends;
use crate::create::builder::SandboxBuilder;
use crate::create::delete_guard::DeleteOnDrop;
use crate::defaults::Defaults;
use crate::diagnosis::add_diagnosis;
use crate::handle::Sandbox;
use crate::handle::cache::HandleCache;
use crate::parts::Parts;
use crate::pool::builder::PoolBuilder;

/// Creates, finds and deletes sandboxes.
///
/// A client is cheap to clone and can be used from many tasks at once. Clones share the backend,
/// the connections and the cache.
///
/// ```no_run
/// # async fn example() -> sandbox::Result<()> {
/// let client = sandbox::Client::from_env().await?;
/// let sbx = client.sandbox().create().await?;
/// let out = sbx.command("echo").arg("hello").output().await?.check()?;
/// assert_eq!(out.stdout, "hello\n");
/// sbx.delete().await
/// # }
/// ```
#[derive(Clone)]
pub struct Client {
    parts: Arc<Parts>,
    handles: Arc<HandleCache>,
}

impl Client {
    /// Creates a client from the environment variables `SANDBOX_…`. If none is set, sandboxes run
    /// on this machine.
    ///
    /// # Errors
    ///
    /// [`Error::Config`](crate::Error::Config) naming every invalid value, or
    /// [`Error::Unsupported`](crate::Error::Unsupported) if the program was built without the
    /// chosen backend.
    pub async fn from_env() -> Result<Self> {
        Self::from_settings(&Settings::from_env()?).await
    }

    /// Creates a client from one `.env` file. Variables of the real environment override the file.
    ///
    /// ```no_run
    /// # async fn example() -> sandbox::Result<()> {
    /// let client = sandbox::Client::from_dotenv("sandbox.env").await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`from_env`](Self::from_env), and [`Error::Config`](crate::Error::Config) if the file
    /// cannot be read.
    pub async fn from_dotenv(path: impl AsRef<Path>) -> Result<Self> {
        Self::from_settings(&Settings::from_dotenv(path.as_ref())?).await
    }

    /// Creates a client from settings.
    ///
    /// ```no_run
    /// # async fn example() -> sandbox::Result<()> {
    /// use sandbox::{Client, Settings};
    ///
    /// let mut settings = Settings::from_env()?;
    /// settings.timeouts.create = std::time::Duration::from_secs(60);
    /// let client = Client::from_settings(&settings).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`from_env`](Self::from_env).
    pub async fn from_settings(settings: &Settings) -> Result<Self> {
        let extras = backends::Extras::default();
        Ok(Self::from_parts(backends::open(settings, extras).await?))
    }

    /// Creates a client from settings, with the SSH servers that are uploaded into Pods
    /// (`SANDBOX_INJECTION=upload`, or `auto` without an image of the server). `SANDBOX_SERVER_PATH` takes
    /// precedence over them.
    ///
    /// # Errors
    ///
    /// As [`from_env`](Self::from_env).
    #[cfg(feature = "k8s")]
    pub async fn from_settings_with_servers(
        settings: &Settings,
        server_programs: crate::k8s::ServerPrograms,
    ) -> Result<Self> {
        let extras = backends::Extras { server_programs };
        Ok(Self::from_parts(backends::open(settings, extras).await?))
    }

    /// Creates a client from your own parts: another backend, or mocks (feature `mock`).
    ///
    /// ```no_run
    /// # use std::sync::Arc;
    /// use sandbox::{Client, Defaults, SandboxBackend, SessionSource};
    ///
    /// fn client(backend: Arc<dyn SandboxBackend>, sessions: Arc<dyn SessionSource>) -> Client {
    ///     Client::with_parts(backend, sessions, Defaults::default())
    /// }
    /// ```
    pub fn with_parts(
        backend: Arc<dyn SandboxBackend>,
        sessions: Arc<dyn SessionSource>,
        defaults: Defaults,
    ) -> Self {
        Self::from_parts(Parts {
            backend,
            sessions,
            connector: None,
            defaults,
            location: None,
            environment: Vec::new(),
            in_namespace: None,
            deletions: Leftovers::default(),
        })
    }

    /// Returns a client for another namespace of the same cluster, with the same settings. It is cheap: both share the
    /// connections to the API server, and at most 32 changes at once. Ids are of their own in each namespace, and each
    /// namespace has a watch, which starts with the first use of its client. So keep the clients that you use.
    ///
    /// ```no_run
    /// # async fn example(client: sandbox::Client) -> sandbox::Result<()> {
    /// for team in ["team-a", "team-b"] {
    ///     let client = client.in_namespace(team)?;
    ///     println!("{team}: {}", client.list(Default::default()).await?.len());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`](crate::Error::Invalid) for a name that no namespace can have, and
    /// [`Error::Unsupported`](crate::Error::Unsupported) unless the client was created from settings for Kubernetes.
    /// Whether the namespace exists shows the first use.
    pub fn in_namespace(&self, namespace: &str) -> Result<Self> {
        match &self.parts.in_namespace {
            Some(in_namespace) => Ok(Self::from_parts(in_namespace(namespace)?)),
            None => Err(Error::unsupported(
                format!("the namespace {namespace}"),
                format!("a client of the backend {}", self.parts.backend.name()),
                "create the client from settings with SANDBOX_BACKEND=k8s",
            )),
        }
    }

    /// Returns a builder for a new sandbox. Nothing happens until
    /// [`create`](SandboxBuilder::create) is called.
    pub fn sandbox(&self) -> SandboxBuilder {
        SandboxBuilder::new(Arc::clone(&self.parts), Arc::clone(&self.handles))
    }

    /// Returns a builder for a pool of such sandboxes, which wait until the program takes them.
    ///
    /// ```no_run
    /// # async fn example(client: sandbox::Client) -> sandbox::Result<()> {
    /// let pool = client.pool(client.sandbox()).size(8).start()?;
    /// let sbx = pool.take().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn pool(&self, sandboxes: SandboxBuilder) -> PoolBuilder {
        PoolBuilder::new(sandboxes)
    }

    /// Connects to an existing sandbox, even if another process created it.
    ///
    /// ```no_run
    /// # async fn example(client: sandbox::Client) -> sandbox::Result<()> {
    /// let id = "sbx-n16yneacer".parse()?;
    /// let sbx = client.connect(&id).await?;
    /// println!("{:?}", sbx.info().state);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// * [`Error::NotFound`](crate::Error::NotFound) if there is no such sandbox;
    /// * [`Error::Connection`](crate::Error::Connection) if it does not answer;
    /// * [`Error::Unsupported`](crate::Error::Unsupported) on a cluster, for an attached sandbox of
    ///   another process, because only that process has its key.
    pub async fn connect(&self, id: &SandboxId) -> Result<Sandbox> {
        if let Some(sandbox) = self.handles.get(id) {
            return Ok(sandbox);
        }
        let backend = &self.parts.backend;
        let info = backend.get(id, Freshness::Latest).await?;
        let access = Arc::new(backend.access(id).await?);
        let deadline = Deadline::from_now(self.parts.defaults.connect_timeout);
        match self.parts.sessions.session(access.clone(), deadline).await {
            Ok(session) => Ok(self
                .handles
                .open(info, access, session, Env::default(), None)),
            Err(error) => Err(add_diagnosis(&**backend, id, error).await),
        }
    }

    /// Creates a sandbox, runs `work` with it, and deletes it, whether `work` succeeded or failed.
    /// If the work panics, or the call is dropped, the sandbox is deleted in the background.
    ///
    /// ```no_run
    /// # async fn example(client: sandbox::Client) -> sandbox::Result<()> {
    /// let answer = client
    ///     .scoped(client.sandbox(), |sbx| async move {
    ///         sbx.shell("echo $((6 * 7))").output().await?.check()
    ///     })
    ///     .await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// The error of the creation or of `work`; if `work` succeeded, that of the deletion.
    pub async fn scoped<T, F, W>(&self, builder: SandboxBuilder, work: F) -> Result<T>
    where
        F: FnOnce(Sandbox) -> W + Send,
        W: Future<Output = Result<T>> + Send,
        T: Send,
    {
        let sandbox = builder.create().await?;
        // Deletes the sandbox of work that panics, or is dropped before its end.
        let guard = DeleteOnDrop::new(
            Arc::clone(&self.parts),
            sandbox.id().clone(),
            sandbox.uid().clone(),
        );
        let result = work(sandbox.clone()).await;
        let deleted = sandbox.delete().await;
        guard.disarm();
        let value = result?;
        deleted.map(|()| value)
    }

    /// Lists the sandboxes that match, oldest first.
    ///
    /// ```no_run
    /// # async fn example(client: sandbox::Client) -> sandbox::Result<()> {
    /// let filter = sandbox::ListFilter::from_labels([("team".to_owned(), "ml".to_owned())]);
    /// for info in client.list(filter).await? {
    ///     println!("{} {:?}", info.id, info.state);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Backend`](crate::Error::Backend) if they cannot be listed.
    pub async fn list(&self, filter: ListFilter) -> Result<Vec<SandboxInfo>> {
        self.parts.backend.list(filter).await
    }

    /// Returns the log of a sandbox's SSH server, even if the server does not answer.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`](crate::Error::NotFound) if there is no such sandbox.
    pub async fn logs(&self, id: &SandboxId, options: LogOptions) -> Result<LogStream> {
        self.parts.backend.logs(id, options).await
    }

    /// Removes what ended sandboxes left behind.
    ///
    /// ```no_run
    /// # async fn example(client: sandbox::Client) -> sandbox::Result<()> {
    /// for swept in client.sweep(sandbox::SweepOptions::dry_run()).await?.removed {
    ///     println!("{}: {}", swept.id, swept.reason);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Backend`](crate::Error::Backend) if the sandboxes cannot be listed.
    pub async fn sweep(&self, options: SweepOptions) -> Result<SweepReport> {
        self.parts.backend.sweep(options).await
    }

    /// Waits until everything that dropped futures left is removed: half-written files inside sandboxes, and sandboxes whose
    /// creation was dropped. Call it before the program ends, with a timeout, because a sandbox or the API server may no
    /// longer answer.
    ///
    /// ```no_run
    /// # async fn example(client: sandbox::Client) {
    /// let limit = std::time::Duration::from_secs(5);
    /// let settled = tokio::time::timeout(limit, client.settle()).await.is_ok();
    /// # }
    /// ```
    pub async fn settle(&self) {
        let Parts {
            backend,
            sessions,
            deletions,
            ..
        } = &*self.parts;
        tokio::join!(
            sessions.settle(),
            backend.settle(),
            deletions.wait_until_none()
        );
    }

    /// Returns what the backend can do.
    pub fn capabilities(&self) -> Capabilities {
        self.parts.backend.capabilities()
    }

    /// Returns the backend's name, such as `local` or `k8s`.
    pub fn backend_name(&self) -> &'static str {
        self.parts.backend.name()
    }

    /// Returns the namespace and cluster where sandboxes are created, as text for people. `None`
    /// for local sandboxes and for a client created by [`with_parts`](Self::with_parts).
    pub fn location(&self) -> Option<&str> {
        self.parts.location.as_deref()
    }

    /// Returns the environment variables with which another process on this machine finds the same
    /// sandboxes: the backend, and the state directory or the cluster and namespace. They name the
    /// kubeconfig context that was chosen, because the current context may change later. Empty for
    /// a client created by [`with_parts`](Self::with_parts).
    pub fn environment(&self) -> &[(&'static str, OsString)] {
        &self.parts.environment
    }

    fn from_parts(parts: Parts) -> Self {
        let parts = Arc::new(parts);
        Self {
            handles: HandleCache::new(Arc::clone(&parts)),
            parts,
        }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("backend", &self.parts.backend)
            .finish_non_exhaustive()
    }
}
