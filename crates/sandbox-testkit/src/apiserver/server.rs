//! The server's state, and what a test can do with it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use serde_json::Value;
use tokio::sync::watch;

use super::clock::Clock;
use super::exec::Program;
use super::fault::{Fault, Faults};
use super::request::RecordedRequest;
use super::resize::PodResize;
use super::store::Store;

/// How long a deleted Pod that runs remains by default.
const DEFAULT_POD_DELETION_DELAY: Duration = Duration::from_secs(1);

/// A fake API server. Clones share their state.
#[derive(Clone)]
pub struct ApiServer {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) namespace: String,
    state: Mutex<State>,
    /// The number of changes, which wakes watches and waiting tests.
    pub(super) changes: watch::Sender<u64>,
}

pub(super) struct State {
    pub(super) store: Store,
    pub(super) faults: Faults,
    pub(super) clock: Clock,
    pub(super) cluster: ClusterState,
    pub(super) requests: Vec<RecordedRequest>,
    /// What runs in containers.
    pub(super) program: Option<Program>,
    pub(super) image_volumes: ImageVolumes,
    pub(super) pod_resize: PodResize,
    pub(super) pod_deletion_delay: Duration,
    /// Watches that started in an earlier generation are cut.
    pub(super) generation: u64,
    /// Whether a watch can begin with a list.
    pub(super) streams_lists: bool,
    /// Whether the kubelet starts each new Pod.
    pub(super) starts_pods: bool,
    pub(super) collects_garbage: bool,
    pub(super) is_collection_scheduled: bool,
}

/// The parts of the cluster outside the namespace.
#[derive(Default)]
pub(super) struct ClusterState {
    /// The labels of the namespace.
    pub(super) labels: BTreeMap<String, String>,
    /// The nodes, each with its images.
    pub(super) nodes: BTreeMap<String, Vec<String>>,
    /// The forbidden requests, as `verb resource`.
    pub(super) forbidden: BTreeSet<String>,
    pub(super) is_unreachable: bool,
}

/// How the cluster handles a volume of type image.
/// <https://kubernetes.io/docs/concepts/storage/volumes/#image>
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ImageVolumes {
    /// The cluster supports it.
    #[default]
    Supported,
    /// The API server drops the unknown field and refuses the volume because it has no type: 422.
    Unknown,
    /// The feature gate is off: the API server drops the volume and its mounts.
    Disabled,
    /// The API server refuses the unknown field: 400.
    Refused,
    /// The volume is accepted but not mounted.
    NotMounted,
}

impl ApiServer {
    /// Creates a server with one namespace. Its clock differs from this machine's by years.
    pub fn new(namespace: impl Into<String>) -> Self {
        let state = State {
            store: Store::default(),
            faults: Faults::default(),
            clock: Clock::default(),
            cluster: ClusterState::default(),
            requests: Vec::new(),
            program: None,
            image_volumes: ImageVolumes::default(),
            pod_resize: PodResize::default(),
            pod_deletion_delay: DEFAULT_POD_DELETION_DELAY,
            generation: 0,
            streams_lists: false,
            starts_pods: false,
            collects_garbage: true,
            is_collection_scheduled: false,
        };
        let (changes, _) = watch::channel(0);
        Self {
            inner: Arc::new(Inner {
                namespace: namespace.into(),
                state: Mutex::new(state),
                changes,
            }),
        }
    }

    /// Injects a fault into the next request of this kind, such as `create pods`. `list pods` is every page of a
    /// list, `continue pods` every page but the first.
    pub fn inject(&self, kind: &str, fault: Fault) {
        self.inject_times(kind, 1, fault);
    }

    /// Injects a fault into the next requests of this kind.
    pub fn inject_times(&self, kind: &str, times: u32, fault: Fault) {
        self.lock().faults.add(kind, Some(times), fault);
    }

    /// Injects a fault into all requests of this kind, until [`clear_faults`](Self::clear_faults).
    pub fn inject_always(&self, kind: &str, fault: Fault) {
        self.lock().faults.add(kind, None, fault);
    }

    /// Removes all injected faults.
    pub fn clear_faults(&self) {
        self.lock().faults = Faults::default();
    }

    /// Sets how the cluster handles image volumes.
    pub fn set_image_volumes(&self, handling: ImageVolumes) {
        self.lock().image_volumes = handling;
    }

    /// Sets how long a deleted Pod stays before it is removed.
    pub fn set_pod_deletion_delay(&self, delay: Duration) {
        self.lock().pod_deletion_delay = delay;
    }

    /// Cuts all watches, as a server that shuts down does.
    pub fn cut_watches(&self) {
        self.lock().generation += 1;
        self.notify();
    }

    /// Drops the history of changes, so that a watch from an older version is refused with 410.
    pub fn compact_history(&self) {
        self.lock().store.compact_history();
    }

    /// Keeps at most this many changes. A watch from an older version is refused with 410.
    pub fn limit_history(&self, changes: usize) {
        self.lock().store.limit_history(changes);
    }

    /// Sets whether a watch can begin with a list (`sendInitialEvents`). Otherwise the option is refused, as by
    /// clusters before 1.27.
    pub fn set_streaming_lists(&self, are_supported: bool) {
        self.lock().streams_lists = are_supported;
    }

    /// Sets whether the kubelet starts each new Pod.
    pub fn set_pods_start(&self, are_started: bool) {
        self.lock().starts_pods = are_started;
    }

    /// Goes back by this number of versions, as an etcd that is restored from a backup: the next
    /// changes reuse versions. The objects remain as they are.
    pub fn restore_backup(&self, versions: u64) {
        self.lock().store.restore_backup(versions);
    }

    /// Stops or resumes the garbage collection of objects whose owners are deleted.
    pub fn set_garbage_collection(&self, is_enabled: bool) {
        self.lock().collects_garbage = is_enabled;
        self.notify();
    }

    /// Returns the time of the server's clock.
    pub fn current_time(&self) -> SystemTime {
        self.lock().clock.current_time()
    }

    /// Sets the server's clock forward, but no other clock.
    pub fn advance_clock(&self, time: Duration) {
        self.lock().clock.advance(time);
    }

    /// Sets the server's clock back.
    pub fn turn_back_clock(&self, time: Duration) {
        self.lock().clock.turn_back(time);
    }

    /// Returns the received requests, oldest first.
    pub fn requests(&self) -> Vec<RecordedRequest> {
        self.lock().requests.clone()
    }

    /// Counts the received requests of this kind: `create pods`, `list leases`.
    pub fn count_requests(&self, kind: &str) -> usize {
        self.lock()
            .requests
            .iter()
            .filter(|request| request.kind() == kind)
            .count()
    }

    /// Counts the received requests that change something other than Leases.
    pub fn count_writes(&self) -> usize {
        self.lock()
            .requests
            .iter()
            .filter(|request| request.is_write() && request.resource != "leases")
            .count()
    }

    /// Counts the received requests that read, other than lists and watches of Pods.
    pub fn count_reads(&self) -> usize {
        self.lock()
            .requests
            .iter()
            .filter(|request| !request.is_write())
            .filter(|request| !matches!(request.kind().as_str(), "list pods" | "watch pods"))
            .count()
    }

    /// Clears the list of received requests.
    pub fn clear_requests(&self) {
        self.lock().requests.clear();
    }

    /// Waits until this number of requests of this kind has been received.
    pub async fn wait_for_requests(&self, kind: &str, times: usize) {
        self.wait_until(|server| server.count_requests(kind) >= times)
            .await;
    }

    /// Waits until a condition holds.
    pub async fn wait_until(&self, holds: impl Fn(&Self) -> bool) {
        let mut changes = self.inner.changes.subscribe();
        while !holds(self) {
            // This cannot fail: the server holds the sender.
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    /// Returns the names of all objects, as `resource/name`.
    pub fn object_names(&self) -> Vec<String> {
        self.lock().store.names()
    }

    /// Stores an object, as another client does.
    pub fn store(&self, resource: &str, object: Value) {
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        let name = name.to_owned();
        self.lock().store.put(resource, &name, object);
        self.notify();
    }

    /// Returns an object.
    pub fn object(&self, resource: &str, name: &str) -> Option<Value> {
        self.lock().store.get(resource, name).cloned()
    }

    /// Returns the namespace.
    pub fn namespace(&self) -> &str {
        &self.inner.namespace
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.inner
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes the watches and the waiting tests, and schedules the garbage collector.
    pub(super) fn notify(&self) {
        self.inner.changes.send_modify(|count| *count += 1);
        self.schedule_garbage_collection();
    }
}

impl std::fmt::Debug for ApiServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ApiServer")
            .field("namespace", &self.inner.namespace)
            .finish_non_exhaustive()
    }
}
