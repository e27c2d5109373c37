//! The cluster of the tests, and the namespace that they create in it.
//!
//! | variable | value | default |
//! |---|---|---|
//! | `SANDBOX_TEST_KUBECONFIG` | the kubeconfig | none: the tests are skipped |
//! | `SANDBOX_TEST_CONTEXT` | its context | the current context |
//! | `SANDBOX_TEST_NAMESPACE` | an existing namespace | one is created from `deploy/`, and deleted at the end |
//! | `SANDBOX_TEST_IMAGE` | an image with a shell and the usual tools | `localhost/busybox:1` |
//! | `SANDBOX_TEST_SERVER_IMAGE` | the image that `cargo xtask image` built | `localhost/sandbox-sshd:VERSION` |
//! | `SANDBOX_TEST_SERVER_PATH` | a static `sandbox-sshd` to upload | what `cargo xtask image` built |
//! | `SANDBOX_TEST_COMMAND_IMAGE` | the image that `cargo xtask image --command` built | `localhost/sandbox-command:VERSION` |
//! | `SANDBOX_TEST_SSHD_IMAGE` | an image with OpenSSH's server, as root on port 22 | `localhost/debian-sshd:12` if a node has it |
//! | `SANDBOX_TEST_COMMAND` | the built command `sandbox` | none: its cases are skipped |
//! | `SANDBOX_TEST_NODE_NETNS` | the file of the only node's network namespace, on this machine | none: no test enforces a policy there |
//! | `SANDBOX_TEST_TRANSPORT` | `direct`, `port-forward` or `auto` | `auto` |

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use sandbox::{Client, Defaults, Lifetime, SandboxSpec};
use sandbox_conformance::Outcome;
use sandbox_k8s::KubernetesBackend;
use sandbox_k8s::options::{KubernetesOptions, PullPolicy, Transport};
use tokio::runtime::Handle;

use crate::deploy_manifests;

pub(crate) use crate::api_server::{KUBECONFIG, api, connect, managed_objects, remove_namespace};

/// The namespace and the account of this run.
static RUN: OnceLock<Run> = OnceLock::new();

/// How long the last deletions of a run may take.
const DELETION_TIMEOUT: Duration = Duration::from_secs(60);

struct Run {
    namespace: String,
    /// The kubeconfig of the account with the permissions of `deploy/`. `None` if the namespace was
    /// given, for users who may not create one.
    client_kubeconfig: Option<PathBuf>,
}

/// The namespace of this run. When the run ends, it must contain no managed object.
pub(crate) struct Namespace {
    api: kube::Client,
    /// The kubeconfig of the client account, if the namespace was created here.
    created: Option<tempfile::TempPath>,
}

impl Namespace {
    pub(crate) async fn begin() -> Outcome<Self> {
        let api = api().await?;
        let (namespace, created) = match std::env::var("SANDBOX_TEST_NAMESPACE") {
            Ok(name) => (name, None),
            Err(_) => {
                let name = deploy_manifests::create_namespace(&api, false).await?;
                let kubeconfig =
                    deploy_manifests::account_kubeconfig(&api, &name, deploy_manifests::CLIENT)
                        .await?;
                (name, Some(kubeconfig))
            }
        };
        let client_kubeconfig = created.as_ref().map(|path| path.to_path_buf());
        RUN.set(Run {
            namespace,
            client_kubeconfig,
        })
        .map_err(|_| "a run has begun already")?;
        Ok(Self { api, created })
    }

    /// Fails if managed objects are left. Deletes the namespace in any case if it was created here.
    pub(crate) async fn finish(self) -> Outcome {
        let left = self.remaining_objects().await;
        if self.created.is_some() {
            remove_namespace(&self.api, namespace()).await?;
        }
        match left?.as_slice() {
            [] => Ok(()),
            left => Err(format!("left behind in {}: {}", namespace(), left.join(", ")).into()),
        }
    }

    async fn remaining_objects(&self) -> Outcome<Vec<String>> {
        let until = tokio::time::Instant::now() + DELETION_TIMEOUT;
        loop {
            let left = managed_objects(&self.api, namespace()).await?;
            if left.is_empty() || tokio::time::Instant::now() > until {
                return Ok(left);
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }
}

fn current_run() -> &'static Run {
    RUN.get().expect("the run has begun")
}

/// The namespace of this run's sandboxes.
pub(crate) fn namespace() -> &'static str {
    &current_run().namespace
}

/// A kubeconfig with only the permissions of `deploy/`, if the namespace was created here.
pub(crate) fn kubeconfig() -> PathBuf {
    current_run()
        .client_kubeconfig
        .clone()
        .or_else(|| std::env::var_os(KUBECONFIG).map(PathBuf::from))
        .unwrap_or_default()
}

/// A client that shares nothing with the others, with only the permissions of `deploy/`.
pub(crate) fn client(runtime: &Handle, mut defaults: Defaults) -> Client {
    // The cases connect other clients to a sandbox, which only a detached one allows: only its
    // creator has the key of an attached one.
    let lifetime = &mut defaults.lifetime;
    lifetime
        .attach_timeout
        .take_if(|timeout| *timeout == Lifetime::DEFAULT_ATTACH);
    defaults.image = Some(image());
    // A thread of the runtime may not block on it.
    let handle = runtime.clone();
    let backend = std::thread::spawn(move || handle.block_on(restricted_backend(options())));
    client_for(
        backend.join().expect("a client").expect("a cluster"),
        defaults,
    )
}

/// A client on this backend, with sessions over its connector.
pub(crate) fn client_for(backend: KubernetesBackend, defaults: Defaults) -> Client {
    let sessions = sandbox_ssh::SshSessions::new(
        Arc::new(backend.connector()),
        sandbox_ssh::SshOptions::default(),
    );
    Client::with_parts(Arc::new(backend), Arc::new(sessions), defaults)
}

/// A backend with the permissions of the given kubeconfig.
pub(crate) async fn admin_backend(
    options: KubernetesOptions,
) -> sandbox::Result<KubernetesBackend> {
    Ok(KubernetesBackend::new(api().await?, options))
}

/// A backend with only the permissions of `deploy/`.
pub(crate) async fn restricted_backend(
    options: KubernetesOptions,
) -> sandbox::Result<KubernetesBackend> {
    let client = match &current_run().client_kubeconfig {
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
