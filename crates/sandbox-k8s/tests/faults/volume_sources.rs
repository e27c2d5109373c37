//! A volume whose source is missing is named even if the node does not report it in time.

use std::time::Duration;

use sandbox_core::{CreationReason, Diagnosis, SandboxBackend, SandboxInfo};
use sandbox_k8s::options::{PodOptions, PodVolume, VolumeSource};
use sandbox_testkit::apiserver::{ApiServer, Fault};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::{backend, server, spec};

const STARTING: &str = "its container is being started";

/// Creates a sandbox whose Pod has a node, but does not start.
async fn create_waiting(server: &ApiServer, options: &PodOptions) -> SandboxInfo {
    let (_, mut spec) = spec();
    let options = options.to_value().unwrap();
    spec.backend_options.set("k8s", options);
    let info = backend(server).create(spec).await.unwrap();
    server.update("pods", info.id.as_str(), |pod| {
        pod["spec"]["nodeName"] = json!("node-1");
        pod["status"] = json!({
            "phase": "Pending",
            "conditions": [{"type": "PodScheduled", "status": "True",
                            "lastTransitionTime": "2026-01-01T00:00:00Z"}],
            "containerStatuses": [{"name": "sandbox", "image": "", "imageID": "", "restartCount": 0,
                                   "ready": false,
                                   "state": {"waiting": {"reason": "ContainerCreating"}}}],
        });
    });
    info
}

async fn diagnose(server: &ApiServer, info: &SandboxInfo) -> Diagnosis {
    backend(server).diagnose(&info.id).await.unwrap()
}

fn mount(source: VolumeSource) -> PodOptions {
    PodOptions::new().volume(PodVolume::new("v", "/v", source))
}

fn mount_config_map() -> PodOptions {
    mount(VolumeSource::ConfigMap("settings".into()))
}

fn patch_volume(volume: &Value) -> PodOptions {
    let mut volume = volume.clone();
    volume["name"] = json!("v");
    PodOptions::new().patch(json!({"spec": {"volumes": [volume]}}))
}

#[tokio::test(start_paused = true)]
async fn a_missing_source_is_found_without_an_event() {
    let projected = json!({"projected": {"sources": [
        {"configMap": {"name": "may-lack", "optional": true}},
        {"secret": {"name": "token"}},
    ]}});
    for (options, source) in [
        (mount_config_map(), "configmap \"settings\""),
        (
            mount(VolumeSource::Secret("token".into())),
            "secret \"token\"",
        ),
        (
            mount(VolumeSource::PersistentVolumeClaim("data".into())),
            "persistentvolumeclaim \"data\"",
        ),
        (patch_volume(&projected), "secret \"token\""),
    ] {
        let server = server();
        let info = create_waiting(&server, &options).await;
        let begun = Instant::now();
        let diagnosis = diagnose(&server, &info).await;
        assert_eq!(
            (diagnosis.reason, diagnosis.is_final),
            (Some(CreationReason::Other), false)
        );
        assert_eq!(
            diagnosis.summary,
            format!(
                "its container cannot be started yet: {source} not found (create it in the sandbox's namespace, or \
                 remove the volume)"
            )
        );
        assert!(begun.elapsed() < Duration::from_secs(1), "at once");
    }
}

#[tokio::test(start_paused = true)]
async fn a_source_that_exists_or_is_optional_explains_nothing() {
    let server = server();
    server.insert("configmaps", json!({"metadata": {"name": "settings"}}));
    let optional = json!({"configMap": {"name": "none", "optional": true}});
    for options in [
        mount_config_map(),
        patch_volume(&optional),
        PodOptions::new(),
    ] {
        let info = create_waiting(&server, &options).await;
        let diagnosis = diagnose(&server, &info).await;
        assert_eq!(
            (diagnosis.reason, diagnosis.summary.as_str()),
            (None, STARTING),
            "{options:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_source_that_may_not_be_read_is_named() {
    let server = server();
    server.inject_always("get configmaps", Fault::Forbidden);
    let info = create_waiting(&server, &mount_config_map()).await;
    let diagnosis = diagnose(&server, &info).await;
    assert_eq!(diagnosis.reason, None);
    assert_eq!(
        diagnosis.summary,
        format!(
            "{STARTING}; its volumes need configmap \"settings\", which this account may not read: check that it exists"
        )
    );

    // The event comes while the diagnosis waits for it.
    let late = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        server.insert(
            "events",
            json!({
                "metadata": {"name": "late"},
                "involvedObject": {"kind": "Pod", "uid": info.uid.as_str()},
                "reason": "FailedMount", "type": "Warning",
                "message": "MountVolume.SetUp failed for volume \"v\" : configmap \"settings\" not found",
                "lastTimestamp": "2026-01-01T00:00:01Z",
            }),
        );
    };
    let (diagnosis, ()) = tokio::join!(diagnose(&server, &info), late);
    assert_eq!(diagnosis.reason, Some(CreationReason::Other));
    assert!(
        diagnosis
            .summary
            .contains("\"settings\" not found (create it"),
        "{diagnosis:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_lookup_without_a_response_does_not_delay_the_diagnosis() {
    let server = server();
    server.inject_always(
        "get configmaps",
        Fault::Delay(Duration::from_secs(1_000_000)),
    );
    let info = create_waiting(&server, &mount_config_map()).await;
    let begun = Instant::now();
    let diagnosis = diagnose(&server, &info).await;
    assert_eq!(diagnosis.summary, STARTING);
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn the_content_of_a_source_is_never_requested() {
    let server = server();
    server.insert(
        "secrets",
        json!({"metadata": {"name": "token"}, "data": {"t": "cw=="}}),
    );
    let info = create_waiting(&server, &mount(VolumeSource::Secret("token".into()))).await;
    diagnose(&server, &info).await;
    let requests = server.requests();
    let lookup = |name: &str| {
        let name = Some(name);
        requests
            .iter()
            .find(move |request| request.kind() == "get secrets" && request.name.as_deref() == name)
    };
    assert!(lookup("token").unwrap().metadata_only);
}
