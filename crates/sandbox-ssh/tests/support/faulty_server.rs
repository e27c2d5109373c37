//! A server that is reached over failing streams.

use std::path::PathBuf;
use std::sync::Arc;

use sandbox_core::{Access, Connector};
use sandbox_ssh::{SshOptions, SshSessions, TcpConnector};
use sandbox_testkit::faults::{FaultPlan, FaultyConnector};

use super::InProcessSshd;
use super::daemon::Daemon;

pub(crate) struct FaultyServer {
    pub(crate) access: Arc<Access>,
    connector: Arc<dyn Connector>,
    /// The directory in which commands start.
    pub(crate) home: PathBuf,
    /// Deleted with the server.
    _home: Option<Arc<tempfile::TempDir>>,
}

impl FaultyServer {
    pub(crate) fn for_in_process(sshd: &InProcessSshd) -> Self {
        let connector = Arc::clone(&sshd.connector) as _;
        let access = Arc::clone(&sshd.access);
        let home = sshd.home.path().to_owned();
        Self {
            access,
            connector,
            home,
            _home: Some(Arc::clone(&sshd.home)),
        }
    }

    pub(crate) fn for_daemon(daemon: &Daemon) -> Self {
        let connector = Arc::new(TcpConnector);
        Self {
            access: Arc::clone(&daemon.access),
            connector,
            home: daemon.home.clone(),
            _home: None,
        }
    }

    /// Sessions over streams that fail as planned.
    pub(crate) fn faulty(
        &self,
        plans: impl IntoIterator<Item = FaultPlan>,
    ) -> (Arc<FaultyConnector>, SshSessions) {
        let connector = FaultyConnector::new(Arc::clone(&self.connector), plans);
        (
            Arc::clone(&connector),
            SshSessions::new(connector, SshOptions::default()),
        )
    }
}
