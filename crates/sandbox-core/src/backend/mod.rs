//! The control plane: how a backend creates and deletes sandboxes.

mod assignment;
mod end;
mod event;
mod info;
mod metadata;
mod network;
mod options;
mod pool_member;
mod preflight;
mod resize;
mod shared_pools;
mod spec;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_core::Stream;
use serde::{Deserialize, Serialize};

use crate::{Access, Error, Result, SandboxId, Uid};

pub use assignment::Assignment;
pub use end::{EndCause, SandboxEnd};
pub use event::{Diagnosis, EventStream, SandboxEvent, SandboxEventKind};
pub use info::{
    AppliedLimit, Capabilities, Isolation, LimitScope, LimitSupport, SandboxInfo, SandboxState,
};
pub use metadata::{MAX_ANNOTATIONS, RESERVED_LABEL_DOMAIN, check_annotations};
pub use network::{Canary, NetworkIsolation};
pub use options::BackendOptions;
pub use pool_member::{PoolKey, PoolMember, PoolMemberState};
pub use preflight::{Check, Verdict};
pub use resize::{ResizeOutcome, Resized};
pub use shared_pools::{Claimed, PoolClaim, PoolLead, PoolLeader, SharedPools};
#[cfg(feature = "mock")]
pub use shared_pools::{MockPoolLead, MockSharedPools};
pub use spec::{Lifetime, Resources, SandboxSpec};

/// Creates, describes and deletes sandboxes.
///
/// Backends implement this trait. Programs use `Client` of the crate `sandbox`. Every method
/// may be called from many tasks at once, and its future may be dropped at any point: a dropped
/// `create` leaves nothing behind.
///
/// ```
/// use sandbox_core::{ListFilter, Result, SandboxBackend};
///
/// async fn count(backend: &dyn SandboxBackend) -> Result<usize> {
///     Ok(backend.list(ListFilter::default()).await?.len())
/// }
/// ```
#[cfg_attr(feature = "mock", mockall::automock)]
#[async_trait]
pub trait SandboxBackend: Debug + Send + Sync + 'static {
    /// Returns a short name for messages, such as `local` or `k8s`.
    fn name(&self) -> &'static str;

    /// Returns the capabilities of this backend.
    fn capabilities(&self) -> Capabilities;

    /// Provisions a sandbox, and returns once it is accepted: it has an id and a uid, but may still
    /// be starting. After an error nothing is left behind. The backend validates all of its own
    /// [`BackendOptions`](crate::BackendOptions), and refuses those of others.
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::Error::Invalid), [`AlreadyExists`](crate::Error::AlreadyExists),
    /// [`Unsupported`](crate::Error::Unsupported) and [`Creation`](crate::Error::Creation).
    async fn create(&self, spec: SandboxSpec) -> Result<SandboxInfo>;

    /// Describes a sandbox, from the cache if it is there and `freshness` allows that.
    ///
    /// # Errors
    ///
    /// [`NotFound`](crate::Error::NotFound), also if it has ended and was removed.
    async fn get(&self, id: &SandboxId, freshness: Freshness) -> Result<SandboxInfo>;

    /// Lists the sandboxes that match, oldest first.
    ///
    /// # Errors
    ///
    /// [`Backend`](crate::Error::Backend) if they cannot be listed.
    async fn list(&self, filter: ListFilter) -> Result<Vec<SandboxInfo>>;

    /// Streams the events of a sandbox, past ones first.
    ///
    /// # Errors
    ///
    /// [`NotFound`](crate::Error::NotFound) if there is no such sandbox.
    async fn events(&self, id: &SandboxId) -> Result<EventStream>;

    /// Returns the keys and the endpoint to connect with. This may cost one request if another
    /// process created the sandbox.
    ///
    /// # Errors
    ///
    /// [`NotFound`](crate::Error::NotFound) if there is no such sandbox, and
    /// [`Unsupported`](crate::Error::Unsupported) if only the process that created it has its keys.
    async fn access(&self, id: &SandboxId) -> Result<Access>;

    /// Finds out why a sandbox does not respond.
    ///
    /// # Errors
    ///
    /// [`NotFound`](crate::Error::NotFound) if the backend no longer knows it.
    async fn diagnose(&self, id: &SandboxId) -> Result<Diagnosis>;

    /// Returns the log of the sandbox's SSH server.
    ///
    /// # Errors
    ///
    /// [`NotFound`](crate::Error::NotFound) if there is no such sandbox.
    async fn logs(&self, id: &SandboxId, options: LogOptions) -> Result<LogStream>;

    /// Moves the end of the sandbox's `ttl` to `ttl` from now, at most to the end of its
    /// `max_lifetime`.
    ///
    /// # Errors
    ///
    /// [`NotFound`](crate::Error::NotFound) if there is no such sandbox.
    async fn extend(&self, id: &SandboxId, ttl: Duration) -> Result<SandboxInfo>;

    /// Changes the labels, the annotations, the `ttl` and the marks of a sandbox, if possible in one write: of one that
    /// waited in a pool, or later. An assigned `ttl` counts from now, and may end earlier than the sandbox would have ended.
    /// [`Session::start_ttl`](crate::Session::start_ttl) starts it in the sandbox's own server.
    ///
    /// # Errors
    ///
    /// [`NotFound`](crate::Error::NotFound) if this instance has ended, and [`Invalid`](crate::Error::Invalid) if it
    /// would have too many annotations. The default returns
    /// [`Unsupported`](crate::Error::Unsupported) unless the assignment is empty.
    async fn assign(
        &self,
        id: &SandboxId,
        uid: &Uid,
        assignment: Assignment,
    ) -> Result<SandboxInfo> {
        let _unused = uid;
        if !assignment.is_empty() {
            return Err(Error::unsupported(
                "changing labels, annotations or the lifetime of an existing sandbox",
                self.name(),
                "set them when the sandbox is created, without a pool",
            ));
        }
        self.get(id, Freshness::Cached).await
    }

    /// Orders that a sandbox reaches no other host, unless that is ordered already, and returns how to prove that the order
    /// is obeyed. It may take effect later. Only for a backend with
    /// [`Capabilities::network_isolation`]; the default returns [`Unsupported`](crate::Error::Unsupported).
    ///
    /// # Errors
    ///
    /// [`NotFound`](crate::Error::NotFound) if this instance has ended; [`Backend`](crate::Error::Backend) if it cannot be
    /// ordered, if something else allows the sandbox more, or if there is nothing that would prove it.
    async fn isolate_network(&self, id: &SandboxId, uid: &Uid) -> Result<NetworkIsolation> {
        let _unused = (id, uid);
        Err(Error::unsupported(
            "keeping a sandbox from the network",
            self.name(),
            "use a backend whose sandboxes have no network, or Kubernetes",
        ))
    }

    /// Returns the addresses of what controls the sandboxes, as far as they are known. No sandbox should reach them through
    /// its client. The default returns none.
    async fn control_plane(&self) -> Vec<IpAddr> {
        Vec::new()
    }

    /// Deletes a sandbox. Deleting one that does not exist succeeds. Success means that nothing is
    /// left of it; without [`wait`](DeleteOptions::wait), that its deletion has started.
    ///
    /// # Errors
    ///
    /// [`Deletion`](crate::Error::Deletion) if it may still exist.
    async fn delete(&self, id: &SandboxId, options: DeleteOptions) -> Result<()>;

    /// Deletes sandboxes that have expired, and the remains of those that have ended.
    ///
    /// # Errors
    ///
    /// [`Backend`](crate::Error::Backend) if the sandboxes cannot be listed.
    async fn sweep(&self, options: SweepOptions) -> Result<SweepReport>;

    /// Checks whether such a sandbox could be created, without creating one. A backend with nothing
    /// to check returns no checks.
    async fn preflight(&self, spec: SandboxSpec) -> Vec<Check> {
        drop(spec);
        Vec::new()
    }

    /// Waits until everything that dropped futures have left is removed, such as a sandbox whose creation was dropped.
    /// [`Leftovers`](crate::Leftovers) counts such work. The default does nothing.
    async fn settle(&self) {}

    /// Returns the pools that several processes share. The default returns `None`: this backend has none.
    fn shared_pools(&self) -> Option<Arc<dyn SharedPools>> {
        None
    }
}

/// How fresh the description of a sandbox has to be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Freshness {
    /// From the cache, as of the last update.
    #[default]
    Cached,
    /// From a new request.
    Latest,
}

/// Which sandboxes to list. The default is all.
///
/// ```
/// use sandbox_core::ListFilter;
///
/// let filter = ListFilter::from_labels([("team".to_owned(), "ml".to_owned())]);
/// assert!(!filter.matches(&Default::default()));
/// assert!(ListFilter::default().matches(&Default::default()));
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListFilter {
    /// The labels that a sandbox must have, with their values.
    pub labels: BTreeMap<String, String>,
}

impl ListFilter {
    /// Selects the sandboxes that have all these labels.
    pub fn from_labels(labels: impl IntoIterator<Item = (String, String)>) -> Self {
        Self {
            labels: labels.into_iter().collect(),
        }
    }

    /// Returns whether a sandbox with these labels matches.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.labels
            .iter()
            .all(|(key, value)| labels.get(key) == Some(value))
    }
}

/// How to delete a sandbox. The default waits until nothing is left.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeleteOptions {
    /// Delete only this instance. Another one under the same id is not touched, and the call
    /// succeeds.
    pub uid: Option<Uid>,
    /// Whether to wait until nothing is left of it.
    pub wait: bool,
}

impl DeleteOptions {
    /// Deletes only this instance.
    pub fn for_instance(uid: Uid) -> Self {
        Self {
            uid: Some(uid),
            ..Self::default()
        }
    }
}

impl Default for DeleteOptions {
    fn default() -> Self {
        Self {
            uid: None,
            wait: true,
        }
    }
}

/// Which part of a log to return.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogOptions {
    /// Only this many lines from the end.
    pub tail_lines: Option<usize>,
    /// Whether to continue with new lines as they are written.
    pub follow: bool,
}

/// The content of a log. These are untrusted bytes from inside a sandbox: escape them before you
/// print them to a terminal.
pub type LogStream = Pin<Box<dyn Stream<Item = Result<Bytes>> + Send>>;

/// Options of a sweep.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SweepOptions {
    /// Whether to only report, and remove nothing.
    pub dry_run: bool,
}

impl SweepOptions {
    /// Only reports, and removes nothing.
    pub fn dry_run() -> Self {
        Self { dry_run: true }
    }
}

/// The result of a sweep, or of its dry run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SweepReport {
    /// The sandboxes whose remains were removed, with the reasons.
    pub removed: Vec<SweptSandbox>,
    /// The sandboxes whose remains could not be removed, with the errors. A failure does not stop
    /// the rest of the sweep.
    #[serde(default)]
    pub failed: Vec<SweepFailure>,
}

/// One sandbox whose remains a sweep could not remove.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SweepFailure {
    /// The sandbox.
    pub id: SandboxId,
    /// The error.
    pub error: String,
}

/// One sandbox whose remains a sweep removed, or would remove.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SweptSandbox {
    /// The sandbox.
    pub id: SandboxId,
    /// Why it is no longer needed.
    pub reason: String,
}
