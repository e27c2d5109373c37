//! The Roles of `deploy/pool` grant exactly what filling and claiming need.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use sandbox_core::{DeleteOptions, LogOptions, PoolKey, SandboxBackend, Uid};
use sandbox_testkit::apiserver::ApiServer;
use serde_json::Value;

use super::support::{claim_with, create_waiting, detached_claim, name, pools};
use crate::support::{backend, server, spec, start_watch};

/// A verb and a resource.
type Right = (String, String);

/// The rights that the only Role in a file grants.
fn granted(file: &str) -> BTreeSet<Right> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../deploy/pool")
        .join(file);
    let text = std::fs::read_to_string(path).unwrap();
    let documents = text
        .split("\n---\n")
        .map(|text| serde_saphyr::from_str::<Value>(text).unwrap());
    let roles: Vec<_> = documents
        .filter(|document| document["kind"] == "Role")
        .collect();
    assert_eq!(roles.len(), 1);
    let texts = |list: &Value| -> Vec<String> { serde_json::from_value(list.clone()).unwrap() };
    let rules = roles[0]["rules"].as_array().unwrap().iter();
    rules
        .flat_map(|rule| {
            let (verbs, resources) = (texts(&rule["verbs"]), texts(&rule["resources"]));
            let pairs = |verb: String| {
                resources
                    .clone()
                    .into_iter()
                    .map(move |one| (verb.clone(), one))
            };
            verbs.into_iter().flat_map(pairs).collect::<Vec<_>>()
        })
        .collect()
}

fn used(server: &ApiServer) -> BTreeSet<Right> {
    let requests = server.requests().into_iter();
    requests
        .map(|request| (request.verb.to_owned(), request.resource))
        .collect()
}

fn right(verb: &str, resource: &str) -> Right {
    (verb.to_owned(), resource.to_owned())
}

#[tokio::test(start_paused = true)]
async fn a_filler_has_exactly_the_rights_that_it_needs() {
    let server = server();
    let former = create_waiting(&server).await;
    server.clear_requests();
    let filler = backend(&server);
    start_watch(&server, &filler).await;
    let own = pools(&filler);
    let key: PoolKey = "0123456789abcdef".parse().unwrap();
    let lead = own.lead(&name(), &key).await.unwrap();
    tokio::time::sleep(Duration::from_secs(6)).await;
    // Adopts a sandbox, and replaces it by another.
    filler.access(&former.id).await.unwrap();
    assert!(own.withdraw(&former.id, &former.uid).await.unwrap());
    filler
        .delete(&former.id, DeleteOptions::default())
        .await
        .unwrap();
    let mut spec = spec().1;
    spec.pool = Some(name());
    let info = filler.create(spec).await.unwrap();
    server.run_pod(info.id.as_str());
    assert!(own.offer(&info.id, &info.uid).await.unwrap());
    assert!(!own.offer(&info.id, &Uid::new("another")).await.unwrap());
    drop(filler.logs(&info.id, LogOptions::default()).await);
    drop(filler.diagnose(&info.id).await);
    lead.release().await.unwrap();
    let mut used = used(&server);
    // Only one that starts slowly or fails needs these.
    used.extend([
        right("list", "events"),
        right("watch", "events"),
        right("get", "pods/log"),
    ]);
    assert_eq!(used, granted("filler.yaml"));
}

#[tokio::test(start_paused = true)]
async fn a_claimer_has_exactly_the_rights_that_it_needs() {
    let server = server();
    let info = create_waiting(&server).await;
    server.clear_requests();
    let claimer = backend(&server);
    start_watch(&server, &claimer).await;
    claim_with(&claimer, detached_claim())
        .await
        .unwrap()
        .unwrap();
    let own = pools(&claimer);
    own.store_claim_key(&info.id, &info.uid).await.unwrap();
    own.leaders().await.unwrap();
    claimer
        .extend(&info.id, Duration::from_secs(7200))
        .await
        .unwrap();
    claimer
        .delete(&info.id, DeleteOptions::default())
        .await
        .unwrap();
    let mut used = used(&server);
    // Connections are none of this test, and only a claim with a size resizes the Pod.
    used.extend([
        right("patch", "pods/resize"),
        right("get", "pods/portforward"),
        right("create", "pods/portforward"),
    ]);
    assert_eq!(used, granted("claimer.yaml"));
}
