//! The cluster that the tests are given, and the namespace that they make for themselves.
//!
//! | variable | is | without it |
//! |---|---|---|
//! | `SANDBOX_TEST_KUBECONFIG` | the kubeconfig | nothing runs |
//! | `SANDBOX_TEST_CONTEXT` | its context | the current one |
//! | `SANDBOX_TEST_NAMESPACE` | a namespace that is there | one is made of `deploy/`, and removed at the end |
//! | `SANDBOX_TEST_IMAGE` | an image with a shell and the usual tools | `localhost/busybox:1` |
//! | `SANDBOX_TEST_SERVER_IMAGE` | what `cargo xtask image` made | `localhost/sandbox-sshd:VERSION` |
//! | `SANDBOX_TEST_COMMAND_IMAGE` | what `cargo xtask image --command` made | `localhost/sandbox-command:VERSION` |
//! | `SANDBOX_TEST_SSHD_IMAGE` | an image with OpenSSH's server, as root on port 22 | `localhost/debian-sshd:12` where a node has it |
//! | `SANDBOX_TEST_COMMAND` | the built command `sandbox` | its cases do not run |
//! | `SANDBOX_TEST_TRANSPORT` | `direct`, `port-forward` or `auto` | `auto` |

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Namespace as Object, Pod, Secret, ServiceAccount};
use kube::api::{DeleteParams, ListParams};
use kube::{Api, ResourceExt};
use sandbox::{Client, Defaults, Lifetime, SandboxSpec};
use sandbox_conformance::Outcome;
use sandbox_k8s::internals::labels;
use sandbox_k8s::options::{KubernetesOptions, PullPolicy, Transport};
use sandbox_k8s::{ClusterOptions, KubernetesBackend, connect_cluster};
use tokio::runtime::Handle;

use crate::deploy_manifests;

pub(crate) const KUBECONFIG: &str = "SANDBOX_TEST_KUBECONFIG";
pub(crate) const CONTEXT: &str = "SANDBOX_TEST_CONTEXT";

/// What this run works with.
static RUN: OnceLock<Run> = OnceLock::new();

/// How long what was deleted at the very end may take to go.
const SETTLE: Duration = Duration::from_secs(60);

struct Run {
    namespace: String,
    /// With the rights that `deploy/` gives; `None` where the namespace was given, for those who
    /// may not make one.
    client: Option<PathBuf>,
}

/// The namespace of this run: at its end there must be nothing of ours in it.
pub(crate) struct Namespace {
    api: kube::Client,
    made: Option<tempfile::TempPath>,
}

impl Namespace {
    pub(crate) async fn begin() -> Outcome<Self> {
        let api = api().await?;
        let (namespace, made) = match std::env::var("SANDBOX_TEST_NAMESPACE") {
            Ok(name) => (name, None),
            Err(_) => {
                let name = deploy_manifests::create_namespace(&api, false).await?;
                let kubeconfig =
                    deploy_manifests::account_kubeconfig(&api, &name, deploy_manifests::CLIENT)
                        .await?;
                (name, Some(kubeconfig))
            }
        };
        let client = made.as_ref().map(|path| path.to_path_buf());
        RUN.set(Run { namespace, client })
            .map_err(|_| "a run has begun already")?;
        Ok(Self { api, made })
    }

    /// Says what is left; a namespace that was made here is removed all the same.
    pub(crate) async fn end(self) -> Outcome {
        let left = self.left().await;
        if self.made.is_some() {
            remove_namespace(&self.api, namespace()).await?;
        }
        match left?.as_slice() {
            [] => Ok(()),
            left => Err(format!("left behind in {}: {}", namespace(), left.join(", ")).into()),
        }
    }

    async fn left(&self) -> Outcome<Vec<String>> {
        let until = tokio::time::Instant::now() + SETTLE;
        loop {
            let left = managed_objects(&self.api, namespace()).await?;
            if left.is_empty() || tokio::time::Instant::now() > until {
                return Ok(left);
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }
}

/// Removes a namespace with all that is in it, without waiting for that.
pub(crate) async fn remove_namespace(client: &kube::Client, namespace: &str) -> Outcome {
    let all: Api<Object> = Api::all(client.clone());
    all.delete(namespace, &DeleteParams::default()).await?;
    Ok(())
}

/// The names of the Pods and Secrets that are sandboxes' in a namespace.
pub(crate) async fn managed_objects(
    client: &kube::Client,
    namespace: &str,
) -> Result<Vec<String>, kube::Error> {
    let params = ListParams::default().labels(&labels::selector());
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let (pods, secrets) = tokio::try_join!(pods.list(&params), secrets.list(&params))?;
    let pods = pods.iter().map(|pod| format!("Pod {}", pod.name_any()));
    Ok(pods
        .chain(
            secrets
                .iter()
                .map(|secret| format!("Secret {}", secret.name_any())),
        )
        .collect())
}

/// Waits until Pods can be made in a new namespace: admission refuses them until its service
/// account is there.
pub(crate) async fn wait_for_service_account(client: &kube::Client, namespace: &str) -> Outcome {
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), namespace);
    while accounts.get_opt("default").await?.is_none() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

fn run() -> &'static Run {
    RUN.get().expect("the run has begun")
}

/// Where this run's sandboxes are.
pub(crate) fn namespace() -> &'static str {
    &run().namespace
}

/// A kubeconfig with no more rights than `deploy/` gives, where the namespace was made here.
pub(crate) fn kubeconfig() -> PathBuf {
    run()
        .client
        .clone()
        .or_else(|| std::env::var_os(KUBECONFIG).map(PathBuf::from))
        .unwrap_or_default()
}

/// The API server with the rights that were given, to look at what is really there and to
/// interfere.
pub(crate) async fn api() -> sandbox::Result<kube::Client> {
    let kubeconfig = std::env::var_os(KUBECONFIG).map(PathBuf::from);
    connect(kubeconfig.as_deref(), std::env::var(CONTEXT).ok()).await
}

pub(crate) async fn connect(
    kubeconfig: Option<&Path>,
    context: Option<String>,
) -> sandbox::Result<kube::Client> {
    let mut cluster = ClusterOptions::default();
    cluster.kubeconfig = kubeconfig.map(Path::to_owned);
    cluster.context = context;
    connect_cluster(&cluster).await
}

/// A client that shares nothing with the others, with no more rights than `deploy/` gives.
pub(crate) fn client(runtime: &Handle, mut defaults: Defaults) -> Client {
    // Other clients shall take a sandbox up, which is for detached ones: an attached one's key
    // is its maker's alone.
    let lifetime = &mut defaults.lifetime;
    lifetime
        .attach_timeout
        .take_if(|timeout| *timeout == Lifetime::DEFAULT_ATTACH);
    defaults.image = Some(image());
    // A runtime's own thread may not wait for it.
    let handle = runtime.clone();
    let made = std::thread::spawn(move || handle.block_on(restricted_backend(options())));
    client_for(made.join().expect("a client").expect("a cluster"), defaults)
}

pub(crate) fn client_for(backend: KubernetesBackend, defaults: Defaults) -> Client {
    let sessions = sandbox_ssh::SshSessions::new(
        Arc::new(backend.connector()),
        sandbox_ssh::SshOptions::default(),
    );
    Client::with_parts(Arc::new(backend), Arc::new(sessions), defaults)
}

/// A backend with the rights that were given.
pub(crate) async fn admin_backend(
    options: KubernetesOptions,
) -> sandbox::Result<KubernetesBackend> {
    Ok(KubernetesBackend::new(api().await?, options))
}

/// A backend with no more rights than `deploy/` gives.
pub(crate) async fn restricted_backend(
    options: KubernetesOptions,
) -> sandbox::Result<KubernetesBackend> {
    let client = match &run().client {
        Some(kubeconfig) => connect(Some(kubeconfig), None).await?,
        None => api().await?,
    };
    Ok(KubernetesBackend::new(client, options))
}

pub(crate) fn options() -> KubernetesOptions {
    let version = env!("CARGO_PKG_VERSION");
    let server = std::env::var("SANDBOX_TEST_SERVER_IMAGE");
    let mut options = KubernetesOptions::default();
    options.namespace = Some(namespace().to_owned());
    options.server_image =
        Some(server.unwrap_or_else(|_| format!("localhost/sandbox-sshd:{version}")));
    options.image_pull_policy = Some(PullPolicy::IfNotPresent);
    options.transport = match std::env::var("SANDBOX_TEST_TRANSPORT").as_deref() {
        Ok("direct") => Transport::Direct,
        Ok("port-forward") => Transport::PortForward,
        Ok("auto") | Err(_) => Transport::Auto,
        Ok(other) => panic!("SANDBOX_TEST_TRANSPORT={other}: use direct, port-forward or auto"),
    };
    options
}

/// How new the cluster is: 20 for Kubernetes 1.20.
pub(crate) async fn minor_version() -> Outcome<u32> {
    let version = api().await?.apiserver_version().await?;
    // Some add a plus sign.
    Ok(version.minor.trim_end_matches('+').parse()?)
}

pub(crate) fn image() -> String {
    std::env::var("SANDBOX_TEST_IMAGE").unwrap_or_else(|_| "localhost/busybox:1".into())
}

/// Defaults with the image of the tests.
pub(crate) fn defaults() -> Defaults {
    let mut defaults = Defaults::default();
    defaults.image = Some(image());
    defaults
}

pub(crate) fn spec_with_image(image: &str) -> SandboxSpec {
    let mut spec = SandboxSpec::default();
    spec.image = Some(image.to_owned());
    spec
}
