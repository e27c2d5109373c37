//! A hundred sandboxes at once, while another client lists them.

use futures_util::future::join_all;
use sandbox::{Error, ListFilter, Sandbox};
use sandbox_conformance::{Outcome, TestedBackend, cases};

use crate::cluster::{api, managed_objects, namespace};

cases![a_hundred_sandboxes_are_created_at_once];

const SANDBOXES: usize = 100;

async fn a_hundred_sandboxes_are_created_at_once(backend: TestedBackend) -> Outcome {
    let watcher = backend.new_client();
    let label = ("crowd", "yes");
    let crowd = ListFilter::from_labels([(label.0.to_owned(), label.1.to_owned())]);
    assert!(watcher.list(crowd.clone()).await?.is_empty());
    let create = |_| {
        backend
            .sandbox()
            .cpu("5m")
            .memory("16Mi")
            .label(label.0, label.1)
            .create()
    };
    let created: Vec<Result<Sandbox, _>> = join_all((0..SANDBOXES).map(create)).await;
    let (created, failed): (Vec<_>, Vec<_>) = created.into_iter().partition(Result::is_ok);
    let created: Vec<Sandbox> = created.into_iter().flatten().collect();
    let outcome = async {
        if let Some(Err(error)) = failed.into_iter().next() {
            return Err(error.into());
        }
        wait_for_count(&watcher, &crowd, SANDBOXES).await
    }
    .await;
    for deleted in join_all(created.iter().map(Sandbox::delete)).await {
        // A busy kubelet may take longer for so many than one deletion waits.
        assert!(
            matches!(deleted, Ok(()) | Err(Error::Deletion { .. })),
            "{deleted:?}"
        );
    }
    outcome?;
    wait_for_count(&watcher, &crowd, 0).await?;
    let left = managed_objects(&api().await?, namespace()).await?;
    assert!(left.is_empty(), "{left:?}");
    Ok(())
}

/// Waits until the other client lists so many sandboxes.
async fn wait_for_count(watcher: &sandbox::Client, crowd: &ListFilter, wanted: usize) -> Outcome {
    let mut count = 0;
    for _ in 0..3000 {
        count = watcher.list(crowd.clone()).await?.len();
        if count == wanted {
            return Ok(());
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    Err(format!("the other client lists {count} of {wanted}").into())
}
