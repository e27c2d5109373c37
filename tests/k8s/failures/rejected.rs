//! Pods that the API server or the scheduler refuses.

use std::time::Duration;

use k8s_openapi::api::core::v1::{LimitRange, Namespace, ResourceQuota};
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use sandbox::{CreationReason, SandboxId};
use sandbox_conformance::{Outcome, TestedBackend, cases};
use sandbox_k8s::options::{PodOptions, PodVolume, VolumeSource};

use crate::api_server::wait_for_service_account;
use crate::cluster::{api, options, remove_namespace};
use crate::support::{assert_creation_fails, assert_reason, creation_error, short_grace};

cases![
    a_pod_that_fits_no_node,
    a_full_quota_and_a_limit_range,
    a_pod_that_admission_rejects,
    a_volume_whose_source_is_missing,
];

async fn a_pod_that_fits_no_node(_: TestedBackend) -> Outcome {
    let reason = CreationReason::Unschedulable;
    let error = creation_error(short_grace(), |builder| builder.memory("100Ti")).await?;
    assert_reason(&error, reason, &["Insufficient memory", "request less"]);
    let labelled = PodOptions::new().node_selector("disk", "of-gold");
    let texts = ["match Pod's node affinity", "--show-labels"];
    assert_creation_fails(short_grace(), labelled, reason, &texts).await?;
    let device = PodOptions::new().extended_resource("example.com/quantum", "1");
    let texts = ["Insufficient example.com/quantum"];
    assert_creation_fails(short_grace(), device, reason, &texts).await
}

async fn a_full_quota_and_a_limit_range(_: TestedBackend) -> Outcome {
    let api = api().await?;
    let name = format!("test-{}", SandboxId::generate()?);
    let mut namespace = Namespace::default();
    namespace.metadata.name = Some(name.clone());
    Api::all(api.clone())
        .create(&PostParams::default(), &namespace)
        .await?;
    wait_for_service_account(&api, &name).await?;
    let outcome = check_limits(&api, &name).await;
    remove_namespace(&api, &name).await?;
    outcome
}

async fn check_limits(api: &kube::Client, name: &str) -> Outcome {
    let mut options = options();
    options.namespace = Some(name.to_owned());
    let mut range = LimitRange::default();
    range.metadata.name = Some("small".into());
    range.spec = Some(serde_json::from_value(serde_json::json!({
        "limits": [{"type": "Container", "max": {"memory": "64Mi"}}],
    }))?);
    let ranges: Api<LimitRange> = Api::namespaced(api.clone(), name);
    ranges.create(&PostParams::default(), &range).await?;
    let error = creation_error(options.clone(), |builder| builder.memory("1Gi")).await?;
    assert_reason(
        &error,
        CreationReason::Rejected,
        &["maximum memory usage per Container is 64Mi", "limitrange"],
    );
    ranges.delete("small", &DeleteParams::default()).await?;

    let mut quota = ResourceQuota::default();
    quota.metadata.name = Some("none".into());
    quota.spec = Some(serde_json::from_value(
        serde_json::json!({"hard": {"pods": "0"}}),
    )?);
    let quotas: Api<ResourceQuota> = Api::namespaced(api.clone(), name);
    quotas.create(&PostParams::default(), &quota).await?;
    // The quota has no effect until the controller has counted the Pods.
    while quotas
        .get("none")
        .await?
        .status
        .and_then(|status| status.used)
        .is_none()
    {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let error = creation_error(options, |builder| builder).await?;
    assert_reason(
        &error,
        CreationReason::Quota,
        &[
            "exceeded quota: none",
            "limited: pods=0",
            "delete unused sandboxes",
        ],
    );
    Ok(())
}

async fn a_pod_that_admission_rejects(_: TestedBackend) -> Outcome {
    for (pod, texts) in [
        (
            PodOptions::new().service_account("none"),
            ["service account", "name another"],
        ),
        (
            PodOptions::new().runtime_class("of-glass"),
            ["\"of-glass\" not found", "get runtimeclasses"],
        ),
        (
            PodOptions::new().priority_class("royal"),
            ["royal", "get priorityclasses"],
        ),
        (
            PodOptions::new().request("cpu", "2").patch(cpu_limit("1")),
            ["requests", "less than or equal"],
        ),
    ] {
        assert_creation_fails(options(), pod, CreationReason::Rejected, &texts).await?;
    }
    Ok(())
}

fn cpu_limit(amount: &str) -> serde_json::Value {
    let limits = serde_json::json!({"limits": {"cpu": amount}});
    serde_json::json!({"spec": {"containers": [{"name": "sandbox", "resources": limits}]}})
}

async fn a_volume_whose_source_is_missing(_: TestedBackend) -> Outcome {
    let claim = VolumeSource::PersistentVolumeClaim("none".into());
    let map = VolumeSource::ConfigMap("none".into());
    let secret = VolumeSource::Secret("none".into());
    let assert_fails = async |source, reason, texts: [&str; 2]| {
        let pod = PodOptions::new().volume(PodVolume::new("v", "/v", source));
        let pod = pod.to_value()?;
        let error = creation_error(short_grace(), |builder| {
            builder
                .backend_options("k8s", pod)
                .create_timeout(Duration::from_secs(180))
        });
        assert_reason(&error.await?, reason, &texts);
        Outcome::Ok(())
    };
    tokio::try_join!(
        assert_fails(
            claim,
            CreationReason::Unschedulable,
            [
                "persistentvolumeclaim \"none\" not found",
                "create that claim"
            ],
        ),
        assert_fails(
            map,
            CreationReason::Other,
            [
                "configmap \"none\" not found",
                "create it in the sandbox's namespace"
            ],
        ),
        assert_fails(
            secret,
            CreationReason::Other,
            [
                "secret \"none\" not found",
                "create it in the sandbox's namespace"
            ],
        ),
    )?;
    Ok(())
}
