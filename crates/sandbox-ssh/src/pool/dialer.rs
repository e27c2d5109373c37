//! Opens connections to one sandbox.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sandbox_core::{Access, Connector, Deadline, Endpoint, Result, metrics};

use crate::connection::{Connection, Purpose, Setup, connect};
use crate::options::SshOptions;

/// Opens connections to one sandbox.
#[derive(Clone)]
pub(crate) struct Dialer {
    connector: Arc<dyn Connector>,
    access: Arc<Mutex<Arc<Access>>>,
    purpose: Purpose,
    setup: Setup,
}

impl Dialer {
    pub(crate) fn new(
        connector: Arc<dyn Connector>,
        access: Arc<Access>,
        options: &SshOptions,
        purpose: Purpose,
    ) -> Self {
        Self {
            connector,
            access: Arc::new(Mutex::new(access)),
            purpose,
            setup: Setup::new(options, purpose),
        }
    }

    /// Opens connections to the same sandbox for another purpose.
    pub(crate) fn with_purpose(&self, options: &SshOptions, purpose: Purpose) -> Self {
        Self {
            purpose,
            setup: self.setup.with_purpose(options, purpose),
            ..self.clone()
        }
    }

    /// Uses another endpoint and key from now on.
    pub(crate) fn set_access(&self, access: &Arc<Access>) {
        *self.lock() = Arc::clone(access);
    }

    pub(crate) fn access(&self) -> Arc<Access> {
        Arc::clone(&self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, Arc<Access>> {
        self.access.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) async fn dial(&self, deadline: Deadline, attempts: u32) -> Result<Connection> {
        let access = self.access();
        let begun = Instant::now();
        let dial = metrics::start_dial(self.purpose.name());
        let conn = connect(&*self.connector, &access, &self.setup, deadline, attempts).await;
        dial.finish(&conn);
        let conn = conn?;
        tracing::debug!(
            sandbox.id = %access.id,
            ssh.purpose = ?self.purpose,
            ssh.endpoint = endpoint_kind(&access.endpoint),
            ssh.server = %conn.server(),
            elapsed_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
            "connected"
        );
        Ok(conn)
    }

    pub(super) fn purpose(&self) -> Purpose {
        self.purpose
    }

    /// How long one attempt may take.
    pub(super) fn attempt_limit(&self) -> Duration {
        self.setup.attempt_limit
    }
}

fn endpoint_kind(endpoint: &Endpoint) -> &'static str {
    match endpoint {
        Endpoint::Tcp(_) => "tcp",
        Endpoint::Unix(_) => "unix",
        Endpoint::Pod { .. } => "pod",
        Endpoint::Memory(_) => "memory",
        _ => "other",
    }
}
