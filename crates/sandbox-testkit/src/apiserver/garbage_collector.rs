//! The garbage collector deletes objects whose owners have all been deleted.
//! <https://kubernetes.io/docs/concepts/architecture/garbage-collection/>

use std::time::Duration;

use serde_json::json;

use super::request::{ParsedRequest, RecordedRequest};
use super::server::ApiServer;

/// How long the collector takes to find an orphan.
const DELAY: Duration = Duration::from_millis(200);

impl ApiServer {
    /// Schedules a collection if there are orphans.
    pub(super) fn schedule_garbage_collection(&self) {
        let mut state = self.lock();
        if !state.collects_garbage
            || state.is_collection_scheduled
            || state.store.find_orphans().is_empty()
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
                    state.store.find_orphans()
                } else {
                    Vec::new()
                }
            };
            for ((resource, name), uid) in orphans {
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
                    command: Vec::new(),
                    websocket_key: None,
                    is_json_patch: false,
                };
                server.execute(&request, &json!({"preconditions": {"uid": uid}}));
            }
        });
    }
}
