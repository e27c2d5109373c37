//! What one sandbox is asked for beyond what every backend has, and where its secrets go.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use sandbox::{Error, ExecRequest};
use sandbox_conformance::{Outcome, TestedBackend, cases};
use sandbox_k8s::options::{PodOptions, PullPolicy, VolumeAt, VolumeSource};

use crate::cluster::{admin_backend, api, client_for, defaults, namespace, options};

cases![
    one_sandbox_gets_what_it_asks_for,
    secrets_are_nowhere_but_inside,
    what_is_not_understood_is_refused
];

async fn one_sandbox_gets_what_it_asks_for(_: TestedBackend) -> Outcome {
    let api = api().await?;
    let text = |text: &str| BTreeMap::from([("key".to_owned(), text.to_owned())]);
    let mut map = ConfigMap {
        data: Some(text("from a map")),
        ..ConfigMap::default()
    };
    map.metadata.name = Some("asked".into());
    let bytes = BTreeMap::from([("key".to_owned(), ByteString(b"from a secret".to_vec()))]);
    let mut secret = Secret {
        data: Some(bytes),
        ..Secret::default()
    };
    secret.metadata.name = Some("asked".into());
    let maps: Api<ConfigMap> = Api::namespaced(api.clone(), namespace());
    let secrets: Api<Secret> = Api::namespaced(api.clone(), namespace());
    maps.create(&PostParams::default(), &map).await?;
    secrets.create(&PostParams::default(), &secret).await?;
    let outcome = mounted(&api).await;
    maps.delete("asked", &DeleteParams::default()).await?;
    secrets.delete("asked", &DeleteParams::default()).await?;
    outcome
}

async fn mounted(api: &kube::Client) -> Outcome {
    let pod = PodOptions::new()
        .node_selector("kubernetes.io/os", "linux")
        .tolerate("example.com/any")
        .host_alias("10.9.8.7", ["mirror.example.com"])
        .request("cpu", "1m")
        .annotation("example.com/run", "42")
        .volume(VolumeAt::new(
            "scratch",
            "/scratch",
            VolumeSource::EmptyDir(Some("8Mi".into())),
        ))
        .volume(VolumeAt::new(
            "memory",
            "/memory",
            VolumeSource::Memory(Some("8Mi".into())),
        ))
        .volume(VolumeAt::new("map", "/map", VolumeSource::ConfigMap("asked".into())).read_only())
        .volume(VolumeAt::new(
            "secret",
            "/secret",
            VolumeSource::Secret("asked".into()),
        ))
        .image_pull_secret("asked")
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
    let look = "cat mode /map/key /secret/key; echo; hostname; grep -c mirror.example.com /etc/hosts; \
                echo x > /scratch/x && echo x > /memory/x && mount | grep -c ' on /memory type tmpfs'; \
                ls /var/run/secrets/kubernetes.io 2>/dev/null; cat /sys/fs/cgroup/memory/memory.limit_in_bytes \
                /sys/fs/cgroup/memory.max 2>/dev/null; true";
    let seen = sbx.shell(look).output().await;
    let stored: Pod = Api::namespaced(api.clone(), namespace())
        .get(sbx.id().as_str())
        .await?;
    sbx.delete().await?;
    let seen = seen?.check()?;
    // The limit is the kernel's, and no token is mounted.
    assert_eq!(
        seen.stdout_lossy(),
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
        serde_json::json!([{"name": "asked"}])
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

async fn secrets_are_nowhere_but_inside(_: TestedBackend) -> Outcome {
    let (api, hidden, plain) = (api().await?, "hush-4711", "plain-4711");
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
        let seen = sbx
            .shell("echo $PLAIN $HIDDEN; cat .sandbox/environment")
            .output()
            .await?
            .check()?;
        assert_eq!(
            seen.stdout_lossy(),
            "plain-4711 hush-4711\nPLAIN=plain-4711\n"
        );
        // Another program that takes it up has the one and not the other.
        let other = client_for(admin_backend(options()).await?, defaults())
            .connect(sbx.id())
            .await?;
        let seen = other.shell("echo $PLAIN $HIDDEN").output().await?.check()?;
        assert_eq!(seen.stdout_lossy(), "plain-4711\n");
        // Nothing that the cluster keeps has either.
        let pod: Pod = Api::namespaced(api.clone(), namespace())
            .get(sbx.id().as_str())
            .await?;
        let keys: Secret = Api::namespaced(api.clone(), namespace())
            .get(&format!("{}-keys", sbx.id()))
            .await?;
        let mut kept = serde_json::to_string(&pod)?;
        for ByteString(bytes) in keys.data.into_iter().flatten().map(|(_, value)| value) {
            kept.push_str(&String::from_utf8_lossy(&bytes));
        }
        assert!(
            kept.contains("SANDBOX_SSHD_HOST_KEY"),
            "it is the right Pod"
        );
        assert!(!kept.contains("4711"), "{kept}");
        Ok(())
    }
    .await;
    sbx.delete().await?;
    outcome
}

async fn what_is_not_understood_is_refused(_: TestedBackend) -> Outcome {
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
    let own =
        serde_json::json!({"name": "SANDBOX_SSHD_AUTHORIZED_KEYS", "value": "ssh-ed25519 mine"});
    let keys = serde_json::json!({"spec": {"containers": [{"name": "sandbox", "env": [own]}]}});
    for (backend, wanted, named) in [
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
            .backend_options(backend, wanted)
            .create()
            .await
        {
            Err(error @ (Error::Invalid { .. } | Error::Unsupported { .. })) => {
                assert!(error.to_string().contains(named), "{error}");
            }
            other => return Err(format!("{named}: {other:?}").into()),
        }
    }
    Ok(())
}
