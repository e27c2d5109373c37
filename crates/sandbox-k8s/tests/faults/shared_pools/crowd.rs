//! Many processes that claim from one pool at once, while requests fail.

use std::collections::HashSet;
use std::time::Duration;

use sandbox_core::{PoolMemberState, SandboxInfo};
use sandbox_testkit::apiserver::{ApiServer, Fault};

use super::support::{claim, claim_with, create_waiting, state, wait_until_deleted};
use crate::support::{backend, server, start_watch};

const CLAIMERS: usize = 8;
const SANDBOXES: usize = 12;

/// The faults of one round, in the order of the requests that they hit.
fn faults(round: usize) -> Vec<(&'static str, Fault)> {
    let all = [
        ("patch pods", Fault::CutAfter),
        ("patch pods", Fault::CutBefore),
        ("patch pods", Fault::lost_response()),
        (
            "patch pods",
            Fault::refuse(409, "Conflict", "the object has been modified"),
        ),
        ("patch pods", Fault::refuse(422, "Invalid", "test failed")),
        ("patch pods", Fault::Delay(Duration::from_secs(2))),
        ("patch pods", Fault::DelayResponse(Duration::from_secs(40))),
        ("patch pods", Fault::too_many_requests(1)),
        ("get pods", Fault::CutBefore),
        ("get pods", Fault::unavailable()),
        ("get secrets", Fault::CutAfter),
        ("get secrets", Fault::unavailable()),
    ];
    // Another order and another number in each round.
    let count = round % (all.len() + 1);
    let chosen = (0..count).map(|index| all[(index * 5 + round) % all.len()].clone());
    chosen.collect()
}

async fn fill(server: &ApiServer) -> Vec<SandboxInfo> {
    let mut waiting = Vec::new();
    for _ in 0..SANDBOXES {
        waiting.push(create_waiting(server).await);
    }
    waiting
}

#[tokio::test(start_paused = true)]
async fn no_sandbox_has_two_owners_and_none_is_left_behind() {
    for round in 0..26 {
        let server = server();
        let waiting = fill(&server).await;
        let clients: Vec<_> = (0..CLAIMERS).map(|_| backend(&server)).collect();
        // Half of them know an old state only.
        for client in &clients[..CLAIMERS / 2] {
            start_watch(&server, client).await;
        }
        if round % 2 == 1 {
            server.inject_always("watch pods", Fault::DelayEvents(Duration::from_secs(30)));
        }
        for (kind, fault) in faults(round) {
            server.inject(kind, fault);
        }
        let claims = clients.iter().map(|client| async {
            let claiming = claim_with(client, claim());
            // Some give up.
            tokio::time::timeout(Duration::from_secs(20), claiming).await
        });
        let results = futures_util::future::join_all(claims).await;
        let claimed: Vec<_> = results
            .iter()
            .filter_map(|result| result.as_ref().ok()?.as_ref().ok()?.as_ref())
            .map(|claimed| claimed.info.id.clone())
            .collect();
        let distinct: HashSet<_> = claimed.iter().collect();
        assert_eq!(distinct.len(), claimed.len(), "round {round}: {claimed:?}");
        assert!(claimed.len() >= CLAIMERS / 2, "round {round}: {claimed:?}");

        // Whatever nobody was given is in the pool, or is deleted.
        server.clear_faults();
        for info in waiting.iter().filter(|info| !distinct.contains(&info.id)) {
            let is_waiting = server.object("pods", info.id.as_str()).is_some()
                && state(&server, info) == PoolMemberState::Waiting;
            if !is_waiting {
                wait_until_deleted(&server, info).await;
            }
        }
        for id in &claimed {
            assert!(
                server.object("pods", id.as_str()).is_some(),
                "round {round}: {id}"
            );
        }
    }
}
