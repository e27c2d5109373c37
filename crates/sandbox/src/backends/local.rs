//! From settings to sandboxes on this machine.

use std::sync::Arc;

use sandbox_config::{BackendKind, Settings};
use sandbox_core::{Connector, Leftovers, Result};

use super::parse::parse_setting;
use super::ssh::ssh_options;
use crate::defaults::Defaults;
use crate::parts::Parts;

pub(super) fn open(settings: &Settings) -> Result<Parts> {
    let mut options = sandbox_local::LocalOptions::default();
    options.state_dir.clone_from(&settings.local.state_dir);
    options.server.clone_from(&settings.local.server);
    options.isolation = parse_setting("SANDBOX_LOCAL_ISOLATION", &settings.local.isolation)?;
    options.user.clone_from(&settings.local.user);
    let connector: Arc<dyn Connector> = Arc::new(sandbox_local::UnixConnector::new());
    let sessions = sandbox_ssh::SshSessions::new(Arc::clone(&connector), ssh_options(settings));
    let backend = Arc::new(sandbox_local::LocalBackend::new(options)?);
    let environment = vec![
        ("SANDBOX_BACKEND", BackendKind::Local.as_str().into()),
        ("SANDBOX_STATE_DIR", backend.state_dir().into()),
    ];
    Ok(Parts {
        backend,
        sessions: Arc::new(sessions),
        connector: Some(connector),
        defaults: Defaults::from_settings(settings)?,
        location: None,
        environment,
        in_namespace: None,
        deletions: Leftovers::default(),
    })
}
