//! Options that only Pods have, and the places in which secrets are stored.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use sandbox::{Error, ExecRequest};
use sandbox_conformance::{Outcome, TestedBackend, cases};
use sandbox_k8s::options::{PodOptions, PodVolume, PullPolicy, VolumeSource};

use crate::cluster::{admin_backend, api, client_for, defaults, namespace, options};

cases![
    a_pod_has_the_requested_options,
    secrets_are_stored_only_in_the_sandbox,
    invalid_options_are_refused
];

async fn a_pod_has_the_requested_options(_: TestedBackend) -> Outcome {
    let api = api().await?;
    let text = |text: &str| BTreeMap::from([("key".to_owned(), text.to_owned())]);
    let mut map = ConfigMap {
        data: Some(text("from a map")),
        ..ConfigMap::default()
    };
    map.metadata.name = Some("requested".into());
    let bytes = BTreeMap::from([("key".to_owned(), ByteString(b"from a secret".to_vec()))]);
    let mut secret = Secret {
        data: Some(bytes),
        ..Secret::default()
    };
    secret.metadata.name = Some("requested".into());
    let maps: Api<ConfigMap> = Api::namespaced(api.clone(), namespace());
    let secrets: Api<Secret> = Api::namespaced(api.clone(), namespace());
    maps.create(&PostParams::default(), &map).await?;
    secrets.create(&PostParams::default(), &secret).await?;
    let outcome = check_pod(&api).await;
    maps.delete("requested", &DeleteParams::default()).await?;
    secrets
        .delete("requested", &DeleteParams::default())
        .await?;
    outcome
}

async fn check_pod(api: &kube::Client) -> Outcome {
    let pod = PodOptions::new()
        .node_selector("kubernetes.io/os", "linux")
        .tolerate("example.com/any")
        .host_alias("10.9.8.7", ["mirror.example.com"])
        .request("cpu", "1m")
        .annotation("example.com/run", "42")
        .volume(PodVolume::new(
            "scratch",
            "/scratch",
            VolumeSource::EmptyDir(Some("8Mi".into())),
        ))
        .volume(PodVolume::new(
            "memory",
            "/memory",
            VolumeSource::Memory(Some("8Mi".into())),
        ))
        .volume(
            PodVolume::new("map", "/map", VolumeSource::ConfigMap("requested".into())).read_only(),
        )
        .volume(PodVolume::new(
            "secret",
            "/secret",
            VolumeSource::Secret("requested".into()),
        ))
        .image_pull_secret("requested")
        .image_pull_policy(PullPolicy::IfNotPresent)
        .service_account("default")
        .patch(serde_json::json!({"spec": {"hostname": "box", "affinity": affinity()}}));
    let client = client_for(admin_backend(options()).await?, defaults());
    let sbx = client
        .sandbox()
        .cpu("100m")
        .memory("64Mi")
        .disk("96Mi")
        .label("team", "ml")
        .env("MODE", "ci")
        .init(ExecRequest::from_shell("echo \"$MODE\" > mode"))
        .backend_options("k8s", pod.to_value()?)
        .create()
        .await?;
    let script = "cat mode /map/key /secret/key; echo; hostname; grep -c mirror.example.com /etc/hosts; \
                echo x > /scratch/x && echo x > /memory/x && mount | grep -c ' on /memory type tmpfs'; \
                ls /var/run/secrets/kubernetes.io 2>/dev/null; cat /sys/fs/cgroup/memory/memory.limit_in_bytes \
                /sys/fs/cgroup/memory.max 2>/dev/null; true";
    let output = sbx.shell(script).output().await;
    let stored: Pod = Api::namespaced(api.clone(), namespace())
        .get(sbx.id().as_str())
        .await?;
    sbx.delete().await?;
    let output = output?.check()?;
    // The kernel enforces the limit, and no token is mounted.
    assert_eq!(
        output.stdout_lossy(),
        "ci\nfrom a mapfrom a secret\nbox\n1\n1\n67108864\n"
    );
    let spec = serde_json::to_value(stored.spec)?;
    let resources = &spec["containers"][0]["resources"];
    let limits = serde_json::json!({"cpu": "100m", "memory": "64Mi", "ephemeral-storage": "96Mi"});
    assert_eq!(resources["limits"], limits);
    assert_eq!(
        (
            &resources["requests"]["cpu"],
            &resources["requests"]["memory"]
        ),
        (&"1m".into(), &"64Mi".into())
    );
    assert_eq!(spec["affinity"], affinity());
    assert_eq!(
        spec["imagePullSecrets"],
        serde_json::json!([{"name": "requested"}])
    );
    assert_eq!(spec["containers"][0]["imagePullPolicy"], "IfNotPresent");
    assert_eq!(
        stored.metadata.annotations.expect("annotations")["example.com/run"],
        "42"
    );
    assert_eq!(stored.metadata.labels.expect("labels")["team"], "ml");
    Ok(())
}

fn affinity() -> serde_json::Value {
    serde_json::json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
        {"matchExpressions": [{"key": "kubernetes.io/os", "operator": "In", "values": ["linux"]}]},
    ]}}})
}

async fn secrets_are_stored_only_in_the_sandbox(_: TestedBackend) -> Outcome {
    let api = api().await?;
    let hidden = "hush-4711";
    let plain = "plain-4711";
    let client = client_for(admin_backend(options()).await?, defaults());
    let sbx = client
        .sandbox()
        .detached()
        .env("PLAIN", plain)
        .secret_env("HIDDEN", hidden)
        .init(ExecRequest::from_shell("test \"$HIDDEN\" = hush-4711"))
        .create()
        .await?;
    let outcome = async {
        let output = sbx
            .shell("echo $PLAIN $HIDDEN; cat .sandbox/environment")
            .output()
            .await?
            .check()?;
        assert_eq!(
            output.stdout_lossy(),
            "plain-4711 hush-4711\nPLAIN=plain-4711\n"
        );
        // Another client that connects has the plain variable only.
        let other = client_for(admin_backend(options()).await?, defaults())
            .connect(sbx.id())
            .await?;
        let output = other.shell("echo $PLAIN $HIDDEN").output().await?.check()?;
        assert_eq!(output.stdout_lossy(), "plain-4711\n");
        // The objects that the cluster stores have neither.
        let pod: Pod = Api::namespaced(api.clone(), namespace())
            .get(sbx.id().as_str())
            .await?;
        let owners = pod.metadata.owner_references.iter().flatten();
        let owner = owners.map(|owner| owner.name.clone()).next();
        let owner = owner.ok_or("a Pod without an owner")?;
        let keys: Secret = Api::namespaced(api.clone(), namespace())
            .get(&owner)
            .await?;
        let mut stored = serde_json::to_string(&pod)?;
        for ByteString(bytes) in keys.data.into_iter().flatten().map(|(_, value)| value) {
            stored.push_str(&String::from_utf8_lossy(&bytes));
        }
        assert!(
            stored.contains("SANDBOX_SSHD_HOST_KEY"),
            "the Pod is that of the sandbox"
        );
        assert!(!stored.contains("4711"), "{stored}");
        Ok(())
    }
    .await;
    sbx.delete().await?;
    outcome
}

async fn invalid_options_are_refused(_: TestedBackend) -> Outcome {
    let client = client_for(admin_backend(options()).await?, defaults());
    for label in ["sandbox.dev/team", "sandbox.dev/id"] {
        let error = client
            .sandbox()
            .label(label, "x")
            .create()
            .await
            .err()
            .ok_or(label)?;
        assert!(
            matches!(error, Error::Invalid { .. }) && error.to_string().contains(label),
            "{error}"
        );
    }
    let patch = |patch: serde_json::Value| serde_json::json!({ "patch": patch });
    let variable =
        serde_json::json!({"name": "SANDBOX_SSHD_AUTHORIZED_KEYS", "value": "ssh-ed25519 mine"});
    let keys =
        serde_json::json!({"spec": {"containers": [{"name": "sandbox", "env": [variable]}]}});
    for (backend, options, text) in [
        (
            "k8s",
            serde_json::json!({"nodeSelecter": {"a": "b"}}),
            "nodeSelecter",
        ),
        (
            "k8s",
            serde_json::json!({"patch": {"spec": {"hostPID": true}}}),
            "hostPID",
        ),
        ("docker", serde_json::json!({}), "SANDBOX_BACKEND=docker"),
        (
            "k8s",
            serde_json::json!({"annotations": {"sandbox.dev/nonce": "mine"}}),
            "sandbox.dev/nonce",
        ),
        (
            "k8s",
            patch(serde_json::json!({"metadata": {"name": "other"}})),
            "metadata",
        ),
        (
            "k8s",
            patch(serde_json::json!({"metadata": {"ownerReferences": null}})),
            "metadata",
        ),
        (
            "k8s",
            patch(serde_json::json!({"metadata": {"labels": {"sandbox.dev/id": "x"}}})),
            "sandbox.dev",
        ),
        (
            "k8s",
            patch(serde_json::json!({"spec": {"activeDeadlineSeconds": null}})),
            "activeDeadlineSeconds",
        ),
        ("k8s", patch(keys), "keys"),
    ] {
        match client
            .sandbox()
            .backend_options(backend, options)
            .create()
            .await
        {
            Err(error @ (Error::Invalid { .. } | Error::Unsupported { .. })) => {
                assert!(error.to_string().contains(text), "{error}");
            }
            other => return Err(format!("{text}: {other:?}").into()),
        }
    }
    Ok(())
}
