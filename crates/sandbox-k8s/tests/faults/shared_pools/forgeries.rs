//! Labels that anyone may write decide nothing.

use sandbox_core::{PoolMemberState, SandboxBackend};
use serde_json::{Value, json};

use super::support::{claim, claim_one, claim_with, create_waiting, name, pools};
use crate::support::{backend, create_running, named_spec, pod, server};

/// Writes the labels of a sandbox that waits.
fn label_as_waiting(object: &mut Value, key: &str) {
    let labels = &mut object["metadata"]["labels"];
    labels["sandbox.dev/pool"] = json!("ci");
    labels["sandbox.dev/pool-key"] = json!(key);
    labels["sandbox.dev/pool-state"] = json!("waiting");
}

#[tokio::test(start_paused = true)]
async fn an_ordinary_sandbox_is_not_claimed_whatever_its_labels_are() {
    let server = server();
    let member = create_waiting(&server).await;
    let key = member.pool.unwrap().key;
    assert!(claim_one(&server).await.is_some());
    let mut detached = named_spec("web").1;
    detached.lifetime.attach_timeout = None;
    let owner = backend(&server);
    owner.create(detached).await.unwrap();
    server.run_pod("web");
    let attached = create_running(&server).await;
    for name in ["web", attached.id.as_str()] {
        server.update("pods", name, |pod| label_as_waiting(pod, key.as_str()));
    }
    server.clear_requests();
    assert!(claim_one(&server).await.is_none());
    assert_eq!(server.count_writes(), 0, "{:?}", server.requests());
    let listed = pools(&owner).members(Some(name())).await.unwrap();
    assert_eq!(listed.len(), 1, "{listed:?}");
}

#[tokio::test(start_paused = true)]
async fn a_taken_sandbox_that_is_relabelled_is_not_claimed_again() {
    let server = server();
    create_waiting(&server).await;
    let owner = backend(&server);
    let claimed = claim_with(&owner, claim()).await.unwrap().unwrap();
    let id = &claimed.info.id;
    let word = |server| pod(server, id)["metadata"]["annotations"]["sandbox.dev/claim"].clone();
    let before = word(&server);
    server.update("pods", id.as_str(), |pod| {
        pod["metadata"]["labels"]["sandbox.dev/pool-state"] = json!("waiting");
    });
    assert!(claim_one(&server).await.is_none());
    assert_eq!(word(&server), before);
    let listed = pools(&owner).members(Some(name())).await.unwrap();
    assert_eq!(
        listed[0].pool.as_ref().unwrap().state,
        PoolMemberState::Taken
    );
    let filler = backend(&server);
    assert!(
        !pools(&filler)
            .withdraw(id, &claimed.info.uid)
            .await
            .unwrap()
    );
}

/// Somebody who may create Pods copies everything, but the Secret with the keys belongs to no pool.
#[tokio::test(start_paused = true)]
async fn a_pod_with_forged_membership_and_the_keys_of_another_sandbox_is_left_alone() {
    let server = server();
    let member = create_waiting(&server).await;
    let mut detached = named_spec("web").1;
    detached.lifetime.attach_timeout = None;
    backend(&server).create(detached).await.unwrap();
    server.run_pod("web");
    let env = pod(&server, &member.id)["spec"]["containers"][0]["env"].clone();
    server.update("pods", "web", |pod| {
        label_as_waiting(pod, member.pool.as_ref().unwrap().key.as_str());
        pod["spec"]["containers"][0]["env"] = env.clone();
    });
    let first = claim_one(&server).await.unwrap();
    assert_eq!(first.info.id, member.id);
    assert!(claim_one(&server).await.is_none());
    assert!(
        server.object("pods", "web").is_some(),
        "it belongs to somebody else"
    );
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_is_no_sandbox_is_not_claimed() {
    let server = server();
    let member = create_waiting(&server).await;
    let mut foreign = server.remove("pods", member.id.as_str()).unwrap();
    foreign["metadata"]["ownerReferences"] = json!([]);
    server.insert("pods", foreign);
    server.clear_requests();
    assert!(claim_one(&server).await.is_none());
    assert_eq!(server.count_writes(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_sandbox_whose_labels_name_another_pool_is_in_neither() {
    let server = server();
    let member = create_waiting(&server).await;
    server.update("pods", member.id.as_str(), |pod| {
        pod["metadata"]["labels"]["sandbox.dev/pool"] = json!("other");
    });
    assert!(claim_one(&server).await.is_none());
    let mut other = claim();
    other.name = "other".parse().unwrap();
    assert!(
        claim_with(&backend(&server), other)
            .await
            .unwrap()
            .is_none()
    );
}
