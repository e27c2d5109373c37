//! From settings to the options of SSH connections.

use sandbox_config::Settings;

pub(super) fn ssh_options(settings: &Settings) -> sandbox_ssh::SshOptions {
    let mut options = sandbox_ssh::SshOptions::default();
    options.channels_per_connection = settings.ssh.channels_per_connection;
    options.connections = settings.ssh.max_connections;
    options.connect_timeout = settings.timeouts.connect;
    if let Some(idle) = settings.ssh.idle_timeout {
        options.idle_timeout = idle;
    }
    options
}
