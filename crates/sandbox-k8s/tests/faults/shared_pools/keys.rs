//! The keys of waiting and claimed sandboxes.

use std::time::Duration;

use sandbox_core::{Error, SandboxBackend, SweepOptions, Uid};
use sandbox_testkit::apiserver::{ApiServer, Fault};
use serde_json::json;

use super::support::{claim, claim_with, create_member, create_waiting, detached_claim, pools};
use crate::support::{backend, server};
use crate::sweep::{MINUTE, sweep_reasons};

fn secrets(server: &ApiServer) -> Vec<String> {
    let names = server.object_names().into_iter();
    names.filter(|name| name.starts_with("secrets/")).collect()
}

#[tokio::test(start_paused = true)]
async fn another_filler_can_take_over_what_fills_and_waits() {
    let server = server();
    let (filler, info) = create_member(&server).await;
    let successor = backend(&server);
    let (own, other) = (
        filler.access(&info.id).await.unwrap(),
        successor.access(&info.id).await.unwrap(),
    );
    assert_eq!(
        own.client_key.public_key().unwrap(),
        other.client_key.public_key().unwrap()
    );
    assert_eq!(own.host_key, other.host_key);
}

#[tokio::test(start_paused = true)]
async fn nobody_but_the_claimer_has_the_key_of_an_attached_claim() {
    let server = server();
    let info = create_waiting(&server).await;
    let filler = backend(&server);
    filler.access(&info.id).await.unwrap();
    let claimer = backend(&server);
    claim_with(&claimer, claim()).await.unwrap().unwrap();
    assert_eq!(secrets(&server).len(), 1);
    claimer.access(&info.id).await.unwrap();
    server.wait_for_requests("watch pods", 3).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    for other in [filler, backend(&server)] {
        let error = other.access(&info.id).await.err().unwrap();
        assert!(matches!(error, Error::Unsupported { .. }), "{error}");
        assert!(
            error.to_string().contains("claimed it from its pool"),
            "{error}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn the_key_of_a_detached_claim_is_stored_read_and_deleted_with_the_sandbox() {
    for fault in [None, Some(Fault::CutAfter), Some(Fault::unavailable())] {
        let server = server();
        let info = create_waiting(&server).await;
        let claimer = backend(&server);
        let claimed = claim_with(&claimer, detached_claim())
            .await
            .unwrap()
            .unwrap();
        if let Some(fault) = fault {
            server.inject("create secrets", fault);
        }
        pools(&claimer)
            .store_claim_key(&info.id, &info.uid)
            .await
            .unwrap();
        assert_eq!(secrets(&server).len(), 2);

        let other = backend(&server);
        let access = other.access(&info.id).await.unwrap();
        assert_eq!(
            access.client_key.public_key().unwrap(),
            claimed.access.client_key.public_key().unwrap()
        );
        assert_eq!(access.host_key, claimed.access.host_key);
        other.delete(&info.id, Default::default()).await.unwrap();
        assert_eq!(server.object_names(), [""; 0]);
    }
}

#[tokio::test(start_paused = true)]
async fn only_the_claimer_stores_a_key() {
    let server = server();
    let info = create_waiting(&server).await;
    let client = backend(&server);
    let store = pools(&client);
    let error = store
        .store_claim_key(&info.id, &info.uid)
        .await
        .unwrap_err();
    assert!(matches!(error, Error::NotFound { .. }), "{error}");
    client.access(&info.id).await.unwrap();
    let error = store
        .store_claim_key(&info.id, &info.uid)
        .await
        .unwrap_err();
    assert!(matches!(error, Error::NotFound { .. }), "{error}");
    let error = store
        .store_claim_key(&info.id, &Uid::new("x"))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::NotFound { .. }), "{error}");

    claim_with(&client, detached_claim())
        .await
        .unwrap()
        .unwrap();
    server.inject_always("create secrets", Fault::Forbidden);
    let error = store
        .store_claim_key(&info.id, &info.uid)
        .await
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("store the key of a claimed sandbox"),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_stored_key_that_does_not_belong_to_the_pod_is_not_used() {
    let server = server();
    let info = create_waiting(&server).await;
    let claimer = backend(&server);
    claim_with(&claimer, detached_claim())
        .await
        .unwrap()
        .unwrap();
    pools(&claimer)
        .store_claim_key(&info.id, &info.uid)
        .await
        .unwrap();
    let word =
        crate::support::pod(&server, &info.id)["metadata"]["annotations"]["sandbox.dev/claim"]
            .as_str()
            .unwrap()
            .to_owned();
    let name = format!("{}-keys-{word}", info.id);
    server.set_garbage_collection(false);
    server.update("secrets", &name, |secret| {
        secret["metadata"]["ownerReferences"][0]["uid"] = json!("another");
    });
    let error = backend(&server).access(&info.id).await.err().unwrap();
    assert!(matches!(error, Error::Backend { .. }), "{error}");
    backend(&server)
        .delete(&info.id, Default::default())
        .await
        .unwrap();
    assert_eq!(
        secrets(&server),
        [format!("secrets/{name}")],
        "it is not deleted either"
    );
}

#[tokio::test(start_paused = true)]
async fn a_sweep_keeps_the_key_of_a_claim_while_its_pod_exists() {
    let server = server();
    let info = create_waiting(&server).await;
    let claimer = backend(&server);
    claim_with(&claimer, detached_claim())
        .await
        .unwrap()
        .unwrap();
    pools(&claimer)
        .store_claim_key(&info.id, &info.uid)
        .await
        .unwrap();
    drop(claimer);
    server.advance_clock(30 * MINUTE);
    assert_eq!(
        sweep_reasons(&server, SweepOptions::default()).await,
        [""; 0]
    );
    assert_eq!(secrets(&server).len(), 2);
    server.set_garbage_collection(false);
    server.remove("pods", info.id.as_str());
    let reasons = sweep_reasons(&server, SweepOptions::default()).await;
    assert_eq!(reasons, ["its Secret has no Pod"; 2]);
    assert_eq!(server.object_names(), [""; 0]);
}
