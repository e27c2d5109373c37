//! What happens to objects without any request of the client under test: the kubelet, the
//! scheduler, other people's hands.

use serde_json::{Value, json};

use super::clock::stamp;
use super::{ApiServer, ImageVolumes};

impl ApiServer {
    /// Stores an object as somebody else would: it gets a uid, if it has none, and a version.
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
            object["metadata"]["creationTimestamp"] = json!(stamp(state.clock.now()));
        }
        let stored = state.store.put(resource, &name, object);
        drop(state);
        self.tell();
        stored
    }

    /// Changes an object, if it is there, as somebody else would.
    pub fn change(&self, resource: &str, name: &str, change: impl FnOnce(&mut Value)) {
        let mut state = self.lock();
        if let Some(mut object) = state.store.get(resource, name).cloned() {
            change(&mut object);
            state.store.put(resource, name, object);
        }
        drop(state);
        self.tell();
    }

    /// Removes an object at once, as somebody else would.
    pub fn remove(&self, resource: &str, name: &str) -> Option<Value> {
        let removed = self.lock().store.remove(resource, name);
        self.tell();
        removed
    }

    /// The Pod gets a machine, and all its containers run.
    pub fn run_pod(&self, name: &str) {
        let (now, empty) = {
            let mut state = self.lock();
            (
                stamp(state.clock.now()),
                state.image_volumes == ImageVolumes::Empty,
            )
        };
        self.change("pods", name, |pod| {
            let has_image_volume = pod["spec"]["volumes"]
                .as_array()
                .is_some_and(|all| all.iter().any(|v| v.get("image").is_some()));
            pod["spec"]["nodeName"] = json!("node-1");
            let state = if empty && has_image_volume {
                json!({"terminated": {"exitCode": 128, "reason": "StartError", "message": NOTHING_MOUNTED}})
            } else {
                json!({"running": {"startedAt": now}})
            };
            let phase = if state.get("running").is_some() { "Running" } else { "Failed" };
            pod["status"] = json!({
                "phase": phase, "podIP": "10.0.0.7",
                "conditions": [{"type": "PodScheduled", "status": "True", "lastTransitionTime": now}],
                "containerStatuses": containers(pod, &state),
            });
        });
    }

    /// All its containers end with this code, and for this reason: `Completed`, `OOMKilled`.
    pub fn end_pod(&self, name: &str, exit_code: i32, reason: &str) {
        self.change("pods", name, |pod| {
            let ended = json!({"terminated": {"exitCode": exit_code, "reason": reason}});
            pod["status"]["phase"] = json!(if exit_code == 0 {
                "Succeeded"
            } else {
                "Failed"
            });
            pod["status"]["containerStatuses"] = containers(pod, &ended);
        });
    }

    /// Its machine evicts the Pod.
    pub fn evict_pod(&self, name: &str, message: &str) {
        self.change("pods", name, |pod| {
            pod["status"] = json!({"phase": "Failed", "reason": "Evicted", "message": message});
        });
    }
}

/// runc's words for a program that is not there.
const NOTHING_MOUNTED: &str = "failed to create containerd task: failed to create shim task: OCI runtime create failed: \
    runc create failed: unable to start container process: exec: \"/.sandbox/sandbox-sshd\": stat \
    /.sandbox/sandbox-sshd: no such file or directory: unknown";

fn containers(pod: &Value, state: &Value) -> Value {
    let all = pod["spec"]["containers"].as_array().into_iter().flatten();
    all.map(|container| {
        json!({
            "name": container["name"], "image": container["image"], "imageID": "", "restartCount": 0,
            "ready": state.get("running").is_some(), "state": state,
        })
    })
    .collect()
}
