//! What the operations of a backend share.

use std::sync::{Arc, OnceLock};

use k8s_openapi::api::core::v1::Secret;
use sandbox_core::{Deadline, Error, HostKeyProbe, Result, SandboxId, Uid};

use super::injection_probe::InjectionProbe;
use super::records::{RecordCache, SandboxRecord};
use crate::api::client::{ApiClient, LOOKUP_TIMEOUT};
use crate::connect::{ConnectState, PodConnector};
use crate::lease::LeaseKeeper;
use crate::manifest::options::{InjectVia, Injection, KubernetesOptions};
use crate::manifest::{labels, secret};
use crate::observe::status::{PodView, Problem};
use crate::observe::watch::Watch;

pub(super) struct Shared {
    pub(super) options: KubernetesOptions,
    pub(super) watch: Arc<Watch>,
    /// The Lease that owns attached sandboxes, where one is wanted.
    pub(super) lease: Option<LeaseKeeper>,
    /// Of sandboxes that were made or used here.
    pub(super) known: RecordCache,
    /// Which way the server is brought along.
    pub(super) via: InjectionProbe,
    pub(super) learned: Arc<ConnectState>,
    /// What learns the host key of an image's own server.
    pub(super) probe: OnceLock<Arc<dyn HostKeyProbe>>,
}

impl Shared {
    pub(super) fn api(&self) -> &ApiClient {
        &self.watch.api
    }

    pub(super) fn connector(&self) -> PodConnector {
        let (watch, transport) = (Arc::clone(&self.watch), self.options.transport);
        PodConnector::new(watch, transport, Arc::clone(&self.learned))
    }

    pub(super) fn probe(&self) -> Result<&dyn HostKeyProbe> {
        self.probe.get().map(|probe| &**probe).ok_or_else(|| Error::Config {
            message:
                "an image's own SSH server has a host key that has to be learned, and this backend was made \
                      without the means (KubernetesBackend::learning_host_keys_with)"
                    .into(),
        })
    }

    /// Whether the image's own server serves.
    pub(super) fn is_image_server(&self) -> bool {
        matches!(self.options.injection, Injection::Image(_))
    }

    pub(super) fn remember(&self, uid: Uid, known: SandboxRecord) {
        self.known
            .remember(uid, known, |uid| self.watch.is_over(uid));
    }

    pub(super) async fn find(&self, id: &SandboxId) -> Result<Arc<PodView>> {
        self.watch
            .find(id)
            .await?
            .ok_or_else(|| Error::NotFound { id: id.clone() })
    }

    /// The keys of a sandbox: those that it was made with here, or those that its maker stored.
    pub(super) async fn keys(&self, view: &PodView) -> Result<SandboxRecord> {
        if let Some(known) = self.known.get(&view.uid) {
            return Ok(known);
        }
        let stored = self
            .api()
            .get::<Secret>(&view.id, Deadline::from_now(LOOKUP_TIMEOUT))
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
        let known = SandboxRecord {
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

    /// Takes note of what stands in a Pod's way, where that is that it cannot run the server from an image
    /// volume. Returns whether it would be made another way now.
    pub(super) fn record_volume_failure(&self, uid: &Uid, problem: Option<&Problem>) -> bool {
        let Some(problem) = problem.filter(|problem| problem.server_missing) else {
            return false;
        };
        let by_volume = self
            .known
            .get(uid)
            .is_some_and(|known| known.via == Some(InjectVia::ImageVolume));
        if by_volume {
            self.via.failed(&problem.message);
        }
        by_volume
    }
}
