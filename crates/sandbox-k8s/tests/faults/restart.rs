//! An API server that comes back forbids everything until it knows who may do what.

use std::time::Duration;

use sandbox_core::{Error, Freshness, SandboxBackend, SandboxState};
use sandbox_testkit::apiserver::Fault;
use tokio::time::Instant;

use crate::errors::{CALLS, call};
use crate::support::{Warnings, backend, make, running, server, watching};

/// What such a server says.
fn denials() -> [Fault; 2] {
    [
        Fault::Forbidden,
        Fault::refuse(401, "Unauthorized", "Unauthorized"),
    ]
}

/// How it was away before.
fn outages() -> [Fault; 3] {
    [
        Fault::CutBefore,
        Fault::unavailable(),
        Fault::refuse(500, "InternalError", "etcdserver: no leader"),
    ]
}

#[tokio::test(start_paused = true)]
async fn a_denial_is_final_at_once_where_nothing_was_away() {
    for denial in denials() {
        for what in CALLS {
            let server = server();
            let id = running(&server).await.id;
            server.inject_always(what, denial.clone());
            server.clear_requests();
            assert!(call(&backend(&server), &id, what).await.is_some(), "{what}");
            // The watch lists once for itself.
            let asked = server.count_requests(what) - usize::from(what == "list pods");
            assert_eq!(asked, 1, "{what} {denial:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_denial_after_an_outage_is_asked_about_again() {
    for denial in denials() {
        for outage in outages() {
            for what in CALLS {
                let server = server();
                let id = running(&server).await.id;
                server.inject(what, outage.clone());
                server.inject_times(what, 5, denial.clone());
                let error = call(&backend(&server), &id, what).await;
                // The keys were read, and say that they are another's.
                let ended_well = matches!(error, None | Some(Error::Unsupported { .. }));
                assert!(ended_well, "{what} {denial:?} after {outage:?}: {error:?}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_denial_that_stays_is_told_as_ever() {
    for what in CALLS {
        let (verb, resource) = what.split_once(' ').unwrap();
        let server = server();
        let id = running(&server).await.id;
        server.inject_times(what, 2, Fault::unavailable());
        server.inject_always(what, Fault::Forbidden);
        let begun = Instant::now();
        let error = call(&backend(&server), &id, what).await.unwrap();
        let said = format!("no permission to {verb} {resource} in the namespace boxes");
        assert!(
            error.to_string().contains(&said) && !error.is_retryable(),
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

/// One request may meet the server's absence, and another its return.
#[tokio::test(start_paused = true)]
async fn an_outage_that_only_the_watch_has_met_counts() {
    let server = server();
    let backend = backend(&server);
    let info = make(&backend).await;
    watching(&server, &backend).await;
    server.inject("watch pods", Fault::CutBefore);
    server.cut_watches();
    server.wait_for_requests("watch pods", 2).await;
    server.inject_times("get pods", 3, Fault::Forbidden);
    backend.get(&info.id, Freshness::Latest).await.unwrap();
    // Much later, it is what it says.
    tokio::time::sleep(Duration::from_secs(60)).await;
    server.inject("get pods", Fault::Forbidden);
    backend.get(&info.id, Freshness::Latest).await.unwrap_err();
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_is_denied_after_an_outage_comes_back() {
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
        let info = make(&backend).await;
        watching(&server, &backend).await;
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
