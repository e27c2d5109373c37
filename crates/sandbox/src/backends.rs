//! From settings to a backend and its sessions: the one place that knows them all.

use std::sync::Arc;

use sandbox_config::{BackendKind, Settings};
#[cfg(not(all(feature = "k8s", feature = "local")))]
use sandbox_core::Error;
use sandbox_core::{Result, SandboxBackend, SessionSource};

use crate::Defaults;

type Parts = (Arc<dyn SandboxBackend>, Arc<dyn SessionSource>);

pub(crate) async fn open(settings: &Settings) -> Result<Parts> {
    match settings.backend {
        BackendKind::Local => local(settings),
        _ => kubernetes(settings).await,
    }
}

#[cfg(feature = "local")]
fn local(settings: &Settings) -> Result<Parts> {
    let mut options = sandbox_local::LocalOptions::default();
    options.state_dir.clone_from(&settings.local.state_dir);
    options.server.clone_from(&settings.local.server);
    options.isolation = match settings.local.isolation {
        sandbox_config::LocalIsolation::None => sandbox_local::IsolationLevel::None,
        sandbox_config::LocalIsolation::Auto => sandbox_local::IsolationLevel::Auto,
        sandbox_config::LocalIsolation::Landlock => sandbox_local::IsolationLevel::Landlock,
        // Not known here, so never less than the strictest.
        _ => sandbox_local::IsolationLevel::Namespaces,
    };
    let connector = Arc::new(sandbox_local::UnixConnector::new());
    let sessions = sandbox_ssh::SshSessions::new(connector, ssh_options(settings));
    Ok((Arc::new(sandbox_local::LocalBackend::new(options)?), Arc::new(sessions)))
}

#[cfg(not(feature = "local"))]
fn local(_: &Settings) -> Result<Parts> {
    Err(Error::unsupported(
        "the local backend",
        "this program",
        "build it with the feature `local` of the crate `sandbox`, or choose another SANDBOX_BACKEND",
    ))
}

#[cfg(feature = "k8s")]
async fn kubernetes(settings: &Settings) -> Result<Parts> {
    use sandbox_config::{ImagePullPolicy, TransportKind};
    use sandbox_k8s::options::{KubernetesOptions, PullPolicy, Transport};

    let from = &settings.kubernetes;
    let mut cluster = sandbox_k8s::ClusterOptions::default();
    cluster.kubeconfig.clone_from(&from.kubeconfig);
    cluster.context.clone_from(&from.context);
    let mut options = KubernetesOptions::default();
    options.namespace.clone_from(&from.namespace);
    options.server_image.clone_from(&from.server_image);
    options.image_pull_secrets = from.image_pull_secret.iter().cloned().collect();
    options.image_pull_policy = from.image_pull_policy.map(|policy| match policy {
        ImagePullPolicy::Always => PullPolicy::Always,
        ImagePullPolicy::Never => PullPolicy::Never,
        _ => PullPolicy::IfNotPresent,
    });
    options.transport = match from.transport {
        TransportKind::Direct => Transport::Direct,
        TransportKind::PortForward => Transport::PortForward,
        _ => Transport::Auto,
    };
    options.startup_grace = from.startup_grace;
    let backend = sandbox_k8s::KubernetesBackend::new(sandbox_k8s::connect_cluster(&cluster).await?, options);
    let sessions = sandbox_ssh::SshSessions::new(Arc::new(backend.connector()), ssh_options(settings));
    Ok((Arc::new(backend), Arc::new(sessions)))
}

#[cfg(not(feature = "k8s"))]
async fn kubernetes(_: &Settings) -> Result<Parts> {
    Err(Error::unsupported(
        "the Kubernetes backend",
        "this program",
        "build it with the feature `k8s` of the crate `sandbox`, or set SANDBOX_BACKEND=local for sandboxes on \
         this machine",
    ))
}

/// What the settings say about connections.
#[cfg(any(feature = "k8s", feature = "local"))]
fn ssh_options(settings: &Settings) -> sandbox_ssh::SshOptions {
    let mut options = sandbox_ssh::SshOptions::default();
    options.channels_per_connection = settings.ssh.channels_per_connection;
    options.connections = settings.ssh.max_connections;
    options.connect_timeout = settings.timeouts.connect;
    if let Some(idle) = settings.ssh.idle_timeout {
        options.idle_timeout = idle;
    }
    options
}

pub(crate) fn defaults(settings: &Settings) -> Defaults {
    Defaults {
        image: settings.image.clone(),
        resources: settings.resources,
        lifetime: settings.lifetime,
        create_timeout: settings.timeouts.create,
        connect_timeout: settings.timeouts.connect,
        command_timeout: settings.timeouts.command,
        output_cap: usize::try_from(settings.output_cap.as_bytes()).unwrap_or(usize::MAX),
    }
}
