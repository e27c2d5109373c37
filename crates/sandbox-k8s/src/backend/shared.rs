//! State that the operations of a backend share.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use k8s_openapi::api::core::v1::{Pod, Secret};
use sandbox_core::{
    Access, ConnectionStage, Deadline, Endpoint, Error, HostKeyProbe, Leftovers, PrivateKey,
    PublicKey, Result, SandboxId, SandboxInfo, SandboxState, Uid,
};

use super::cluster_events::EventFeed;
use super::injection_probe::InjectionProbe;
use super::network::ControlPlane;
use super::records::{RecordCache, SandboxRecord};
use super::reservations::Reservations;
use crate::api::client::{ApiClient, LOOKUP_TIMEOUT};
use crate::connect::{ConnectState, PodConnector};
use crate::lease::LeaseKeeper;
use crate::manifest::labels::SecretName;
use crate::manifest::options::{InjectVia, Injection, KubernetesOptions};
use crate::manifest::secret::{self, StoredKeys};
use crate::observe::status::{PodView, Problem, managed_view};
use crate::observe::watch::Watch;

/// The state of a backend.
pub(super) struct Shared {
    pub(super) options: KubernetesOptions,
    pub(super) watch: Arc<Watch>,
    pub(super) cluster_events: Arc<EventFeed>,
    /// The Lease that owns attached sandboxes, if the options ask for one.
    pub(super) lease_keeper: Option<LeaseKeeper>,
    pub(super) records: RecordCache,
    pub(super) injection: InjectionProbe,
    pub(super) connect_state: Arc<ConnectState>,
    /// Whether the account may not list Secrets, as far as is known.
    pub(super) may_not_list_secrets: AtomicBool,
    /// The waiting sandboxes that claims of this process try at this moment.
    pub(super) reservations: Reservations,
    /// What dropped creations and claims have left.
    pub(super) leftovers: Leftovers,
    /// Whether the API server can resize running Pods, once known.
    pub(super) has_resize: tokio::sync::OnceCell<bool>,
    /// The URL of the API server, if it was given.
    pub(super) api_server: OnceLock<String>,
    /// Where the API server is, once known.
    pub(super) control_plane: tokio::sync::OnceCell<ControlPlane>,
    /// Fetches the host key of an image's SSH server.
    pub(super) host_key_probe: OnceLock<Arc<dyn HostKeyProbe>>,
}

impl Shared {
    pub(super) fn api(&self) -> &ApiClient {
        &self.watch.api
    }

    pub(super) fn connector(&self) -> PodConnector {
        PodConnector::new(
            Arc::clone(&self.watch),
            self.options.transport,
            Arc::clone(&self.connect_state),
        )
    }

    pub(super) fn host_key_probe(&self) -> Result<&dyn HostKeyProbe> {
        self.host_key_probe.get().map(|probe| &**probe).ok_or_else(|| Error::Config {
            message:
                "the host key of an image's SSH server cannot be fetched: this backend has no host key probe; set one \
                 with KubernetesBackend::with_host_key_probe"
                    .into(),
        })
    }

    /// Reads a running sandbox, and the API server's time. The local time is used only if a proxy has removed the
    /// header `Date`.
    pub(super) async fn find_running(
        &self,
        id: &SandboxId,
        deadline: Deadline,
    ) -> Result<(PodView, SystemTime)> {
        let not_found = || Error::NotFound { id: id.clone() };
        let (pod, now) = self
            .api()
            .get::<Pod>(id, deadline)
            .await?
            .ok_or_else(not_found)?;
        let view = managed_view(&pod)
            .filter(|view| view.state != SandboxState::Ended)
            .ok_or_else(not_found)?;
        Ok((view, now.unwrap_or_else(SystemTime::now)))
    }

    /// Records a Pod that was changed; `None` if it no longer exists. Another client may have deleted the sandbox in
    /// the meantime.
    pub(super) fn record_change(
        &self,
        id: &SandboxId,
        changed: Option<&Pod>,
    ) -> Result<SandboxInfo> {
        let not_found = || Error::NotFound { id: id.clone() };
        let view = changed.and_then(managed_view).ok_or_else(not_found)?;
        let info = view.info();
        let has_ended = view.state == SandboxState::Ended;
        self.watch.record_write(view);
        if has_ended {
            Err(not_found())
        } else {
            Ok(info)
        }
    }

    /// Whether sandboxes run the image's SSH server instead of `sandbox-sshd`.
    pub(super) fn uses_image_server(&self) -> bool {
        matches!(self.options.injection, Injection::Image(_))
    }

    pub(super) fn remember(&self, uid: Uid, record: SandboxRecord) {
        self.records
            .insert(uid, record, |uid| self.watch.has_ended(uid));
    }

    pub(super) async fn find(&self, id: &SandboxId) -> Result<Arc<PodView>> {
        self.watch
            .find(id)
            .await?
            .ok_or_else(|| Error::NotFound { id: id.clone() })
    }

    /// Returns the record with the keys of a sandbox. If this client has not created the sandbox, the keys are
    /// read from its Secret.
    pub(super) async fn record_of(&self, view: &PodView) -> Result<SandboxRecord> {
        let claim = view.claim();
        if let Some(record) = self.records.get(&view.uid)
            // A claim has replaced the key since.
            && (claim.is_none() || record.claim.as_deref() == claim)
        {
            return Ok(record);
        }
        let keys = match claim {
            None => self.read_keys(view).await?,
            Some(claim) => self.read_claim_keys(view, claim).await?,
        };
        let record = SandboxRecord {
            id: view.id.clone(),
            owner: view.owner.clone(),
            host_key: keys.host,
            client_key: keys.client,
            is_detached: true,
            via: None,
            waits_for_room: false,
            claim: claim.map(str::to_owned),
        };
        self.remember(view.uid.clone(), record.clone());
        Ok(record)
    }

    /// Describes how to connect to a sandbox with these keys.
    pub(super) fn access_to(
        &self,
        view: &PodView,
        host_key: &PublicKey,
        client_key: &PrivateKey,
    ) -> Access {
        Access {
            id: view.id.clone(),
            uid: view.uid.clone(),
            user: view.user.clone(),
            host_key: host_key.clone(),
            client_key: client_key.clone(),
            endpoint: Endpoint::Pod {
                namespace: self.api().namespace.clone(),
                name: view.id.as_str().to_owned(),
                uid: view.uid.clone(),
                port: view.port,
            },
        }
    }

    /// Reads the keys with which a sandbox was created.
    pub(super) async fn read_keys(&self, view: &PodView) -> Result<StoredKeys> {
        let deadline = Deadline::from_now(LOOKUP_TIMEOUT);
        let stored = self.api().get::<Secret>(&view.owner.name, deadline).await?;
        let Some((stored, _)) = stored else {
            return Err(missing_keys_error(view));
        };
        secret::read_keys(&stored, &view.owner)
    }

    /// Reads the keys with which a claim has replaced those of the creation.
    async fn read_claim_keys(&self, view: &PodView, claim: &str) -> Result<StoredKeys> {
        let name = SecretName::new(&view.id, claim);
        let deadline = Deadline::from_now(LOOKUP_TIMEOUT);
        match self.api().get::<Secret>(&name, deadline).await? {
            Some((stored, _)) => secret::read_claim_keys(&stored, &name, &view.uid),
            None => Err(Error::unsupported_because(
                "access from another process",
                format!("the attached sandbox {}", view.id),
                "only the process that claimed it from its pool has its key",
                "claim it detached (without an attach timeout) to use it elsewhere",
            )),
        }
    }

    /// Records a problem that is caused by an image volume from which the server cannot run. Returns whether a new
    /// Pod would be created differently.
    pub(super) fn record_volume_failure(&self, uid: &Uid, problem: Option<&Problem>) -> bool {
        let Some(problem) = problem.filter(|problem| problem.server_missing) else {
            return false;
        };
        let uses_image_volume = self
            .records
            .get(uid)
            .is_some_and(|record| record.via == Some(InjectVia::ImageVolume));
        if uses_image_volume {
            self.injection.record_failure(&problem.message);
        }
        uses_image_volume
    }
}

/// The error of a sandbox whose keys were deleted. It is being deleted, or has ended and is kept by a finalizer, so that
/// it is still listed.
fn missing_keys_error(view: &PodView) -> Error {
    let id = view.id.clone();
    let is_kept = !view.deleting || !view.held_by.is_empty();
    if view.state != SandboxState::Ended || !is_kept {
        return Error::NotFound { id };
    }
    let end = view.end(view.problem.as_ref()).message;
    let mut message = format!("the sandbox has ended: {end}");
    if !view.held_by.is_empty() && view.problem.is_some() {
        message = format!("{message}; {}", view.describe_deletion());
    }
    Error::connection(ConnectionStage::Dial, message, None).with_sandbox(&id)
}
