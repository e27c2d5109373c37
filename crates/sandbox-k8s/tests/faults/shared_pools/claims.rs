//! Claims without faults.

use std::collections::HashSet;
use std::time::Duration;

use sandbox_core::{Endpoint, Error, Freshness, PoolMemberState, SandboxBackend};
use sandbox_testkit::apiserver::Fault;
use serde_json::json;

use super::support::{claim, claim_one, claim_with, create_member, create_waiting, pools, state};
use crate::support::{backend, pod, server, start_watch};

#[tokio::test(start_paused = true)]
async fn a_claim_is_one_patch_and_one_read_of_the_keys() {
    let server = server();
    let info = create_waiting(&server).await;
    let claimer = backend(&server);
    start_watch(&server, &claimer).await;
    server.clear_requests();
    let mut claim = claim();
    let new_key = claim.client_key.public.clone();
    claim.labels.insert("team".into(), "ml".into());
    claim.annotations.insert("owner".into(), "Ada".into());
    claim.ttl = Some(Duration::from_secs(60));
    claim.max_lifetime = Some(Duration::from_secs(600));
    let claimed = claim_with(&claimer, claim).await.unwrap().unwrap();
    let mut kinds: Vec<_> = server
        .requests()
        .iter()
        .map(|request| request.kind())
        .collect();
    kinds.sort();
    assert_eq!(kinds, ["get secrets", "patch pods"]);

    assert_eq!((&claimed.info.id, &claimed.info.uid), (&info.id, &info.uid));
    assert_eq!(claimed.info.labels["team"], "ml");
    assert_eq!(claimed.info.annotations["owner"], "Ada");
    assert_eq!(
        claimed.info.pool.as_ref().unwrap().state,
        PoolMemberState::Taken
    );
    assert!(claimed.info.expires_at < info.expires_at);
    assert_eq!(claimed.access.client_key.public_key().unwrap(), new_key);
    assert_ne!(
        claimed.first_access.client_key.public_key().unwrap(),
        new_key
    );
    assert_eq!(claimed.access.host_key, claimed.first_access.host_key);
    assert!(matches!(&claimed.access.endpoint, Endpoint::Pod { uid, .. } if *uid == info.uid));
    let access = claimer.access(&info.id).await.unwrap();
    assert_eq!(access.client_key.public_key().unwrap(), new_key);

    let pod = pod(&server, &info.id);
    assert_eq!(pod["metadata"]["labels"]["team"], "ml");
    let annotations = &pod["metadata"]["annotations"];
    assert_eq!(
        annotations["cluster-autoscaler.kubernetes.io/safe-to-evict"],
        "false"
    );
    assert!(pod["spec"]["activeDeadlineSeconds"].as_u64().unwrap() <= 601);
}

#[tokio::test(start_paused = true)]
async fn the_one_that_fills_is_not_claimed_and_none_is_taken_twice() {
    let server = server();
    assert!(claim_one(&server).await.is_none());
    let (filler, filling) = create_member(&server).await;
    assert_eq!(
        filling.pool.as_ref().unwrap().state,
        PoolMemberState::Filling
    );
    assert!(claim_one(&server).await.is_none());
    assert!(
        pools(&filler)
            .offer(&filling.id, &filling.uid)
            .await
            .unwrap()
    );
    assert_eq!(state(&server, &filling), PoolMemberState::Waiting);
    assert!(claim_one(&server).await.is_some());
    assert_eq!(state(&server, &filling), PoolMemberState::Taken);
    assert!(claim_one(&server).await.is_none());
}

/// Its filler has connected to it already.
#[tokio::test(start_paused = true)]
async fn one_whose_start_the_kubelet_has_not_reported_is_claimed() {
    let server = server();
    let info = create_waiting(&server).await;
    server.update("pods", info.id.as_str(), |pod| {
        pod["status"] = json!({"phase": "Pending", "podIP": pod["status"]["podIP"]});
    });
    assert_eq!(claim_one(&server).await.unwrap().info.id, info.id);
}

#[tokio::test(start_paused = true)]
async fn what_the_watch_shows_as_lost_is_not_asked_for() {
    let server = server();
    let info = create_waiting(&server).await;
    let late = backend(&server);
    start_watch(&server, &late).await;
    server.inject("patch pods", Fault::Delay(Duration::from_secs(5)));
    server.clear_requests();
    let (lost, won) = tokio::join!(claim_with(&late, claim()), async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        claim_one(&server).await
    });
    assert!(lost.unwrap().is_none());
    assert_eq!(won.unwrap().info.id, info.id);
    assert_eq!(server.count_requests("patch pods"), 2);
    assert_eq!(server.count_requests("get pods"), 0);
}

#[tokio::test(start_paused = true)]
async fn claims_at_once_get_a_sandbox_each() {
    let server = server();
    for _ in 0..12 {
        create_waiting(&server).await;
    }
    // Eight claims of two processes.
    let clients = [backend(&server), backend(&server)];
    let claims = (0..8).map(|number| claim_with(&clients[number % 2], claim()));
    let claimed = futures_util::future::join_all(claims).await;
    let ids: HashSet<_> = claimed
        .into_iter()
        .map(|claimed| claimed.unwrap().unwrap().info.id)
        .collect();
    assert_eq!(ids.len(), 8);
}

#[tokio::test(start_paused = true)]
async fn a_claim_in_one_process_does_not_get_in_the_way_of_another_there() {
    let server = server();
    for _ in 0..8 {
        create_waiting(&server).await;
    }
    let client = backend(&server);
    start_watch(&server, &client).await;
    for _ in 0..8 {
        claim_with(&client, claim()).await.unwrap().unwrap();
    }
    assert_eq!(
        server.count_requests("patch pods"),
        8 + 8,
        "with the offers"
    );
}

#[tokio::test(start_paused = true)]
async fn another_pool_is_another_pool() {
    let server = server();
    create_waiting(&server).await;
    let mut other = claim();
    other.name = "other".parse().unwrap();
    assert!(
        claim_with(&backend(&server), other)
            .await
            .unwrap()
            .is_none()
    );
}

#[tokio::test(start_paused = true)]
async fn an_impossible_claim_is_refused_before_a_request_or_says_what_is_possible() {
    let server = server();
    create_waiting(&server).await;
    server.clear_requests();
    let mut reserved = claim();
    reserved
        .labels
        .insert("sandbox.dev/pool-state".into(), "waiting".into());
    let mut too_short = claim();
    too_short.ttl = Some(Duration::ZERO);
    let mut ttl_beyond = claim();
    ttl_beyond.ttl = Some(Duration::from_secs(60));
    ttl_beyond.max_lifetime = Some(Duration::from_secs(30));
    for claim in [reserved, too_short, ttl_beyond] {
        let error = claim_with(&backend(&server), claim).await.err().unwrap();
        assert!(matches!(error, Error::Invalid { .. }), "{error}");
    }
    assert_eq!(server.requests(), []);

    let mut too_long = claim();
    too_long.max_lifetime = Some(Duration::from_secs(7200));
    let error = claim_with(&backend(&server), too_long).await.err().unwrap();
    assert!(
        error.to_string().contains("end in 3600s at the latest"),
        "{error}"
    );
    assert!(claim_one(&server).await.is_some());
}

#[tokio::test(start_paused = true)]
async fn one_past_its_end_is_not_claimed_by_the_clock_of_the_api_server() {
    let server = server();
    create_waiting(&server).await;
    server.advance_clock(Duration::from_secs(3601));
    assert!(claim_one(&server).await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_claimed_sandbox_is_described_and_deleted_as_any_other() {
    let server = server();
    create_waiting(&server).await;
    let client = backend(&server);
    let claimed = claim_with(&client, claim()).await.unwrap().unwrap();
    let id = &claimed.info.id;
    let info = client.get(id, Freshness::Latest).await.unwrap();
    assert_eq!(info.pool, claimed.info.pool);
    client.extend(id, Duration::from_secs(30)).await.unwrap();
    client.delete(id, Default::default()).await.unwrap();
    assert_eq!(server.object_names(), [""; 0]);
}
