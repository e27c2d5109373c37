//! The garbage collector deletes objects whose owners have all been deleted.
//! <https://kubernetes.io/docs/concepts/architecture/garbage-collection/>

use std::time::Duration;

use serde_json::{Value, json};

use super::request::{ParsedRequest, RecordedRequest};
use super::server::{ApiServer, State};

/// How long the collector takes to find an orphan.
const DELAY: Duration = Duration::from_millis(200);

impl ApiServer {
    /// Schedules a collection if there are orphans.
    pub(super) fn schedule_garbage_collection(&self) {
        let mut state = self.lock();
        if !state.collects_garbage
            || state.is_collection_scheduled
            || state.find_orphans().is_empty()
        {
            return;
        }
        // Without a runtime there are no requests either.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        state.is_collection_scheduled = true;
        drop(state);
        let server = self.clone();
        runtime.spawn(async move {
            tokio::time::sleep(DELAY).await;
            let orphans = {
                let mut state = server.lock();
                state.is_collection_scheduled = false;
                if state.collects_garbage {
                    state.find_orphans()
                } else {
                    Vec::new()
                }
            };
            for (resource, name, uid) in orphans {
                let record = RecordedRequest {
                    verb: "delete",
                    resource,
                    name: Some(name),
                    dry_run: false,
                    metadata_only: false,
                };
                let request = ParsedRequest {
                    record,
                    namespace: server.inner.namespace.clone(),
                    query: Default::default(),
                };
                server.execute(&request, &json!({"preconditions": {"uid": uid}}));
            }
        });
    }
}

impl State {
    /// Returns the resource, name and uid of each object whose owners are all deleted and whose deletion
    /// has not started.
    fn find_orphans(&self) -> Vec<(String, String, Value)> {
        let is_orphan = |object: &Value| {
            let owners = object["metadata"]["ownerReferences"]
                .as_array()
                .filter(|owners| !owners.is_empty());
            owners.is_some_and(|owners| !owners.iter().any(|owner| self.owner_exists(owner)))
                && object["metadata"]["deletionTimestamp"].is_null()
        };
        let all = self.store.objects().filter(|(_, object)| is_orphan(object));
        all.map(|(resource, object)| {
            let meta = &object["metadata"];
            (
                resource.to_owned(),
                meta["name"].as_str().unwrap_or_default().to_owned(),
                meta["uid"].clone(),
            )
        })
        .collect()
    }

    fn owner_exists(&self, owner: &Value) -> bool {
        self.store.objects().any(|(_, object)| {
            object["kind"] == owner["kind"]
                && object["apiVersion"] == owner["apiVersion"]
                && object["metadata"]["name"] == owner["name"]
                && object["metadata"]["uid"] == owner["uid"]
        })
    }
}
