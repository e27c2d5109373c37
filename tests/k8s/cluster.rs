//! The cluster that the tests are given, and the namespace that they make for themselves.
//!
//! | variable | is | without it |
//! |---|---|---|
//! | `SANDBOX_TEST_KUBECONFIG` | the kubeconfig | nothing runs |
//! | `SANDBOX_TEST_CONTEXT` | its context | the current one |
//! | `SANDBOX_TEST_NAMESPACE` | a namespace that is there | one is made, and removed at the end |
//! | `SANDBOX_TEST_IMAGE` | an image with a shell and the usual tools | `localhost/busybox:1` |
//! | `SANDBOX_TEST_SERVER_IMAGE` | what `cargo xtask image` made | `localhost/sandbox-sshd:VERSION` |
//! | `SANDBOX_TEST_TRANSPORT` | `direct`, `port-forward` or `auto` | `auto` |

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Namespace as Object, Pod, Secret, ServiceAccount};
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::{Api, ResourceExt};
use sandbox::{Client, Defaults, Lifetime, SandboxId, SandboxSpec};
use sandbox_k8s::options::{KubernetesOptions, PullPolicy, Transport};
use sandbox_k8s::{ClusterOptions, KubernetesBackend, connect_cluster, labels};
use sandbox_tests::Outcome;
use tokio::runtime::Handle;

pub(crate) const KUBECONFIG: &str = "SANDBOX_TEST_KUBECONFIG";

/// Where all of this run's sandboxes are.
static NAMESPACE: OnceLock<String> = OnceLock::new();

/// How long what was deleted at the very end may take to go.
const SETTLE: Duration = Duration::from_secs(60);

/// The namespace of this run: at its end there must be nothing of ours in it.
pub(crate) struct Namespace {
    client: kube::Client,
    made: bool,
}

impl Namespace {
    pub(crate) async fn begin() -> Outcome<Self> {
        let client = api().await?;
        let given = std::env::var("SANDBOX_TEST_NAMESPACE").ok();
        let made = given.is_none();
        let name = match given {
            Some(name) => name,
            None => make(&client).await?,
        };
        NAMESPACE.set(name).map_err(|name| format!("{name} is a second namespace"))?;
        Ok(Self { client, made })
    }

    /// Says what is left; a namespace that was made here is removed all the same.
    pub(crate) async fn end(self) -> Outcome {
        let left = self.left().await;
        if self.made {
            let all: Api<Object> = Api::all(self.client);
            all.delete(namespace(), &DeleteParams::default()).await?;
        }
        match left?.as_slice() {
            [] => Ok(()),
            left => Err(format!("left behind in {}: {}", namespace(), left.join(", ")).into()),
        }
    }

    async fn left(&self) -> Result<Vec<String>, kube::Error> {
        let until = tokio::time::Instant::now() + SETTLE;
        loop {
            let left = ours(&self.client, namespace()).await?;
            if left.is_empty() || tokio::time::Instant::now() > until {
                return Ok(left);
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }
}

/// The names of the Pods and Secrets that are sandboxes' in a namespace.
pub(crate) async fn ours(client: &kube::Client, namespace: &str) -> Result<Vec<String>, kube::Error> {
    let params = ListParams::default().labels(&labels::selector());
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let (pods, secrets) = tokio::try_join!(pods.list(&params), secrets.list(&params))?;
    let pods = pods.iter().map(|pod| format!("Pod {}", pod.name_any()));
    Ok(pods.chain(secrets.iter().map(|secret| format!("Secret {}", secret.name_any()))).collect())
}

/// Makes a namespace, and waits until Pods can be made in it.
pub(crate) async fn make(client: &kube::Client) -> Outcome<String> {
    let name = format!("test-{}", SandboxId::generate()?);
    let mut object = Object::default();
    object.metadata.name = Some(name.clone());
    Api::all(client.clone()).create(&PostParams::default(), &object).await?;
    // Admission refuses Pods until its service account is there.
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), &name);
    while accounts.get_opt("default").await?.is_none() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(name)
}

/// Where this run's sandboxes are.
pub(crate) fn namespace() -> &'static str {
    NAMESPACE.get().expect("the run has begun")
}

/// The API server, to look at what is really there.
pub(crate) async fn api() -> sandbox::Result<kube::Client> {
    let mut cluster = ClusterOptions::default();
    cluster.kubeconfig = std::env::var_os(KUBECONFIG).map(Into::into);
    cluster.context = std::env::var("SANDBOX_TEST_CONTEXT").ok();
    connect_cluster(&cluster).await
}

/// A client that shares nothing with the others.
pub(crate) fn client(runtime: &Handle, mut defaults: Defaults) -> Client {
    // Other clients shall take a sandbox up, which is for detached ones: an attached one's key
    // is its maker's alone.
    let lifetime = &mut defaults.lifetime;
    lifetime.attach_timeout.take_if(|timeout| *timeout == Lifetime::DEFAULT_ATTACH);
    defaults.image = Some(image());
    // A runtime's own thread may not wait for it.
    let handle = runtime.clone();
    let made = std::thread::spawn(move || handle.block_on(backend(options())));
    parts(made.join().expect("a client").expect("a cluster"), defaults)
}

pub(crate) fn parts(backend: KubernetesBackend, defaults: Defaults) -> Client {
    let sessions =
        sandbox_ssh::SshSessions::new(Arc::new(backend.connector()), sandbox_ssh::SshOptions::default());
    Client::with_parts(Arc::new(backend), Arc::new(sessions), defaults)
}

pub(crate) async fn backend(options: KubernetesOptions) -> sandbox::Result<KubernetesBackend> {
    Ok(KubernetesBackend::new(api().await?, options))
}

pub(crate) fn options() -> KubernetesOptions {
    let version = env!("CARGO_PKG_VERSION");
    let server = std::env::var("SANDBOX_TEST_SERVER_IMAGE");
    let mut options = KubernetesOptions::default();
    options.namespace = Some(namespace().to_owned());
    options.server_image = Some(server.unwrap_or_else(|_| format!("localhost/sandbox-sshd:{version}")));
    options.image_pull_policy = Some(PullPolicy::IfNotPresent);
    options.transport = match std::env::var("SANDBOX_TEST_TRANSPORT").as_deref() {
        Ok("direct") => Transport::Direct,
        Ok("port-forward") => Transport::PortForward,
        Ok("auto") | Err(_) => Transport::Auto,
        Ok(other) => panic!("SANDBOX_TEST_TRANSPORT={other}: use direct, port-forward or auto"),
    };
    options
}

pub(crate) fn image() -> String {
    std::env::var("SANDBOX_TEST_IMAGE").unwrap_or_else(|_| "localhost/busybox:1".into())
}

pub(crate) fn spec(image: &str) -> SandboxSpec {
    let mut spec = SandboxSpec::default();
    spec.image = Some(image.to_owned());
    spec
}
