//! Claims whose requests fail.

use std::time::Duration;

use sandbox_core::{Error, PoolMemberState, SandboxBackend};
use sandbox_testkit::apiserver::Fault;
use serde_json::json;

use super::support::{
    claim, claim_one, claim_with, create_waiting, pools, state, wait_until_deleted,
};
use crate::support::{backend, pod, server, start_watch, without_waiting};

fn conflict() -> Fault {
    Fault::refuse(409, "Conflict", "the object has been modified")
}

fn failed_test() -> Fault {
    Fault::refuse(
        422,
        "Invalid",
        "the server rejected our request due to an error in our request",
    )
}

#[tokio::test(start_paused = true)]
async fn a_claim_whose_response_is_lost_is_recognised() {
    for fault in [Fault::CutAfter, Fault::lost_response()] {
        let server = server();
        let [one, other] = [create_waiting(&server).await, create_waiting(&server).await];
        server.inject("patch pods", fault.clone());
        let claimed = claim_one(&server).await.unwrap();
        let states = [state(&server, &one), state(&server, &other)];
        assert_eq!(
            states
                .iter()
                .filter(|state| **state == PoolMemberState::Taken)
                .count(),
            1
        );
        let taken = pod(&server, &claimed.info.id);
        assert_eq!(
            taken["metadata"]["labels"]["sandbox.dev/pool-state"], "taken",
            "{fault:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_claim_that_did_not_arrive_is_repeated() {
    let server = server();
    create_waiting(&server).await;
    server.inject("patch pods", Fault::CutBefore);
    assert!(claim_one(&server).await.is_some());
}

#[tokio::test(start_paused = true)]
async fn a_conflict_without_a_reason_does_not_lose_the_sandbox() {
    for fault in [conflict(), failed_test()] {
        let server = server();
        create_waiting(&server).await;
        server.inject("patch pods", fault);
        assert!(claim_one(&server).await.is_some());
    }
}

#[tokio::test(start_paused = true)]
async fn an_api_server_that_refuses_every_claim_is_not_an_empty_pool() {
    for fault in [conflict(), failed_test()] {
        let server = server();
        let info = create_waiting(&server).await;
        server.inject_always("patch pods", fault);
        let error = claim_with(&backend(&server), claim()).await.err().unwrap();
        assert!(error.to_string().contains("admission webhooks"), "{error}");
        assert_eq!(state(&server, &info), PoolMemberState::Waiting);
    }
}

#[tokio::test(start_paused = true)]
async fn a_missing_permission_is_named() {
    let server = server();
    create_waiting(&server).await;
    server.inject_always("patch pods", Fault::Forbidden);
    let error = claim_with(&backend(&server), claim()).await.err().unwrap();
    assert!(
        error.to_string().contains("no permission to patch pods"),
        "{error}"
    );
}

/// The watch of the claimer still shows the sandbox as waiting.
#[tokio::test(start_paused = true)]
async fn a_stale_watch_costs_an_attempt_and_no_sandbox() {
    let server = server();
    let first = create_waiting(&server).await;
    let late = backend(&server);
    server.inject_always("watch pods", Fault::DelayEvents(Duration::from_secs(60)));
    start_watch(&server, &late).await;
    assert_eq!(claim_one(&server).await.unwrap().info.id, first.id);
    server.clear_requests();
    assert!(claim_with(&late, claim()).await.unwrap().is_none());
    assert_eq!(server.count_requests("patch pods"), 1);
    let annotation =
        pod(&server, &first.id)["metadata"]["annotations"]["sandbox.dev/claim"].clone();
    assert!(annotation.is_string());
}

#[tokio::test(start_paused = true)]
async fn one_that_is_deleted_or_evicted_between_the_look_and_the_claim_is_passed_over() {
    for is_evicted in [false, true] {
        let server = server();
        let (lost, kept) = (create_waiting(&server).await, create_waiting(&server).await);
        let claimer = backend(&server);
        server.inject_always("watch pods", Fault::DelayEvents(Duration::from_secs(60)));
        start_watch(&server, &claimer).await;
        if is_evicted {
            // Its state in the pool is unchanged. Nobody can connect to it, so the claimer will delete it.
            server.evict_pod(lost.id.as_str(), "the node was low on memory");
            server.update("pods", lost.id.as_str(), |pod| {
                pod["metadata"]["deletionTimestamp"] = json!("2031-03-01T00:00:00Z");
                pod["metadata"]["labels"]["sandbox.dev/pool-state"] = json!("draining");
            });
        } else {
            server.remove("pods", lost.id.as_str());
        }
        let claimed = claim_with(&claimer, claim()).await.unwrap().unwrap();
        assert_eq!(claimed.info.id, kept.id, "evicted: {is_evicted}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_new_pod_of_the_same_name_is_not_claimed_in_place_of_the_old_one() {
    let server = server();
    let info = create_waiting(&server).await;
    let claimer = backend(&server);
    server.inject_always("watch pods", Fault::DelayEvents(Duration::from_secs(60)));
    start_watch(&server, &claimer).await;
    let mut pod = server.remove("pods", info.id.as_str()).unwrap();
    pod["metadata"]["uid"] = json!("another");
    server.insert("pods", pod);
    assert!(claim_with(&claimer, claim()).await.unwrap().is_none());
    assert_eq!(state(&server, &info), PoolMemberState::Waiting);
}

#[tokio::test(start_paused = true)]
async fn an_api_server_that_goes_away_during_a_claim_leaves_no_sandbox_behind() {
    let server = server();
    let info = create_waiting(&server).await;
    let claimer = backend(&server);
    server.inject_always("watch pods", Fault::DelayEvents(Duration::from_secs(60)));
    start_watch(&server, &claimer).await;
    // The claim is applied, and then nothing is heard any more.
    server.inject_always("patch pods", Fault::CutAfter);
    server.inject_always("get pods", Fault::CutBefore);
    let error = claim_with(&claimer, claim()).await.err().unwrap();
    assert!(error.is_retryable(), "{error}");
    assert_eq!(state(&server, &info), PoolMemberState::Taken);
    server.clear_faults();
    wait_until_deleted(&server, &info).await;
}

#[tokio::test(start_paused = true)]
async fn a_claim_whose_responses_are_all_lost_is_recognised_on_the_watch() {
    let server = server();
    let info = create_waiting(&server).await;
    let claimer = backend(&server);
    start_watch(&server, &claimer).await;
    server.inject_always("patch pods", Fault::CutAfter);
    server.inject_always("get pods", Fault::CutBefore);
    let claimed = claim_with(&claimer, claim()).await.unwrap().unwrap();
    assert_eq!(claimed.info.id, info.id);
}

#[tokio::test(start_paused = true)]
async fn a_claim_that_is_applied_late_is_undone() {
    let server = server();
    let info = create_waiting(&server).await;
    let claimer = backend(&server);
    start_watch(&server, &claimer).await;
    // Each attempt arrives after its sender has given up.
    server.inject_always("patch pods", Fault::Delay(Duration::from_secs(50)));
    let error = claim_with(&claimer, claim()).await.err().unwrap();
    assert!(error.is_retryable(), "{error}");
    assert_eq!(state(&server, &info), PoolMemberState::Waiting);
    wait_until_deleted(&server, &info).await;
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_claim_leaves_no_sandbox_behind() {
    let server = server();
    let info = create_waiting(&server).await;
    let claimer = backend(&server);
    start_watch(&server, &claimer).await;
    server.inject("patch pods", Fault::DelayResponse(Duration::from_secs(5)));
    let claiming = claim_with(&claimer, claim());
    let cancelled = tokio::time::timeout(Duration::from_secs(1), claiming).await;
    assert!(cancelled.is_err());
    assert_eq!(state(&server, &info), PoolMemberState::Taken);
    wait_until_deleted(&server, &info).await;
    server
        .wait_until(|server| server.object_names().is_empty())
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_sandbox_whose_keys_cannot_be_read_is_deleted_again() {
    let server = server();
    let info = create_waiting(&server).await;
    server.inject_always("get secrets", Fault::Forbidden);
    let claimer = backend(&server);
    let error = claim_with(&claimer, claim()).await.err().unwrap();
    assert!(
        error.to_string().contains("no permission to get secrets"),
        "{error}"
    );
    wait_until_deleted(&server, &info).await;
}

#[tokio::test(start_paused = true)]
async fn a_claim_while_the_sandbox_is_withdrawn_loses() {
    let server = server();
    let info = create_waiting(&server).await;
    let (filler, claimer) = (backend(&server), backend(&server));
    server.inject_always("watch pods", Fault::DelayEvents(Duration::from_secs(60)));
    start_watch(&server, &claimer).await;
    assert!(pools(&filler).withdraw(&info.id, &info.uid).await.unwrap());
    assert!(claim_with(&claimer, claim()).await.unwrap().is_none());
    filler.delete(&info.id, without_waiting()).await.unwrap();
    let error = pools(&filler).withdraw(&info.id, &info.uid).await;
    assert!(
        matches!(error, Ok(false) | Err(Error::NotFound { .. })),
        "{error:?}"
    );
}
