//! The control plane of a backend.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::pin::Pin;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_core::Stream;
use serde::{Deserialize, Serialize};

use crate::{
    Access, Capabilities, Check, Diagnosis, EventStream, Result, SandboxId, SandboxInfo, SandboxSpec, Uid,
};

/// Makes sandboxes exist, describes them and takes them away.
///
/// This is the implementors' contract, kept small; callers use the facade's `Client`. Every
/// method may be called from many tasks at once, and its future may be dropped at any point:
/// a dropped `create` leaves nothing behind.
#[cfg_attr(feature = "mock", mockall::automock)]
#[async_trait]
pub trait SandboxBackend: Debug + Send + Sync + 'static {
    /// A short name for messages: `local`, `k8s`.
    fn name(&self) -> &'static str;

    /// What this backend can do.
    fn capabilities(&self) -> Capabilities;

    /// Provisions a sandbox, and returns once it is accepted: it has an id and a uid, and may
    /// still be starting. On an error nothing is left of it. What is asked of this backend alone
    /// ([`BackendOptions`](crate::BackendOptions)) it reads whole, or refuses.
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::Error::Invalid), [`AlreadyExists`](crate::Error::AlreadyExists),
    /// [`Unsupported`](crate::Error::Unsupported) and [`Creation`](crate::Error::Creation).
    async fn create(&self, spec: SandboxSpec) -> Result<SandboxInfo>;

    /// Describes a sandbox; from memory where the backend has it and `freshness` allows.
    ///
    /// # Errors
    ///
    /// [`NotFound`](crate::Error::NotFound) also when it has ended and was taken away.
    async fn get(&self, id: &SandboxId, freshness: Freshness) -> Result<SandboxInfo>;

    /// All sandboxes that match, oldest first.
    ///
    /// # Errors
    ///
    /// [`Backend`](crate::Error::Backend) when they cannot be listed.
    async fn list(&self, filter: ListFilter) -> Result<Vec<SandboxInfo>>;

    /// The steps of a sandbox's life, those of the past first.
    ///
    /// # Errors
    ///
    /// [`NotFound`](crate::Error::NotFound).
    async fn events(&self, id: &SandboxId) -> Result<EventStream>;

    /// What it takes to connect; may cost one read when another process made the sandbox.
    ///
    /// # Errors
    ///
    /// [`NotFound`](crate::Error::NotFound), or a sandbox whose keys only its maker has.
    async fn access(&self, id: &SandboxId) -> Result<Access>;

    /// Why it does not answer.
    ///
    /// # Errors
    ///
    /// [`NotFound`](crate::Error::NotFound) when nothing is known of it any more.
    async fn diagnose(&self, id: &SandboxId) -> Result<Diagnosis>;

    /// The log of the sandbox's own server.
    ///
    /// # Errors
    ///
    /// [`NotFound`](crate::Error::NotFound).
    async fn logs(&self, id: &SandboxId, options: LogOptions) -> Result<LogStream>;

    /// Puts the soft end off: the sandbox lives for `ttl` from now, at most until its hard end.
    ///
    /// # Errors
    ///
    /// [`NotFound`](crate::Error::NotFound).
    async fn extend(&self, id: &SandboxId, ttl: Duration) -> Result<SandboxInfo>;

    /// Takes a sandbox away. Deleting what does not exist succeeds, and success means that
    /// nothing of it is left, or with [`wait`](DeleteOptions::wait) off, that it is going.
    ///
    /// # Errors
    ///
    /// [`Deletion`](crate::Error::Deletion) when it may still exist.
    async fn delete(&self, id: &SandboxId, options: DeleteOptions) -> Result<()>;

    /// Removes what sandboxes that ended left behind.
    ///
    /// # Errors
    ///
    /// [`Backend`](crate::Error::Backend) when they cannot be looked through.
    async fn sweep(&self, options: SweepOptions) -> Result<SweepReport>;

    /// Looks whether a sandbox like this could be made, and what does not work or could be better,
    /// without making one. A backend that has nothing to look at gives nothing.
    async fn preflight(&self, spec: SandboxSpec) -> Vec<Check> {
        drop(spec);
        Vec::new()
    }
}

/// How new an answer has to be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Freshness {
    /// From memory, as of the last news from the backend.
    #[default]
    Cached,
    /// Asked for now.
    Latest,
}

/// Which sandboxes to list; the default is all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListFilter {
    /// Labels that a sandbox must have, with these values.
    pub labels: BTreeMap<String, String>,
}

impl ListFilter {
    /// Those that have all these labels.
    pub fn labels(labels: impl IntoIterator<Item = (String, String)>) -> Self {
        Self { labels: labels.into_iter().collect() }
    }

    /// Whether a sandbox with these labels is meant.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.labels.iter().all(|(key, value)| labels.get(key) == Some(value))
    }
}

/// How to delete; the default waits until nothing is left.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeleteOptions {
    /// Only this instance; another one under the same id is left alone, and that is success.
    pub uid: Option<Uid>,
    /// Return only when it is gone.
    pub wait: bool,
}

impl DeleteOptions {
    /// Only this instance.
    pub fn instance(uid: Uid) -> Self {
        Self { uid: Some(uid), ..Self::default() }
    }
}

impl Default for DeleteOptions {
    fn default() -> Self {
        Self { uid: None, wait: true }
    }
}

/// Which part of a log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogOptions {
    /// Only the last so many lines.
    pub tail_lines: Option<usize>,
    /// Go on with what is written from now.
    pub follow: bool,
}

/// Pieces of a log; raw bytes from inside a sandbox, to be escaped before a terminal sees them.
pub type LogStream = Pin<Box<dyn Stream<Item = Result<Bytes>> + Send>>;

/// How to sweep.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SweepOptions {
    /// Only tell what would be removed.
    pub dry_run: bool,
}

impl SweepOptions {
    /// Only tell what would be removed.
    pub fn dry_run() -> Self {
        Self { dry_run: true }
    }
}

/// What a sweep removed, or would remove.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SweepReport {
    /// Each, with the reason.
    pub removed: Vec<Swept>,
    /// What should have been removed and could not be; everything else was swept all the same.
    #[serde(default)]
    pub failed: Vec<Unswept>,
}

/// One thing that a sweep could not remove.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unswept {
    /// The sandbox it belongs to.
    pub id: SandboxId,
    /// What was answered.
    pub error: String,
}

/// One thing that a sweep removed, or would remove.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Swept {
    /// The sandbox it belonged to.
    pub id: SandboxId,
    /// Why it is not needed any more.
    pub reason: String,
}
