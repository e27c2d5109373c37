//! An API server of Kubernetes, in memory, whose answers can be made to go astray.
//!
//! It keeps Pods, Secrets, Leases and Events of one namespace, with what a client relies on: lists
//! and watches by resourceVersion and label, bookmarks, preconditions, dry runs, owners and their
//! garbage collection, a clock of its own, and a kubelet that does what a test says. It is a
//! [`tower::Service`], so that a client is made of it directly, and under tokio's paused clock
//! minutes pass at once.
//!
//! ```
//! use sandbox_testkit::apiserver::{ApiServer, Fault};
//!
//! let server = ApiServer::new("boxes");
//! // The next create of a Pod is carried out, and its answer is lost.
//! server.inject("create pods", Fault::CutAfter);
//! assert_eq!(server.count("create pods"), 0);
//! ```

mod answer;
mod clock;
mod cluster;
mod collect;
mod fault;
mod kubelet;
mod patch;
mod request;
mod selector;
mod serve;
mod store;
mod watch;
mod write;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use serde_json::Value;
use tokio::sync::watch as news;

pub use answer::{Body, Cut};
pub use fault::{Fault, Refusal};
pub use request::Seen;

use clock::Clock;
use cluster::Cluster;
use fault::Faults;
use store::Store;

/// The server. Its clones are the same server.
#[derive(Clone)]
pub struct ApiServer {
    inner: Arc<Inner>,
}

struct Inner {
    namespace: String,
    state: Mutex<State>,
    /// Told after each change; the number says nothing.
    news: news::Sender<u64>,
}

struct State {
    store: Store,
    faults: Faults,
    clock: Clock,
    cluster: Cluster,
    seen: Vec<Seen>,
    image_volumes: ImageVolumes,
    pods_end_after: Duration,
    /// Watches that began in an earlier one are cut.
    generation: u64,
    collects: bool,
    collecting: bool,
}

/// What the cluster makes of a volume that is an image.
/// <https://kubernetes.io/docs/concepts/storage/volumes/#image>
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ImageVolumes {
    /// It can.
    #[default]
    Work,
    /// Its API server does not know the field, drops it and finds a volume of no type: 422.
    Unknown,
    /// Its API server knows the field, and the feature gate is off: it drops the volume and its mounts.
    Gated,
    /// Its API server refuses the field by name: 400.
    Refused,
    /// It is accepted, and the place where it should be mounted stays empty.
    Empty,
}

impl ApiServer {
    /// A server with one namespace. Its clock is years away from this machine's.
    pub fn new(namespace: impl Into<String>) -> Self {
        let state = State {
            store: Store::default(),
            faults: Faults::default(),
            clock: Clock::default(),
            cluster: Cluster::default(),
            seen: Vec::new(),
            image_volumes: ImageVolumes::default(),
            pods_end_after: write::GRACE,
            generation: 0,
            collects: true,
            collecting: false,
        };
        let (news, _) = news::channel(0);
        Self {
            inner: Arc::new(Inner {
                namespace: namespace.into(),
                state: Mutex::new(state),
                news,
            }),
        }
    }

    /// The next request of this kind, such as `create pods`, goes wrong so.
    pub fn inject(&self, what: &str, fault: Fault) {
        self.inject_times(what, 1, fault);
    }

    /// The next so many do.
    pub fn inject_times(&self, what: &str, times: u32, fault: Fault) {
        self.lock().faults.add(what, Some(times), fault);
    }

    /// All do, until [`heal`](Self::heal).
    pub fn inject_always(&self, what: &str, fault: Fault) {
        self.lock().faults.add(what, None, fault);
    }

    /// Nothing goes wrong any more.
    pub fn heal(&self) {
        self.lock().faults = Faults::default();
    }

    /// What the cluster makes of image volumes.
    pub fn image_volumes(&self, how: ImageVolumes) {
        self.lock().image_volumes = how;
    }

    /// So long a Pod that runs takes to go once it is deleted.
    pub fn pods_end_after(&self, time: Duration) {
        self.lock().pods_end_after = time;
    }

    /// Cuts all watches that there are, as a server does that ends.
    pub fn cut_watches(&self) {
        self.lock().generation += 1;
        self.tell();
    }

    /// Forgets what changed so far, so that a watch from an older version is refused with 410.
    pub fn forget_history(&self) {
        self.lock().store.forget_history();
    }

    /// Takes so many versions back, as an etcd does that is restored from a backup: what comes next
    /// has versions that were there before. The objects stay as they are.
    pub fn restore(&self, versions: u64) {
        self.lock().store.restore(versions);
    }

    /// Stops or resumes the garbage collection of what has no owner any more.
    pub fn collect_garbage(&self, collects: bool) {
        self.lock().collects = collects;
        self.tell();
    }

    /// What time it is for the server.
    pub fn now(&self) -> SystemTime {
        self.lock().clock.now()
    }

    /// Puts the server's clock forward, and nobody else's.
    pub fn skip(&self, time: Duration) {
        self.lock().clock.skip(time);
    }

    /// Puts it back.
    pub fn back(&self, time: Duration) {
        self.lock().clock.back(time);
    }

    /// Each request that came, oldest first.
    pub fn seen(&self) -> Vec<Seen> {
        self.lock().seen.clone()
    }

    /// How many requests of this kind came: `create pods`, `list leases`.
    pub fn count(&self, what: &str) -> usize {
        self.lock()
            .seen
            .iter()
            .filter(|seen| seen.what() == what)
            .count()
    }

    /// How many requests came that change something, Leases' apart.
    pub fn writes(&self) -> usize {
        self.lock()
            .seen
            .iter()
            .filter(|seen| seen.is_write() && seen.resource != "leases")
            .count()
    }

    /// How many requests came that read something, besides lists and watches of Pods.
    pub fn reads(&self) -> usize {
        let shared = |seen: &&Seen| !matches!(seen.what().as_str(), "list pods" | "watch pods");
        self.lock()
            .seen
            .iter()
            .filter(|seen| !seen.is_write())
            .filter(shared)
            .count()
    }

    /// Forgets which requests came.
    pub fn forget_seen(&self) {
        self.lock().seen.clear();
    }

    /// Waits until so many requests of this kind have come.
    pub async fn until_seen(&self, what: &str, times: usize) {
        self.until(|server| server.count(what) >= times).await;
    }

    /// Waits until something holds of the server.
    pub async fn until(&self, holds: impl Fn(&Self) -> bool) {
        let mut news = self.inner.news.subscribe();
        while !holds(self) {
            // The sender lives as long as this.
            if news.changed().await.is_err() {
                return;
            }
        }
    }

    /// What is there, as `resource/name`.
    pub fn names(&self) -> Vec<String> {
        self.lock().store.names()
    }

    /// An object.
    pub fn get(&self, resource: &str, name: &str) -> Option<Value> {
        self.lock().store.get(resource, name).cloned()
    }

    /// The namespace.
    pub fn namespace(&self) -> &str {
        &self.inner.namespace
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.inner
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self) {
        self.inner.news.send_modify(|count| *count += 1);
        self.collect_soon();
    }
}

impl std::fmt::Debug for ApiServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ApiServer")
            .field("namespace", &self.inner.namespace)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
