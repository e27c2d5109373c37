//! A handle on one sandbox.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use sandbox_core::{
    Access, DeleteOptions, Diagnosis, Env, Error, EventStream, Freshness, LogOptions, LogStream, Process,
    Result, SandboxId, SandboxInfo, Session, Uid,
};

use crate::client::Parts;
use crate::known::Known;
use crate::{Client, attach};

/// One sandbox, connected to. Cheap to clone; clones share the connections.
///
/// Dropping a handle does not delete the sandbox: [`delete`](Self::delete) does, or
/// [`Client::scoped`]. A sandbox that nobody deletes ends by itself: an attached one, the
/// default, soon after the last handle is gone or the program has ended, and every one at its
/// lifetime's end.
#[derive(Clone)]
pub struct Sandbox {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) parts: Arc<Parts>,
    pub(crate) known: Weak<Known>,
    pub(crate) info: SandboxInfo,
    pub(crate) access: Arc<Access>,
    pub(crate) session: Arc<dyn Session>,
    /// Given with every command. Secrets live here and nowhere else.
    pub(crate) env: Env,
    /// Deleted, or found to be gone.
    gone: AtomicBool,
}

impl Sandbox {
    pub(crate) fn new(
        client: &Client,
        info: SandboxInfo,
        access: Arc<Access>,
        session: Arc<dyn Session>,
        env: Env,
    ) -> Self {
        let known = Arc::downgrade(&client.known);
        let inner = Arc::new(Inner {
            parts: client.parts.clone(),
            known,
            info,
            access,
            session,
            env,
            gone: AtomicBool::new(false),
        });
        Self { inner }
    }

    /// Keeps an attached sandbox alive as long as there are handles.
    pub(crate) fn stay_attached(&self, attach_timeout: Option<Duration>) {
        if let Some(attach_timeout) = attach_timeout {
            attach::keep_attached(&self.inner, attach_timeout);
        }
    }

    pub(crate) fn from_inner(inner: Arc<Inner>) -> Self {
        Self { inner }
    }

    pub(crate) fn downgrade(&self) -> Weak<Inner> {
        Arc::downgrade(&self.inner)
    }

    /// The name to find it again by, with [`Client::connect`].
    pub fn id(&self) -> &SandboxId {
        &self.inner.info.id
    }

    /// This instance of it.
    pub fn uid(&self) -> &Uid {
        &self.inner.info.uid
    }

    /// What it was when this handle was made; nothing is asked.
    pub fn info(&self) -> &SandboxInfo {
        &self.inner.info
    }

    /// What it is now.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`](crate::Error::NotFound) when it has ended.
    pub async fn refresh(&self) -> Result<SandboxInfo> {
        self.inner.parts.backend.get(self.id(), Freshness::Latest).await
    }

    /// Lets it live for `ttl` from now, at most until its hard end.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`](crate::Error::NotFound) when it has ended.
    pub async fn extend(&self, ttl: Duration) -> Result<SandboxInfo> {
        let info = self.inner.parts.backend.extend(self.id(), ttl).await?;
        if self.inner.parts.backend.capabilities().server_keeps_ttl {
            self.inner.explained(self.inner.session.extend(ttl).await).await?;
        }
        Ok(info)
    }

    /// Why it is as it is, in the backend's words.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`](crate::Error::NotFound) when nothing is known of it any more.
    pub async fn diagnose(&self) -> Result<Diagnosis> {
        self.inner.parts.backend.diagnose(self.id()).await
    }

    /// The steps of its life, those of the past first, until its end.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`](crate::Error::NotFound) when nothing is known of it any more.
    pub async fn events(&self) -> Result<EventStream> {
        self.inner.parts.backend.events(self.id()).await
    }

    /// The log of its own server.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`](crate::Error::NotFound) when it has ended.
    pub async fn logs(&self, options: LogOptions) -> Result<LogStream> {
        self.inner.parts.backend.logs(self.id(), options).await
    }

    /// Takes it away: ends what runs in it and removes what it kept. Returns when nothing is
    /// left; deleting what is gone already succeeds.
    ///
    /// # Errors
    ///
    /// [`Error::Deletion`](crate::Error::Deletion) when it may still exist.
    pub async fn delete(&self) -> Result<()> {
        // Nobody keeps it alive meanwhile, which takes a cluster half a minute at times.
        self.inner.gone.store(true, Ordering::Relaxed);
        let deleted = self.inner.parts.delete(self.id(), DeleteOptions::instance(self.uid().clone())).await;
        // Its connections are closed even if it still exists.
        self.inner.forget();
        deleted
    }

    /// The data plane itself, for what this handle has no method for.
    pub fn session(&self) -> &Arc<dyn Session> {
        &self.inner.session
    }
}

impl fmt::Debug for Sandbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sandbox").field("id", self.id()).field("uid", self.uid()).finish_non_exhaustive()
    }
}

impl Inner {
    /// Adds to a lost connection what became of the sandbox.
    pub(crate) async fn explained<T>(&self, result: Result<T>) -> Result<T> {
        match result {
            Ok(value) => Ok(value),
            Err(error) => {
                let error = self.parts.explain(&self.info.id, error).await;
                if matches!(error, Error::NotFound { .. }) {
                    self.forget();
                }
                Err(error)
            }
        }
    }

    /// Lets a process that loses its connection say what became of the sandbox.
    pub(crate) fn explaining(self: &Arc<Self>, process: Process) -> Process {
        // Not the handle itself: a process does not keep a sandbox attached.
        let (inner, parts, id) = (Arc::downgrade(self), Arc::clone(&self.parts), self.info.id.clone());
        process.explained_by(move |error| async move {
            let error = parts.explain(&id, error).await;
            if let (Error::NotFound { .. }, Some(inner)) = (&error, inner.upgrade()) {
                inner.forget();
            }
            error
        })
    }

    pub(crate) fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Relaxed)
    }

    fn forget(&self) {
        self.gone.store(true, Ordering::Relaxed);
        if let Some(known) = self.known.upgrade() {
            known.forget(&self.info.id, &self.info.uid);
        }
    }
}
