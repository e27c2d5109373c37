//! A handle on one sandbox.

mod attach;
pub(crate) mod cache;
pub(crate) mod command;
mod diagnosing;
pub(crate) mod egress;
mod end;
mod ended_on_drop;
pub(crate) mod files;
pub(crate) mod forward;
pub(crate) mod guest_files;
pub(crate) mod job;
pub(crate) mod job_log;
mod lifecycle;
pub(crate) mod pause;
pub(crate) mod process_input;
pub(crate) mod processes;
pub(crate) mod watch;

use std::fmt;
use std::sync::{Arc, Mutex, Weak};

use sandbox_core::{
    Access, DeleteOptions, Diagnosis, Env, EventStream, Freshness, LogOptions, LogStream, Result,
    SandboxId, SandboxInfo, Session, Uid,
};

use self::diagnosing::{Diagnoser, DiagnosingSession};
use self::egress::EgressProxy;
use self::end::EndState;
use crate::parts::Parts;

/// A handle on one sandbox, with connections to it. It is cheap to clone, and clones share the
/// connections.
///
/// Dropping a handle does not delete the sandbox. Call [`delete`](Self::delete), or use
/// [`Client::scoped`](crate::Client::scoped). A sandbox that is not deleted ends by
/// itself: an attached one, which is the default, soon after the last handle is dropped or the
/// program ends, and every one at the end of its lifetime.
///
/// ```no_run
/// # async fn example(client: sandbox::Client) -> sandbox::Result<()> {
/// let sbx = client.sandbox().create().await?;
/// sbx.files().write("input.txt", "1 2 3").await?;
/// let out = sbx.command("wc").args(["-w", "input.txt"]).output().await?.check()?;
/// assert_eq!(out.stdout, "3 input.txt\n");
/// sbx.delete().await
/// # }
/// ```
#[derive(Clone)]
pub struct Sandbox {
    inner: Arc<Inner>,
}

/// The state that the clones of a handle share.
struct Inner {
    parts: Arc<Parts>,
    info: SandboxInfo,
    access: Arc<Access>,
    session: Arc<dyn Session>,
    /// For the errors of channels that the session has opened.
    diagnoser: Diagnoser,
    /// Sent with every command. Secrets are stored only here.
    env: Env,
    /// Sent with every command as well, where the caller has set nothing: those of the way out that this handle has served
    /// last.
    egress_env: Mutex<Env>,
    end: Arc<EndState>,
    /// The way out, while this handle serves it.
    egress: Mutex<Option<EgressProxy>>,
}

impl Sandbox {
    /// Returns the id, with which [`Client::connect`](crate::Client::connect) finds the sandbox.
    pub fn id(&self) -> &SandboxId {
        &self.inner.info.id
    }

    /// Returns the uid of this instance. An id can be reused, a uid cannot.
    pub fn uid(&self) -> &Uid {
        &self.inner.info.uid
    }

    /// Returns the state of the sandbox when this handle was created, without a request.
    pub fn info(&self) -> &SandboxInfo {
        &self.inner.info
    }

    /// Asks the backend for the current state of the sandbox.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`](crate::Error::NotFound) if it has ended.
    pub async fn refresh(&self) -> Result<SandboxInfo> {
        self.inner
            .parts
            .backend
            .get(self.id(), Freshness::Latest)
            .await
    }

    /// Asks the backend to explain the state of the sandbox, for example why it ended.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`](crate::Error::NotFound) if the backend no longer knows it.
    pub async fn diagnose(&self) -> Result<Diagnosis> {
        self.inner.parts.backend.diagnose(self.id()).await
    }

    /// Streams the events of the sandbox, past ones first, until its end.
    ///
    /// ```no_run
    /// # use futures_util::StreamExt;
    /// # async fn example(sbx: sandbox::Sandbox) -> sandbox::Result<()> {
    /// let mut events = sbx.events().await?;
    /// while let Some(event) = events.next().await {
    ///     let event = event?;
    ///     println!("{} {}", event.kind, event.message);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`](crate::Error::NotFound) if the backend no longer knows it.
    pub async fn events(&self) -> Result<EventStream> {
        self.inner.parts.backend.events(self.id()).await
    }

    /// Returns the log of its SSH server.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`](crate::Error::NotFound) if it has ended.
    pub async fn logs(&self, options: LogOptions) -> Result<LogStream> {
        self.inner.parts.backend.logs(self.id(), options).await
    }

    /// Deletes the sandbox: ends its processes and removes its files. Returns when nothing is left.
    /// Deleting a sandbox that no longer exists succeeds.
    ///
    /// # Errors
    ///
    /// [`Error::Deletion`](crate::Error::Deletion) if it may still exist.
    pub async fn delete(&self) -> Result<()> {
        // A deletion can take half a minute on a cluster. Nothing keeps the sandbox attached
        // meanwhile.
        self.inner.end.stop_attaching();
        self.stop_egress();
        let deleted = self
            .inner
            .parts
            .delete(self.id(), DeleteOptions::for_instance(self.uid().clone()))
            .await;
        // The connections are closed even if the sandbox still exists.
        self.inner.end.record();
        deleted
    }

    /// Returns the underlying session, for operations that this handle has no method for. Errors of
    /// lost connections include the backend's diagnosis, as with this handle's own methods.
    pub fn session(&self) -> &Arc<dyn Session> {
        &self.inner.session
    }
}

/// Used by the cache of the client.
impl Sandbox {
    /// Creates a handle. `on_end` is called when the sandbox was deleted or found missing.
    fn new(
        parts: Arc<Parts>,
        info: SandboxInfo,
        access: Arc<Access>,
        session: Arc<dyn Session>,
        env: Env,
        egress: Option<EgressProxy>,
        on_end: Box<dyn Fn() + Send + Sync>,
    ) -> Self {
        let end = Arc::new(EndState::new(on_end));
        let diagnoser = Diagnoser::new(
            Arc::clone(&parts.backend),
            info.id.clone(),
            Arc::clone(&end),
        );
        let session = DiagnosingSession::new(session, diagnoser.clone());
        let egress_env = egress.as_ref().map(|egress| egress.variables().clone());
        let inner = Arc::new(Inner {
            parts,
            info,
            access,
            session: Arc::new(session),
            diagnoser,
            env,
            egress_env: Mutex::new(egress_env.unwrap_or_default()),
            end,
            egress: Mutex::new(egress),
        });
        Self { inner }
    }

    fn from_inner(inner: Arc<Inner>) -> Self {
        Self { inner }
    }

    fn downgrade(&self) -> Weak<Inner> {
        Arc::downgrade(&self.inner)
    }
}

impl fmt::Debug for Sandbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sandbox")
            .field("id", self.id())
            .field("uid", self.uid())
            .finish_non_exhaustive()
    }
}
