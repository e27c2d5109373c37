//! Images that cannot be fetched, or that the cluster does not run.

use sandbox::{CreationReason, SandboxEventKind};
use sandbox_conformance::{Outcome, TestedBackend, cases};
use sandbox_k8s::options::PodOptions;

use crate::cluster::options;
use crate::support::{assert_reason, creation_error, short_grace};

cases![
    an_image_that_cannot_be_fetched,
    an_image_with_an_invalid_name,
    an_image_that_runs_as_root_is_rejected,
];

async fn an_image_that_cannot_be_fetched(_: TestedBackend) -> Outcome {
    // Without a registry it is unknown whether the image exists.
    let error =
        creation_error(short_grace(), |builder| builder.image("localhost:1/none:1")).await?;
    assert_reason(
        &error,
        CreationReason::ImagePull,
        &["localhost:1/none:1", "connection refused"],
    );
    for kind in [SandboxEventKind::Pulling, SandboxEventKind::Warning] {
        assert!(
            error.events.iter().any(|event| event.kind == kind),
            "{kind:?} is not in {:?}",
            error.events
        );
    }
    // The cluster does not complain about a missing pull secret.
    let pod = PodOptions::new().image_pull_secret("none");
    let pod = pod.to_value()?;
    let error = creation_error(short_grace(), |builder| {
        builder
            .image("localhost:1/none:2")
            .backend_options("k8s", pod)
    })
    .await?;
    assert_reason(&error, CreationReason::ImagePull, &["localhost:1/none:2"]);
    Ok(())
}

async fn an_image_with_an_invalid_name(_: TestedBackend) -> Outcome {
    let error = creation_error(options(), |builder| builder.image("localhost/Upper:1")).await?;
    assert_reason(
        &error,
        CreationReason::ImagePull,
        &["localhost/Upper:1", "must be lowercase"],
    );
    Ok(())
}

async fn an_image_that_runs_as_root_is_rejected(_: TestedBackend) -> Outcome {
    let mut options = options();
    options.run_as = None;
    // The server's image names a user; the sandbox's does not.
    let error = creation_error(options, |builder| builder).await?;
    assert_reason(
        &error,
        CreationReason::Rejected,
        &["runAsNonRoot", "profile Baseline"],
    );
    Ok(())
}
