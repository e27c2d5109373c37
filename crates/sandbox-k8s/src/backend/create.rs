//! Creates a sandbox: first the Secret with its keys, then the Pod that the Secret owns.
//!
//! A task of its own does this, so that it can clean up if the caller stops waiting.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use k8s_openapi::api::core::v1::Pod;
use sandbox_core::{
    Deadline, Error, KeyPair, Result, SandboxId, SandboxInfo, SandboxSpec, TrackedWork, Uid,
};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::cleanup::Cleanup;
use super::creation_hint::add_hint;
use super::leftovers;
use super::new_sandbox::NewSandbox;
use super::pool_membership;
use super::records::SandboxRecord;
use super::shared::Shared;
use super::stored::{Stored, rejected, stored_uid};
use super::upload;
use crate::api::failure::Failure;
use crate::api::objects::CreateOutcome;
use crate::lease::OwnerLease;
use crate::manifest::labels::{self, PoolRef, SecretName, SecretRef};
use crate::manifest::options::{InjectVia, Injection, KubernetesOptions, PodOptions};
use crate::manifest::pod::{self, PodParams};
use crate::manifest::secret::{KeySecret, SandboxKeys};
use crate::names::{BACKEND, LEASE};
use crate::observe::status::{Identity, managed_view};

/// Timeout of creating both objects.
const CREATE_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a creation waits for a former Pod of the same name that is being deleted. Its processes get one second,
/// but the kubelet of an old version on a busy node reports their end half a minute later.
const FORMER_POD_TIMEOUT: Duration = Duration::from_secs(40);
/// The pause between two attempts to create a Pod in place of a former one.
const FORMER_POD_PAUSE: Duration = Duration::from_millis(250);
/// Timeout of a dry run.
const DRY_RUN_TIMEOUT: Duration = Duration::from_secs(15);
/// The uid of the Secret in a Pod that is not created.
const NO_UID: &str = "unknown";

/// Creates a sandbox. If the returned future is dropped, the objects are deleted again.
pub(super) async fn create(shared: &Arc<Shared>, mut spec: SandboxSpec) -> Result<SandboxInfo> {
    let pool = pool_membership::find_pool(shared, &mut spec).await?;
    let creation = Creation::new(shared, spec, pool)?;
    let (sender, receiver) = oneshot::channel();
    let (_waiter, tracked) = shared.leftovers.track();
    let shared = Arc::clone(shared);
    tokio::spawn(async move {
        let result = creation.run(&shared, &sender, tracked).await;
        // Without a receiver, the sandbox is dropped and cleans up.
        drop(sender.send(result));
    });
    match receiver.await {
        Ok(result) => result.map(NewSandbox::keep),
        Err(_) => Err(Error::Backend {
            backend: BACKEND,
            operation: "create a sandbox",
            message: "the runtime has ended".into(),
            transient: false,
            source: None,
        }),
    }
}

/// Checks in a dry run whether the cluster accepts the Pod of such a sandbox. Returns the images of the Pod.
pub(super) async fn dry_run(shared: &Shared, mut spec: SandboxSpec) -> Result<Vec<String>> {
    let pool = pool_membership::find_pool(shared, &mut spec).await?;
    let creation = Creation::new(shared, spec, pool)?;
    let via = creation.detect_injection(shared).await?;
    let pod = creation.build_pod(shared, &Uid::new(NO_UID), via)?;
    shared
        .api()
        .dry_run_create(&creation.id, &pod, Deadline::from_now(DRY_RUN_TIMEOUT))
        .await?;
    Ok(pod::image_references(&pod))
}

/// One creation, with everything that is decided before the first request.
struct Creation {
    id: SandboxId,
    nonce: String,
    spec: SandboxSpec,
    options: PodOptions,
    /// The shared pool that it is created for.
    pool: Option<PoolRef>,
    /// `None` for an image's SSH server, which has its own.
    host_key: Option<KeyPair>,
    client_key: KeyPair,
}

impl Creation {
    fn new(shared: &Shared, mut spec: SandboxSpec, pool: Option<PoolRef>) -> Result<Self> {
        if shared.uses_image_server() {
            shared.host_key_probe()?;
        }
        let id = spec.id.take().map_or_else(SandboxId::generate, Ok)?;
        let nonce = Uid::generate()?.as_str().to_owned();
        let options = PodOptions::from_spec(&spec)?;
        let host_key = if shared.uses_image_server() {
            None
        } else {
            Some(KeyPair::generate()?)
        };
        let creation = Self {
            id,
            nonce,
            spec,
            options,
            pool,
            host_key,
            client_key: KeyPair::generate()?,
        };
        // Errors in the Pod are found before its Secret is stored.
        creation.build_pod(shared, &Uid::new(NO_UID), None)?;
        if shared.uses_image_server() {
            warn_about_lifetimes_once();
        }
        Ok(creation)
    }

    /// Builds the Pod. `via` is the detected kind of injection, if it was left to detection.
    fn build_pod(&self, shared: &Shared, secret: &Uid, via: Option<InjectVia>) -> Result<Pod> {
        let options = self.options_with(shared, via);
        pod::build(PodParams {
            id: &self.id,
            namespace: &shared.api().namespace,
            nonce: &self.nonce,
            secret,
            spec: &self.spec,
            options: &options,
            pod: &self.options,
            pool: self.pool.as_ref(),
        })
    }

    /// Returns the options of the client, with the detected kind of injection.
    fn options_with(&self, shared: &Shared, via: Option<InjectVia>) -> KubernetesOptions {
        let mut options = shared.options.clone();
        if let Some(via) = via {
            options.injection = Injection::Inject(via);
        }
        options
    }

    fn is_detached(&self) -> bool {
        self.spec.lifetime.attach_timeout.is_none()
    }

    /// Whether other processes connect to it as well, with the stored key.
    fn is_shared(&self) -> bool {
        self.is_detached() || self.pool.is_some()
    }

    /// Detects the kind of injection, if the options leave it open.
    async fn detect_injection(&self, shared: &Shared) -> Result<Option<InjectVia>> {
        // Without an image of the server there is nothing to detect.
        if shared.options.injection != Injection::Inject(InjectVia::Auto)
            || shared.options.server_image.is_none()
        {
            return Ok(None);
        }
        let pod = self.build_pod(shared, &Uid::new(NO_UID), Some(InjectVia::ImageVolume))?;
        Ok(Some(shared.injection.detect(shared.api(), &pod).await))
    }

    fn build_secret(&self, shared: &Shared, lease: Option<&OwnerLease>) -> KeySecret {
        let keys = SandboxKeys {
            host: self.host_key.as_ref().map(|host| &host.private),
            authorized: &self.client_key.public,
            client: self.is_shared().then_some(&self.client_key.private),
        };
        let secret = KeySecret::new(
            &self.id,
            &shared.api().namespace,
            &self.nonce,
            keys,
            lease.map(OwnerLease::owner_reference),
        );
        secret.with_pool(self.pool.as_ref())
    }

    /// Creates the objects, and deletes them again if that fails.
    async fn run(
        self,
        shared: &Arc<Shared>,
        waiting: &oneshot::Sender<Result<NewSandbox>>,
        tracked: TrackedWork,
    ) -> Result<NewSandbox> {
        let mut cleanup = Cleanup {
            shared: Arc::clone(shared),
            id: self.id.clone(),
            nonce: self.nonce.clone(),
            secret: Stored::No,
            pod: Stored::No,
            repeats: false,
            _creation: Some(tracked),
        };
        match self.create_objects(shared, waiting, &mut cleanup).await {
            Ok(info) => Ok(NewSandbox {
                info,
                cleanup: Some(cleanup),
            }),
            Err(failure) => {
                let error = add_hint(shared, failure).await;
                cleanup.repeats = error.is_retryable();
                cleanup.run_for_a_while().await;
                Err(error)
            }
        }
    }

    async fn create_objects(
        self,
        shared: &Arc<Shared>,
        waiting: &oneshot::Sender<Result<NewSandbox>>,
        cleanup: &mut Cleanup,
    ) -> Result<SandboxInfo, Failure> {
        let deadline = Deadline::from_now(CREATE_TIMEOUT);
        let api = shared.api();

        // The Lease, if attached sandboxes have one. Those of a shared pool outlive this process once they are claimed.
        let lease = match &shared.lease_keeper {
            Some(keeper) if !self.is_shared() => Some(keeper.acquire(&self.id, deadline).await?),
            _ => None,
        };

        // The Secret. The kind of injection is detected at the same time, which may have to wait for
        // the detection of another creation.
        let secret = self.build_secret(shared, lease.as_ref());
        cleanup.secret = Stored::Unknown;
        let name = SecretName::new(&self.id, &self.nonce);
        let stored = api.create(&name, secret.manifest(), &self.nonce, deadline);
        let via = tokio::time::timeout_at(deadline.instant(), self.detect_injection(shared));
        let (stored, via) = tokio::join!(stored, via);
        let stored = match stored? {
            CreateOutcome::Stored(secret) => secret,
            CreateOutcome::NameTaken(_) => {
                cleanup.secret = Stored::No;
                let message = format!("another Secret has the name {name}; try again");
                return Err(rejected(&self.id, &message).into());
            }
        };
        let uid = stored_uid(&stored, &self.id)?;
        cleanup.secret = Stored::Yes(uid.clone());
        let owner = SecretRef { name, uid };
        if waiting.is_closed() {
            return Err(rejected(&self.id, "the caller cancelled the creation").into());
        }

        // The Pod.
        let via = via.unwrap_or(Ok(Some(InjectVia::InitContainer)))?;
        let mut pod = self.build_pod(shared, &owner.uid, via)?;
        if let Some(lease) = &lease {
            let annotations = pod.metadata.annotations.get_or_insert_default();
            annotations.insert(LEASE.to_owned(), lease.id().as_str().to_owned());
        }
        let pod = self
            .create_pod(shared, &pod, waiting, cleanup, deadline)
            .await?;
        let uid = stored_uid(&pod, &self.id)?;
        cleanup.pod = Stored::Yes(uid.clone());
        // An admission webhook may have changed any field.
        let Some(view) = managed_view(&pod) else {
            return Err(rejected(
                &self.id,
                "the cluster changed the Pod so that the SDK cannot recognise it any more; check its \
                 admission webhooks",
            )
            .into());
        };

        // Both objects exist. A generated id is new, so no other Secret has it.
        if let Some(created_at) = labels::creation_time(&stored.metadata)
            && !self.id.is_generated()
        {
            delete_former(Arc::clone(shared), owner.clone(), created_at);
        }
        let info = view.info();
        let is_detached = self.is_shared();
        let upload_limit = pod::uploads_server(&self.options_with(shared, via))
            .then(|| upload::time_limit(&self.spec.lifetime));
        let record = SandboxRecord {
            id: self.id,
            owner,
            host_key: self.host_key.map(|host| host.public),
            client_key: self.client_key.private,
            is_detached,
            via,
            waits_for_room: self.spec.waits_for_room,
            claim: None,
        };
        shared.remember(uid.clone(), record);
        shared.watch.record_created(view);
        if let Some(limit) = upload_limit {
            upload::start(shared, &info.id, uid, self.nonce, limit);
        }
        Ok(info)
    }

    /// Creates the Pod. The name of the Pod is what makes an id exist, so this decides whether the id is free. If a
    /// former Pod of this name is being deleted, this waits for its end.
    async fn create_pod(
        &self,
        shared: &Shared,
        pod: &Pod,
        waiting: &oneshot::Sender<Result<NewSandbox>>,
        cleanup: &mut Cleanup,
        deadline: Deadline,
    ) -> Result<Pod, Failure> {
        let until = (Instant::now() + FORMER_POD_TIMEOUT).min(deadline.instant());
        loop {
            cleanup.pod = Stored::Unknown;
            let api = shared.api();
            let found = match api.create(&self.id, pod, &self.nonce, deadline).await? {
                CreateOutcome::Stored(pod) => return Ok(pod),
                CreateOutcome::NameTaken(found) => found,
            };
            cleanup.pod = Stored::No;
            let is_leaving = found
                .as_ref()
                .is_none_or(|pod| pod.metadata.deletion_timestamp.is_some());
            if !is_leaving {
                return Err(self
                    .name_taken_error(&Identity::from_pod(found.as_deref()))
                    .into());
            }
            if waiting.is_closed() || Instant::now() >= until {
                return Err(rejected(
                    &self.id,
                    &format!(
                        "the former Pod of this name is still being deleted; choose another id, or find out with \
                         kubectl describe pod {} what holds it",
                        self.id
                    ),
                )
                .into());
            }
            // Each creation passes admission and may be counted by a quota, so the former Pod is only read while
            // it is there.
            loop {
                tokio::time::sleep(FORMER_POD_PAUSE).await;
                let former = api.get_metadata::<Pod>(&self.id, deadline).await?;
                let is_leaving = former.is_some_and(|meta| meta.deletion_timestamp.is_some());
                if !is_leaving || waiting.is_closed() || Instant::now() >= until {
                    break;
                }
            }
        }
    }

    fn name_taken_error(&self, identity: &Identity) -> Error {
        match identity {
            Identity::Foreign(why) => rejected(
                &self.id,
                &format!(
                    "a Pod of this name exists already and is no sandbox ({why}); choose another id, or delete the \
                     Pod with kubectl delete pod {}",
                    self.id
                ),
            ),
            Identity::Sandbox(_) | Identity::Free => Error::AlreadyExists {
                id: self.id.clone(),
            },
        }
    }
}

/// Deletes in the background what former sandboxes with the same id have left.
fn delete_former(shared: Arc<Shared>, current: SecretRef, created_at: SystemTime) {
    tokio::spawn(async move {
        if let Err(error) = leftovers::delete_former(&shared, &current, created_at).await {
            tracing::debug!(%error, "keys of former sandboxes not deleted; left to a sweep");
        }
    });
}

/// Only `sandbox-sshd` enforces soft lifetimes.
fn warn_about_lifetimes_once() {
    static WARNED: std::sync::Once = std::sync::Once::new();
    WARNED.call_once(|| {
        tracing::warn!(
            "an image's SSH server does not end unused sandboxes: they stay until they are deleted, or until their \
             ttl or max_lifetime"
        );
    });
}
