//! Which process fills a pool.

use std::time::Duration;

use sandbox_core::{Error, PoolKey, PoolLead, SharedPools};
use sandbox_testkit::apiserver::{ApiServer, Fault};
use serde_json::{Value, json};

use super::support::{name, pools};
use crate::support::{backend, server};

const LEASE: &str = "sandbox-pool-ci";

fn key() -> PoolKey {
    "0123456789abcdef".parse().unwrap()
}

fn lease(server: &ApiServer) -> Value {
    server.object("leases", LEASE).unwrap()
}

async fn lead(pools: &dyn SharedPools) -> Box<dyn PoolLead> {
    let (name, key) = (name(), key());
    let leading = pools.lead(&name, &key);
    let lead = tokio::time::timeout(Duration::from_secs(3600), leading).await;
    lead.unwrap().unwrap()
}

/// Whether `pools` gets the Lease within this time.
async fn leads_within(pools: &dyn SharedPools, seconds: u64) -> Option<Box<dyn PoolLead>> {
    let (name, key) = (name(), key());
    let leading = pools.lead(&name, &key);
    let lead = tokio::time::timeout(Duration::from_secs(seconds), leading).await;
    lead.ok().map(Result::unwrap)
}

#[tokio::test(start_paused = true)]
async fn one_process_leads_while_it_renews_and_another_follows_at_once_when_it_gives_up() {
    let server = server();
    let [one, other] = [pools(&backend(&server)), pools(&backend(&server))];
    let first = lead(&*one).await;
    assert_eq!(
        lease(&server)["metadata"]["annotations"]["sandbox.dev/pool-key"],
        key().as_str()
    );
    assert!(leads_within(&*other, 600).await.is_none());
    assert!(first.is_held());
    let leaders = other.leaders().await.unwrap();
    assert_eq!(leaders.len(), 1);
    assert!(
        leaders[0].is_current && leaders[0].holder.is_some(),
        "{leaders:?}"
    );
    assert_eq!((&leaders[0].name, &leaders[0].key), (&name(), &Some(key())));

    first.release().await.unwrap();
    assert!(!first.is_held());
    first.wait_until_lost().await;
    let leaders = other.leaders().await.unwrap();
    assert!(
        !leaders[0].is_current && leaders[0].holder.is_none(),
        "{leaders:?}"
    );
    let second = leads_within(&*other, 6).await.unwrap();
    assert!(second.is_held());
    assert!(first.release().await.is_ok(), "it gives up only its own");
    assert!(second.is_held() && leads_within(&*one, 60).await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_process_that_was_killed_is_followed_after_the_lease_has_expired() {
    let server = server();
    let (one, other) = (pools(&backend(&server)), pools(&backend(&server)));
    drop(lead(&*one).await);
    // Clocks do not count, neither that of the API server nor the time in the Lease.
    server.advance_clock(Duration::from_secs(3600));
    assert!(leads_within(&*other, 14).await.is_none());
    assert!(leads_within(&*other, 21).await.is_some());
}

#[tokio::test(start_paused = true)]
async fn the_holder_stops_before_another_begins() {
    let server = server();
    let (one, other) = (pools(&backend(&server)), pools(&backend(&server)));
    let first = lead(&*one).await;
    let following = lead(&*other);
    let cut_off = async {
        // The renewals of the holder do not arrive any more.
        server.inject_always("patch leases", Fault::CutBefore);
        first.wait_until_lost().await;
        assert!(!first.is_held());
        server.clear_faults();
    };
    let (second, ()) = tokio::join!(following, cut_off);
    assert!(second.is_held() && !first.is_held());
}

#[tokio::test(start_paused = true)]
async fn a_holder_survives_lost_responses_and_short_outages() {
    let server = server();
    let one = pools(&backend(&server));
    server.inject("create leases", Fault::CutAfter);
    let first = lead(&*one).await;
    for fault in [
        Fault::CutAfter,
        Fault::CutBefore,
        Fault::unavailable(),
        Fault::refuse(409, "Conflict", "the object has been modified"),
        Fault::Delay(Duration::from_secs(3)),
    ] {
        server.inject("patch leases", fault.clone());
        tokio::time::sleep(Duration::from_secs(20)).await;
        assert!(first.is_held(), "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_is_deleted_or_taken_is_lost() {
    for is_deleted in [true, false] {
        let server = server();
        let one = pools(&backend(&server));
        let first = lead(&*one).await;
        if is_deleted {
            server.remove("leases", LEASE);
        } else {
            server.update("leases", LEASE, |lease| {
                lease["spec"]["holderIdentity"] = json!("another");
            });
        }
        let lost = tokio::time::timeout(Duration::from_secs(6), first.wait_until_lost()).await;
        assert!(lost.is_ok() && !first.is_held(), "deleted: {is_deleted}");
    }
}

#[tokio::test(start_paused = true)]
async fn waiting_for_the_lease_outlasts_an_outage_but_not_a_missing_permission() {
    let server = server();
    let one = pools(&backend(&server));
    server.set_unreachable(true);
    assert!(leads_within(&*one, 120).await.is_none());
    server.set_unreachable(false);
    assert!(leads_within(&*one, 10).await.is_some());

    server.remove("leases", LEASE);
    for kind in ["get leases", "create leases"] {
        let other = pools(&backend(&server));
        server.clear_faults();
        server.inject_always(kind, Fault::Forbidden);
        tokio::time::sleep(Duration::from_secs(60)).await;
        let error = other.lead(&name(), &key()).await.err().unwrap();
        assert!(
            error.to_string().contains("no permission"),
            "{kind}: {error}"
        );
        assert!(!error.to_string().contains("sandbox ci"), "{kind}: {error}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_lease_of_somebody_else_is_neither_taken_nor_deleted() {
    let server = server();
    let one = pools(&backend(&server));
    let foreign = json!({"metadata": {"name": LEASE}, "spec": {"holderIdentity": "x"}});
    server.insert("leases", foreign);
    for error in [
        one.lead(&name(), &key()).await.err().unwrap(),
        one.remove(&name()).await.err().unwrap(),
    ] {
        assert!(matches!(error, Error::Config { .. }), "{error}");
    }
    assert_eq!(one.leaders().await.unwrap(), []);
    assert!(server.object("leases", LEASE).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_pool_is_removed_with_its_lease() {
    let server = server();
    let one = pools(&backend(&server));
    assert!(!one.remove(&name()).await.unwrap());
    lead(&*one).await.release().await.unwrap();
    assert!(one.remove(&name()).await.unwrap());
    assert_eq!(server.object_names(), [""; 0]);
}
