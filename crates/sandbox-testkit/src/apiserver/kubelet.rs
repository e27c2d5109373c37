//! Changes that the client under test does not request: those of the kubelet, the scheduler and
//! other clients.

use serde_json::{Value, json};

use super::clock::timestamp;
use super::server::{ApiServer, ImageVolumes};

impl ApiServer {
    /// Stores an object as another client would. It gets a version, and a uid if it has none.
    pub fn insert(&self, resource: &str, mut object: Value) -> Value {
        let mut state = self.lock();
        let name = object["metadata"]["name"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        if object["metadata"]["uid"].is_null() {
            object["metadata"]["uid"] = json!(state.store.next_uid());
        }
        if object["metadata"]["creationTimestamp"].is_null() {
            object["metadata"]["creationTimestamp"] = json!(timestamp(state.clock.current_time()));
        }
        let stored = state.store.put(resource, &name, object);
        drop(state);
        self.notify();
        stored
    }

    /// Updates an object, if it exists, as another client would.
    pub fn update(&self, resource: &str, name: &str, change: impl FnOnce(&mut Value)) {
        let mut state = self.lock();
        if let Some(mut object) = state.store.get(resource, name).cloned() {
            change(&mut object);
            state.store.put(resource, name, object);
        }
        drop(state);
        self.notify();
    }

    /// Removes an object at once, as another client would.
    pub fn remove(&self, resource: &str, name: &str) -> Option<Value> {
        let removed = self.lock().store.remove(resource, name);
        self.notify();
        removed
    }

    /// Schedules a Pod on a node and starts all its containers.
    pub fn run_pod(&self, name: &str) {
        let (now, fails_to_mount) = {
            let mut state = self.lock();
            (
                timestamp(state.clock.current_time()),
                state.image_volumes == ImageVolumes::NotMounted,
            )
        };
        self.update("pods", name, |pod| {
            let has_image_volume = pod["spec"]["volumes"]
                .as_array()
                .is_some_and(|all| all.iter().any(|v| v.get("image").is_some()));
            pod["spec"]["nodeName"] = json!("node-1");
            let state = if fails_to_mount && has_image_volume {
                json!({"terminated": {"exitCode": 128, "reason": "StartError", "message": MISSING_PROGRAM}})
            } else {
                json!({"running": {"startedAt": now}})
            };
            let phase = if state.get("running").is_some() { "Running" } else { "Failed" };
            pod["status"] = json!({
                "phase": phase, "podIP": "10.0.0.7",
                "conditions": [{"type": "PodScheduled", "status": "True", "lastTransitionTime": now}],
                "containerStatuses": container_statuses(pod, &state),
            });
        });
    }

    /// Ends all containers of a Pod with this exit code and reason: `Completed`, `OOMKilled`.
    pub fn end_pod(&self, name: &str, exit_code: i32, reason: &str) {
        self.update("pods", name, |pod| {
            let terminated = json!({"terminated": {"exitCode": exit_code, "reason": reason}});
            pod["status"]["phase"] = json!(if exit_code == 0 {
                "Succeeded"
            } else {
                "Failed"
            });
            pod["status"]["containerStatuses"] = container_statuses(pod, &terminated);
        });
    }

    /// Evicts a Pod from its node.
    pub fn evict_pod(&self, name: &str, message: &str) {
        self.update("pods", name, |pod| {
            pod["status"] = json!({"phase": "Failed", "reason": "Evicted", "message": message});
        });
    }
}

/// The error message of runc for a missing program.
const MISSING_PROGRAM: &str = "failed to create containerd task: failed to create shim task: OCI runtime create failed: \
    runc create failed: unable to start container process: exec: \"/.sandbox/sandbox-sshd\": stat \
    /.sandbox/sandbox-sshd: no such file or directory: unknown";

/// Returns the status of all containers of a Pod.
fn container_statuses(pod: &Value, state: &Value) -> Value {
    let all = pod["spec"]["containers"].as_array().into_iter().flatten();
    all.map(|container| {
        json!({
            "name": container["name"], "image": container["image"], "imageID": "", "restartCount": 0,
            "ready": state.get("running").is_some(), "state": state,
        })
    })
    .collect()
}
