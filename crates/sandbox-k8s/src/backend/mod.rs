//! Sandboxes as Pods: the control plane.

mod cleanup;
mod cluster_events;
mod create;
mod delete;
mod diagnosis;
mod events;
mod extend;
mod host_key;
mod injection_probe;
mod logs;
mod preflight;
mod records;
mod shared;
mod stored;
mod sweep;

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use kube::Client;
use sandbox_core::{
    Access, Capabilities, Check, DeleteOptions, Diagnosis, Endpoint, Error, EventStream, Freshness,
    HostKeyProbe, ListFilter, LogOptions, LogStream, Result, SandboxBackend, SandboxId,
    SandboxInfo, SandboxSpec, SweepOptions, SweepReport,
};

use crate::api::client::ApiClient;
use crate::connect::{ConnectState, PodConnector};
use crate::lease::LeaseKeeper;
use crate::manifest::options::KubernetesOptions;
use crate::names::BACKEND;
use crate::observe::watch::Watch;
use injection_probe::InjectionProbe;
use records::RecordCache;
use shared::Shared;

/// Sandboxes as Pods of one namespace. Cheap to clone; all clones share one watch.
#[derive(Clone)]
pub struct KubernetesBackend {
    shared: Arc<Shared>,
}

impl KubernetesBackend {
    /// A backend for the cluster of this client, as [`connect`](crate::connect_cluster) makes
    /// one. Nothing is sent yet.
    ///
    /// The namespace is that of the options, else that of the client.
    pub fn new(client: Client, options: KubernetesOptions) -> Self {
        let namespace = options
            .namespace
            .clone()
            .unwrap_or_else(|| client.default_namespace().to_owned());
        let api = Arc::new(ApiClient::new(client, namespace));
        let lease = options
            .owner_lease
            .map(|lasts| LeaseKeeper::new(Arc::clone(&api), lasts));
        let watch = Arc::new(Watch::new(api, lease.is_some()));
        let learned = Arc::new(ConnectState::new(&options));
        let shared = Shared {
            options,
            watch,
            lease,
            known: RecordCache::default(),
            via: InjectionProbe::default(),
            learned,
            probe: OnceLock::new(),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Learns the host keys of images' own SSH servers with this; needed for
    /// [`Injection::Image`](crate::manifest::options::Injection::Image), and for taking up such sandboxes. It is asked over a stream through
    /// the API server, never over the Pod network.
    #[must_use]
    pub fn learning_host_keys_with(self, probe: Arc<dyn HostKeyProbe>) -> Self {
        // Who calls it twice has two that do the same.
        drop(self.shared.probe.set(probe));
        self
    }

    /// What opens streams to the Pods of this backend; it looks at the same watch. All share
    /// what each finds out.
    pub fn connector(&self) -> PodConnector {
        self.shared.connector()
    }

    /// Where the Pods are.
    pub fn namespace(&self) -> &str {
        &self.shared.api().namespace
    }
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
        // An image's own server knows nothing of these.
        capabilities.server_enforces_ttl = !self.shared.is_image_server();
        capabilities.sandbox_sshd = !self.shared.is_image_server();
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
            Freshness::Latest => self.shared.watch.ask(id).await?,
        };
        view.map(|view| view.info())
            .ok_or_else(|| Error::NotFound { id: id.clone() })
    }

    async fn list(&self, filter: ListFilter) -> Result<Vec<SandboxInfo>> {
        let all = self.shared.watch.all().await?;
        let mut found: Vec<_> = all
            .iter()
            .filter(|view| filter.matches(&view.labels))
            .map(|view| view.info())
            .collect();
        found.sort_by(|a, b| {
            a.created_at
                .cmp(&b.created_at)
                .then_with(|| a.id.cmp(&b.id))
        });
        Ok(found)
    }

    async fn events(&self, id: &SandboxId) -> Result<EventStream> {
        events::events(&self.shared, id).await
    }

    async fn access(&self, id: &SandboxId) -> Result<Access> {
        let view = self.shared.find(id).await?;
        let keys = self.shared.keys(&view).await?;
        let host_key = match &keys.host {
            Some(key) => key.clone(),
            None => host_key::of(&self.shared, &view, &keys).await?,
        };
        Ok(Access {
            id: id.clone(),
            uid: view.uid.clone(),
            user: view.user.clone(),
            host_key,
            client_key: keys.client,
            endpoint: Endpoint::Pod {
                namespace: self.namespace().to_owned(),
                name: id.as_str().to_owned(),
                uid: view.uid.clone(),
                port: view.port,
            },
        })
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

    async fn delete(&self, id: &SandboxId, options: DeleteOptions) -> Result<()> {
        delete::delete(&self.shared, id, options).await
    }

    async fn sweep(&self, options: SweepOptions) -> Result<SweepReport> {
        sweep::sweep(&self.shared, options).await
    }

    async fn preflight(&self, spec: SandboxSpec) -> Vec<Check> {
        preflight::preflight(&self.shared, spec).await
    }
}

impl fmt::Debug for KubernetesBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KubernetesBackend")
            .field("namespace", &self.namespace())
            .finish_non_exhaustive()
    }
}
