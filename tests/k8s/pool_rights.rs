//! The accounts of `deploy/pool` have exactly the permissions that filling a pool and claiming from it need.

use std::sync::Arc;
use std::time::Duration;

use sandbox::{Client, Error, OnEmpty, SandboxBackend, SharedPool};
use sandbox_conformance::{Outcome, TestedBackend, cases};
use sandbox_k8s::KubernetesBackend;
use sandbox_k8s::options::Transport;
use sandbox_ssh::{SshOptions, SshSessions};

use crate::cluster::{admin_backend, client_for, connect, defaults, options};
use crate::deploy_manifests;
use crate::recording_client::RequestLog;
use crate::rights::granted;

cases![permissions_of_shared_pools_are_exactly_those_needed];

const FILLER: &str = "sandbox-pool-filler";
const CLAIMER: &str = "sandbox-claimer";
const POOL: &str = "ci";

async fn permissions_of_shared_pools_are_exactly_those_needed(_: TestedBackend) -> Outcome {
    deploy_manifests::with_namespace(true, async |api, namespace| {
        let accounts = deploy_manifests::pool_accounts(&namespace)?;
        tokio::task::spawn_blocking(move || deploy_manifests::apply(&accounts)).await??;
        compare_rights(&api, &namespace).await
    })
    .await
}

async fn compare_rights(api: &kube::Client, namespace: &str) -> Outcome {
    let (filling, claiming) = (RequestLog::default(), RequestLog::default());
    let first = backend(api, namespace, FILLER, &filling).await?;
    let first_filler = fill(&first, namespace, false).await?;
    let claimer = client_for(
        backend(api, namespace, CLAIMER, &claiming).await?,
        defaults(),
    );
    claim_once(&claimer).await?;

    // Another process adopts what waits, and one with other sandboxes deletes it.
    let second = backend(api, namespace, FILLER, &filling).await?;
    first_filler.stop().await;
    let second_filler = fill(&second, namespace, false).await?;
    diagnose_one(&second).await?;
    let waiting = second.list(Default::default()).await?;
    second_filler.stop().await;
    let third = backend(api, namespace, FILLER, &filling).await?;
    let third_filler = fill(&third, namespace, true).await?;
    let former: Vec<_> = waiting.into_iter().map(|info| info.id).collect();
    for id in &former {
        while third.get(id, sandbox::Freshness::Latest).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
    wait_for(&filling, "secrets", "delete").await;
    wait_for(&filling, "leases", "patch").await;
    third_filler.stop().await;

    let mut used = filling.rights();
    // Only a Pod that starts slowly needs this, which a test cannot arrange.
    used.insert(("events".into(), "watch".into()));
    assert_eq!(used, granted(api, namespace, FILLER).await?);

    let mut used = claiming.rights();
    // Only a WebSocket needs this, where the API server or a proxy does not accept SPDY.
    used.insert(("pods/portforward".into(), "get".into()));
    // Only a cluster that can resize running Pods gets such a request.
    used.insert(("pods/resize".into(), "patch".into()));
    assert_eq!(used, granted(api, namespace, CLAIMER).await?);
    Ok(())
}

/// Reads the log of a sandbox and diagnoses it, as soon as one has a log: there is none before the kubelet has reported
/// the container, and never one of a sandbox that the first filler had not completed.
async fn diagnose_one(backend: &KubernetesBackend) -> Outcome {
    loop {
        for info in backend.list(Default::default()).await? {
            if backend.logs(&info.id, Default::default()).await.is_ok() {
                backend.diagnose(&info.id).await?;
                return Ok(());
            }
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Does everything that a program does with a sandbox that it claims.
async fn claim_once(claimer: &Client) -> Outcome {
    let claim = claimer.sandbox().from_pool(POOL).detached();
    let sbx = claim.ttl(Duration::from_secs(600)).create().await?;
    sbx.command("true").output().await?.check()?;
    sbx.extend(Duration::from_secs(1200)).await?;
    sbx.delete().await?;
    let none = claimer
        .sandbox()
        .from_pool("none")
        .on_empty(OnEmpty::Fail)
        .create();
    match none.await {
        Err(Error::PoolEmpty { .. }) => Ok(()),
        other => Err(format!("{other:?}").into()),
    }
}

/// Starts to fill the pool and waits until it is full. `is_changed`: with other sandboxes than before.
async fn fill(
    backend: &KubernetesBackend,
    namespace: &str,
    is_changed: bool,
) -> Outcome<SharedPool> {
    // A filler in the cluster connects to Pods directly. From outside this goes through the API server, with other
    // permissions than its own.
    let mut admin_options = options();
    admin_options.namespace = Some(namespace.to_owned());
    admin_options.transport = Transport::PortForward;
    let admin = admin_backend(admin_options).await?;
    let sessions = SshSessions::new(Arc::new(admin.connector()), SshOptions::default());
    let client = Client::with_parts(Arc::new(backend.clone()), Arc::new(sessions), defaults());
    let sandbox = client.sandbox();
    let sandbox = if is_changed {
        sandbox.label("generation", "2")
    } else {
        sandbox
    };
    let pool = client.shared_pool(POOL, sandbox).size(2).start().await?;
    pool.filled().await;
    Ok(pool)
}

async fn wait_for(log: &RequestLog, resource: &str, verb: &str) {
    let right = (resource.to_owned(), verb.to_owned());
    while !log.rights().contains(&right) {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
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
    Ok(KubernetesBackend::new(client, options))
}
