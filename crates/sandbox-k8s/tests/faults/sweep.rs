//! Cleanup by any client: expired sandboxes are deleted, running and foreign ones stay.

use std::time::Duration;

use sandbox_core::{SandboxBackend, SweepOptions};
use sandbox_testkit::apiserver::{ApiServer, Fault};
use serde_json::json;

use crate::support::{
    backend, create_running, create_sandbox, object_names_of, secret_name, server, spec_with,
    start_watch,
};

pub(crate) const MINUTE: Duration = Duration::from_secs(60);

pub(crate) async fn sweep_reasons(server: &ApiServer, options: SweepOptions) -> Vec<String> {
    let report = backend(server).sweep(options).await.unwrap();
    report
        .removed
        .into_iter()
        .map(|swept| swept.reason)
        .collect()
}

#[tokio::test(start_paused = true)]
async fn expired_sandboxes_are_deleted_and_a_dry_run_only_reports_them() {
    for (case, reason) in [
        ("ended", "it has ended"),
        ("crashed", "it has ended"),
        ("overdue", "its soft end has passed"),
        ("past its hard end", "its hard end has passed"),
        ("never ran", "its soft end has passed, and it never ran"),
    ] {
        let server = server();
        let stays = create_sandbox(&backend(&server)).await;
        server.advance_clock(60 * MINUTE);
        let (id, spec) = spec_with(|lifetime| lifetime.max_lifetime = 20 * MINUTE);
        backend(&server).create(spec).await.unwrap();
        match case {
            "never ran" => server.advance_clock(12 * MINUTE),
            _ => server.run_pod(id.as_str()),
        }
        match case {
            "ended" => server.end_pod(id.as_str(), 0, "Completed"),
            "crashed" => server.end_pod(id.as_str(), 1, "Error"),
            "overdue" => server.advance_clock(12 * MINUTE),
            "past its hard end" => server.advance_clock(22 * MINUTE),
            _ => {}
        }
        // The other one was extended up to its own hard end, which has passed by now.
        server.update("pods", stays.id.as_str(), |pod| {
            pod["spec"]["activeDeadlineSeconds"] = json!(360_000);
            pod["metadata"]["annotations"]["sandbox.dev/ends-after"] = json!("360000");
        });
        let before = server.object_names();
        assert_eq!(
            sweep_reasons(&server, SweepOptions::dry_run()).await,
            [reason],
            "{case}"
        );
        assert_eq!(server.object_names(), before, "{case}");
        assert_eq!(
            sweep_reasons(&server, SweepOptions::default()).await,
            [reason],
            "{case}"
        );
        server
            .wait_until(|server| server.object_names().len() == 2)
            .await;
        assert_eq!(
            server.object_names(),
            object_names_of(&server, &stays.id),
            "{case}"
        );
        assert_eq!(
            sweep_reasons(&server, SweepOptions::default()).await,
            [""; 0],
            "{case}"
        );
    }
}

/// Its creator was killed while it started. One that runs ends by itself, unless its creator came.
#[tokio::test(start_paused = true)]
async fn what_was_not_ready_by_the_deadline_of_its_creation_is_deleted() {
    for by_watch in [true, false] {
        let server = server();
        let detached = || {
            spec_with(|lifetime| {
                lifetime.ttl = None;
                lifetime.attach_timeout = None;
                lifetime.first_login_timeout = Some(5 * MINUTE);
            })
        };
        let [(pending, first), (running, second)] = [detached(), detached()];
        for spec in [first, second] {
            backend(&server).create(spec).await.unwrap();
        }
        server.run_pod(running.as_str());
        let watcher = backend(&server);
        if by_watch {
            start_watch(&server, &watcher).await;
        }
        tokio::time::sleep(5 * MINUTE + MINUTE / 2).await;
        assert_eq!(
            sweep_reasons(&server, SweepOptions::default()).await,
            [""; 0]
        );
        tokio::time::sleep(MINUTE).await;
        if by_watch {
            tokio::time::sleep(MINUTE).await;
        } else {
            assert_eq!(
                sweep_reasons(&server, SweepOptions::default()).await,
                ["it was not ready by the deadline of its creation"]
            );
        }
        assert!(server.object("pods", pending.as_str()).is_none());
        assert_eq!(server.object_names(), object_names_of(&server, &running));
    }
}

#[tokio::test(start_paused = true)]
async fn a_forged_sandbox_stays() {
    let forgeries: [(&str, &str, serde_json::Value); 7] = [
        (
            "pods",
            "/metadata/labels/sandbox.dev~1managed-by",
            json!("helm"),
        ),
        (
            "pods",
            "/metadata/labels/sandbox.dev~1id",
            json!("sbx-other"),
        ),
        (
            "pods",
            "/metadata/annotations/sandbox.dev~1owner-uid",
            json!("other"),
        ),
        ("pods", "/metadata/ownerReferences/0/uid", json!("other")),
        (
            "pods",
            "/metadata/ownerReferences/0/kind",
            json!("ConfigMap"),
        ),
        ("pods", "/metadata/ownerReferences", json!([])),
        (
            "secrets",
            "/metadata/labels/sandbox.dev~1id",
            json!("sbx-other"),
        ),
    ];
    for (resource, path, value) in forgeries {
        let server = server();
        server.set_garbage_collection(false);
        let id = create_running(&server).await.id;
        let name = if resource == "pods" {
            id.as_str().to_owned()
        } else {
            secret_name(&server, &id)
        };
        server.update(resource, &name, |object| {
            *object.pointer_mut(path).unwrap() = value.clone()
        });
        server.advance_clock(1000 * MINUTE);
        let watcher = backend(&server);
        start_watch(&server, &watcher).await;
        tokio::time::sleep(5 * MINUTE).await;
        backend(&server)
            .sweep(SweepOptions::default())
            .await
            .unwrap();
        assert!(
            server.object(resource, &name).is_some(),
            "{resource} {path} = {value}"
        );
    }
    // No sandbox has this name.
    let server = server();
    let mut pod = {
        let id = create_running(&server).await.id;
        server.remove("secrets", &secret_name(&server, &id));
        server.remove("pods", id.as_str()).unwrap()
    };
    pod["metadata"]["name"] = json!("kube-dns");
    pod["metadata"]["ownerReferences"] = json!([]);
    server.insert("pods", pod);
    server.advance_clock(1000 * MINUTE);
    backend(&server)
        .sweep(SweepOptions::default())
        .await
        .unwrap();
    assert_eq!(server.object_names(), ["pods/kube-dns"]);
}

#[tokio::test(start_paused = true)]
async fn a_failed_removal_does_not_stop_the_others() {
    let server = server();
    let ids = [
        create_running(&server).await.id,
        create_running(&server).await.id,
    ];
    ids.iter()
        .for_each(|id| server.end_pod(id.as_str(), 0, "Completed"));
    let denied = "admission webhook \"keep.example\" denied the request: it is under investigation";
    server.inject("delete pods", Fault::refuse(403, "Forbidden", denied));
    let report = backend(&server)
        .sweep(SweepOptions::default())
        .await
        .unwrap();
    let (failed, removed) = (&report.failed[..], &report.removed[..]);
    assert!(
        failed.len() == 1 && failed[0].error.contains("under investigation"),
        "{report:?}"
    );
    assert!(
        removed.len() == 1 && ids.contains(&removed[0].id),
        "{report:?}"
    );
    assert!(
        object_names_of(&server, &failed[0].id)
            .iter()
            .all(|name| server.object_names().contains(name)),
        "{:?}",
        server.object_names()
    );
}

#[tokio::test(start_paused = true)]
async fn a_sandbox_extended_during_a_sweep_stays() {
    let server = server();
    let id = create_running(&server).await.id;
    server.advance_clock(12 * MINUTE);
    // The sweep has listed the sandbox; its delete arrives after the extension.
    server.inject("delete pods", Fault::Delay(Duration::from_secs(5)));
    let sweeper = backend(&server);
    let sweep = sweeper.sweep(SweepOptions::default());
    let extend = async {
        server.wait_for_requests("delete pods", 1).await;
        backend(&server).extend(&id, 10 * MINUTE).await.unwrap();
    };
    let (report, ()) = tokio::join!(sweep, extend);
    assert!(report.unwrap().removed.is_empty());
    assert_eq!(server.object_names(), object_names_of(&server, &id));
}

#[tokio::test(start_paused = true)]
async fn a_sandbox_that_is_being_created_is_not_swept() {
    let server = server();
    server.inject("create pods", Fault::Delay(Duration::from_secs(20)));
    let creator = backend(&server);
    let sweeps = async {
        server.wait_for_requests("create pods", 1).await;
        for _ in 0..5 {
            assert_eq!(
                sweep_reasons(&server, SweepOptions::default()).await,
                [""; 0]
            );
        }
    };
    let (info, ()) = tokio::join!(create_sandbox(&creator), sweeps);
    assert_eq!(server.object_names(), object_names_of(&server, &info.id));
}

#[tokio::test(start_paused = true)]
async fn any_client_that_watches_removes_expired_sandboxes() {
    for case in ["ended", "overdue", "never ran"] {
        let server = server();
        let id = create_sandbox(&backend(&server)).await.id;
        let watchers: Vec<_> = (0..3).map(|_| backend(&server)).collect();
        for watcher in &watchers {
            watcher.list(Default::default()).await.unwrap();
        }
        match case {
            "ended" => server.end_pod(id.as_str(), 0, "Completed"),
            "overdue" => {
                server.run_pod(id.as_str());
                tokio::time::sleep(12 * MINUTE).await;
            }
            _ => tokio::time::sleep(12 * MINUTE).await,
        }
        let deleted = server.wait_until(|server| server.object_names().is_empty());
        tokio::time::timeout(5 * MINUTE, deleted)
            .await
            .unwrap_or_else(|_| panic!("{case}: {:?}", server.object_names()));
        // The clients do not all repeat the same deletion.
        assert!(
            server.count_requests("delete pods") <= 2 * watchers.len(),
            "{case}: {}",
            server.count_requests("delete pods")
        );
    }
}

#[tokio::test(start_paused = true)]
async fn the_clock_of_a_client_ends_no_sandbox() {
    // The server's clock is years away from the local one; the direction does not matter.
    let server = server();
    let watcher = backend(&server);
    let id = create_running(&server).await.id;
    start_watch(&server, &watcher).await;
    tokio::time::sleep(9 * MINUTE).await;
    assert_eq!(
        sweep_reasons(&server, SweepOptions::default()).await,
        [""; 0]
    );
    assert_eq!(server.object_names(), object_names_of(&server, &id));
    let info = watcher.extend(&id, 30 * MINUTE).await.unwrap();
    let left = info
        .expires_at
        .unwrap()
        .duration_since(server.current_time())
        .unwrap();
    assert!(
        (29 * MINUTE..=30 * MINUTE + Duration::from_secs(2)).contains(&left),
        "{left:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_forbidden_removal_is_retried_ever_less_often() {
    let server = server();
    let id = create_running(&server).await.id;
    let backend = backend(&server);
    start_watch(&server, &backend).await;
    server.end_pod(id.as_str(), 0, "Completed");
    server.inject_always("delete pods", Fault::Forbidden);
    tokio::time::sleep(60 * MINUTE).await;
    let asked = server.count_requests("delete pods");
    assert!((10..25).contains(&asked), "{asked} times in an hour");
    server.clear_faults();
    let deleted = server.wait_until(|server| server.object("pods", id.as_str()).is_none());
    tokio::time::timeout(6 * MINUTE, deleted).await.unwrap();
}
