//! Requests for another size of a running Pod.

use http::HeaderValue;
use http::header::CONTENT_TYPE;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Patch, PatchParams};
use sandbox_core::{Deadline, Result, SandboxId};
use serde::Deserialize;
use serde_json::Value;

use super::classify::Intent;
use super::client::{ApiClient, Operation, Outcome};
use super::failure::Failure;
use super::objects::{FIELD_MANAGER, request_error};

/// The subresource, as in RBAC and in the API server's list.
const SUBRESOURCE: &str = "pods/resize";

impl ApiClient {
    /// Returns whether the API server can resize running Pods.
    /// <https://kubernetes.io/docs/reference/using-api/api-concepts/#discovery-api>
    pub(crate) async fn has_pod_resize(&self, deadline: Deadline) -> Result<bool> {
        let request = http::Request::get("/api/v1")
            .body(Vec::new())
            .map_err(request_error)?;
        let operation = Operation {
            intent: Intent::Read,
            verb: "list",
            resource: "the resources of the API server",
            id: None,
        };
        let (list, _) = self
            .read::<ResourceList>(&operation, &request, deadline)
            .await?;
        Ok(list
            .resources
            .iter()
            .any(|resource| resource.name == SUBRESOURCE))
    }

    /// Applies a strategic merge patch to the size of a Pod; `None` if the patch names a uid and that does not exist.
    pub(crate) async fn resize_pod(
        &self,
        id: &SandboxId,
        patch: &Value,
        deadline: Deadline,
    ) -> Result<Option<Pod>, Failure> {
        let params = PatchParams {
            field_manager: Some(FIELD_MANAGER.into()),
            ..PatchParams::default()
        };
        let mut request = self
            .url::<Pod>()
            .patch_subresource("resize", id.as_str(), &params, &Patch::Merge(patch))
            .map_err(request_error)?;
        request.headers_mut().insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/strategic-merge-patch+json"),
        );
        let operation = Operation {
            intent: Intent::Patch,
            verb: "patch",
            resource: SUBRESOURCE,
            id: Some(id),
        };
        match self.call(&operation, &request, deadline).await? {
            Outcome::Success(pod, _) => Ok(Some(pod)),
            Outcome::Exists | Outcome::Missing | Outcome::Conflict | Outcome::Expired => Ok(None),
        }
    }
}

/// The part of a list of resources that is read.
#[derive(Deserialize)]
struct ResourceList {
    resources: Vec<ListedResource>,
}

#[derive(Deserialize)]
struct ListedResource {
    name: String,
}
