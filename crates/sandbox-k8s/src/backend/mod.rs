//! Sandboxes as Pods: the control plane.

mod create;
mod delete;
mod observe;
mod sweep;
mod undo;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use sandbox_core::{
    Access, Capabilities, Deadline, DeleteOptions, Diagnosis, Endpoint, Error, EventStream, Freshness,
    ListFilter, LogOptions, LogStream, PrivateKey, PublicKey, Result, SandboxBackend, SandboxId, SandboxInfo,
    SandboxSpec, SweepOptions, SweepReport, Uid,
};

use crate::call::Caller;
use crate::connect::PodConnector;
use crate::labels;
use crate::lease::Keeper;
use crate::options::KubernetesOptions;
use crate::secret;
use crate::status::PodView;
use crate::watch::{ASK, Watch};

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
    known: Mutex<HashMap<Uid, Known>>,
}

/// What no watch tells of a sandbox.
#[derive(Clone)]
struct Known {
    id: SandboxId,
    /// The uid of its Secret.
    owner: Uid,
    host: PublicKey,
    client: PrivateKey,
}

/// How messages call it.
pub(crate) const BACKEND: &str = "k8s";

impl KubernetesBackend {
    /// A backend for the cluster of this client, as [`connect`](crate::connect_cluster) makes
    /// one. Nothing is sent yet.
    ///
    /// The namespace is that of the options, else that of the client.
    pub fn new(client: Client, options: KubernetesOptions) -> Self {
        let namespace = options.namespace.clone().unwrap_or_else(|| client.default_namespace().to_owned());
        let caller = Arc::new(Caller::new(client, namespace));
        let lease = options.owner_lease.map(|lasts| Keeper::new(Arc::clone(&caller), lasts));
        let watch = Arc::new(Watch::new(caller, lease.is_some()));
        Self { shared: Arc::new(Shared { options, watch, lease, known: Mutex::default() }) }
    }

    /// What opens streams to the Pods of this backend; it looks at the same watch.
    pub fn connector(&self) -> PodConnector {
        PodConnector::new(Arc::clone(&self.shared.watch), self.shared.options.transport)
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

    fn remember(&self, uid: Uid, known: Known) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(uid, known);
    }

    fn known(&self, uid: &Uid) -> Option<Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).get(uid).cloned()
    }

    fn known_as(&self, id: &SandboxId) -> Option<(Uid, Known)> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.iter().find(|(_, known)| known.id == *id).map(|(uid, known)| (uid.clone(), known.clone()))
    }

    fn forget(&self, uid: &Uid) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }

    async fn find(&self, id: &SandboxId) -> Result<Arc<PodView>> {
        self.watch.find(id).await?.ok_or_else(|| Error::NotFound { id: id.clone() })
    }

    /// The keys of a sandbox: those that it was made with here, or those that its maker stored.
    async fn keys(&self, view: &PodView) -> Result<Known> {
        if let Some(known) = self.known(&view.uid) {
            return Ok(known);
        }
        let stored = self.caller().get::<Secret>(&view.id, Deadline::after(ASK)).await?;
        let Some((stored, _)) = stored else { return Err(Error::NotFound { id: view.id.clone() }) };
        let keys = secret::read(&stored, &view.id)?;
        if !labels::secret_of(&stored).is_ok_and(|(_, uid)| uid == view.owner) {
            return Err(Error::NotFound { id: view.id.clone() });
        }
        let Some(host) = keys.host else { return Err(image_server()) };
        let known = Known { id: view.id.clone(), owner: view.owner.clone(), host, client: keys.client };
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
        capabilities.server_keeps_ttl = true;
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
        view.map(|view| view.info()).ok_or_else(|| Error::NotFound { id: id.clone() })
    }

    async fn list(&self, filter: ListFilter) -> Result<Vec<SandboxInfo>> {
        let all = self.shared.watch.all().await?;
        let mut found: Vec<_> =
            all.iter().filter(|view| filter.matches(&view.labels)).map(|view| view.info()).collect();
        found.sort_by(|a, b| a.created_at.cmp(&b.created_at).then_with(|| a.id.cmp(&b.id)));
        Ok(found)
    }

    async fn events(&self, id: &SandboxId) -> Result<EventStream> {
        observe::events(&self.shared, id).await
    }

    async fn access(&self, id: &SandboxId) -> Result<Access> {
        let view = self.shared.find(id).await?;
        let keys = self.shared.keys(&view).await?;
        Ok(Access {
            id: id.clone(),
            uid: view.uid.clone(),
            user: view.user.clone(),
            host_key: keys.host,
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
        observe::logs(&self.shared, id, options).await
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
}

impl fmt::Debug for KubernetesBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KubernetesBackend").field("namespace", &self.namespace()).finish_non_exhaustive()
    }
}

fn image_server() -> Error {
    Error::unsupported(
        "an image's own SSH server",
        "this version",
        "bring sandbox-sshd along (SANDBOX_SERVER_IMAGE), or put it into the image",
    )
}
