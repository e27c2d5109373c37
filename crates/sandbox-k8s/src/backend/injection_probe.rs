//! Detects how `sandbox-sshd` is injected: as an image volume, which saves a container, if the cluster supports
//! that; otherwise by an init container, which every cluster supports.
//!
//! A dry run of a create, once per client, shows whether the API server keeps `volumes[].image`. Nodes may still
//! fail to mount such a volume, or mount it so that no program can run from it. This shows when the first
//! container fails to start, and is remembered as well.

use std::sync::Mutex;
use std::time::Duration;

use http::StatusCode;
use k8s_openapi::api::core::v1::Pod;
use kube::Resource;
use kube::api::PostParams;
use sandbox_core::{Error, Result};

use crate::api::client::ApiClient;
use crate::lock::lock;
use crate::manifest::options::InjectVia;
use crate::names::{BACKEND, SERVER};

/// Timeout of the probe; init containers are used when it expires.
const PROBE_TIMEOUT: Duration = Duration::from_secs(10);

/// The detected kind of injection.
#[derive(Default)]
pub(super) struct InjectionProbe {
    detected: Mutex<Option<InjectVia>>,
    /// Only one creation probes; the others wait for its result.
    probing: tokio::sync::Mutex<()>,
}

impl InjectionProbe {
    /// Returns the kind of injection to use. `pod` is a Pod with an image volume, for the dry run.
    pub(super) async fn detect(&self, api: &ApiClient, pod: &Pod) -> InjectVia {
        if let Some(via) = self.detected() {
            return via;
        }
        let _guard = self.probing.lock().await;
        if let Some(via) = self.detected() {
            return via;
        }
        let result = tokio::time::timeout(PROBE_TIMEOUT, keeps_image_volumes(api, pod)).await;
        match result {
            Ok(Ok(Some(keeps))) => {
                let via = if keeps {
                    InjectVia::ImageVolume
                } else {
                    InjectVia::InitContainer
                };
                tracing::debug!(?via, "injection detected");
                *self.lock() = Some(via);
                via
            }
            // The response says nothing about volumes: the next creation probes again.
            Ok(Ok(None)) | Err(_) => InjectVia::InitContainer,
            Ok(Err(error)) => {
                tracing::debug!(%error, "support of image volumes not detected");
                InjectVia::InitContainer
            }
        }
    }

    /// Records that a container could not run the server from an image volume. The warning is logged once.
    pub(super) fn record_failure(&self, why: &str) {
        let previous = self.lock().replace(InjectVia::InitContainer);
        if previous != Some(InjectVia::InitContainer) {
            tracing::warn!(
                %why,
                "the SSH server cannot run from an image volume on this cluster; using init containers from now on \
                 (set SANDBOX_INJECTION=init-container to use them from the start)"
            );
        }
    }

    fn detected(&self) -> Option<InjectVia> {
        *self.lock()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<InjectVia>> {
        lock(&self.detected)
    }
}

/// Whether the API server keeps the field; `None` if its response is about something else.
async fn keeps_image_volumes(api: &ApiClient, pod: &Pod) -> Result<Option<bool>> {
    let probe_error = |source: Box<dyn std::error::Error + Send + Sync>| Error::Backend {
        backend: BACKEND,
        operation: "try a Pod with an image volume",
        message: "the request or its response is invalid".into(),
        transient: true,
        source: Some(source),
    };
    let body = serde_json::to_vec(pod).map_err(|error| probe_error(error.into()))?;
    let params = PostParams {
        dry_run: true,
        field_manager: None,
    };
    let url = Pod::url_path(&(), Some(&api.namespace));
    let request = kube::core::Request::new(url)
        .create(&params, body)
        .map_err(|error| probe_error(error.into()))?;
    let response = api
        .send(request)
        .await
        .map_err(|error| probe_error(error.into()))?;
    match response.status() {
        // An unknown field is dropped, and then the volume is rejected because it has no type; or the field is
        // rejected by name. Other rejections say nothing about volumes.
        StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY => {
            let body = response
                .into_body()
                .collect_bytes()
                .await
                .map_err(|error| probe_error(error.into()))?;
            Ok(is_about_volumes(&body).then_some(false))
        }
        status if status.is_success() => {
            let body = response
                .into_body()
                .collect_bytes()
                .await
                .map_err(|error| probe_error(error.into()))?;
            let stored: Pod =
                serde_json::from_slice(&body).map_err(|error| probe_error(error.into()))?;
            let volumes = stored
                .spec
                .and_then(|spec| spec.volumes)
                .unwrap_or_default();
            let server = volumes.iter().find(|volume| volume.name == SERVER);
            Ok(Some(server.is_some_and(|volume| volume.image.is_some())))
        }
        // A missing permission, a quota, too many requests: the create itself will return the error.
        _ => Ok(None),
    }
}

/// Whether a rejection names the Pod's volumes: `spec.volumes[0].image: Forbidden: …`.
fn is_about_volumes(body: &[u8]) -> bool {
    String::from_utf8_lossy(body).contains("spec.volumes")
}
