//! Many sandboxes of one client on an API server that loses, delays and refuses requests, and restarts.

use std::time::Duration;

use futures_util::future::join_all;
use sandbox_core::{DeleteOptions, ListFilter, SandboxBackend};
use sandbox_testkit::apiserver::{ApiServer, Fault};

use crate::support::{backend, server, spec};

const COUNT: usize = 300;
/// How often each fault happens.
const TIMES: u32 = 10;
/// How many faults there are of one kind of request.
const FAULTS: usize = 5 * TIMES as usize;
/// The requests that an outage may cut: those that are sent at the same time, each a few times.
const CUT_BY_OUTAGE: usize = 32 * 8;

fn inject_faults(server: &ApiServer, kind: &str) {
    for fault in [
        Fault::CutAfter,
        Fault::too_many_requests(1),
        Fault::CutBefore,
        Fault::lost_response(),
        Fault::DelayResponse(Duration::from_secs(20)),
    ] {
        server.inject_times(kind, TIMES, fault);
    }
}

/// The API server is away for some seconds, and comes back without its watches and their history.
async fn restart(server: &ApiServer) {
    tokio::time::sleep(Duration::from_millis(500)).await;
    server.set_unreachable(true);
    tokio::time::sleep(Duration::from_secs(5)).await;
    server.cut_watches();
    server.compact_history();
    server.set_unreachable(false);
}

#[tokio::test(start_paused = true)]
async fn many_sandboxes_on_a_lossy_server_leave_nothing_and_no_request_is_wasted() {
    let server = server();
    server.set_pods_start(true);
    for kind in ["create secrets", "create pods"] {
        inject_faults(&server, kind);
    }
    let backend = backend(&server);
    let creations = (0..COUNT).map(|_| backend.create(spec().1));
    let (created, ()) = tokio::join!(join_all(creations), restart(&server));
    let created: Vec<_> = created.into_iter().map(Result::unwrap).collect();
    assert_eq!(server.object_names().len(), 2 * COUNT, "each exactly once");
    for kind in ["create secrets", "create pods"] {
        let sent = server.count_requests(kind);
        let expected = COUNT..=COUNT + FAULTS + CUT_BY_OUTAGE;
        assert!(expected.contains(&sent), "{kind}: {sent}");
    }

    // The watch has recovered, so listing and describing need no request.
    tokio::time::sleep(Duration::from_secs(60)).await;
    server.clear_requests();
    for _ in 0..10 {
        let listed = backend.list(ListFilter::default()).await.unwrap();
        assert_eq!(listed.len(), COUNT);
    }
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert_eq!(server.requests(), [], "holding them costs nothing");

    for kind in ["delete secrets", "delete pods"] {
        inject_faults(&server, kind);
    }
    let deletions = created
        .iter()
        .map(|info| backend.delete(&info.id, DeleteOptions::for_instance(info.uid.clone())));
    let (deleted, ()) = tokio::join!(join_all(deletions), restart(&server));
    for outcome in deleted {
        outcome.unwrap();
    }
    assert_eq!(server.object_names(), Vec::<String>::new());
    for kind in ["delete secrets", "delete pods"] {
        let sent = server.count_requests(kind);
        let expected = COUNT..=COUNT + FAULTS + CUT_BY_OUTAGE;
        assert!(expected.contains(&sent), "{kind}: {sent}");
    }
}
