//! The client: creates, finds and deletes sandboxes.

use std::ffi::OsString;
use std::fmt;
use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sandbox_config::Settings;
use sandbox_core::{
    Capabilities, Connector, Deadline, Env, Freshness, Lifetime, ListFilter, LogOptions, LogStream,
    Output, Resources, Result, SandboxBackend, SandboxId, SandboxInfo, SessionSource, SweepOptions,
    SweepReport,
};

use crate::explain::DeleteOnDrop;
use crate::known::Known;
use crate::{Sandbox, SandboxBuilder, backends};

/// Creates, finds and deletes sandboxes.
///
/// A client is cheap to clone and can be used from many tasks at once. Clones share the backend, the
/// connections and the cache.
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
    pub(crate) parts: Arc<Parts>,
    pub(crate) known: Arc<Known>,
}

/// What a client and its sandboxes share.
pub(crate) struct Parts {
    pub(crate) backend: Arc<dyn SandboxBackend>,
    pub(crate) sessions: Arc<dyn SessionSource>,
    /// Opens the streams that sessions run over, for SSH clients of other kinds.
    pub(crate) connector: Option<Arc<dyn Connector>>,
    pub(crate) defaults: Defaults,
    /// Where sandboxes are created, for people.
    pub(crate) place: Option<String>,
    /// And for another process.
    pub(crate) environment: Vec<(&'static str, OsString)>,
}

/// Default values of a client, which individual calls can override.
///
/// ```
/// use std::time::Duration;
///
/// let mut defaults = sandbox::Defaults::default();
/// defaults.command_timeout = Some(Duration::from_secs(60));
/// assert_eq!(defaults.output_cap, 16 << 20);
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Defaults {
    /// The container image, for backends with images.
    pub image: Option<String>,
    /// The resource limits.
    pub resources: Resources,
    /// When a sandbox ends.
    pub lifetime: Lifetime,
    /// Timeout of a creation, until SSH answers.
    pub create_timeout: Duration,
    /// Timeout of a new connection.
    pub connect_timeout: Duration,
    /// Timeout of a command; `None` means no limit.
    pub command_timeout: Option<Duration>,
    /// How many bytes of each output stream to keep in memory.
    pub output_cap: usize,
}

impl Default for Defaults {
    fn default() -> Self {
        Self {
            image: None,
            resources: Resources::default(),
            lifetime: Lifetime::default(),
            create_timeout: Duration::from_secs(300),
            connect_timeout: Duration::from_secs(15),
            command_timeout: None,
            output_cap: Output::DEFAULT_CAP,
        }
    }
}

impl Client {
    /// Creates a client from the environment variables `SANDBOX_…`. If none is set, sandboxes run on
    /// this machine.
    ///
    /// # Errors
    ///
    /// [`Error::Config`](crate::Error::Config) naming every invalid value, or
    /// [`Error::Unsupported`](crate::Error::Unsupported) if the program was built without the chosen
    /// backend.
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
    /// As [`from_env`](Self::from_env), and [`Error::Config`](crate::Error::Config) if the file cannot
    /// be read.
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
        let backends::Opened {
            backend,
            sessions,
            connector,
            place,
            environment,
        } = backends::open(settings).await?;
        let (connector, defaults) = (Some(connector), backends::defaults(settings));
        let parts = Parts {
            backend,
            sessions,
            connector,
            defaults,
            place,
            environment,
        };
        Ok(Self {
            parts: Arc::new(parts),
            known: Arc::default(),
        })
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
        let parts = Parts {
            backend,
            sessions,
            connector: None,
            defaults,
            place: None,
            environment: Vec::new(),
        };
        Self {
            parts: Arc::new(parts),
            known: Arc::default(),
        }
    }

    /// Returns a builder for a new sandbox. Nothing happens until
    /// [`create`](SandboxBuilder::create) is called.
    pub fn sandbox(&self) -> SandboxBuilder {
        SandboxBuilder::new(self.clone())
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
        if let Some(sandbox) = self.known.get(id) {
            return Ok(sandbox);
        }
        let info = self.parts.backend.get(id, Freshness::Latest).await?;
        let access = Arc::new(self.parts.backend.access(id).await?);
        let deadline = Deadline::after(self.parts.defaults.connect_timeout);
        let session = match self.parts.sessions.session(access.clone(), deadline).await {
            Ok(session) => session,
            Err(error) => return Err(self.parts.explain(id, error).await),
        };
        let sandbox = Sandbox::new(self, info, access, session, Env::default());
        self.known.see(&sandbox);
        Ok(sandbox)
    }

    /// Creates a sandbox, runs `work` with it, and deletes it, whether `work` succeeded or failed. If
    /// the work panics, or the call is dropped, the sandbox is deleted in the background.
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
        // For work that panics, or is dropped before its end.
        let guard = DeleteOnDrop::new(
            sandbox.inner.parts.clone(),
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
    /// let filter = sandbox::ListFilter::labels([("team".to_owned(), "ml".to_owned())]);
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

    /// Waits until everything that dropped futures left inside sandboxes, such as half-written files,
    /// is removed. Call it before the program ends, with a timeout, because a sandbox may no longer
    /// answer.
    ///
    /// ```no_run
    /// # async fn example(client: sandbox::Client) {
    /// let limit = std::time::Duration::from_secs(5);
    /// let settled = tokio::time::timeout(limit, client.settle()).await.is_ok();
    /// # }
    /// ```
    pub async fn settle(&self) {
        self.parts.sessions.settle().await;
    }

    /// Returns what the backend can do.
    pub fn capabilities(&self) -> Capabilities {
        self.parts.backend.capabilities()
    }

    /// Returns the backend's name, such as `local` or `k8s`.
    pub fn backend_name(&self) -> &'static str {
        self.parts.backend.name()
    }

    /// Returns the namespace and cluster where sandboxes are created, as text for people. `None` for
    /// local sandboxes and for a client made with [`with_parts`](Self::with_parts).
    pub fn place(&self) -> Option<&str> {
        self.parts.place.as_deref()
    }

    /// Returns the environment variables with which another process on this machine finds the same
    /// sandboxes: the backend, and the state directory or the cluster and namespace. They name the
    /// kubeconfig context that was chosen, because the current context may change later. Empty for a
    /// client made with [`with_parts`](Self::with_parts).
    pub fn environment(&self) -> &[(&'static str, OsString)] {
        &self.parts.environment
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("backend", &self.parts.backend)
            .finish_non_exhaustive()
    }
}
