//! The configuration of a server.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use sandbox_core::{ExecRequest, OnExpiry, PrivateKey, protocol};

/// A function that prepares the thread that starts commands.
pub(crate) type SpawnSetup = Arc<dyn Fn() -> io::Result<()> + Send + Sync>;

/// Has another process freeze and thaw the sandbox.
pub(crate) type Freezer = Arc<dyn Fn(FreezerRequest) -> Freezing + Send + Sync>;

pub(crate) type Freezing = Pin<Box<dyn Future<Output = io::Result<()>> + Send>>;

/// A request to the process that owns the sandbox's control group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(
    clippy::exhaustive_enums,
    reason = "a freezer has to serve every request"
)]
pub enum FreezerRequest {
    /// Freeze all processes of the sandbox but the server's.
    Freeze,
    /// Let them continue.
    Thaw,
}

/// The prefix of this program's own variables. Commands never get such variables, neither from the
/// environment of the server nor from a client.
pub const RESERVED_ENV_PREFIX: &str = protocol::RESERVED_PREFIX;

/// The configuration of one sandbox's server: who may log in, where commands run, when the sandbox
/// ends.
///
/// By default there is no limit after which the sandbox ends.
#[derive(Clone)]
pub struct ServerConfig {
    pub(crate) host_key: PrivateKey,
    pub(crate) authorized_keys: Vec<String>,
    pub(crate) home: PathBuf,
    pub(crate) env: Vec<(OsString, OsString)>,
    pub(crate) user: Option<String>,
    pub(crate) shell: Option<PathBuf>,
    /// The name of the server's user in `/etc/passwd`.
    pub(crate) user_name: Option<String>,
    /// The shell of the server's user in `/etc/passwd`.
    pub(crate) user_shell: Option<PathBuf>,
    pub(crate) idle_timeout: Option<Duration>,
    pub(crate) attach_timeout: Option<Duration>,
    pub(crate) first_login_timeout: Option<Duration>,
    pub(crate) ttl: Option<Duration>,
    pub(crate) max_lifetime: Option<Duration>,
    pub(crate) on_expiry: OnExpiry,
    pub(crate) is_claimable: bool,
    pub(crate) reap_orphans: bool,
    pub(crate) job_log_limit: u64,
    pub(crate) login_grace: Duration,
    pub(crate) max_pending_logins: usize,
    pub(crate) max_channels: usize,
    pub(crate) kill_grace: Duration,
    pub(crate) output_grace: Duration,
    pub(crate) spawn_setup: Option<SpawnSetup>,
    pub(crate) freezer: Option<Freezer>,
    pub(crate) runs_32_bit_programs: bool,
}

impl ServerConfig {
    /// Configures a server with this host key. The owners of `authorized_keys`, one OpenSSH public
    /// key each, may log in. Commands run in `home`, with the environment given by
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
            user_name: None,
            user_shell: None,
            idle_timeout: None,
            attach_timeout: None,
            first_login_timeout: None,
            ttl: None,
            max_lifetime: None,
            on_expiry: OnExpiry::End,
            is_claimable: false,
            reap_orphans: false,
            job_log_limit: 64 << 20,
            login_grace: Duration::from_secs(30),
            max_pending_logins: 64,
            max_channels: 256,
            kill_grace: Duration::from_secs(2),
            output_grace: ExecRequest::DEFAULT_OUTPUT_GRACE,
            spawn_setup: None,
            freezer: None,
            runs_32_bit_programs: true,
        }
    }

    /// Sets the base environment of every command. `HOME`, `USER`, `LOGNAME`, and if they are
    /// missing `PATH` and `SHELL` are added. Variables that a client sets override these.
    #[must_use]
    pub fn with_env(mut self, env: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        self.env = env.into_iter().collect();
        self
    }

    /// Sets the only login name that is accepted, which programs get as `USER`. By default every name is accepted, because
    /// the key identifies the user, and programs get the name in `/etc/passwd`, or else `sandbox`.
    #[must_use]
    pub fn with_user(mut self, user: impl Into<String>) -> Self {
        self.user = Some(user.into());
        self
    }

    /// Sets the shell for command strings and logins. By default it is `SHELL` of the environment,
    /// else the user's shell in `/etc/passwd` as with sshd, else `/bin/sh`, whichever exists when a
    /// command starts. None has to exist.
    #[must_use]
    pub fn with_shell(mut self, shell: impl Into<PathBuf>) -> Self {
        self.shell = Some(shell.into());
        self
    }

    /// Ends the sandbox after this time without an open channel, a running job or a request.
    #[must_use]
    pub fn with_idle_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.idle_timeout = timeout.into();
        self
    }

    /// Ends the sandbox after this time without an authenticated connection, even if jobs run.
    #[must_use]
    pub fn with_attach_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.attach_timeout = timeout.into();
        self
    }

    /// Ends the sandbox this long after the start if no client has logged in by then: no client knows
    /// of it.
    #[must_use]
    pub fn with_first_login_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.first_login_timeout = timeout.into();
        self
    }

    /// Ends the sandbox this long after the start, unless a client extends the time
    /// ([`LIFETIME_SUBSYSTEM`](sandbox_core::protocol::LIFETIME_SUBSYSTEM)).
    #[must_use]
    pub fn with_ttl(mut self, ttl: impl Into<Option<Duration>>) -> Self {
        self.ttl = ttl.into();
        self
    }

    /// Ends the sandbox this long after the start, which no client can extend.
    #[must_use]
    pub fn with_max_lifetime(mut self, lifetime: impl Into<Option<Duration>>) -> Self {
        self.max_lifetime = lifetime.into();
        self
    }

    /// Sets what happens at the end of the `ttl`. By default the sandbox ends.
    #[must_use]
    pub fn with_on_expiry(mut self, on_expiry: OnExpiry) -> Self {
        self.on_expiry = on_expiry;
        self
    }

    /// Lets one client claim the sandbox, once: from then on only the key that it sends logs in, every
    /// other connection is closed, and attach timeout, `ttl` and `max_lifetime` are those of the claim
    /// ([`CLAIM_SUBSYSTEM`](sandbox_core::protocol::CLAIM_SUBSYSTEM)).
    #[must_use]
    pub fn with_claimable(mut self, claimable: bool) -> Self {
        self.is_claimable = claimable;
        self
    }

    /// Reaps processes whose parent has ended. This is only for PID 1 and child subreapers whose
    /// only children are the processes of this server.
    #[must_use]
    pub fn with_reap_orphans(mut self, reap: bool) -> Self {
        self.reap_orphans = reap;
        self
    }

    /// Limits the stored output of a job, in bytes. Of more output the beginning and the end are
    /// kept, half of the limit each. The default is 64 MiB.
    #[must_use]
    pub fn with_job_log_limit(mut self, bytes: u64) -> Self {
        self.job_log_limit = bytes;
        self
    }

    /// Sets how long a connection may take to authenticate. The default is 30 seconds.
    #[must_use]
    pub fn with_login_grace(mut self, grace: Duration) -> Self {
        self.login_grace = grace;
        self
    }

    /// Limits the connections that have not authenticated. If there is one more, the oldest is
    /// closed. The default is 64.
    #[must_use]
    pub fn with_max_pending_logins(mut self, count: usize) -> Self {
        self.max_pending_logins = count.max(1);
        self
    }

    /// Limits the open channels of one connection. The default is 256.
    #[must_use]
    pub fn with_max_channels(mut self, count: usize) -> Self {
        self.max_channels = count;
        self
    }

    /// Sets the time between SIGHUP or SIGTERM and SIGKILL. The default is 2 seconds.
    #[must_use]
    pub fn with_kill_grace(mut self, grace: Duration) -> Self {
        self.kill_grace = grace;
        self
    }

    /// Sets how long the output of a command is still read after its end while another process holds
    /// it open and writes nothing; in all ten times as long. A client can ask for another time
    /// ([`OUTPUT_GRACE_MS`](sandbox_core::protocol::OUTPUT_GRACE_MS)). The default is
    /// [`DEFAULT_OUTPUT_GRACE`](ExecRequest::DEFAULT_OUTPUT_GRACE).
    #[must_use]
    pub fn with_output_grace(mut self, grace: Duration) -> Self {
        self.output_grace = grace.min(ExecRequest::MAX_OUTPUT_GRACE);
        self
    }

    /// Starts all commands on one thread, after `setup` has run on it. Commands inherit the
    /// confinement that `setup` applies to the thread; the server's own threads stay unconfined. If
    /// `setup` fails, no command is started.
    #[must_use]
    pub fn with_spawn_setup(
        mut self,
        setup: impl Fn() -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        self.spawn_setup = Some(Arc::new(setup));
        self
    }

    /// Pauses the sandbox by a freezer of control groups, which another process has: `freezer` passes a request on and
    /// returns the result. After an error of [`Freeze`](FreezerRequest::Freeze), with which nothing may stay frozen,
    /// and without a freezer, the processes are stopped by signals.
    #[must_use]
    pub fn with_freezer<F>(
        mut self,
        freezer: impl Fn(FreezerRequest) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = io::Result<()>> + Send + 'static,
    {
        self.freezer = Some(Arc::new(move |request| Box::pin(freezer(request))));
        self
    }

    /// Refuses commands that are 32-bit programs, with a message. This is for a server below a system call
    /// filter that ends such programs, which would be reported as a signal only.
    #[must_use]
    pub fn with_64_bit_programs_only(mut self) -> Self {
        self.runs_32_bit_programs = false;
        self
    }

    /// Returns the directory in which commands start.
    pub fn home(&self) -> &Path {
        &self.home
    }
}
