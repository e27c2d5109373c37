//! From settings to a backend and its sessions: the one place that knows them all.

use std::sync::Arc;

use sandbox_config::{BackendKind, Settings};
use sandbox_core::{Error, Result, SandboxBackend, SessionSource};

use crate::Defaults;

type Parts = (Arc<dyn SandboxBackend>, Arc<dyn SessionSource>);

pub(crate) async fn open(settings: &Settings) -> Result<Parts> {
    match settings.backend {
        BackendKind::Local => local(settings),
        _ => Err(Error::unsupported(
            "the Kubernetes backend",
            "this version",
            "it is being built; set SANDBOX_BACKEND=local for sandboxes on this machine",
        )),
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

/// What the settings say about connections.
#[cfg(feature = "local")]
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
