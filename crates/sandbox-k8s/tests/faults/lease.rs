//! The Lease of a long-lived process: what it owns goes with it.

use std::time::{Duration, SystemTime};

use sandbox_core::{
    CreationReason, DeleteOptions, Error, Freshness, SandboxBackend, SandboxInfo, SweepOptions,
};
use sandbox_k8s::KubernetesBackend;
use sandbox_testkit::apiserver::{ApiServer, Fault};
use serde_json::{Value, json};

use crate::support::{
    Warnings, backend, backend_with, make, options, secret_name, server, spec, spec_with, watching,
};

const LASTS: Duration = Duration::from_secs(60);

fn holder(server: &ApiServer) -> KubernetesBackend {
    let mut options = options();
    options.owner_lease = Some(LASTS);
    backend_with(server, options)
}

fn leases(server: &ApiServer) -> Vec<Value> {
    let names = server.object_names();
    let names = names.iter().filter_map(|name| name.strip_prefix("leases/"));
    names
        .map(|name| server.object("leases", name).unwrap())
        .collect()
}

fn renewed(lease: &Value) -> SystemTime {
    let text = lease["spec"]["renewTime"].as_str().unwrap();
    SystemTime::from(text.parse::<jiff::Timestamp>().unwrap())
}

/// Makes sandboxes in a process that is then killed: nothing of it goes on, nothing is tidied up.
fn killed_after(server: &ApiServer, make: impl AsyncFnOnce(&KubernetesBackend) + Send + 'static) {
    let server = server.clone();
    let process = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        let backend = runtime.block_on(async { holder(&server) });
        runtime.block_on(make(&backend));
        drop(runtime);
        drop(backend);
    });
    process.join().unwrap();
}

#[tokio::test(start_paused = true)]
async fn one_lease_owns_all_attached_sandboxes_and_nothing_detached() {
    let server = server();
    let backend = holder(&server);
    let made = futures_util::future::join_all((0..10).map(|_| make(&backend))).await;
    let (detached, spec) = spec_with(|lifetime| lifetime.attach_timeout = None);
    backend.create(spec).await.unwrap();
    let [lease] = &leases(&server)[..] else {
        panic!("{:?}", server.object_names())
    };
    for SandboxInfo { id, .. } in &made {
        let secret = server.object("secrets", &secret_name(id)).unwrap();
        let owner = json!([{
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "name": lease["metadata"]["name"], "uid": lease["metadata"]["uid"],
        }]);
        assert_eq!(secret["metadata"]["ownerReferences"], owner);
        let pod = server.object("pods", id.as_str()).unwrap();
        assert_eq!(pod["metadata"]["ownerReferences"][0]["kind"], "Secret");
        backend.delete(id, DeleteOptions::default()).await.unwrap();
    }
    let secret = server.object("secrets", &secret_name(&detached)).unwrap();
    assert!(secret["metadata"].get("ownerReferences").is_none());
    // Four writes for each as ever, the Lease's own apart.
    assert_eq!(
        (server.count_writes(), server.count_reads()),
        (10 * 4 + 2, 0)
    );
    assert_eq!(
        (
            server.count_requests("create leases"),
            server.count_requests("list leases")
        ),
        (1, 0)
    );
}

#[tokio::test(start_paused = true)]
async fn a_lease_is_made_at_the_first_create_and_goes_with_the_last_clone() {
    let server = server();
    let backend = holder(&server);
    watching(&server, &backend).await;
    assert_eq!(leases(&server).len(), 0);
    make(&backend).await;
    let clone = backend.clone();
    drop(backend);
    tokio::time::sleep(5 * LASTS).await;
    assert_eq!(server.object_names().len(), 3);
    drop(clone);
    server
        .wait_until(|server| server.object_names().is_empty())
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_lease_is_renewed_by_the_servers_clock_whatever_happens_to_the_answers() {
    let server = server();
    let holder = holder(&server);
    let (id, mut spec) = spec();
    spec.lifetime.ttl = None;
    holder.create(spec).await.unwrap();
    let watcher = backend(&server);
    watching(&server, &watcher).await;
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
            .duration_since(renewed(lease))
            .unwrap_or_default();
        assert!(age < LASTS, "{age:?}");
        backend(&server)
            .sweep(SweepOptions::default())
            .await
            .unwrap();
    }
    // The server's clock is put right by a day: renewals go on from there.
    server.advance_clock(Duration::from_secs(300));
    tokio::time::sleep(LASTS / 3 + Duration::from_secs(1)).await;
    assert!(
        server
            .current_time()
            .duration_since(renewed(&leases(&server)[0]))
            .unwrap_or_default()
            < LASTS
    );
    assert_eq!(watcher.get(&id, Freshness::Cached).await.unwrap().id, id);
}

#[tokio::test(start_paused = true)]
async fn what_a_killed_process_left_goes_when_its_lease_has_expired() {
    for swept in [true, false] {
        for step in ["create secrets", "create pods", "watch pods"] {
            let server = server();
            let other = make(&backend(&server)).await;
            let seen = server.clone();
            killed_after(&server, async move |backend| {
                // Killed in the middle of a create, or after two.
                if step == "watch pods" {
                    make(backend).await;
                    make(backend).await;
                    return;
                }
                seen.inject(step, Fault::DelayResponse(Duration::from_secs(20)));
                let before = seen.count_requests(step);
                tokio::select! {
                    biased;
                    () = seen.wait_for_requests(step, before + 1) => tokio::time::sleep(Duration::from_secs(1)).await,
                    _ = make(backend) => panic!("it was to be killed before"),
                }
            });
            let left = server.object_names().len();
            assert!(left > 3, "{step}: {:?}", server.object_names());
            let client = backend(&server);
            if swept {
                let sweep = async |options| client.sweep(options).await.unwrap().removed.len();
                assert_eq!(sweep(SweepOptions::default()).await, 0, "{step}: not yet");
                server.advance_clock(LASTS + Duration::from_secs(5));
                let dry = sweep(SweepOptions::dry_run()).await;
                assert_eq!(
                    (dry, server.object_names().len()),
                    (if step == "watch pods" { 2 } else { 1 }, left),
                    "{step}"
                );
                assert_eq!(sweep(SweepOptions::default()).await, dry, "{step}");
            } else if step == "create secrets" {
                // Nobody who sees only Pods knows of it: that is for a sweep.
                continue;
            } else {
                watching(&server, &client).await;
            }
            let gone = server.wait_until(|server| server.object_names().len() == 2);
            tokio::time::timeout(Duration::from_secs(300), gone)
                .await
                .unwrap_or_else(|_| panic!("{step}: {:?}", server.object_names()));
            assert!(server.object("pods", other.id.as_str()).is_some(), "{step}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_renews_it_meanwhile_is_faster_than_the_sweep() {
    let server = server();
    let holder = holder(&server);
    make(&holder).await;
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

/// It may be at the very beginning of its wait when the server's clock is put right, and its next
/// renewal may have to be tried twice.
#[tokio::test(start_paused = true)]
async fn a_holder_is_given_the_time_that_it_takes_to_renew() {
    for swept in [true, false] {
        let server = server();
        let holder = holder(&server);
        holder
            .create(spec_with(|lifetime| lifetime.ttl = None).1)
            .await
            .unwrap();
        let client = backend(&server);
        watching(&server, &client).await;
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
async fn a_renewal_that_is_refused_is_tried_on_and_loses_nothing() {
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
        make(&holder).await;
        server.inject_times("patch leases", 3, fault.clone());
        tokio::time::sleep(LASTS).await;
        let [lease] = &leases(&server)[..] else {
            panic!("{:?}", server.object_names())
        };
        let age = server
            .current_time()
            .duration_since(renewed(lease))
            .unwrap_or_default();
        assert!(age < LASTS, "{fault:?}: {age:?}");
        make(&holder).await;
        assert_eq!(server.count_requests("create leases"), 1, "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn another_lease_under_the_name_is_not_ours() {
    let server = server();
    let holder = holder(&server);
    make(&holder).await;
    let name = leases(&server)[0]["metadata"]["name"]
        .as_str()
        .unwrap()
        .to_owned();
    let mut other = server.remove("leases", &name).unwrap();
    other["metadata"]["uid"] = json!("another");
    server.insert("leases", other);
    tokio::time::sleep(LASTS).await;
    make(&holder).await;
    assert_eq!(server.count_requests("create leases"), 2);
}

#[tokio::test(start_paused = true)]
async fn nobody_loses_anything_because_the_api_server_was_away() {
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
            .duration_since(renewed(&leases(&server)[0]))
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
            _ => watching(&server, &watcher).await,
        }
        tokio::time::sleep(3 * LASTS).await;
        assert_eq!(server.object_names().len(), 3);
    }
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_was_deleted_by_hand_takes_its_sandboxes_and_is_made_anew() {
    let warnings = Warnings::default();
    let _guard = tracing::subscriber::set_default(warnings.clone());
    let server = server();
    let holder = holder(&server);
    let first = make(&holder).await;
    let name = leases(&server)[0]["metadata"]["name"]
        .as_str()
        .unwrap()
        .to_owned();
    server.remove("leases", &name);
    server
        .wait_until(|server| server.object_names().is_empty())
        .await;
    tokio::time::sleep(LASTS).await;
    assert_eq!(warnings.count(), 1);
    assert!(matches!(
        holder.get(&first.id, Freshness::Cached).await,
        Err(Error::NotFound { .. })
    ));
    make(&holder).await;
    tokio::time::sleep(5 * LASTS).await;
    assert_eq!(
        (
            server.object_names().len(),
            server.count_requests("create leases")
        ),
        (3, 2)
    );
}

/// Its holder has not renewed it since.
#[tokio::test(start_paused = true)]
async fn what_is_made_just_after_a_lease_was_deleted_by_hand_stays() {
    let server = server();
    let holder = holder(&server);
    make(&holder).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let name = leases(&server)[0]["metadata"]["name"]
        .as_str()
        .unwrap()
        .to_owned();
    server.remove("leases", &name);
    let made = futures_util::future::join_all((0..5).map(|_| make(&holder))).await;
    tokio::time::sleep(3 * LASTS).await;
    assert_eq!(
        (
            server.object_names().len(),
            server.count_requests("create leases")
        ),
        (11, 2)
    );
    assert!(
        made.iter()
            .all(|info| server.object("pods", info.id.as_str()).is_some())
    );
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_cannot_be_asked_for_keeps_nobody_waiting() {
    let server = server();
    let holder = holder(&server);
    make(&holder).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    server.inject_always("patch leases", Fault::Delay(Duration::from_secs(1_000_000)));
    for many in [1, 10] {
        let begun = tokio::time::Instant::now();
        futures_util::future::join_all((0..many).map(|_| make(&holder))).await;
        assert!(
            begun.elapsed() < Duration::from_secs(5),
            "{many}: {:?}",
            begun.elapsed()
        );
    }
    assert_eq!(server.object_names().len(), 1 + 2 * 12);
}

#[tokio::test(start_paused = true)]
async fn a_forged_lease_is_left_alone_and_nothing_goes_for_an_annotation() {
    let server = server();
    let lease = |name: &str, id: &str, holder: &str| {
        json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {"name": name, "labels": {"sandbox.dev/managed-by": "sandbox-sdk", "sandbox.dev/id": id}},
            "spec": {"holderIdentity": holder, "leaseDurationSeconds": 1, "renewTime": "2020-01-01T00:00:00.000000Z"},
        })
    };
    for forged in [
        lease(
            "kube-controller-manager",
            "kube-controller-manager",
            "node-1",
        ),
        lease("sbx-a-owner", "sbx-b", "sbx-a"),
        lease("sbx-a-keys", "sbx-a", "sbx-a"),
        lease("sbx-c-owner", "sbx-c", "somebody"),
    ] {
        server.insert("leases", forged);
    }
    // A sandbox that says of itself that it belongs to a Lease which has expired.
    let id = make(&backend(&server)).await.id;
    server.insert("leases", lease("sbx-d-owner", "sbx-d", "sbx-d"));
    server.update("pods", id.as_str(), |pod| {
        pod["metadata"]["annotations"]["sandbox.dev/lease"] = json!("sbx-d");
    });
    let client = holder(&server);
    watching(&server, &client).await;
    tokio::time::sleep(3 * LASTS).await;
    client.sweep(SweepOptions::default()).await.unwrap();
    assert_eq!(leases(&server).len(), 4, "{:?}", server.object_names());
    assert!(
        server.object("leases", "sbx-d-owner").is_none(),
        "an expired one of ours is litter"
    );
    assert!(server.object("pods", id.as_str()).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_lasts_long_is_left_by_a_sweep_to_those_who_watch() {
    let server = server();
    let id = "sbx-d";
    server.insert(
        "leases",
        json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {"name": "sbx-d-owner", "labels": {"sandbox.dev/managed-by": "sandbox-sdk", "sandbox.dev/id": id}},
            "spec": {"holderIdentity": id, "leaseDurationSeconds": 3600, "renewTime": "2020-01-01T00:00:00.000000Z"},
        }),
    );
    let client = holder(&server);
    let begun = tokio::time::Instant::now();
    assert!(
        client
            .sweep(SweepOptions::default())
            .await
            .unwrap()
            .removed
            .is_empty()
    );
    assert!(
        begun.elapsed() < Duration::from_secs(1),
        "{:?}",
        begun.elapsed()
    );
    watching(&server, &client).await;
    tokio::time::sleep(Duration::from_secs(3600 / 3)).await;
    assert_eq!(
        leases(&server).len(),
        1,
        "its holder may be about to renew it"
    );
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert_eq!(leases(&server).len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_cannot_be_had_fails_the_creation_and_says_so() {
    for (fault, reason, said) in [
        (
            Fault::Forbidden,
            CreationReason::Rejected,
            "no permission to create leases",
        ),
        (
            Fault::CutBefore,
            CreationReason::Unavailable,
            "does not respond",
        ),
    ] {
        let server = server();
        server.inject_always("create leases", fault);
        let (id, spec) = spec();
        match holder(&server).create(spec).await.unwrap_err() {
            Error::Creation(error) => {
                assert_eq!((&error.id, error.reason), (&id, reason));
                assert!(
                    error.message.contains("Lease") && error.message.contains(said),
                    "{}",
                    error.message
                );
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(
            (server.object_names(), server.count_writes()),
            (Vec::new(), 0)
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_may_not_see_leases_leaves_them_alone() {
    let server = server();
    killed_after(&server, async |backend| drop(make(backend).await));
    server.advance_clock(LASTS + Duration::from_secs(5));
    server.inject_always("list leases", Fault::Forbidden);
    let client = backend(&server);
    watching(&server, &client).await;
    assert!(
        client
            .sweep(SweepOptions::default())
            .await
            .unwrap()
            .removed
            .is_empty()
    );
    tokio::time::sleep(3 * LASTS).await;
    assert_eq!(server.object_names().len(), 3);
}
