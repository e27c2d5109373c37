//! The parts that a client shares with its sandboxes.

use std::ffi::OsString;
use std::sync::Arc;

use sandbox_core::{
    Connector, DeleteOptions, Leftovers, Result, SandboxBackend, SandboxId, SessionSource, metrics,
};
use tracing::Instrument;

use crate::defaults::Defaults;

/// Everything that a client shares with its sandboxes.
pub(crate) struct Parts {
    pub(crate) backend: Arc<dyn SandboxBackend>,
    pub(crate) sessions: Arc<dyn SessionSource>,
    /// Opens the streams that sessions run over, for SSH clients of other kinds.
    pub(crate) connector: Option<Arc<dyn Connector>>,
    pub(crate) defaults: Defaults,
    /// Where sandboxes are created, as text for people.
    pub(crate) location: Option<String>,
    /// The settings as environment variables, for another process.
    pub(crate) environment: Vec<(&'static str, OsString)>,
    /// Creates the parts for another namespace, if the backend has namespaces.
    pub(crate) in_namespace: Option<InNamespace>,
    /// Deletions in the background.
    pub(crate) deletions: Leftovers,
}

pub(crate) type InNamespace = Box<dyn Fn(&str) -> Result<Parts> + Send + Sync>;

impl Parts {
    /// Closes the connections to a sandbox, then deletes it.
    pub(crate) async fn delete(&self, id: &SandboxId, options: DeleteOptions) -> Result<()> {
        let backend = self.backend.name();
        let measured = metrics::start_delete(backend);
        let span =
            tracing::debug_span!("sandbox.delete", sandbox.backend = backend, sandbox.id = %id);
        let deleted = async {
            if let Some(uid) = &options.uid {
                self.sessions.evict(uid).await;
            }
            self.backend.delete(id, options).await
        }
        .instrument(span)
        .await;
        measured.finish(&deleted);
        deleted
    }
}
