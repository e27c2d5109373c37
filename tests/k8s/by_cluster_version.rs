//! Behaviour that depends on the version of the cluster. Each case tests old and new clusters, so
//! that none is skipped.

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::rbac::v1::Role;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use sandbox::{Client, CreationReason, Error};
use sandbox_conformance::{Outcome, TestedBackend, cases};
use sandbox_k8s::KubernetesBackend;
use sandbox_k8s::options::{InjectVia, Injection, SecurityProfile, Transport};
use serde_json::json;

use crate::api_server::minor_version;
use crate::cluster::{
    admin_backend, api, client_for, connect, defaults, image, namespace, options,
};
use crate::deploy_manifests::{self, CLIENT};

cases![
    image_volumes_are_used_where_they_work,
    the_flow_schema_is_accepted,
    the_pod_security_standard_is_enforced,
    websockets_need_the_permission_to_create,
];

/// The first version with `flowcontrol.apiserver.k8s.io/v1`.
const FLOW_CONTROL_SINCE: u32 = 29;

async fn the_flow_schema_is_accepted(_: TestedBackend) -> Outcome {
    let is_supported = minor_version().await? >= FLOW_CONTROL_SINCE;
    let checked = tokio::task::spawn_blocking(|| {
        deploy_manifests::check_flow_schema().map_err(|error| error.to_string())
    });
    match checked.await? {
        Ok(()) => assert!(is_supported),
        Err(error) if is_supported => return Err(error.into()),
        Err(error) => assert!(error.contains("no matches for kind"), "{error}"),
    }
    Ok(())
}

fn client_on(backend: KubernetesBackend) -> Client {
    client_for(backend, defaults())
}

/// Whether the API server stores `volumes[].image`. An old one rejects or drops the field.
async fn stores_image_volumes() -> Outcome<bool> {
    let pods: Api<Pod> = Api::namespaced(api().await?, namespace());
    let reference = options().server_image;
    let pod = json!({"metadata": {"name": "dry-run"}, "spec": {
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

async fn image_volumes_are_used_where_they_work(_: TestedBackend) -> Outcome {
    let is_stored = stores_image_volumes().await?;
    let mut by_volume = options();
    by_volume.injection = Injection::Inject(InjectVia::ImageVolume);
    let result = client_on(admin_backend(by_volume).await?)
        .sandbox()
        .create()
        .await;
    let works = match result {
        Ok(sbx) => {
            let ran = sbx.command("true").output().await;
            sbx.delete().await?;
            ran?.check()?;
            true
        }
        Err(error) => {
            // Older container runtimes cannot mount image volumes, or only without execution. The
            // error says so.
            println!("{error}");
            let texts = [
                "SANDBOX_INJECTION=init-container",
                "image volume",
                "image as a volume",
            ];
            assert!(
                texts.iter().any(|text| error.to_string().contains(text)),
                "{error}"
            );
            false
        }
    };
    assert!(
        is_stored || !works,
        "the server was injected by a volume that the API server does not store"
    );

    // Without a setting, the first creation succeeds too, and later ones use the way that works.
    let client = client_on(admin_backend(options()).await?);
    let pods: Api<Pod> = Api::namespaced(api().await?, namespace());
    for _ in 0..2 {
        let sbx = client.sandbox().create().await?;
        let pod = pods.get(sbx.id().as_str()).await;
        sbx.delete().await?;
        let has_init_container = pod?
            .spec
            .is_some_and(|spec| spec.init_containers.is_some_and(|all| !all.is_empty()));
        assert_eq!(
            has_init_container, !works,
            "init containers are for clusters without image volumes"
        );
    }
    Ok(())
}

/// From 1.25 on, a namespace that enforces the restricted standard rejects a sandbox that runs as
/// root.
async fn the_pod_security_standard_is_enforced(_: TestedBackend) -> Outcome {
    let is_enforced = minor_version().await? >= 25;
    deploy_manifests::with_namespace(true, async |api, strict| {
        let mut options = options();
        options.namespace = Some(strict);
        let restricted = client_on(KubernetesBackend::new(api.clone(), options.clone()));
        options.security = SecurityProfile::Baseline;
        let baseline = client_on(KubernetesBackend::new(api, options));
        let sbx = restricted.sandbox().create().await?;
        sbx.command("true").output().await?.check()?;
        sbx.delete().await?;
        match baseline.sandbox().create().await {
            Ok(sbx) => {
                sbx.delete().await?;
                assert!(
                    !is_enforced,
                    "the namespace admits a Pod that its label forbids"
                );
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

/// From 1.35 on, the API server requires the verb `create` for the GET of a WebSocket, too.
async fn websockets_need_the_permission_to_create(_: TestedBackend) -> Outcome {
    deploy_manifests::with_namespace(false, async |api, namespace| {
        let roles: Api<Role> = Api::namespaced(api.clone(), &namespace);
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
        let kubeconfig = deploy_manifests::account_kubeconfig(&api, &namespace, CLIENT).await?;
        let mut options = options();
        options.namespace = Some(namespace.clone());
        options.transport = Transport::PortForward;
        let client = client_on(KubernetesBackend::new(
            connect(Some(&kubeconfig), None).await?,
            options,
        ));
        match client.sandbox().create().await {
            Ok(sbx) => {
                sbx.delete().await?;
                assert!(
                    minor_version().await? < 35,
                    "connected without the permission"
                );
            }
            Err(error) => {
                assert!(minor_version().await? >= 35, "{error}");
                let text = error.to_string();
                assert!(
                    text.contains("create") && text.contains("pods/portforward"),
                    "{text}"
                );
            }
        }
        Ok(())
    })
    .await
}
