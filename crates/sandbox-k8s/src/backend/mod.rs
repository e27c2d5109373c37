//! The backend: creates, observes and deletes sandboxes.

mod assign;
mod cleanup;
mod cluster_events;
mod create;
mod creation_hint;
mod delete;
mod diagnosis;
mod events;
mod extend;
mod host_key;
mod injection_probe;
mod leftovers;
mod logs;
mod network;
mod new_sandbox;
mod paused_cpu;
mod pool_membership;
mod preflight;
mod records;
mod reservations;
mod resizing;
mod shared;
mod shared_pools;
mod stored;
mod sweep;
mod upload;
mod volume_sources;

use std::fmt;
use std::net::IpAddr;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use kube::Client;
use sandbox_core::{
    Access, Assignment, Capabilities, Check, DeleteOptions, Diagnosis, Error, EventStream,
    Freshness, HostKeyProbe, Leftovers, ListFilter, LogOptions, LogStream, NetworkIsolation,
    Result, SandboxBackend, SandboxId, SandboxInfo, SandboxSpec, SharedPools, SweepOptions,
    SweepReport, Uid,
};

use crate::api::client::ApiClient;
use crate::connect::{ConnectState, PodConnector};
use crate::lease::LeaseKeeper;
use crate::manifest::options::KubernetesOptions;
use crate::names::BACKEND;
use crate::observe::watch::Watch;
use cluster_events::EventFeed;
use injection_probe::InjectionProbe;
use records::RecordCache;
use reservations::Reservations;
use shared::Shared;
use shared_pools::ClusterPools;

/// Sandboxes as Pods of one namespace. Cheap to clone; all clones share one watch.
#[derive(Clone)]
pub struct KubernetesBackend {
    shared: Arc<Shared>,
}

impl KubernetesBackend {
    /// Creates a backend for the cluster of a client, such as one from
    /// [`connect_cluster`](crate::connect_cluster). Nothing is sent yet.
    ///
    /// The namespace is that of the options, otherwise that of the client.
    pub fn new(client: Client, options: KubernetesOptions) -> Self {
        let namespace = options
            .namespace
            .clone()
            .unwrap_or_else(|| client.default_namespace().to_owned());
        Self::with_api(ApiClient::new(client, namespace), options)
    }

    fn with_api(api: ApiClient, options: KubernetesOptions) -> Self {
        let api = Arc::new(api);
        let lease_keeper = options
            .owner_lease
            .map(|duration| LeaseKeeper::new(Arc::clone(&api), duration));
        let cluster_events = EventFeed::new(Arc::clone(&api));
        let watch = Arc::new(Watch::new(api, lease_keeper.is_some()));
        let connect_state = Arc::new(ConnectState::new(&options));
        let shared = Shared {
            options,
            watch,
            cluster_events,
            lease_keeper,
            records: RecordCache::default(),
            injection: InjectionProbe::default(),
            connect_state,
            may_not_list_secrets: AtomicBool::new(false),
            reservations: Reservations::default(),
            leftovers: Leftovers::default(),
            has_resize: tokio::sync::OnceCell::new(),
            api_server: OnceLock::new(),
            control_plane: tokio::sync::OnceCell::new(),
            host_key_probe: OnceLock::new(),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Returns a backend with the same options for another namespace of the cluster. Both share the connections to
    /// the API server and the limit of changes at once. Each has a watch of its own, which starts with its first
    /// use and ends with its last clone; so keep the backend of a namespace rather than create it again.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for a name that no namespace can have
    /// ([RFC 1123 label](https://kubernetes.io/docs/concepts/overview/working-with-objects/names/#dns-label-names)).
    pub fn in_namespace(&self, namespace: &str) -> Result<Self> {
        if !is_dns_label(namespace) {
            let reason = "use 1 to 63 lower-case letters, digits and inner hyphens";
            return Err(Error::invalid("namespace", namespace, reason));
        }
        let mut options = self.shared.options.clone();
        options.namespace = Some(namespace.to_owned());
        let api = self.shared.api().for_namespace(namespace.to_owned());
        let backend = Self::with_api(api, options);
        let backend = match self.shared.api_server.get() {
            Some(server) => backend.with_api_server(server),
            None => backend,
        };
        Ok(match self.shared.host_key_probe.get() {
            Some(probe) => backend.with_host_key_probe(Arc::clone(probe)),
            None => backend,
        })
    }

    /// Sets the probe that fetches the host key of an image's SSH server. Sandboxes with
    /// [`Injection::Image`](crate::options::Injection::Image) need it. The probe gets a stream through the API
    /// server, never one over the Pod network.
    #[must_use]
    pub fn with_host_key_probe(self, probe: Arc<dyn HostKeyProbe>) -> Self {
        // A second probe is ignored: any probe returns the same keys.
        drop(self.shared.host_key_probe.set(probe));
        self
    }

    /// Sets the URL of the API server, as in [`Cluster::server`](crate::Cluster::server). What a sandbox reaches through its
    /// client never includes its addresses, unless a rule names them, and a sandbox that is to reach nothing is tried with
    /// them.
    #[must_use]
    pub fn with_api_server(self, url: &str) -> Self {
        // There is one for the whole life of a backend.
        drop(self.shared.api_server.set(url.to_owned()));
        self
    }

    /// Returns a connector to the Pods of this backend. All connectors share the watch of the backend and what
    /// they find out about routes.
    pub fn connector(&self) -> PodConnector {
        self.shared.connector()
    }

    /// The namespace of the Pods.
    pub fn namespace(&self) -> &str {
        &self.shared.api().namespace
    }
}

fn is_dns_label(name: &str) -> bool {
    let is_inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=63).contains(&name.len())
        && name.bytes().all(is_inner)
        && !name.starts_with('-')
        && !name.ends_with('-')
}

#[async_trait]
impl SandboxBackend for KubernetesBackend {
    fn name(&self) -> &'static str {
        BACKEND
    }

    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::default();
        capabilities.images = true;
        capabilities.network = true;
        capabilities.network_isolation = true;
        // An image's SSH server does not have these features.
        capabilities.server_enforces_ttl = !self.shared.uses_image_server();
        capabilities.sandbox_sshd = !self.shared.uses_image_server();
        capabilities.limits.cpu = true;
        capabilities.limits.memory = true;
        capabilities.limits.disk = true;
        capabilities
    }

    async fn create(&self, spec: SandboxSpec) -> Result<SandboxInfo> {
        create::create(&self.shared, spec).await
    }

    async fn get(&self, id: &SandboxId, freshness: Freshness) -> Result<SandboxInfo> {
        let view = match freshness {
            Freshness::Cached => self.shared.watch.find(id).await?,
            Freshness::Latest => self.shared.watch.fetch(id).await?,
        };
        view.map(|view| view.info())
            .ok_or_else(|| Error::NotFound { id: id.clone() })
    }

    async fn list(&self, filter: ListFilter) -> Result<Vec<SandboxInfo>> {
        let mut found = self.shared.watch.list().await?;
        found.retain(|view| filter.matches(&view.labels));
        // Pointers are sorted faster than what they point to.
        found.sort_by(|a, b| {
            a.created_at
                .cmp(&b.created_at)
                .then_with(|| a.id.cmp(&b.id))
        });
        Ok(found.iter().map(|view| view.info()).collect())
    }

    async fn events(&self, id: &SandboxId) -> Result<EventStream> {
        events::events(&self.shared, id).await
    }

    async fn access(&self, id: &SandboxId) -> Result<Access> {
        let view = self.shared.find(id).await?;
        let record = self.shared.record_of(&view).await?;
        let host_key = match &record.host_key {
            Some(key) => key.clone(),
            None => host_key::fetch_and_pin(&self.shared, &view, &record).await?,
        };
        Ok(self.shared.access_to(&view, &host_key, &record.client_key))
    }

    async fn diagnose(&self, id: &SandboxId) -> Result<Diagnosis> {
        diagnosis::diagnose(&self.shared, id).await
    }

    async fn logs(&self, id: &SandboxId, options: LogOptions) -> Result<LogStream> {
        logs::logs(&self.shared, id, options).await
    }

    async fn extend(&self, id: &SandboxId, ttl: Duration) -> Result<SandboxInfo> {
        extend::extend(&self.shared, id, ttl).await
    }

    async fn assign(
        &self,
        id: &SandboxId,
        uid: &Uid,
        assignment: Assignment,
    ) -> Result<SandboxInfo> {
        assign::assign(&self.shared, id, uid, assignment).await
    }

    async fn isolate_network(&self, id: &SandboxId, uid: &Uid) -> Result<NetworkIsolation> {
        network::isolate(&self.shared, id, uid).await
    }

    async fn control_plane(&self) -> Vec<IpAddr> {
        network::control_plane(&self.shared).await
    }

    async fn delete(&self, id: &SandboxId, options: DeleteOptions) -> Result<()> {
        delete::delete(&self.shared, id, options).await
    }

    async fn sweep(&self, options: SweepOptions) -> Result<SweepReport> {
        sweep::sweep(&self.shared, options).await
    }

    async fn settle(&self) {
        self.shared.leftovers.wait_until_none().await;
    }

    async fn preflight(&self, spec: SandboxSpec) -> Vec<Check> {
        preflight::preflight(&self.shared, spec).await
    }

    fn shared_pools(&self) -> Option<Arc<dyn SharedPools>> {
        Some(Arc::new(ClusterPools {
            shared: Arc::clone(&self.shared),
        }))
    }
}

impl fmt::Debug for KubernetesBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KubernetesBackend")
            .field("namespace", &self.namespace())
            .finish_non_exhaustive()
    }
}
