//! An API server that restarts denies every request until it has loaded its permissions.

use std::time::Duration;

use sandbox_core::{Error, Freshness, SandboxBackend, SandboxState};
use sandbox_testkit::apiserver::Fault;
use tokio::time::Instant;

use crate::errors::{CALLS, call};
use crate::support::{Warnings, backend, create_running, create_sandbox, server, start_watch};

/// The responses of a server that has just restarted.
fn denials() -> [Fault; 2] {
    [
        Fault::Forbidden,
        Fault::refuse(401, "Unauthorized", "Unauthorized"),
    ]
}

/// The failures during the outage before the restart.
fn outages() -> [Fault; 3] {
    [
        Fault::CutBefore,
        Fault::unavailable(),
        Fault::refuse(500, "InternalError", "etcdserver: no leader"),
    ]
}

#[tokio::test(start_paused = true)]
async fn a_denial_without_an_outage_is_final_at_once() {
    for denial in denials() {
        for what in CALLS {
            let server = server();
            let id = create_running(&server).await.id;
            server.inject_always(what, denial.clone());
            server.clear_requests();
            assert!(call(&backend(&server), &id, what).await.is_some(), "{what}");
            // One list is the watch's own.
            let asked = server.count_requests(what) - usize::from(what == "list pods");
            assert_eq!(asked, 1, "{what} {denial:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_denial_after_an_outage_is_retried() {
    for denial in denials() {
        for outage in outages() {
            for what in CALLS {
                let server = server();
                let id = create_running(&server).await.id;
                server.inject(what, outage.clone());
                server.inject_times(what, 5, denial.clone());
                let error = call(&backend(&server), &id, what).await;
                // `Unsupported` means that the keys were read and belong to another client.
                let ended_well = matches!(error, None | Some(Error::Unsupported { .. }));
                assert!(ended_well, "{what} {denial:?} after {outage:?}: {error:?}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_lasting_denial_is_reported_as_usual() {
    for what in CALLS {
        let (verb, resource) = what.split_once(' ').unwrap();
        let server = server();
        let id = create_running(&server).await.id;
        server.inject_times(what, 2, Fault::unavailable());
        server.inject_always(what, Fault::Forbidden);
        let begun = Instant::now();
        let error = call(&backend(&server), &id, what).await.unwrap();
        let expected = format!("no permission to {verb} {resource} in the namespace boxes");
        assert!(
            error.to_string().contains(&expected) && !error.is_retryable(),
            "{what}: {error}"
        );
        assert!(
            begun.elapsed() < Duration::from_secs(20),
            "{what}: {:?}",
            begun.elapsed()
        );
        assert!(
            server.count_requests(what) < 200,
            "{what}: {}",
            server.count_requests(what)
        );
    }
}

/// One request may meet the outage, and another the restarted server.
#[tokio::test(start_paused = true)]
async fn an_outage_noticed_only_by_the_watch_counts() {
    let server = server();
    let backend = backend(&server);
    let info = create_sandbox(&backend).await;
    start_watch(&server, &backend).await;
    server.inject("watch pods", Fault::CutBefore);
    server.cut_watches();
    server.wait_for_requests("watch pods", 2).await;
    server.inject_times("get pods", 3, Fault::Forbidden);
    backend.get(&info.id, Freshness::Latest).await.unwrap();
    // Long after the outage, a denial is final.
    tokio::time::sleep(Duration::from_secs(60)).await;
    server.inject("get pods", Fault::Forbidden);
    backend.get(&info.id, Freshness::Latest).await.unwrap_err();
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_is_denied_after_an_outage_recovers() {
    for (what, denial) in [
        ("watch pods", Fault::Forbidden),
        (
            "list pods",
            Fault::refuse(401, "Unauthorized", "Unauthorized"),
        ),
    ] {
        let warnings = Warnings::default();
        let _guard = tracing::subscriber::set_default(warnings.clone());
        let server = server();
        let backend = backend(&server);
        let info = create_sandbox(&backend).await;
        start_watch(&server, &backend).await;
        for what in ["watch pods", "list pods"] {
            server.inject_times(what, 3, Fault::CutBefore);
        }
        server.inject_times(what, 5, denial);
        server.compact_history();
        server.cut_watches();
        tokio::time::sleep(Duration::from_secs(12)).await;
        server.run_pod(info.id.as_str());
        tokio::time::sleep(Duration::from_secs(2)).await;
        server.clear_requests();
        let known = backend.get(&info.id, Freshness::Cached).await.unwrap();
        assert_eq!(
            (known.state, server.count_requests("get pods")),
            (SandboxState::Running, 0),
            "{what}"
        );
        assert_eq!(warnings.count(), 0, "{what}: nothing was lost");
    }
}
