//! Images that cannot be fetched, or that the cluster does not run.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Event, Pod};
use kube::Api;
use kube::api::PostParams;
use sandbox::{CreationReason, SandboxEventKind, SandboxId};
use sandbox_conformance::{Outcome, TestedBackend, cases};
use sandbox_k8s::options::PodOptions;
use tokio::sync::mpsc;

use crate::cluster::{admin_backend, api, client_for, defaults, namespace, options};
use crate::support::{assert_reason, creation_error, short_grace};

cases![
    an_image_that_cannot_be_fetched,
    the_pull_of_an_image_is_reported,
    an_image_with_an_invalid_name,
    an_image_that_runs_as_root_is_rejected,
];

async fn an_image_that_cannot_be_fetched(_: TestedBackend) -> Outcome {
    // Without a registry it is unknown whether the image exists. A busy kubelet may report its waits only, not what failed
    // before them; it tries again after ten seconds.
    let mut patient = options();
    patient.startup_grace = Duration::from_secs(25);
    let failed = creation_error(patient, |builder| builder.image("localhost:1/none:1"));
    // The cluster does not complain about a missing pull secret.
    let pod = PodOptions::new().image_pull_secret("none").to_value()?;
    let without_secret = creation_error(short_grace(), |builder| {
        builder
            .image("localhost:1/none:2")
            .backend_options("k8s", pod)
    });
    let (failed, without_secret) = tokio::try_join!(failed, without_secret)?;
    assert_reason(
        &failed,
        CreationReason::ImagePull,
        &["localhost:1/none:1", "connection refused"],
    );
    assert!(
        failed
            .events
            .iter()
            .any(|event| event.kind == SandboxEventKind::Warning),
        "{:?}",
        failed.events
    );
    assert_reason(
        &without_secret,
        CreationReason::ImagePull,
        &["localhost:1/none:2"],
    );
    Ok(())
}

/// Only the cluster's events say that an image is being pulled. A busy kubelet sends them minutes late or drops them, so
/// this one is from here.
async fn the_pull_of_an_image_is_reported(_: TestedBackend) -> Outcome {
    let mut patient = options();
    patient.startup_grace = TIMEOUT;
    let client = client_for(admin_backend(patient).await?, defaults());
    let id = SandboxId::generate()?;
    let (sender, mut events) = mpsc::unbounded_channel();
    let creation = client
        .sandbox()
        .id(id.as_str())
        .image("localhost:1/none:3")
        .create_timeout(TIMEOUT)
        .on_event(move |event| {
            sender.send(event.clone()).ok();
        })
        .create();
    let reported = async {
        while let Some(event) = events.recv().await {
            println!("{} {}", event.kind, event.message);
            if event.kind == SandboxEventKind::Scheduled {
                emit_pulling(&id).await?;
            }
            if event.kind == SandboxEventKind::Pulling && event.message == PULLING {
                return Ok(());
            }
        }
        Err("its events ended before".into())
    };
    tokio::select! {
        reported = reported => reported,
        created = creation => Err(format!("{created:?}").into()),
    }
}

const PULLING: &str = "Pulling image of the test";
const TIMEOUT: Duration = Duration::from_secs(180);

/// Creates an event of a Pod, as its kubelet does.
async fn emit_pulling(id: &SandboxId) -> Outcome {
    let api = api().await?;
    let pods: Api<Pod> = Api::namespaced(api.clone(), namespace());
    let pod = pods.get(id.as_str()).await?;
    let event = serde_json::from_value(serde_json::json!({
        "metadata": {"name": format!("{id}.test")},
        "involvedObject": {"kind": "Pod", "namespace": namespace(), "name": id.as_str(), "uid": pod.metadata.uid},
        "type": "Normal", "reason": "Pulling", "message": PULLING,
        "firstTimestamp": pod.metadata.creation_timestamp, "lastTimestamp": pod.metadata.creation_timestamp,
    }))?;
    let events: Api<Event> = Api::namespaced(api, namespace());
    events.create(&PostParams::default(), &event).await?;
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
