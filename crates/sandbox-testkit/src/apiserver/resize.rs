//! The subresource `pods/resize`, and the kubelet's answer.
//! <https://kubernetes.io/docs/tasks/configure-pod-container/resize-container-resources/>

use serde_json::{Value, json};

use super::merge_patch;
use super::request::ParsedRequest;
use super::response::ApiResponse;
use super::server::{ApiServer, State};

/// How the cluster handles a request to resize a Pod.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PodResize {
    /// The API server has no such subresource, as before Kubernetes 1.32.
    #[default]
    Unknown,
    /// The kubelet applies it.
    Applied,
    /// The kubelet has no room for it now.
    Deferred,
    /// The node is too small.
    Infeasible,
    /// The kubelet does not answer.
    Ignored,
}

impl ApiServer {
    /// Sets how Pods are resized.
    pub fn set_pod_resize(&self, handling: PodResize) {
        self.lock().pod_resize = handling;
    }

    /// Lists the resources of the API's core group.
    pub(super) fn list_resources(&self) -> Value {
        let mut names = vec!["pods", "pods/exec", "pods/log", "pods/portforward"];
        if self.lock().pod_resize != PodResize::Unknown {
            names.push("pods/resize");
        }
        let resources: Vec<_> = names
            .into_iter()
            .map(|name| json!({"name": name, "kind": "Pod", "namespaced": true, "verbs": ["get"]}))
            .collect();
        json!({"kind": "APIResourceList", "groupVersion": "v1", "resources": resources})
    }
}

impl State {
    /// Applies a strategic merge patch to the resources of a Pod's containers.
    pub(super) fn resize_pod(&mut self, request: &ParsedRequest, body: &Value) -> ApiResponse {
        let name = request.record.name.clone().unwrap_or_default();
        let found = self.store.get("pods", &name).cloned();
        let (
            PodResize::Applied | PodResize::Deferred | PodResize::Infeasible | PodResize::Ignored,
            Some(mut pod),
        ) = (self.pod_resize, found)
        else {
            let message = "the server could not find the requested resource";
            return ApiResponse::failure(404, "NotFound", message);
        };
        let uid = &body["metadata"]["uid"];
        if !uid.is_null() && *uid != pod["metadata"]["uid"] {
            let message = "Operation cannot be fulfilled: the UID in the precondition differs";
            return ApiResponse::failure(409, "Conflict", message);
        }
        let class = qos_class(&pod);
        for change in body["spec"]["containers"].as_array().into_iter().flatten() {
            let containers = pod["spec"]["containers"].as_array_mut();
            let container = containers
                .into_iter()
                .flatten()
                .find(|container| container["name"] == change["name"]);
            if let Some(container) = container {
                merge_patch::merge(container, change);
            }
        }
        if qos_class(&pod) != class {
            let message = format!(
                "Pod \"{name}\" is invalid: spec: Invalid value: Pod QOS Class may not change as a result of resizing"
            );
            return ApiResponse::failure(422, "Invalid", message);
        }
        let condition = |reason: &str, message: &str| json!([{"type": "PodResizePending", "status": "True", "reason": reason, "message": message}]);
        match self.pod_resize {
            PodResize::Applied => {
                let resources = pod["spec"]["containers"][0]["resources"].clone();
                pod["status"]["containerStatuses"][0]["resources"] = resources;
            }
            PodResize::Deferred => {
                pod["status"]["conditions"] =
                    condition("Deferred", "Node didn't have enough resource: memory");
            }
            PodResize::Infeasible => {
                pod["status"]["conditions"] =
                    condition("Infeasible", "Node didn't have enough capacity: memory");
            }
            PodResize::Ignored | PodResize::Unknown => {}
        }
        ApiResponse::ok(200, self.store.put("pods", &name, pod))
    }
}

/// Returns the quality of service class of a Pod.
/// <https://kubernetes.io/docs/concepts/workloads/pods/pod-qos/>
fn qos_class(pod: &Value) -> &'static str {
    let resources: Vec<_> = ["containers", "initContainers"]
        .iter()
        .flat_map(|list| pod["spec"][list].as_array().into_iter().flatten())
        .map(|container| &container["resources"])
        .collect();
    let is_empty = |amounts: &Value| amounts.as_object().is_none_or(serde_json::Map::is_empty);
    let is_guaranteed = |resources: &&Value| {
        ["cpu", "memory"].iter().all(|name| {
            let limit = &resources["limits"][name];
            !limit.is_null() && *limit == resources["requests"][name]
        })
    };
    match () {
        () if resources.iter().all(is_guaranteed) => "Guaranteed",
        () if resources
            .iter()
            .all(|one| is_empty(&one["limits"]) && is_empty(&one["requests"])) =>
        {
            "BestEffort"
        }
        () => "Burstable",
    }
}
