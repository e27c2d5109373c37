//! Direct access to the API server of the cluster, to check and change objects without the SDK.

use std::path::{Path, PathBuf};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Namespace, Pod, Secret, ServiceAccount};
use kube::api::{DeleteParams, ListParams};
use kube::{Api, ResourceExt};
use sandbox_conformance::Outcome;
use sandbox_k8s::internals::labels::{self, SecretName};
use sandbox_k8s::{ClusterOptions, connect_cluster};

/// The variable that names the kubeconfig.
pub(crate) const KUBECONFIG: &str = "SANDBOX_TEST_KUBECONFIG";
/// The variable that names the context of the kubeconfig.
pub(crate) const CONTEXT: &str = "SANDBOX_TEST_CONTEXT";

/// A client with the permissions of the given kubeconfig, to check stored objects and to interfere
/// with sandboxes.
pub(crate) async fn api() -> sandbox::Result<kube::Client> {
    let kubeconfig = std::env::var_os(KUBECONFIG).map(PathBuf::from);
    connect(kubeconfig.as_deref(), std::env::var(CONTEXT).ok()).await
}

/// A client with the permissions of a kubeconfig.
pub(crate) async fn connect(
    kubeconfig: Option<&Path>,
    context: Option<String>,
) -> sandbox::Result<kube::Client> {
    let mut cluster = ClusterOptions::default();
    cluster.kubeconfig = kubeconfig.map(Path::to_owned);
    cluster.context = context;
    connect_cluster(&cluster).await
}

/// The minor version of the cluster: 20 for Kubernetes 1.20.
pub(crate) async fn minor_version() -> Outcome<u32> {
    let version = api().await?.apiserver_version().await?;
    // Some distributions add a plus sign.
    Ok(version.minor.trim_end_matches('+').parse()?)
}

/// The Pods and Secrets of sandboxes in a namespace, each with the id of its sandbox.
pub(crate) async fn managed_objects(
    client: &kube::Client,
    namespace: &str,
) -> Result<Vec<String>, kube::Error> {
    let params = ListParams::default().labels(&labels::selector());
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let (pods, secrets) = tokio::try_join!(pods.list(&params), secrets.list_metadata(&params))?;
    let pods = pods.iter().map(|pod| format!("Pod {}", pod.name_any()));
    let secrets = secrets.iter().map(|secret| {
        let name = secret.name_any();
        let id = SecretName::parse(&name).map(|name| name.id().to_string());
        format!("Secret {}", id.unwrap_or(name))
    });
    Ok(pods.chain(secrets).collect())
}

/// Waits until a new namespace has its service account. Admission rejects Pods before.
pub(crate) async fn wait_for_service_account(client: &kube::Client, namespace: &str) -> Outcome {
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), namespace);
    while accounts.get_opt("default").await?.is_none() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

/// Deletes a namespace without waiting until its objects are deleted.
pub(crate) async fn remove_namespace(client: &kube::Client, namespace: &str) -> Outcome {
    let all: Api<Namespace> = Api::all(client.clone());
    all.delete(namespace, &DeleteParams::default()).await?;
    Ok(())
}
