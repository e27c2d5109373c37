//! The garbage collector: what had owners and has none any more goes.
//! <https://kubernetes.io/docs/concepts/architecture/garbage-collection/>

use std::time::Duration;

use serde_json::{Value, json};

use super::request::{Call, Seen};
use super::{ApiServer, State};

/// How long the collector takes to notice.
const NOTICE: Duration = Duration::from_millis(200);

impl ApiServer {
    /// As long as anything is without its owners, the collector is about to come by.
    pub(super) fn collect_soon(&self) {
        let mut state = self.lock();
        if !state.collects || state.collecting || state.orphans().is_empty() {
            return;
        }
        // Outside of a runtime nothing is carried out anyway.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        state.collecting = true;
        drop(state);
        let server = self.clone();
        runtime.spawn(async move {
            tokio::time::sleep(NOTICE).await;
            let orphans = {
                let mut state = server.lock();
                state.collecting = false;
                if state.collects {
                    state.orphans()
                } else {
                    Vec::new()
                }
            };
            for (resource, name, uid) in orphans {
                let seen = Seen {
                    verb: "delete",
                    resource,
                    name: Some(name),
                    dry_run: false,
                };
                let call = Call {
                    seen,
                    namespace: server.inner.namespace.clone(),
                    query: Default::default(),
                };
                server.act(&call, &json!({"preconditions": {"uid": uid}}));
            }
        });
    }
}

impl State {
    /// Resource, name and uid of what has lost all its owners and is not going already.
    fn orphans(&self) -> Vec<(String, String, Value)> {
        let orphaned = |object: &Value| {
            let owners = object["metadata"]["ownerReferences"]
                .as_array()
                .filter(|owners| !owners.is_empty());
            owners.is_some_and(|owners| !owners.iter().any(|owner| self.exists(owner)))
                && object["metadata"]["deletionTimestamp"].is_null()
        };
        let all = self.store.all().filter(|(_, object)| orphaned(object));
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

    fn exists(&self, owner: &Value) -> bool {
        self.store.all().any(|(_, object)| {
            object["kind"] == owner["kind"]
                && object["apiVersion"] == owner["apiVersion"]
                && object["metadata"]["name"] == owner["name"]
                && object["metadata"]["uid"] == owner["uid"]
        })
    }
}
