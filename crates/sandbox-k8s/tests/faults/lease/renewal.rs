//! A holder renews its Lease, whatever happens to the requests.

use std::time::Duration;

use sandbox_core::{Freshness, SandboxBackend, SweepOptions};
use sandbox_testkit::apiserver::Fault;
use serde_json::json;

use super::{LASTS, holder, leases, renew_time};
use crate::support::{backend, create_sandbox, server, spec, spec_with, start_watch};

#[tokio::test(start_paused = true)]
async fn a_lease_is_renewed_by_the_servers_clock_despite_lost_responses() {
    let server = server();
    let holder = holder(&server);
    let (id, mut spec) = spec();
    spec.lifetime.ttl = None;
    holder.create(spec).await.unwrap();
    let watcher = backend(&server);
    start_watch(&server, &watcher).await;
    for fault in [
        Fault::lost_response(),
        Fault::CutAfter,
        Fault::CutBefore,
        Fault::unavailable(),
        Fault::too_many_requests(5),
        Fault::DelayResponse(Duration::from_secs(10)),
    ] {
        server.inject_times("patch leases", 2, fault);
        tokio::time::sleep(4 * LASTS).await;
        let [lease] = &leases(&server)[..] else {
            panic!("{:?}", server.object_names())
        };
        let age = server
            .current_time()
            .duration_since(renew_time(lease))
            .unwrap_or_default();
        assert!(age < LASTS, "{age:?}");
        backend(&server)
            .sweep(SweepOptions::default())
            .await
            .unwrap();
    }
    // The server's clock jumps by five minutes: renewals continue from there.
    server.advance_clock(Duration::from_secs(300));
    tokio::time::sleep(LASTS / 3 + Duration::from_secs(1)).await;
    assert!(
        server
            .current_time()
            .duration_since(renew_time(&leases(&server)[0]))
            .unwrap_or_default()
            < LASTS
    );
    assert_eq!(watcher.get(&id, Freshness::Cached).await.unwrap().id, id);
}

#[tokio::test(start_paused = true)]
async fn a_lease_renewed_during_a_sweep_is_not_deleted() {
    let server = server();
    let holder = holder(&server);
    create_sandbox(&holder).await;
    server.inject("delete leases", Fault::Delay(Duration::from_secs(5)));
    server.inject_always("patch leases", Fault::Forbidden);
    server.advance_clock(LASTS + Duration::from_secs(5));
    let client = backend(&server);
    let renewal = async {
        server.wait_for_requests("delete leases", 1).await;
        let name = leases(&server)[0]["metadata"]["name"]
            .as_str()
            .unwrap()
            .to_owned();
        server.update("leases", &name, |lease| {
            lease["spec"]["leaseDurationSeconds"] = json!(61)
        });
    };
    let (report, ()) = tokio::join!(client.sweep(SweepOptions::default()), renewal);
    assert!(report.unwrap().removed.is_empty());
    assert_eq!(server.object_names().len(), 3);
}

/// The holder may have just begun to wait when the server's clock jumps, and its next renewal may
/// take two attempts.
#[tokio::test(start_paused = true)]
async fn a_lease_is_not_deleted_before_its_holder_had_time_to_renew() {
    for swept in [true, false] {
        let server = server();
        let holder = holder(&server);
        holder
            .create(spec_with(|lifetime| lifetime.ttl = None).1)
            .await
            .unwrap();
        let client = backend(&server);
        start_watch(&server, &client).await;
        let renewals = server.count_requests("patch leases");
        server.wait_for_requests("patch leases", renewals + 1).await;
        server.advance_clock(Duration::from_secs(300));
        server.inject("patch leases", Fault::Delay(Duration::from_secs(7)));
        if swept {
            assert!(
                client
                    .sweep(SweepOptions::default())
                    .await
                    .unwrap()
                    .removed
                    .is_empty()
            );
        }
        tokio::time::sleep(3 * LASTS).await;
        assert_eq!(server.object_names().len(), 3, "swept: {swept}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_refused_renewal_is_retried_and_loses_no_sandbox() {
    for fault in [
        Fault::refuse(
            409,
            "Conflict",
            "admission webhook \"w\" denied the request: not now",
        ),
        Fault::refuse(
            409,
            "Conflict",
            "Operation cannot be fulfilled: the object has been modified",
        ),
        Fault::refuse(422, "Invalid", "spec.renewTime: Invalid value"),
    ] {
        let server = server();
        let holder = holder(&server);
        create_sandbox(&holder).await;
        server.inject_times("patch leases", 3, fault.clone());
        tokio::time::sleep(LASTS).await;
        let [lease] = &leases(&server)[..] else {
            panic!("{:?}", server.object_names())
        };
        let age = server
            .current_time()
            .duration_since(renew_time(lease))
            .unwrap_or_default();
        assert!(age < LASTS, "{fault:?}: {age:?}");
        create_sandbox(&holder).await;
        assert_eq!(server.count_requests("create leases"), 1, "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_took_the_name_is_not_adopted() {
    let server = server();
    let holder = holder(&server);
    create_sandbox(&holder).await;
    let name = leases(&server)[0]["metadata"]["name"]
        .as_str()
        .unwrap()
        .to_owned();
    let mut other = server.remove("leases", &name).unwrap();
    other["metadata"]["uid"] = json!("another");
    server.insert("leases", other);
    tokio::time::sleep(LASTS).await;
    create_sandbox(&holder).await;
    assert_eq!(server.count_requests("create leases"), 2);
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_the_api_server_deletes_no_sandbox() {
    let server = server();
    let holder = holder(&server);
    holder
        .create(spec_with(|lifetime| lifetime.ttl = None).1)
        .await
        .unwrap();
    for client in 0..2 {
        for what in [
            "patch leases",
            "list leases",
            "delete leases",
            "watch pods",
            "list pods",
        ] {
            server.inject_always(what, Fault::CutBefore);
        }
        server.cut_watches();
        tokio::time::sleep(5 * LASTS).await;
        let age = server
            .current_time()
            .duration_since(renew_time(&leases(&server)[0]))
            .unwrap();
        assert!(age > LASTS, "{age:?}");
        server.clear_faults();
        let watcher = backend(&server);
        match client {
            0 => assert!(
                watcher
                    .sweep(SweepOptions::default())
                    .await
                    .unwrap()
                    .removed
                    .is_empty()
            ),
            _ => start_watch(&server, &watcher).await,
        }
        tokio::time::sleep(3 * LASTS).await;
        assert_eq!(server.object_names().len(), 3);
    }
}
