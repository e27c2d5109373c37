//! Making a sandbox: first the Secret with its keys, then the Pod that the Secret owns.
//!
//! It is done by a task of its own, which undoes what it did when nobody waits for it any more.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use sandbox_core::{Deadline, Error, KeyPair, Result, SandboxId, SandboxInfo, SandboxSpec, Uid};
use tokio::sync::oneshot;

use super::cleanup::Undo;
use super::records::SandboxRecord;
use super::shared::Shared;
use super::stored::{Stored, refused, uid_of};
use crate::api::classify::NO_NAMESPACE;
use crate::api::objects::CreateOutcome;
use crate::lease::OwnerLease;
use crate::manifest::options::{InjectVia, Injection, PodOptions};
use crate::manifest::pod::{self, PodParams};
use crate::manifest::secret::{KeySecret, SandboxKeys};
use crate::names::{BACKEND, LEASE};
use crate::observe::status::managed_view;

/// How long the API server may take for both objects.
const STORE: Duration = Duration::from_secs(60);
/// How long it may take to say whether it would store one.
const TRIAL: Duration = Duration::from_secs(15);

pub(super) async fn create(shared: &Arc<Shared>, spec: SandboxSpec) -> Result<SandboxInfo> {
    let order = Order::new(shared, spec)?;
    let (tell, hear) = oneshot::channel();
    let shared = Arc::clone(shared);
    tokio::spawn(async move {
        let result = order.carry_out(&shared, &tell).await;
        // What nobody takes undoes itself.
        drop(tell.send(result));
    });
    match hear.await {
        Ok(result) => result.map(Made::keep),
        Err(_) => Err(Error::Backend {
            backend: BACKEND,
            operation: "create a sandbox",
            message: "the runtime has ended".into(),
            transient: false,
            source: None,
        }),
    }
}

/// Lets the cluster say whether it would take the Pod of such a sandbox, and gives the images that it is of.
pub(super) async fn try_out(shared: &Shared, spec: SandboxSpec) -> Result<Vec<String>> {
    let order = Order::new(shared, spec)?;
    let via = order.via(shared).await?;
    let pod = order.pod(shared, &Uid::new("unknown"), via)?;
    shared
        .api()
        .dry_run_create(&order.id, &pod, Deadline::from_now(TRIAL))
        .await?;
    Ok(pod::images(&pod))
}

/// All that is decided before anything is sent.
struct Order {
    id: SandboxId,
    nonce: String,
    spec: SandboxSpec,
    pod: PodOptions,
    /// `None` for an image's own server, which has one.
    host: Option<KeyPair>,
    client: KeyPair,
}

impl Order {
    fn new(shared: &Shared, mut spec: SandboxSpec) -> Result<Self> {
        if shared.is_image_server() {
            shared.probe()?;
        }
        let id = spec.id.take().map_or_else(SandboxId::generate, Ok)?;
        let nonce = Uid::generate()?.as_str().to_owned();
        let pod = PodOptions::of(&spec)?;
        let host = if shared.is_image_server() {
            None
        } else {
            Some(KeyPair::generate()?)
        };
        let order = Self {
            id,
            nonce,
            spec,
            pod,
            host,
            client: KeyPair::generate()?,
        };
        // What is wrong with the Pod is found before its Secret is stored.
        order.pod(shared, &Uid::new("unknown"), None)?;
        if shared.is_image_server() {
            tell_once_what_does_not_hold();
        }
        Ok(order)
    }

    /// The Pod; `via` is the way that was found out to bring the server along.
    fn pod(&self, shared: &Shared, secret: &Uid, via: Option<InjectVia>) -> Result<Pod> {
        let mut options = shared.options.clone();
        if let Some(via) = via {
            options.injection = Injection::Inject(via);
        }
        pod::build(PodParams {
            id: &self.id,
            namespace: &shared.api().namespace,
            nonce: &self.nonce,
            secret,
            spec: &self.spec,
            options: &options,
            pod: &self.pod,
        })
    }

    fn is_detached(&self) -> bool {
        self.spec.lifetime.attach_timeout.is_none()
    }

    /// The way to bring the server along, where that is to be found out.
    async fn via(&self, shared: &Shared) -> Result<Option<InjectVia>> {
        if shared.options.injection != Injection::Inject(InjectVia::Auto) {
            return Ok(None);
        }
        let tried = self.pod(shared, &Uid::new("unknown"), Some(InjectVia::ImageVolume))?;
        Ok(Some(shared.via.find_out(shared.api(), &tried).await))
    }

    fn secret(&self, shared: &Shared, lease: Option<&OwnerLease>) -> KeySecret {
        let detached = self.is_detached();
        let keys = SandboxKeys {
            host: self.host.as_ref().map(|host| &host.private),
            authorized: &self.client.public,
            client: detached.then_some(&self.client.private),
        };
        KeySecret::new(
            &self.id,
            &shared.api().namespace,
            &self.nonce,
            keys,
            lease.map(OwnerLease::owner_reference),
        )
    }

    async fn carry_out(
        self,
        shared: &Arc<Shared>,
        waiting: &oneshot::Sender<Result<Made>>,
    ) -> Result<Made> {
        let mut undo = Undo {
            shared: Arc::clone(shared),
            id: self.id.clone(),
            nonce: self.nonce.clone(),
            secret: Stored::No,
            pod: Stored::No,
            late: false,
        };
        match self.store(shared, waiting, &mut undo).await {
            Ok(info) => Ok(Made {
                info,
                undo: Some(undo),
            }),
            Err(error) => {
                let error = with_hint(shared, error).await;
                undo.late = error.is_retryable();
                undo.wait().await;
                Err(error)
            }
        }
    }

    async fn store(
        self,
        shared: &Shared,
        waiting: &oneshot::Sender<Result<Made>>,
        undo: &mut Undo,
    ) -> Result<SandboxInfo> {
        let deadline = Deadline::from_now(STORE);
        let api = shared.api();
        let taken = || Error::AlreadyExists {
            id: self.id.clone(),
        };
        let lease = match &shared.lease {
            Some(keeper) if !self.is_detached() => Some(keeper.acquire(&self.id, deadline).await?),
            _ => None,
        };
        let secret = self.secret(shared, lease.as_ref());
        undo.secret = Stored::Unknown;
        let stored = api.create(&self.id, secret.manifest(), &self.nonce, deadline);
        // Others may be asking for it, one after the other.
        let via = tokio::time::timeout_at(deadline.instant(), self.via(shared));
        let (stored, via) = tokio::join!(stored, via);
        let owner = match stored? {
            CreateOutcome::Stored(secret) => uid_of(&secret, &self.id)?,
            CreateOutcome::NameTaken => {
                undo.secret = Stored::No;
                return Err(taken());
            }
        };
        undo.secret = Stored::As(owner.clone());
        if waiting.is_closed() {
            return Err(refused(&self.id, "nobody waits for it any more"));
        }
        let via = via.unwrap_or(Ok(Some(InjectVia::InitContainer)))?;
        let mut pod = self.pod(shared, &owner, via)?;
        if let Some(lease) = &lease {
            let annotations = pod.metadata.annotations.get_or_insert_default();
            annotations.insert(LEASE.to_owned(), lease.id().as_str().to_owned());
        }
        undo.pod = Stored::Unknown;
        let pod = match api.create(&self.id, &pod, &self.nonce, deadline).await? {
            CreateOutcome::Stored(pod) => pod,
            CreateOutcome::NameTaken => {
                undo.pod = Stored::No;
                return Err(taken());
            }
        };
        let uid = uid_of(&pod, &self.id)?;
        undo.pod = Stored::As(uid.clone());
        // An admission webhook may change what it likes.
        let Some(view) = managed_view(&pod) else {
            return Err(refused(
                &self.id,
                "the cluster changed its Pod so that it is not recognised any more",
            ));
        };
        let info = view.info();
        let detached = self.is_detached();
        let known = SandboxRecord {
            id: self.id,
            owner,
            host: self.host.map(|host| host.public),
            client: self.client.private,
            detached,
            via,
        };
        shared.remember(uid, known);
        shared.watch.made(view);
        Ok(info)
    }
}

/// A sandbox that nobody has taken yet.
struct Made {
    info: SandboxInfo,
    undo: Option<Undo>,
}

impl Made {
    fn keep(mut self) -> SandboxInfo {
        self.undo = None;
        self.info.clone()
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        if let Some(undo) = self.undo.take()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(undo.run());
        }
    }
}

/// A namespace that is not there may be a slip; and image volumes that were asked for may be too new.
async fn with_hint(shared: &Shared, error: Error) -> Error {
    match error {
        Error::Creation(mut error)
            if shared.options.injection == Injection::Inject(InjectVia::ImageVolume)
                && error.message.contains("spec.volumes") =>
        {
            error.message.push_str(
                " (this cluster's API server does not take image volumes: SANDBOX_INJECTION=init-container brings the \
                 server in by a first container, and auto finds out which way there is)",
            );
            Error::Creation(error)
        }
        Error::Config { message } if message.starts_with(NO_NAMESPACE) => {
            let near = shared.api().suggest_namespace().await;
            let hint = near
                .map(|near| format!(" (did you mean {near}?)"))
                .unwrap_or_default();
            Error::Config {
                message: message + &hint,
            }
        }
        error => error,
    }
}

/// Lifetimes are kept by our own server.
fn tell_once_what_does_not_hold() {
    static TOLD: std::sync::Once = std::sync::Once::new();
    TOLD.call_once(|| {
        tracing::warn!(
            "an image's own SSH server does not end sandboxes that nobody uses: they stay until they are deleted, \
             or until their ttl or max_lifetime"
        );
    });
}
