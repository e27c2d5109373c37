//! The accounts of `deploy/` may do what is needed, and nothing that is not: the rest of the list
//! runs as the first of them.

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

cases![each_right_is_needed_and_none_is_missing];

async fn each_right_is_needed_and_none_is_missing(_: TestedBackend) -> Outcome {
    // With the restricted standard enforced, where the cluster can.
    deploy_manifests::with_namespace(true, async |api, namespace| compare(&api, &namespace).await)
        .await
}

async fn compare(api: &kube::Client, namespace: &str) -> Outcome {
    let (client, gc) = (RequestLog::default(), RequestLog::default());
    let ended = live(
        backend(api, namespace, CLIENT, &client).await?,
        &client,
        api,
        namespace,
    )
    .await?;
    // It goes with the backend.
    let removed = ("leases".to_owned(), "delete".to_owned());
    while !client.rights().contains(&removed) {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    collect(&backend(api, namespace, GC, &gc).await?, &ended).await?;
    let mut used = client.rights();
    // From 1.35 on, the API server holds the WebSocket's GET against this verb.
    used.insert(("pods/portforward".into(), "create".into()));
    // Only of a Pod that is slow to start, which is not for a test to say.
    used.insert(("events".into(), "watch".into()));
    // Every minute, for makers that were killed.
    used.insert(("leases".into(), "list".into()));
    assert_eq!(used, granted(api, namespace, CLIENT).await?);
    let mut used = gc.rights();
    // Of a maker that was killed.
    used.insert(("leases".into(), "delete".into()));
    assert_eq!(used, granted(api, namespace, GC).await?);
    Ok(())
}

/// All that a program does with sandboxes. Returns one that ends by itself and is left behind.
async fn live(
    backend: KubernetesBackend,
    requests: &RequestLog,
    api: &kube::Client,
    namespace: &str,
) -> Outcome<SandboxId> {
    let maker = client_for(backend.clone(), defaults());
    let leased = maker.sandbox().create();
    let sbx = maker
        .sandbox()
        .detached()
        .ttl(Duration::from_secs(600))
        .create();
    let (leased, sbx) = tokio::try_join!(leased, sbx)?;
    sbx.command("true").output().await?.check()?;
    sbx.extend(Duration::from_secs(1200)).await?;
    assert_eq!(maker.list(ListFilter::default()).await?.len(), 2);
    // It is used before the kubelet has told of it; until then there is no log.
    while backend
        .logs(sbx.id(), LogOptions::default())
        .await
        .is_err_and(|error| error.is_retryable())
    {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    backend.diagnose(sbx.id()).await?;

    let other = self::backend(api, namespace, CLIENT, requests).await?;
    let taken = client_for(other, defaults());
    taken
        .connect(sbx.id())
        .await?
        .command("true")
        .output()
        .await?
        .check()?;
    tokio::try_join!(taken.delete_sandbox(sbx.id()), leased.delete())?;
    // The Lease is renewed every five seconds.
    let renewed = ("leases".to_owned(), "patch".to_owned());
    while !requests.rights().contains(&renewed) {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    // Nobody looks on when it ends, and as a detached one it does not go with the Lease.
    let left = maker
        .sandbox()
        .detached()
        .ttl(Duration::from_secs(5))
        .create()
        .await?;
    Ok(left.id().clone())
}

async fn collect(gc: &KubernetesBackend, ended: &SandboxId) -> Outcome {
    for _ in 0..120 {
        let report = gc.sweep(SweepOptions::default()).await?;
        if report.removed.iter().any(|swept| swept.id == *ended) {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    Err(format!("{ended} was never collected").into())
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

async fn granted(api: &kube::Client, namespace: &str, role: &str) -> Outcome<BTreeSet<Right>> {
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
