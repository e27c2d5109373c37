//! What depends on how new the cluster is: each case knows both sides, so that none is skipped.

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::rbac::v1::Role;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use sandbox::{Client, CreationReason, Error};
use sandbox_conformance::{Outcome, TestedBackend, cases};
use sandbox_k8s::KubernetesBackend;
use sandbox_k8s::options::{InjectVia, Injection, SecurityProfile, Transport};
use serde_json::json;

use crate::cluster::{
    admin_backend, api, client_for, connect, defaults, image, minor_version, namespace, options,
};
use crate::deploy_manifests::{self, CLIENT};

cases![
    image_volumes_where_there_are_any,
    the_pod_security_standard_of_the_namespace,
    the_right_to_begin_a_websocket,
];

fn of(backend: KubernetesBackend) -> Client {
    client_for(backend, defaults())
}

/// Whether the API server keeps `volumes[].image`: it may not know the field, or drop it.
async fn takes_image_volumes() -> Outcome<bool> {
    let pods: Api<Pod> = Api::namespaced(api().await?, namespace());
    let reference = options().server_image;
    let pod = json!({"metadata": {"name": "only-tried"}, "spec": {
        "containers": [{"name": "c", "image": image(), "volumeMounts": [{"name": "v", "mountPath": "/v"}]}],
        "volumes": [{"name": "v", "image": {"reference": reference}}],
    }});
    let params = PostParams {
        dry_run: true,
        field_manager: None,
    };
    match pods.create(&params, &serde_json::from_value(pod)?).await {
        Ok(stored) => {
            let volumes = stored
                .spec
                .and_then(|spec| spec.volumes)
                .unwrap_or_default();
            Ok(volumes.iter().any(|volume| volume.image.is_some()))
        }
        Err(kube::Error::Api(status)) if matches!(status.code, 400 | 422) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

async fn image_volumes_where_there_are_any(_: TestedBackend) -> Outcome {
    let there_are = takes_image_volumes().await?;
    let mut by_volume = options();
    by_volume.injection = Injection::Inject(InjectVia::ImageVolume);
    let made = of(admin_backend(by_volume).await?).sandbox().create().await;
    let works = match made {
        Ok(sbx) => {
            let ran = sbx.command("true").output().await;
            sbx.delete().await?;
            ran?.check()?;
            true
        }
        Err(error) => {
            // The runtimes of older machines cannot mount them, or not so that a program runs: that is said too.
            println!("{error}");
            let said = [
                "SANDBOX_INJECTION=init-container",
                "image volume",
                "image as a volume",
            ];
            assert!(
                said.iter().any(|words| error.to_string().contains(words)),
                "{error}"
            );
            false
        }
    };
    assert!(
        there_are || !works,
        "a volume that the API server does not keep has brought a server"
    );

    // Left to find out, a client makes a sandbox at its first try, and the next in the way that works.
    let client = of(admin_backend(options()).await?);
    let pods: Api<Pod> = Api::namespaced(api().await?, namespace());
    for _ in 0..2 {
        let sbx = client.sandbox().create().await?;
        let pod = pods.get(sbx.id().as_str()).await;
        sbx.delete().await?;
        let copied = pod?
            .spec
            .is_some_and(|spec| spec.init_containers.is_some_and(|all| !all.is_empty()));
        assert_eq!(
            copied, !works,
            "a first container is for clusters without image volumes"
        );
    }
    Ok(())
}

/// A sandbox that runs as root, where only the restricted standard is admitted, from 1.25 on.
async fn the_pod_security_standard_of_the_namespace(_: TestedBackend) -> Outcome {
    let is_enforced = minor_version().await? >= 25;
    deploy_manifests::with_namespace(true, async |api, strict| {
        let mut options = options();
        options.namespace = Some(strict);
        let restricted = of(KubernetesBackend::new(api.clone(), options.clone()));
        options.security = SecurityProfile::Baseline;
        let baseline = of(KubernetesBackend::new(api, options));
        let sbx = restricted.sandbox().create().await?;
        sbx.command("true").output().await?.check()?;
        sbx.delete().await?;
        match baseline.sandbox().create().await {
            Ok(sbx) => {
                sbx.delete().await?;
                assert!(!is_enforced, "the namespace admits what its label forbids");
            }
            Err(Error::Creation(error)) => {
                assert!(
                    is_enforced && error.reason == CreationReason::Rejected,
                    "{error}"
                );
                assert!(error.message.contains("security profile"), "{error}");
            }
            Err(other) => return Err(other.into()),
        }
        Ok(())
    })
    .await
}

/// From 1.35 on, the API server holds the WebSocket's GET against the verb `create` as well.
async fn the_right_to_begin_a_websocket(_: TestedBackend) -> Outcome {
    deploy_manifests::with_namespace(false, async |api, place| {
        let roles: Api<Role> = Api::namespaced(api.clone(), &place);
        let mut role = roles.get(CLIENT).await?;
        for rule in role.rules.iter_mut().flatten() {
            if rule
                .resources
                .iter()
                .flatten()
                .any(|resource| resource == "pods/portforward")
            {
                rule.verbs.retain(|verb| verb != "create");
            }
        }
        let less = json!({ "rules": role.rules });
        roles
            .patch(CLIENT, &PatchParams::default(), &Patch::Merge(&less))
            .await?;
        let kubeconfig = deploy_manifests::account_kubeconfig(&api, &place, CLIENT).await?;
        let mut options = options();
        options.namespace = Some(place.clone());
        options.transport = Transport::PortForward;
        let client = of(KubernetesBackend::new(
            connect(Some(&kubeconfig), None).await?,
            options,
        ));
        match client.sandbox().create().await {
            Ok(sbx) => {
                sbx.delete().await?;
                assert!(
                    minor_version().await? < 35,
                    "it was let in without the right"
                );
            }
            Err(error) => {
                assert!(minor_version().await? >= 35, "{error}");
                let said = error.to_string();
                assert!(
                    said.contains("create") && said.contains("pods/portforward"),
                    "{said}"
                );
            }
        }
        Ok(())
    })
    .await
}
