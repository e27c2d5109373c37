//! From settings to a backend and its sessions: the one place that knows them all.

#[cfg(feature = "k8s")]
mod kubernetes;

use std::ffi::OsString;
use std::sync::Arc;

use sandbox_config::{BackendKind, Settings};
#[cfg(not(all(feature = "k8s", feature = "local")))]
use sandbox_core::Error;
use sandbox_core::{Connector, Result, SandboxBackend, SessionSource};

use crate::Defaults;

/// What a client is made of.
pub(crate) struct Opened {
    pub(crate) backend: Arc<dyn SandboxBackend>,
    pub(crate) sessions: Arc<dyn SessionSource>,
    pub(crate) connector: Arc<dyn Connector>,
    /// Where sandboxes are made, for people.
    pub(crate) place: Option<String>,
    /// And for another process, as settings.
    pub(crate) environment: Vec<(&'static str, OsString)>,
}

pub(crate) async fn open(settings: &Settings) -> Result<Opened> {
    match settings.backend {
        BackendKind::Local => local(settings),
        _ => kubernetes::open(settings).await,
    }
}

#[cfg(feature = "local")]
fn local(settings: &Settings) -> Result<Opened> {
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
    let connector: Arc<dyn Connector> = Arc::new(sandbox_local::UnixConnector::new());
    let sessions = sandbox_ssh::SshSessions::new(Arc::clone(&connector), ssh_options(settings));
    let backend = Arc::new(sandbox_local::LocalBackend::new(options)?);
    let environment = vec![
        ("SANDBOX_BACKEND", BackendKind::Local.as_str().into()),
        ("SANDBOX_STATE_DIR", backend.state_dir().into()),
    ];
    Ok(Opened {
        backend,
        sessions: Arc::new(sessions),
        connector,
        place: None,
        environment,
    })
}

#[cfg(not(feature = "local"))]
fn local(_: &Settings) -> Result<Opened> {
    Err(Error::unsupported(
        "the local backend",
        "this program",
        "build it with the feature `local` of the crate `sandbox`, or choose another SANDBOX_BACKEND",
    ))
}

#[cfg(not(feature = "k8s"))]
mod kubernetes {
    use super::*;

    pub(super) async fn open(_: &Settings) -> Result<Opened> {
        Err(Error::unsupported(
            "the Kubernetes backend",
            "this program",
            "build it with the feature `k8s` of the crate `sandbox`, or set SANDBOX_BACKEND=local for sandboxes \
             on this machine",
        ))
    }
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
