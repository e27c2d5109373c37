//! What the process does that fills a pool.

use std::time::Duration;

use sandbox_core::{Error, PoolMemberState, SandboxBackend};
use sandbox_k8s::options::{ImageServer, Injection};
use sandbox_testkit::apiserver::Fault;

use super::support::{claim_one, create_member, create_waiting, name, pools, state};
use crate::support::{backend, backend_with, options, pod, server, spec, start_watch};

#[tokio::test(start_paused = true)]
async fn an_offer_or_a_withdrawal_whose_response_is_lost_succeeds() {
    for fault in [Fault::CutAfter, Fault::CutBefore, Fault::lost_response()] {
        let server = server();
        let (filler, info) = create_member(&server).await;
        let pools = pools(&filler);
        server.inject("patch pods", fault.clone());
        assert!(pools.offer(&info.id, &info.uid).await.unwrap(), "{fault:?}");
        assert_eq!(state(&server, &info), PoolMemberState::Waiting);
        server.inject("patch pods", fault.clone());
        assert!(
            pools.withdraw(&info.id, &info.uid).await.unwrap(),
            "{fault:?}"
        );
        assert_eq!(state(&server, &info), PoolMemberState::Draining);
        assert!(pools.withdraw(&info.id, &info.uid).await.unwrap(), "again");
        assert!(!pools.offer(&info.id, &info.uid).await.unwrap(), "too late");
        assert!(claim_one(&server).await.is_none());
    }
}

/// The watch of the filler has not shown the claim yet.
#[tokio::test(start_paused = true)]
async fn a_withdrawal_leaves_alone_what_was_claimed() {
    let server = server();
    let info = create_waiting(&server).await;
    let filler = backend(&server);
    server.inject_always("watch pods", Fault::DelayEvents(Duration::from_secs(60)));
    start_watch(&server, &filler).await;
    assert!(claim_one(&server).await.is_some());
    assert!(!pools(&filler).withdraw(&info.id, &info.uid).await.unwrap());
    assert_eq!(state(&server, &info), PoolMemberState::Taken);
}

#[tokio::test(start_paused = true)]
async fn one_that_fills_can_be_withdrawn_and_one_that_is_gone_cannot() {
    let server = server();
    let (filler, info) = create_member(&server).await;
    let pools = pools(&filler);
    assert!(pools.withdraw(&info.id, &info.uid).await.unwrap());
    let other = sandbox_core::Uid::new("another");
    assert!(!pools.withdraw(&info.id, &other).await.unwrap());
    assert!(!pools.offer(&info.id, &other).await.unwrap());
    server.remove("pods", info.id.as_str());
    assert!(!pools.offer(&info.id, &info.uid).await.unwrap());
    assert!(!pools.withdraw(&info.id, &info.uid).await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn members_are_listed_oldest_first_also_without_a_watch() {
    let server = server();
    let first = create_waiting(&server).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let second = create_waiting(&server).await;
    crate::support::create_running(&server).await;
    let client = backend(&server);
    server.inject_always("watch pods", Fault::Forbidden);
    for _ in 0..2 {
        let listed = pools(&client).members(Some(name())).await.unwrap();
        let ids: Vec<_> = listed.iter().map(|info| &info.id).collect();
        assert_eq!(ids, [&first.id, &second.id]);
        tokio::time::sleep(Duration::from_secs(60)).await;
    }
    let all = pools(&client).members(None).await.unwrap();
    assert_eq!(all.len(), 2);
    let other = pools(&client).members(Some("other".parse().unwrap())).await;
    assert_eq!(other.unwrap().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_filler_sees_a_claim_and_not_the_changes_of_other_sandboxes() {
    let server = server();
    let info = create_waiting(&server).await;
    let other = crate::support::create_running(&server).await;
    let filler = backend(&server);
    let pools = pools(&filler);
    start_watch(&server, &filler).await;
    let mut seen = pools.wait_for_change(0).await;
    seen = tokio::time::timeout(Duration::from_secs(30), pools.wait_for_change(seen))
        .await
        .unwrap_or(seen);
    server.update("pods", other.id.as_str(), |pod| {
        pod["metadata"]["labels"]["a"] = "b".into();
    });
    let changed = tokio::time::timeout(Duration::from_secs(600), pools.wait_for_change(seen)).await;
    assert!(changed.is_err(), "nothing has changed");
    let claimer = backend(&server);
    let claiming = super::support::claim_with(&claimer, super::support::claim());
    let (claimed, _) = tokio::join!(claiming, pools.wait_for_change(seen));
    claimed.unwrap().unwrap();
    let members = pools.members(Some(name())).await.unwrap();
    assert_eq!(members[0].id, info.id);
    assert_eq!(
        members[0].pool.as_ref().unwrap().state,
        PoolMemberState::Taken
    );
}

#[tokio::test(start_paused = true)]
async fn without_a_watch_a_filler_looks_again_every_few_seconds() {
    let server = server();
    let filler = backend(&server);
    server.inject_always("watch pods", Fault::Forbidden);
    server.inject_always("list pods", Fault::Forbidden);
    let pools = pools(&filler);
    let mut seen = 0;
    for _ in 0..5 {
        let waited = pools.wait_for_change(seen);
        seen = tokio::time::timeout(Duration::from_secs(6), waited)
            .await
            .unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_member_is_attached_has_its_pool_in_its_pod_and_in_its_secret_and_no_owner_lease() {
    let server = server();
    let mut leased = options();
    leased.owner_lease = Some(Duration::from_secs(60));
    let filler = backend_with(&server, leased);
    let mut spec = spec().1;
    spec.pool = Some(name());
    let key = pools(&filler).key(&spec).await.unwrap();
    let info = filler.create(spec.clone()).await.unwrap();
    assert_eq!(
        server.count_requests("create leases"),
        0,
        "a claimed one outlives the filler"
    );
    let member = info.pool.unwrap();
    assert_eq!(
        (member.name, &member.key, member.state),
        (name(), &key, PoolMemberState::Filling)
    );
    let pod = pod(&server, &info.id);
    let env = pod["spec"]["containers"][0]["env"].as_array().unwrap();
    let variable = env
        .iter()
        .find(|one| one["name"] == "SANDBOX_SSHD_POOL")
        .unwrap();
    assert_eq!(variable["value"], format!("ci/{key}"));
    assert_eq!(
        pod["metadata"]["annotations"]["cluster-autoscaler.kubernetes.io/safe-to-evict"],
        "true"
    );

    spec.id = Some("other".parse().unwrap());
    spec.lifetime.attach_timeout = None;
    let error = filler.create(spec.clone()).await.unwrap_err();
    assert!(matches!(error, Error::Invalid { .. }), "{error}");
    spec.lifetime.attach_timeout = Some(Duration::from_secs(60));
    let mut image_sshd = options();
    let mut own = ImageServer::default();
    (own.user, own.port) = ("app".into(), 2222);
    image_sshd.injection = Injection::Image(own);
    let error = backend_with(&server, image_sshd)
        .create(spec)
        .await
        .unwrap_err();
    assert!(!matches!(error, Error::Creation(_)), "{error}");
}
