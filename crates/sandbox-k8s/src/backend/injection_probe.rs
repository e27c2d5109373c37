//! Which way the server is brought along, where that is to be found out: as a volume that is the
//! server's image, which saves a container, on clusters that can do it; else by a first
//! container, which every cluster can.
//!
//! Whether an API server keeps `volumes[].image` is seen by a create that is only tried
//! (`dryRun`), once per client. One that does may still have machines that do not mount it, or
//! not so that a program can be run from it: that is seen when the first container fails to
//! start, and remembered as well.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use http::StatusCode;
use k8s_openapi::api::core::v1::Pod;
use kube::Resource;
use kube::api::PostParams;
use sandbox_core::{Error, Result};

use crate::api::client::ApiClient;
use crate::manifest::options::InjectVia;
use crate::names::{BACKEND, SERVER};

/// How long the answer may take; without it, it is the way that always works.
const ASK: Duration = Duration::from_secs(10);

/// What was found out.
#[derive(Default)]
pub(super) struct InjectionProbe {
    known: Mutex<Option<InjectVia>>,
    /// One asks, and the others wait for what comes of it.
    asking: tokio::sync::Mutex<()>,
}

impl InjectionProbe {
    /// The way to take. `pod` is the Pod to be made, with an image volume.
    pub(super) async fn find_out(&self, api: &ApiClient, pod: &Pod) -> InjectVia {
        if let Some(known) = self.known() {
            return known;
        }
        let _turn = self.asking.lock().await;
        if let Some(known) = self.known() {
            return known;
        }
        let answer = tokio::time::timeout(ASK, keeps_image_volumes(api, pod)).await;
        match answer {
            Ok(Ok(Some(keeps))) => {
                let via = if keeps {
                    InjectVia::ImageVolume
                } else {
                    InjectVia::InitContainer
                };
                tracing::debug!(?via, "how the SSH server is brought into Pods");
                *self.lock() = Some(via);
                via
            }
            // No word on volumes: it is asked again next time.
            Ok(Ok(None)) | Err(_) => InjectVia::InitContainer,
            Ok(Err(error)) => {
                tracing::debug!(%error, "whether the cluster has image volumes could not be found out");
                InjectVia::InitContainer
            }
        }
    }

    /// A container could not run the server from such a volume. Told once.
    pub(super) fn failed(&self, why: &str) {
        let former = self.lock().replace(InjectVia::InitContainer);
        if former != Some(InjectVia::InitContainer) {
            tracing::warn!(
                %why,
                "this cluster takes image volumes, and the SSH server cannot be run from one: from now on it is \
                 copied in by an init container (SANDBOX_INJECTION=init-container does so from the beginning)"
            );
        }
    }

    fn known(&self) -> Option<InjectVia> {
        *self.lock()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<InjectVia>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the field survives; `None` when the answer is about something else.
async fn keeps_image_volumes(api: &ApiClient, pod: &Pod) -> Result<Option<bool>> {
    let lost = |source: Box<dyn std::error::Error + Send + Sync>| Error::Backend {
        backend: BACKEND,
        operation: "try a Pod with an image volume",
        message: "the API server was not understood".into(),
        transient: true,
        source: Some(source),
    };
    let body = serde_json::to_vec(pod).map_err(|error| lost(error.into()))?;
    let params = PostParams {
        dry_run: true,
        field_manager: None,
    };
    let url = Pod::url_path(&(), Some(&api.namespace));
    let request = kube::core::Request::new(url)
        .create(&params, body)
        .map_err(|error| lost(error.into()))?;
    let response = api
        .send(request)
        .await
        .map_err(|error| lost(error.into()))?;
    match response.status() {
        // A field that is not known is dropped, and a volume of no type is refused; or the field
        // is refused by name. Whatever else is refused says nothing of volumes.
        StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY => {
            let body = response
                .into_body()
                .collect_bytes()
                .await
                .map_err(|error| lost(error.into()))?;
            Ok(is_about_volumes(&body).then_some(false))
        }
        status if status.is_success() => {
            let body = response
                .into_body()
                .collect_bytes()
                .await
                .map_err(|error| lost(error.into()))?;
            let stored: Pod = serde_json::from_slice(&body).map_err(|error| lost(error.into()))?;
            let volumes = stored
                .spec
                .and_then(|spec| spec.volumes)
                .unwrap_or_default();
            let ours = volumes.iter().find(|volume| volume.name == SERVER);
            Ok(Some(ours.is_some_and(|volume| volume.image.is_some())))
        }
        // Rights, a quota, too many requests: the create itself will say what is wrong.
        _ => Ok(None),
    }
}

/// Whether a refusal names the Pod's volumes: `spec.volumes[0].image: Forbidden: …`.
fn is_about_volumes(refusal: &[u8]) -> bool {
    String::from_utf8_lossy(refusal).contains("spec.volumes")
}
