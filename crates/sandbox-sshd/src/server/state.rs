//! The state that all connections of one server share.

use std::sync::Arc;

use russh::keys::{PrivateKey, PublicKey};
use sandbox_core::protocol::EndReason;
use tokio_util::sync::CancellationToken;

use super::keys::AuthorizedKeys;
use super::logins::PendingLogins;
use super::owner::Owner;
use super::reverse::ReversePort;
use super::ssh_config::ssh_config;
use crate::config::ServerConfig;
use crate::error::ServerError;
use crate::guest::{Guest, SharedProcesses};
use crate::jobs::Jobs;
use crate::lifetime::{Due, Lifetime};
use crate::process::home::{find_user_name, find_user_shell};
use crate::process::pause::Pauser;
use crate::process::spawn::Spawner;
use crate::process::table::ProcessTable;

/// The state of one server.
pub(crate) struct ServerState {
    pub(crate) config: Arc<ServerConfig>,
    pub(crate) ssh: Arc<russh::server::Config>,
    pub(crate) lifetime: Arc<Lifetime>,
    pub(crate) processes: Arc<ProcessTable>,
    pub(crate) pauser: Arc<Pauser>,
    pub(crate) spawner: Arc<Spawner>,
    pub(crate) jobs: Arc<Jobs>,
    pub(crate) guest: Guest,
    pub(crate) pending_logins: Arc<PendingLogins>,
    /// Cancelled to close all connections.
    pub(crate) stop: CancellationToken,
    pub(crate) owner: Arc<Owner>,
    /// The way out of the sandbox.
    pub(crate) reverse_port: Arc<ReversePort>,
}

impl ServerState {
    /// Checks the configuration, creates the home directory and starts the lifetimes.
    ///
    /// # Errors
    ///
    /// If a key or the home directory cannot be used.
    pub(crate) fn new(mut config: ServerConfig) -> Result<Arc<Self>, ServerError> {
        config.user_name = find_user_name();
        config.user_shell = find_user_shell();
        let host_key = PrivateKey::from_openssh(config.host_key.expose())
            .map_err(|error| ServerError::HostKey(error.into()))?;
        let authorized_keys = AuthorizedKeys::parse(&config.authorized_keys)?;
        std::fs::create_dir_all(&config.home).map_err(|source| ServerError::Home {
            path: config.home.clone(),
            source,
        })?;
        let lifetime = Lifetime::new(&config);
        let processes = Arc::new(ProcessTable::default());
        let pauser = Pauser::new(
            Arc::clone(&processes),
            Arc::clone(&lifetime),
            config.freezer.clone(),
            config.reap_orphans,
        );
        let spawner = Arc::new(Spawner::new(
            Arc::clone(&processes),
            config.spawn_setup.clone(),
        ));
        let jobs = Jobs::new(
            &config.home,
            config.job_log_limit,
            Arc::clone(&spawner),
            Arc::clone(&lifetime),
        );
        let config = Arc::new(config);
        let shared = SharedProcesses::new(
            Arc::clone(&config),
            Arc::clone(&spawner),
            Arc::clone(&lifetime),
        );
        Ok(Arc::new(Self {
            ssh: Arc::new(ssh_config(host_key)),
            lifetime,
            processes,
            pauser: Arc::clone(&pauser),
            spawner,
            jobs,
            guest: Guest::new(Arc::clone(&config), shared, pauser),
            pending_logins: PendingLogins::new(config.max_pending_logins),
            stop: CancellationToken::new(),
            owner: Owner::new(authorized_keys, config.is_claimable),
            reverse_port: Arc::default(),
            config,
        }))
    }

    /// Waits until a limit of the sandbox is reached, and pauses the sandbox when that is due. One that cannot be paused
    /// ends.
    pub(crate) async fn wait_for_end(&self) -> EndReason {
        loop {
            match self.lifetime.wait_until_due().await {
                Due::End(reason) => return reason,
                Due::Pause => match self.pauser.pause().await {
                    Ok(_) => tracing::info!("paused at the end of the ttl"),
                    Err(error) => {
                        tracing::warn!(%error, "the sandbox ends, because it cannot be paused");
                        return EndReason::Expired;
                    }
                },
            }
        }
    }

    /// Whether this user may log in with this key.
    pub(crate) fn is_authorized(&self, user: &str, key: &PublicKey) -> bool {
        let is_accepted_user = self
            .config
            .user
            .as_deref()
            .is_none_or(|accepted| accepted == user);
        is_accepted_user && self.owner.accepts(key)
    }
}
