//! A server that streams which fail lead to, whoever's it is.

use std::path::PathBuf;
use std::sync::Arc;

use sandbox_core::{Access, Connector};
use sandbox_ssh::{SshOptions, SshSessions, TcpConnector};
use sandbox_testkit::faults::{FaultPlan, FaultyConnector};

use super::Ours;
use super::daemon::Daemon;

pub(crate) struct Server {
    pub(crate) access: Arc<Access>,
    connector: Arc<dyn Connector>,
    /// Where commands start.
    pub(crate) home: PathBuf,
    /// Ours goes with it.
    _home: Option<Arc<tempfile::TempDir>>,
}

impl Server {
    pub(crate) fn ours(ours: &Ours) -> Self {
        let connector = Arc::clone(&ours.connector) as _;
        let (access, home) = (Arc::clone(&ours.access), ours.home.path().to_owned());
        Self {
            access,
            connector,
            home,
            _home: Some(Arc::clone(&ours.home)),
        }
    }

    pub(crate) fn another(daemon: &Daemon) -> Self {
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
