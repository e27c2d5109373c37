//! Creations that are dropped before their end.

use std::time::Duration;

use sandbox::{ListFilter, SandboxState};

use crate::case::{Outcome, TestedBackend};
use crate::cases;

cases![a_settled_client_has_removed_what_dropped_creations_have_left];

/// When a creation is dropped, in milliseconds after its begin. A sandbox that is there by then is deleted.
const DROPPED_AFTER: [u64; 8] = [0, 2, 5, 10, 20, 40, 100, 400];

async fn a_settled_client_has_removed_what_dropped_creations_have_left(
    backend: TestedBackend,
) -> Outcome {
    let client = backend.new_client();
    let mark = sandbox::SandboxId::generate()?.to_string();
    let mut dropped = 0;
    for after in DROPPED_AFTER {
        let creation = client.sandbox().label("mark", mark.clone()).create();
        if let Ok(created) = tokio::time::timeout(Duration::from_millis(after), creation).await {
            created?.delete().await?;
        } else {
            dropped += 1;
        }
        client.settle().await;
        let of_this_case = ListFilter::from_labels([("mark".to_owned(), mark.clone())]);
        let left = backend.new_client().list(of_this_case).await?;
        // A cluster describes a Pod until all of its processes have ended.
        let left: Vec<_> = left
            .iter()
            .filter(|info| info.state != SandboxState::Ended)
            .collect();
        assert!(left.is_empty(), "after {after} ms: {left:?}");
    }
    assert_ne!(dropped, 0, "all creations were complete");
    Ok(())
}
