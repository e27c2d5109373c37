//! Sandboxes as Pods: the control plane.

mod create;
mod delete;
mod host_key;
mod injection;
mod known;
mod logs;
mod observe;
mod preflight;
mod pulling;
mod sweep;
mod undo;

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use sandbox_core::{
    Access, Capabilities, Check, Deadline, DeleteOptions, Diagnosis, Endpoint, Error, EventStream,
    Freshness, HostKeyProbe, ListFilter, LogOptions, LogStream, Result, SandboxBackend, SandboxId,
    SandboxInfo, SandboxSpec, SweepOptions, SweepReport, Uid,
};

use crate::call::Caller;
use crate::connect::{Learned, PodConnector};
use crate::labels;
use crate::lease::Keeper;
use crate::options::{Injection, KubernetesOptions};
use crate::secret;
use crate::status::PodView;
use crate::watch::{ASK, Watch};
use known::{AllKnown, Known};

/// Sandboxes as Pods of one namespace. Cheap to clone; all clones share one watch.
#[derive(Clone)]
pub struct KubernetesBackend {
    shared: Arc<Shared>,
}

struct Shared {
    options: KubernetesOptions,
    watch: Arc<Watch>,
    /// The Lease that owns attached sandboxes, where one is wanted.
    lease: Option<Keeper>,
    /// Of sandboxes that were made or used here.
    known: AllKnown,
    /// Which way the server is brought along.
    via: injection::Via,
    learned: Arc<Learned>,
    /// What learns the host key of an image's own server.
    probe: OnceLock<Arc<dyn HostKeyProbe>>,
}

/// How messages call it.
pub(crate) const BACKEND: &str = "k8s";

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
        let caller = Arc::new(Caller::new(client, namespace));
        let lease = options
            .owner_lease
            .map(|lasts| Keeper::new(Arc::clone(&caller), lasts));
        let watch = Arc::new(Watch::new(caller, lease.is_some()));
        let learned = Arc::new(Learned::new(&options));
        let shared = Shared {
            options,
            watch,
            lease,
            known: AllKnown::default(),
            via: injection::Via::default(),
            learned,
            probe: OnceLock::new(),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Learns the host keys of images' own SSH servers with this; needed for
    /// [`Injection::Image`], and for taking up such sandboxes. It is asked over a stream through
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
        &self.shared.caller().namespace
    }
}

impl Shared {
    fn caller(&self) -> &Caller {
        &self.watch.caller
    }

    fn connector(&self) -> PodConnector {
        let (watch, transport) = (Arc::clone(&self.watch), self.options.transport);
        PodConnector::new(watch, transport, Arc::clone(&self.learned))
    }

    fn probe(&self) -> Result<&dyn HostKeyProbe> {
        self.probe.get().map(|probe| &**probe).ok_or_else(|| Error::Config {
            message:
                "an image's own SSH server has a host key that has to be learned, and this backend was made \
                      without the means (KubernetesBackend::learning_host_keys_with)"
                    .into(),
        })
    }

    /// Whether the image's own server serves.
    fn is_image_server(&self) -> bool {
        matches!(self.options.injection, Injection::Image(_))
    }

    fn remember(&self, uid: Uid, known: Known) {
        self.known
            .remember(uid, known, |uid| self.watch.is_over(uid));
    }

    async fn find(&self, id: &SandboxId) -> Result<Arc<PodView>> {
        self.watch
            .find(id)
            .await?
            .ok_or_else(|| Error::NotFound { id: id.clone() })
    }

    /// The keys of a sandbox: those that it was made with here, or those that its maker stored.
    async fn keys(&self, view: &PodView) -> Result<Known> {
        if let Some(known) = self.known.get(&view.uid) {
            return Ok(known);
        }
        let stored = self
            .caller()
            .get::<Secret>(&view.id, Deadline::from_now(ASK))
            .await?;
        let Some((stored, _)) = stored else {
            return Err(Error::NotFound {
                id: view.id.clone(),
            });
        };
        let keys = secret::read(&stored, &view.id)?;
        if !labels::secret_of(&stored).is_ok_and(|(_, uid)| uid == view.owner) {
            return Err(Error::NotFound {
                id: view.id.clone(),
            });
        }
        let known = Known {
            id: view.id.clone(),
            owner: view.owner.clone(),
            host: keys.host,
            client: keys.client,
            detached: true,
            via: None,
        };
        self.remember(view.uid.clone(), known.clone());
        Ok(known)
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
        observe::events(&self.shared, id).await
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
        observe::diagnose(&self.shared, id).await
    }

    async fn logs(&self, id: &SandboxId, options: LogOptions) -> Result<LogStream> {
        logs::logs(&self.shared, id, options).await
    }

    async fn extend(&self, id: &SandboxId, ttl: Duration) -> Result<SandboxInfo> {
        observe::extend(&self.shared, id, ttl).await
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
