//! Sandboxes that use objects of the whole cluster: devices, persistent volumes, runtime classes.
//! The cases create these under the name of the run's namespace, and delete them.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::node::v1::RuntimeClass;
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use sandbox::Sandbox;
use sandbox_conformance::{Outcome, TestedBackend, cases};
use sandbox_k8s::options::{
    PodOptions, PodSecurityContext, PodVolume, SecurityContext, SecurityProfile, VolumeSource,
};
use serde_json::json;

use crate::cluster::{admin_backend, api, client_for, defaults, namespace, options};

cases![
    a_device_is_allocated,
    a_persistent_volume_outlives_its_sandbox,
    a_runtime_class_is_reported
];

async fn create(pod: PodOptions) -> Outcome<Sandbox> {
    let client = client_for(admin_backend(options()).await?, defaults());
    Ok(client
        .sandbox()
        .backend_options("k8s", pod.to_value()?)
        .create()
        .await?)
}

/// Adds a device to a node's status, as a device plugin does.
async fn a_device_is_allocated(_: TestedBackend) -> Outcome {
    let nodes: Api<Node> = Api::all(api().await?);
    let all = nodes.list(&ListParams::default().limit(1)).await?;
    let node = all
        .items
        .first()
        .and_then(|node| node.metadata.name.clone())
        .ok_or("no node")?;
    let device = format!("example.com/{}", namespace());
    let added = json!({"status": {"capacity": {&device: "1"}, "allocatable": {&device: "1"}}});
    let removed = json!({"status": {"capacity": {&device: null}, "allocatable": {&device: null}}});
    let params = PatchParams::default();
    nodes
        .patch_subresource("status", &node, &params, &Patch::Strategic(added))
        .await?;
    let outcome = async {
        let sbx = create(PodOptions::new().extended_resource(&device, "1")).await?;
        let limits = sbx.info().limits.clone();
        let ran = sbx.command("true").output().await;
        sbx.delete().await?;
        ran?.check()?;
        let limit = limits
            .iter()
            .find(|limit| limit.resource == device)
            .ok_or("the device is not reported")?;
        assert_eq!(limit.value, "1");
        Outcome::Ok(())
    }
    .await;
    nodes
        .patch_subresource("status", &node, &params, &Patch::Strategic(removed))
        .await?;
    outcome
}

async fn a_persistent_volume_outlives_its_sandbox(_: TestedBackend) -> Outcome {
    let api = api().await?;
    let name = namespace();
    let volumes: Api<PersistentVolume> = Api::all(api.clone());
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(api, name);
    let volume = json!({"metadata": {"name": name}, "spec": {
        "capacity": {"storage": "1Mi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": "",
        "persistentVolumeReclaimPolicy": "Retain",
        "hostPath": {"path": format!("/tmp/{name}"), "type": "DirectoryOrCreate"},
    }});
    let claim = json!({"metadata": {"name": "kept"}, "spec": {
        "resources": {"requests": {"storage": "1Mi"}}, "accessModes": ["ReadWriteOnce"], "storageClassName": "",
        "volumeName": name,
    }});
    volumes
        .create(&PostParams::default(), &serde_json::from_value(volume)?)
        .await?;
    claims
        .create(&PostParams::default(), &serde_json::from_value(claim)?)
        .await?;
    let bound = async {
        // A controller binds the claim to the volume.
        while claims
            .get_status("kept")
            .await?
            .status
            .and_then(|status| status.phase)
            .as_deref()
            != Some("Bound")
        {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        check_volume().await
    };
    let outcome = bound.await;
    claims.delete("kept", &DeleteParams::default()).await?;
    volumes.delete(name, &DeleteParams::default()).await?;
    outcome
}

/// Writes to the volume in one sandbox and reads it in another. The directory on the node belongs
/// to root.
async fn check_volume() -> Outcome {
    let volume = PodVolume::new(
        "kept",
        "/kept",
        VolumeSource::PersistentVolumeClaim("kept".into()),
    );
    let root = PodOptions::new()
        .security_profile(SecurityProfile::Baseline)
        .volume(volume.clone());
    let first = create(root.clone()).await?;
    let written = first
        .shell("id -u; echo content > /kept/file")
        .output()
        .await;
    first.delete().await?;
    assert_eq!(written?.check()?.stdout, "0\n");

    let container = SecurityContext {
        read_only_root_filesystem: Some(true),
        ..SecurityContext::default()
    };
    let pod = PodSecurityContext {
        run_as_user: Some(4242),
        ..PodSecurityContext::default()
    };
    let profile = SecurityProfile::Custom {
        pod: pod.into(),
        container: container.into(),
    };
    // The server needs a home that it can write to.
    let home = PodVolume::new("tmp", "/tmp", VolumeSource::EmptyDir(None));
    let custom = PodOptions::new()
        .security_profile(profile)
        .volume(volume.read_only())
        .volume(home);
    let second = create(custom).await?;
    let read = second
        .shell("id -u; cat /kept/file; touch /x /kept/x 2>&1")
        .output()
        .await;
    second.delete().await?;
    let output = read?.stdout_lossy();
    assert!(
        output.starts_with("4242\ncontent\n")
            && output.matches("Read-only file system").count() == 2,
        "{output}"
    );

    let third = create(root).await?;
    let removed = third.shell("rm /kept/file").output().await;
    third.delete().await?;
    removed?.check()?;
    Ok(())
}

async fn a_runtime_class_is_reported(_: TestedBackend) -> Outcome {
    let classes: Api<RuntimeClass> = Api::all(api().await?);
    let class = json!({"metadata": {"name": namespace()}, "handler": "runc"});
    classes
        .create(&PostParams::default(), &serde_json::from_value(class)?)
        .await?;
    let outcome = async {
        let sbx = create(PodOptions::new().runtime_class(namespace())).await?;
        let applied = sbx.info().isolation.applied.clone();
        let ran = sbx.command("true").output().await;
        sbx.delete().await?;
        ran?.check()?;
        assert!(
            applied.contains(&format!("runtime class {}", namespace())),
            "{applied:?}"
        );
        Outcome::Ok(())
    }
    .await;
    classes
        .delete(namespace(), &DeleteParams::default())
        .await?;
    outcome
}
