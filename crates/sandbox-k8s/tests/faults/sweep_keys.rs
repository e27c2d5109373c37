//! Keys in a cleanup: those without a Pod are deleted, and none is read.

use sandbox_core::SweepOptions;
use serde_json::json;

use crate::support::{backend, create_running, create_sandbox, object_names_of, server};
use crate::sweep::{MINUTE, sweep_reasons};

#[tokio::test(start_paused = true)]
async fn keys_without_a_pod_stay_for_ten_minutes() {
    let server = server();
    let id = create_sandbox(&backend(&server)).await.id;
    server.remove("pods", id.as_str());
    server.advance_clock(9 * MINUTE);
    assert_eq!(
        sweep_reasons(&server, SweepOptions::default()).await,
        [""; 0]
    );
    server.advance_clock(2 * MINUTE);
    assert_eq!(
        sweep_reasons(&server, SweepOptions::default()).await,
        ["its Secret has no Pod"]
    );
    assert_eq!(server.object_names(), [""; 0]);
}

/// Deleting the keys would make the garbage collector of the cluster delete the running Pod with them.
#[tokio::test(start_paused = true)]
async fn the_keys_of_a_pod_that_is_no_longer_recognised_stay() {
    for (path, value) in [
        ("/metadata/labels/sandbox.dev~1managed-by", json!("helm")),
        ("/metadata/labels/sandbox.dev~1id", json!("sbx-other")),
        (
            "/metadata/annotations/sandbox.dev~1owner-uid",
            json!("other"),
        ),
    ] {
        let server = server();
        let id = create_running(&server).await.id;
        server.update("pods", id.as_str(), |pod| {
            *pod.pointer_mut(path).unwrap() = value.clone()
        });
        server.advance_clock(1000 * MINUTE);
        assert_eq!(
            sweep_reasons(&server, SweepOptions::default()).await,
            [""; 0]
        );
        assert_eq!(
            server.object_names(),
            object_names_of(&server, &id),
            "{path}"
        );
    }
}

/// The process of a sweep may be an operator's, with a core dump or a debugger. No key gets into it.
#[tokio::test(start_paused = true)]
async fn a_sweep_reads_no_content_of_secrets() {
    let server = server();
    let ids = [
        create_running(&server).await.id,
        create_running(&server).await.id,
    ];
    server.end_pod(ids[0].as_str(), 0, "Completed");
    server.remove("pods", ids[1].as_str());
    server.advance_clock(11 * MINUTE);
    server.clear_requests();
    let removed = sweep_reasons(&server, SweepOptions::default()).await;
    assert_eq!(removed, ["it has ended", "its Secret has no Pod"]);
    let requests = server.requests();
    let reads = requests
        .iter()
        .filter(|request| request.resource == "secrets" && !request.is_write());
    assert!(reads.clone().count() > 0);
    for request in reads {
        assert!(request.metadata_only, "{request}");
    }
}
