//! What a server is told before it starts.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sandbox_core::PrivateKey;

/// How one sandbox's server behaves: whom it lets in, where commands run, when it ends.
///
/// Nothing ends it by default; every limit is asked for by name.
#[derive(Clone)]
pub struct ServerConfig {
    pub(crate) host_key: PrivateKey,
    pub(crate) authorized_keys: Vec<String>,
    pub(crate) home: PathBuf,
    pub(crate) env: Vec<(OsString, OsString)>,
    pub(crate) user: Option<String>,
    pub(crate) shell: Option<PathBuf>,
    pub(crate) idle_limit: Option<Duration>,
    pub(crate) attach_limit: Option<Duration>,
    pub(crate) ttl: Option<Duration>,
    pub(crate) max_lifetime: Option<Duration>,
    pub(crate) reap_orphans: bool,
    pub(crate) job_log_cap: u64,
    pub(crate) login_grace: Duration,
    pub(crate) max_pending_logins: usize,
    pub(crate) max_channels: usize,
    pub(crate) kill_grace: Duration,
    pub(crate) spawn_setup: Option<SpawnSetup>,
}

/// What runs on the thread that starts a command.
pub(crate) type SpawnSetup = Arc<dyn Fn() -> io::Result<()> + Send + Sync>;

impl ServerConfig {
    /// A server with this host key, for the owners of these public keys (one OpenSSH line
    /// each), whose commands run in `home` and see only the environment given by
    /// [`with_env`](Self::with_env).
    pub fn new(
        host_key: PrivateKey,
        authorized_keys: Vec<String>,
        home: impl Into<PathBuf>,
    ) -> Self {
        Self {
            host_key,
            authorized_keys,
            home: home.into(),
            env: Vec::new(),
            user: None,
            shell: None,
            idle_limit: None,
            attach_limit: None,
            ttl: None,
            max_lifetime: None,
            reap_orphans: false,
            job_log_cap: 64 << 20,
            login_grace: Duration::from_secs(30),
            max_pending_logins: 64,
            max_channels: 256,
            kill_grace: Duration::from_secs(2),
            spawn_setup: None,
        }
    }

    /// The base environment of every command. `HOME`, `USER`, `LOGNAME` and, where it is
    /// missing, `PATH` are added; what a client asks for comes on top.
    #[must_use]
    pub fn with_env(mut self, env: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        self.env = env.into_iter().collect();
        self
    }

    /// The only login name that is accepted; otherwise any is, for the key decides.
    #[must_use]
    pub fn with_user(mut self, user: impl Into<String>) -> Self {
        self.user = Some(user.into());
        self
    }

    /// The shell for command strings and logins. Otherwise `SHELL` of the environment, then
    /// `/bin/sh`, whichever exists when it is needed; there may be none.
    #[must_use]
    pub fn with_shell(mut self, shell: impl Into<PathBuf>) -> Self {
        self.shell = Some(shell.into());
        self
    }

    /// End after this long without an open channel, a running job or a request.
    #[must_use]
    pub fn with_idle_limit(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.idle_limit = limit.into();
        self
    }

    /// End after this long without an authenticated connection, jobs or not.
    #[must_use]
    pub fn with_attach_limit(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.attach_limit = limit.into();
        self
    }

    /// End this long after the start, unless a client lengthens it
    /// ([`LIFETIME_SUBSYSTEM`](sandbox_core::protocol::LIFETIME_SUBSYSTEM)).
    #[must_use]
    pub fn with_ttl(mut self, ttl: impl Into<Option<Duration>>) -> Self {
        self.ttl = ttl.into();
        self
    }

    /// End this long after the start, whatever clients ask for.
    #[must_use]
    pub fn with_max_lifetime(mut self, lifetime: impl Into<Option<Duration>>) -> Self {
        self.max_lifetime = lifetime.into();
        self
    }

    /// Collect processes that lost their parent. For PID 1 and child subreapers only: the
    /// process must have no children but those of this server.
    #[must_use]
    pub fn with_reap_orphans(mut self, reap: bool) -> Self {
        self.reap_orphans = reap;
        self
    }

    /// Most bytes of a job's output that are kept; more is counted and dropped. 64 MiB.
    #[must_use]
    pub fn with_job_log_cap(mut self, bytes: u64) -> Self {
        self.job_log_cap = bytes;
        self
    }

    /// How long a connection may take to authenticate. 30 seconds.
    #[must_use]
    pub fn with_login_grace(mut self, grace: Duration) -> Self {
        self.login_grace = grace;
        self
    }

    /// Most connections that may be authenticating at once; one more, and the oldest of them
    /// is dropped. 64.
    #[must_use]
    pub fn with_max_pending_logins(mut self, count: usize) -> Self {
        self.max_pending_logins = count.max(1);
        self
    }

    /// Most channels open at once on one connection. 256.
    #[must_use]
    pub fn with_max_channels(mut self, count: usize) -> Self {
        self.max_channels = count;
        self
    }

    /// How long processes get between SIGHUP or SIGTERM and SIGKILL. 2 seconds.
    #[must_use]
    pub fn with_kill_grace(mut self, grace: Duration) -> Self {
        self.kill_grace = grace;
        self
    }

    /// Starts all commands on one thread, on which `setup` has run: what that confines the thread
    /// by, commands inherit, and the server does not. If it fails, no command is started.
    #[must_use]
    pub fn with_spawn_setup(
        mut self,
        setup: impl Fn() -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        self.spawn_setup = Some(Arc::new(setup));
        self
    }

    /// Where commands start.
    pub fn home(&self) -> &Path {
        &self.home
    }
}
