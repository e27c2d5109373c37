//! Clients of the local backend for the test programs of this folder, which have no harness: their
//! `main` has to call `sandbox::local::init()` first, as every program with local sandboxes does.

use std::path::Path;
use std::sync::Arc;

use sandbox::{Client, Defaults, Result, SandboxBackend, SessionSource};
use sandbox_local::{LocalBackend, LocalOptions, UnixConnector};
use sandbox_ssh::{SshOptions, SshSessions};

/// The local backend with its records in `state_dir`, and sessions for its sandboxes.
pub(crate) fn local_parts(state_dir: &Path) -> (Arc<dyn SandboxBackend>, Arc<dyn SessionSource>) {
    let mut options = LocalOptions::default();
    options.state_dir = Some(state_dir.to_owned());
    let backend = LocalBackend::new(options).expect("a backend");
    let sessions = SshSessions::new(Arc::new(UnixConnector::new()), SshOptions::default());
    (Arc::new(backend), Arc::new(sessions))
}

/// A client of the local backend with its records in `state_dir`.
pub(crate) fn local_client(state_dir: &Path, defaults: Defaults) -> Client {
    let (backend, sessions) = local_parts(state_dir);
    Client::with_parts(backend, sessions, defaults)
}

/// Runs `work` with a client of the local backend, and then waits until the tasks that close its
/// connections have ended.
pub(crate) fn run_locally(work: impl AsyncFnOnce(Client) -> Result<()>) {
    let state_dir = tempfile::tempdir().expect("a directory");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let client = local_client(state_dir.path(), Defaults::default());
    runtime
        .block_on(work(client))
        .expect("no call fails that has to succeed");
    // Dropping the runtime ends the tasks that close connections.
    drop(runtime);
}
