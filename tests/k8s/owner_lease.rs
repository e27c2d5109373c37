//! A process with an owner Lease is killed: the garbage collector of Kubernetes deletes its
//! attached sandboxes with the Lease.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use kube::api::ListParams;
use sandbox::{SandboxBackend, SweepOptions};
use sandbox_conformance::{Outcome, TestedBackend, cases};
use sandbox_k8s::KubernetesBackend;
use sandbox_k8s::internals::labels;

use crate::cluster::{
    KUBECONFIG, Namespace, admin_backend, client_for, connect, defaults, managed_objects, options,
};
use crate::deploy_manifests::{self, CLIENT, GC};
use crate::recording_client::RequestLog;

cases![sandboxes_of_a_killed_process_are_deleted_with_its_lease];

/// Set for the process that the test kills.
pub(crate) const HOLDER_VARIABLE: &str = "SANDBOX_TEST_HOLDER";
/// The shortest duration that a Lease may have.
const LEASE_DURATION: Duration = Duration::from_secs(15);
/// Long enough that only the Lease ends these sandboxes.
const ATTACH_TIMEOUT: Duration = Duration::from_secs(3600);
const SANDBOXES: usize = 2;

/// The main function of the process that holds the Lease. It runs until it is killed.
pub(crate) fn run_holder() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let ended: Outcome = runtime.block_on(async {
        let _namespace = Namespace::begin().await?;
        let mut options = options();
        options.owner_lease = Some(LEASE_DURATION);
        let mut defaults = defaults();
        defaults.lifetime.attach_timeout = Some(ATTACH_TIMEOUT);
        let client = client_for(admin_backend(options).await?, defaults);
        let created = (0..SANDBOXES).map(|_| client.sandbox().create());
        for sbx in futures_util::future::try_join_all(created).await? {
            println!("{}", sbx.id());
        }
        println!("end");
        std::future::pending().await
    });
    eprintln!("{ended:?}");
    ExitCode::FAILURE
}

async fn sandboxes_of_a_killed_process_are_deleted_with_its_lease(_: TestedBackend) -> Outcome {
    // The namespace enforces the restricted standard, if the cluster can.
    deploy_manifests::with_namespace(true, async |api, namespace| {
        kill_holder(&api, &namespace).await
    })
    .await
}

async fn kill_holder(api: &kube::Client, namespace: &str) -> Outcome {
    let kubeconfig = deploy_manifests::account_kubeconfig(api, namespace, CLIENT).await?;
    let mut command = Command::new(std::env::current_exe()?);
    command
        .env(HOLDER_VARIABLE, "1")
        .env(KUBECONFIG, &*kubeconfig)
        .env("SANDBOX_TEST_NAMESPACE", namespace);
    command
        .env_remove(crate::api_server::CONTEXT)
        .stdout(Stdio::piped());
    let mut holder = KillOnDrop(command.spawn()?);
    let output = holder.0.stdout.take().ok_or("no output")?;
    let ids = tokio::task::spawn_blocking(move || {
        let lines = BufReader::new(output).lines().map_while(Result::ok);
        lines.take_while(|line| line != "end").collect::<Vec<_>>()
    });
    let mut ids = ids.await?;
    assert_eq!(ids.len(), SANDBOXES, "the holder failed");

    let requests = RequestLog::default();
    let kubeconfig = deploy_manifests::account_kubeconfig(api, namespace, GC).await?;
    let mut options = options();
    options.namespace = Some(namespace.to_owned());
    let gc = KubernetesBackend::new(
        requests.record(connect(Some(&kubeconfig), None).await?),
        options,
    );
    // While the holder lives, it renews the Lease.
    tokio::time::sleep(LEASE_DURATION + Duration::from_secs(2)).await;
    let report = gc.sweep(SweepOptions::default()).await?;
    assert!(report.removed.is_empty(), "{report:?}");

    holder.0.kill()?;
    holder.0.wait()?;
    let mut report = gc.sweep(SweepOptions::default()).await?;
    for _ in 0..60 {
        if !report.removed.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        report = gc.sweep(SweepOptions::default()).await?;
    }
    let mut removed: Vec<_> = report
        .removed
        .iter()
        .map(|swept| swept.id.to_string())
        .collect();
    removed.sort();
    ids.sort();
    assert_eq!(removed, ids, "{report:?}");
    assert!(
        report
            .removed
            .iter()
            .all(|swept| swept.reason.contains("Lease")),
        "{report:?}"
    );
    for _ in 0..240 {
        if managed_objects(api, namespace).await?.is_empty() {
            let deleted: Vec<_> = requests
                .rights()
                .into_iter()
                .filter(|(_, verb)| verb == "delete")
                .collect();
            assert_eq!(
                deleted,
                [("leases".to_owned(), "delete".to_owned())],
                "Kubernetes must delete the rest"
            );
            let leases: Api<Lease> = Api::namespaced(api.clone(), namespace);
            let left = leases
                .list(&ListParams::default().labels(&labels::selector()))
                .await?;
            assert!(left.items.is_empty(), "{left:?}");
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    Err(format!("left: {:?}", managed_objects(api, namespace).await?).into())
}

/// A process that is killed at the latest when the test ends.
struct KillOnDrop(Child);

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        // An error means that the process was killed before.
        let _result = self.0.kill().and_then(|()| self.0.wait());
    }
}
