//! The accounts of `deploy/` have exactly the permissions that the SDK needs. The other cases run
//! as the first of them.

use std::collections::BTreeSet;
use std::time::Duration;

use k8s_openapi::api::rbac::v1::Role;
use kube::Api;
use sandbox::{ListFilter, LogOptions, SandboxBackend, SandboxId, SweepOptions};
use sandbox_conformance::{Outcome, TestedBackend, cases};
use sandbox_k8s::KubernetesBackend;
use sandbox_k8s::options::Transport;

use crate::cluster::{client_for, connect, defaults, options};
use crate::deploy_manifests::{self, CLIENT, GC};
use crate::recording_client::{RequestLog, Right};

/// The role with what egress rules need in addition.
const EGRESS: &str = "sandbox-egress";

cases![permissions_are_exactly_those_needed];

async fn permissions_are_exactly_those_needed(_: TestedBackend) -> Outcome {
    // The namespace enforces the restricted standard, if the cluster can.
    deploy_manifests::with_namespace(true, async |api, namespace| {
        compare_rights(&api, &namespace).await
    })
    .await
}

async fn compare_rights(api: &kube::Client, namespace: &str) -> Outcome {
    let client = RequestLog::default();
    let gc = RequestLog::default();
    let ended = use_every_right(
        backend(api, namespace, CLIENT, &client).await?,
        &client,
        api,
        namespace,
    )
    .await?;
    // The backend deletes its Lease when it is dropped.
    let deleted = ("leases".to_owned(), "delete".to_owned());
    while !client.rights().contains(&deleted) {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    sweep_until_removed(&backend(api, namespace, GC, &gc).await?, &ended).await?;
    let mut used = client.rights();
    // Only a WebSocket needs this, where the API server or a proxy does not accept SPDY.
    used.insert(("pods/portforward".into(), "get".into()));
    // Only a Pod that starts slowly needs this, which a test cannot arrange.
    used.insert(("events".into(), "watch".into()));
    // Only a Pod whose node reports late needs these.
    used.insert(("configmaps".into(), "get".into()));
    used.insert(("persistentvolumeclaims".into(), "get".into()));
    // Clients look for expired Leases only once a minute.
    used.insert(("leases".into(), "list".into()));
    // deploy/egress-proof.yaml grants this in the namespace default.
    assert!(used.remove(&("services".to_owned(), "get".to_owned())));
    // The request for /api, which names no resource, and which every account may send.
    assert!(used.remove(&(String::new(), "list".to_owned())));
    let mut all = granted(api, namespace, CLIENT).await?;
    all.extend(granted(api, namespace, EGRESS).await?);
    assert_eq!(used, all);
    let mut used = gc.rights();
    // Only the Lease of a killed process needs this.
    used.insert(("leases".into(), "delete".into()));
    assert_eq!(used, granted(api, namespace, GC).await?);
    Ok(())
}

/// Does everything that a program does with sandboxes. Returns a sandbox that ends by itself and is
/// not deleted.
async fn use_every_right(
    backend: KubernetesBackend,
    requests: &RequestLog,
    api: &kube::Client,
    namespace: &str,
) -> Outcome<SandboxId> {
    let creator = client_for(backend.clone(), defaults());
    let leased = creator.sandbox().create();
    let sbx = creator
        .sandbox()
        .detached()
        .ttl(Duration::from_secs(600))
        .create();
    let (leased, sbx) = tokio::try_join!(leased, sbx)?;
    sbx.command("true").output().await?.check()?;
    sbx.extend(Duration::from_secs(1200)).await?;
    assert_eq!(creator.list(ListFilter::default()).await?.len(), 2);
    // There is no log before the kubelet has reported the container, which may be after the first
    // command.
    while backend
        .logs(sbx.id(), LogOptions::default())
        .await
        .is_err_and(|error| error.is_retryable())
    {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    backend.diagnose(sbx.id()).await?;
    // deploy/egress.yaml has the policy.
    let isolated = backend.isolate_network(sbx.id(), sbx.uid()).await;
    let message = isolated.map(|_| ()).unwrap_err().to_string();
    assert!(message.contains("deploy/egress-proof.yaml"), "{message}");

    let other = self::backend(api, namespace, CLIENT, requests).await?;
    let other_client = client_for(other, defaults());
    other_client
        .connect(sbx.id())
        .await?
        .command("true")
        .output()
        .await?
        .check()?;
    tokio::try_join!(other_client.delete_sandbox(sbx.id()), leased.delete())?;
    // The Lease is renewed every five seconds.
    let renewed = ("leases".to_owned(), "patch".to_owned());
    while !requests.rights().contains(&renewed) {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    // No client watches it when it ends, and a detached sandbox does not belong to the Lease.
    let expiring = creator
        .sandbox()
        .detached()
        .ttl(Duration::from_secs(20))
        .create()
        .await?;
    Ok(expiring.id().clone())
}

async fn sweep_until_removed(gc: &KubernetesBackend, ended: &SandboxId) -> Outcome {
    for _ in 0..360 {
        let report = gc.sweep(SweepOptions::default()).await?;
        if report.removed.iter().any(|swept| swept.id == *ended) {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    Err(format!("{ended} was not removed").into())
}

async fn backend(
    api: &kube::Client,
    namespace: &str,
    account: &str,
    requests: &RequestLog,
) -> Outcome<KubernetesBackend> {
    let kubeconfig = deploy_manifests::account_kubeconfig(api, namespace, account).await?;
    let client = requests.record(connect(Some(&kubeconfig), None).await?);
    let mut options = options();
    options.namespace = Some(namespace.to_owned());
    options.transport = Transport::PortForward;
    options.owner_lease = Some(Duration::from_secs(15));
    Ok(KubernetesBackend::new(client, options))
}

pub(crate) async fn granted(
    api: &kube::Client,
    namespace: &str,
    role: &str,
) -> Outcome<BTreeSet<Right>> {
    let role = Api::<Role>::namespaced(api.clone(), namespace)
        .get(role)
        .await?;
    let rules = role.rules.into_iter().flatten();
    let rights = rules.flat_map(|rule| {
        let resources = rule.resources.unwrap_or_default();
        let pairs = |resource: String| {
            let verbs = rule.verbs.clone();
            verbs.into_iter().map(move |verb| (resource.clone(), verb))
        };
        resources.into_iter().flat_map(pairs).collect::<Vec<_>>()
    });
    Ok(rights.collect())
}
