//! The client: makes sandboxes, finds them again, takes them away.

use std::ffi::OsString;
use std::fmt;
use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sandbox_config::Settings;
use sandbox_core::{
    Capabilities, Connector, Deadline, Env, Freshness, Lifetime, ListFilter, LogOptions, LogStream, Output,
    Resources, Result, SandboxBackend, SandboxId, SandboxInfo, SessionSource, SweepOptions, SweepReport,
};

use crate::known::Known;
use crate::{Sandbox, SandboxBuilder, backends};

/// Makes sandboxes, finds them again, takes them away.
///
/// A client is cheap to clone and safe to use from many tasks at once: clones share the
/// backend, the connections and the cache.
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

/// What a client and its sandboxes work with.
pub(crate) struct Parts {
    pub(crate) backend: Arc<dyn SandboxBackend>,
    pub(crate) sessions: Arc<dyn SessionSource>,
    /// Opens the streams that sessions run over, for SSH clients of other kinds.
    pub(crate) connector: Option<Arc<dyn Connector>>,
    pub(crate) defaults: Defaults,
    /// Where sandboxes are made, for people.
    pub(crate) place: Option<String>,
    /// And for another process.
    pub(crate) environment: Vec<(&'static str, OsString)>,
}

/// What a client does where a call says nothing else.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Defaults {
    /// The image of a sandbox, for backends with images.
    pub image: Option<String>,
    /// Its limits.
    pub resources: Resources,
    /// When it ends.
    pub lifetime: Lifetime,
    /// How long a creation may take, until SSH answers.
    pub create_timeout: Duration,
    /// How long a new connection may take.
    pub connect_timeout: Duration,
    /// How long a command may run; `None` is without limit.
    pub command_timeout: Option<Duration>,
    /// How many bytes of each output stream are kept in memory.
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
    /// A client configured by the environment (`SANDBOX_…`); with nothing set, sandboxes on
    /// this machine.
    ///
    /// # Errors
    ///
    /// [`Error::Config`](crate::Error::Config) naming every wrong value, or [`Error::Unsupported`](crate::Error::Unsupported) for a backend
    /// that this program was built without.
    pub async fn from_env() -> Result<Self> {
        Self::from_settings(&Settings::from_env()?).await
    }

    /// A client configured by one file, with the real environment over it.
    ///
    /// # Errors
    ///
    /// As [`from_env`](Self::from_env), and when the file cannot be read.
    pub async fn from_dotenv(path: impl AsRef<Path>) -> Result<Self> {
        Self::from_settings(&Settings::from_dotenv(path.as_ref())?).await
    }

    /// A client with these settings.
    ///
    /// # Errors
    ///
    /// As [`from_env`](Self::from_env).
    pub async fn from_settings(settings: &Settings) -> Result<Self> {
        let backends::Opened { backend, sessions, connector, place, environment } =
            backends::open(settings).await?;
        let (connector, defaults) = (Some(connector), backends::defaults(settings));
        let parts = Parts { backend, sessions, connector, defaults, place, environment };
        Ok(Self { parts: Arc::new(parts), known: Arc::default() })
    }

    /// A client of parts of one's own: another backend, a mock.
    pub fn with_parts(
        backend: Arc<dyn SandboxBackend>,
        sessions: Arc<dyn SessionSource>,
        defaults: Defaults,
    ) -> Self {
        let parts =
            Parts { backend, sessions, connector: None, defaults, place: None, environment: Vec::new() };
        Self { parts: Arc::new(parts), known: Arc::default() }
    }

    /// Begins to describe a new sandbox; nothing happens until
    /// [`create`](SandboxBuilder::create).
    pub fn sandbox(&self) -> SandboxBuilder {
        SandboxBuilder::new(self.clone())
    }

    /// Takes up a sandbox that exists, made by whomever, and connects to it.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`](crate::Error::NotFound), or [`Error::Connection`](crate::Error::Connection) when it does not answer.
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

    /// Creates a sandbox, runs `work` with it, and deletes it whatever came of the work.
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
    /// That of the creation or of the work; that of the deletion when the work succeeded.
    pub async fn scoped<T, F, W>(&self, builder: SandboxBuilder, work: F) -> Result<T>
    where
        F: FnOnce(Sandbox) -> W + Send,
        W: Future<Output = Result<T>> + Send,
        T: Send,
    {
        let sandbox = builder.create().await?;
        let result = work(sandbox.clone()).await;
        let deleted = sandbox.delete().await;
        let value = result?;
        deleted.map(|()| value)
    }

    /// The sandboxes that match, oldest first.
    ///
    /// # Errors
    ///
    /// [`Error::Backend`](crate::Error::Backend) when they cannot be listed.
    pub async fn list(&self, filter: ListFilter) -> Result<Vec<SandboxInfo>> {
        self.parts.backend.list(filter).await
    }

    /// The log of a sandbox's own server, also of one that does not answer.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`](crate::Error::NotFound).
    pub async fn logs(&self, id: &SandboxId, options: LogOptions) -> Result<LogStream> {
        self.parts.backend.logs(id, options).await
    }

    /// Removes what sandboxes that ended left behind.
    ///
    /// # Errors
    ///
    /// [`Error::Backend`](crate::Error::Backend) when they cannot be looked through.
    pub async fn sweep(&self, options: SweepOptions) -> Result<SweepReport> {
        self.parts.backend.sweep(options).await
    }

    /// Waits until what dropped futures left inside of sandboxes, such as half-written files, is
    /// removed: for a program that is about to end. Put a time limit around it, for a sandbox may
    /// not answer any more.
    pub async fn settle(&self) {
        self.parts.sessions.settle().await;
    }

    /// What the backend can do.
    pub fn capabilities(&self) -> Capabilities {
        self.parts.backend.capabilities()
    }

    /// The backend's name: `local`, `k8s`.
    pub fn backend_name(&self) -> &'static str {
        self.parts.backend.name()
    }

    /// Where sandboxes are made, for people: the namespace and the cluster. `None` on this
    /// machine, and for a client of parts of one's own.
    pub fn place(&self) -> Option<&str> {
        self.parts.place.as_deref()
    }

    /// The variables with which another process, started anywhere on this machine, finds the same
    /// sandboxes: the backend, and which directory, or which namespace of which cluster, it was that
    /// was chosen. A kubeconfig's current context may change later; these say which it was. Empty
    /// for a client of parts of one's own.
    pub fn environment(&self) -> &[(&'static str, OsString)] {
        &self.parts.environment
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("backend", &self.parts.backend).finish_non_exhaustive()
    }
}
