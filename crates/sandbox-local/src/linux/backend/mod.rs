//! The backend, on the client's side.

mod create;
mod delete;
mod find;
mod observe;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use sandbox_core::{
    Access, Capabilities, DeleteOptions, Diagnosis, Endpoint, Error, EventStream, Freshness,
    LimitSupport, ListFilter, LogOptions, LogStream, PrivateKey, Result, SandboxBackend, SandboxId,
    SandboxInfo, SandboxSpec, SweepOptions, SweepReport, Uid,
};

use crate::linux::cgroup::Cgroup;
use crate::linux::confine::Means;
use crate::linux::state::StateDir;
use crate::linux::supervisor::limits::user_is_own;
use crate::options::{BACKEND, IsolationLevel, LocalOptions};

/// The backend for sandboxes on this machine. It is cheap to clone, and clones share their state.
#[derive(Debug, Clone)]
pub struct LocalBackend {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    options: LocalOptions,
    state: StateDir,
    limits: OnceLock<LimitSupport>,
    /// What was made or used here, to say later what became of it.
    known: Mutex<HashMap<SandboxId, SandboxInfo>>,
}

impl LocalBackend {
    /// Creates a backend with these settings, without touching anything yet.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] if there is no directory to keep sandboxes in.
    pub fn new(options: LocalOptions) -> Result<Self> {
        let state = StateDir::of(&options)?;
        Ok(Self {
            shared: Arc::new(Shared {
                options,
                state,
                limits: OnceLock::new(),
                known: Mutex::default(),
            }),
        })
    }

    /// Returns the directory of sandboxes, which has one directory for each, named by its id.
    pub fn state_dir(&self) -> &Path {
        self.shared.state.path()
    }

    fn remember(&self, info: &SandboxInfo) {
        let mut known = self
            .shared
            .known
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        // Long enough for whoever lost a connection to ask why.
        let forgotten = SystemTime::now().checked_sub(Duration::from_secs(600));
        known.retain(|_, info| {
            info.expires_at
                .zip(forgotten)
                .is_none_or(|(end, forgotten)| end > forgotten)
        });
        known.insert(info.id.clone(), info.clone());
    }

    fn remembered(&self, id: &SandboxId) -> Option<SandboxInfo> {
        self.shared
            .known
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(id)
            .cloned()
    }

    fn forget(&self, id: &SandboxId) {
        self.shared
            .known
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(id);
    }
}

#[async_trait]
impl SandboxBackend for LocalBackend {
    fn name(&self) -> &'static str {
        BACKEND
    }

    fn capabilities(&self) -> Capabilities {
        let limits = self.shared.limits.get_or_init(|| {
            let means = match self.shared.options.isolation {
                // Where namespaces turn out not to be permitted, a limit that needs them is
                // refused when it is asked for.
                IsolationLevel::Auto | IsolationLevel::Namespaces => Means::Namespaces,
                IsolationLevel::Landlock => Means::Landlock,
                IsolationLevel::None => Means::Nothing,
            };
            // A name that nobody else uses; the probe is gone when this returns.
            let name = Uid::generate().map_or_else(
                |_| format!("sandbox-probe-{}", std::process::id()),
                |uid| format!("sandbox-probe-{uid}"),
            );
            let mut support = Cgroup::support(&name);
            support.pids |= user_is_own(means, rustix::process::geteuid().is_root());
            support.disk = means == Means::Namespaces;
            support
        });
        let mut capabilities = Capabilities::default();
        capabilities.limits = *limits;
        capabilities.network = self.shared.options.isolation == IsolationLevel::None;
        capabilities.sandbox_sshd = true;
        capabilities
    }

    async fn create(&self, spec: SandboxSpec) -> Result<SandboxInfo> {
        let info = create::create(&self.shared.options, &self.shared.state, spec).await?;
        self.remember(&info);
        Ok(info)
    }

    async fn get(&self, id: &SandboxId, _freshness: Freshness) -> Result<SandboxInfo> {
        Ok(self.find(id).await?.info)
    }

    async fn list(&self, filter: ListFilter) -> Result<Vec<SandboxInfo>> {
        self.list_all(filter).await
    }

    async fn events(&self, id: &SandboxId) -> Result<EventStream> {
        self.stream_events(id).await
    }

    async fn access(&self, id: &SandboxId) -> Result<Access> {
        let record = self.find(id).await?;
        let dir = self.shared.state.sandbox(id);
        let socket = dir.socket();
        let key_file = dir.client_key_file();
        let key = blocking("read the key", move || std::fs::read_to_string(key_file))
            .await
            .map_err(|error| gone_or(error, id))?;
        self.remember(&record.info);
        Ok(Access {
            id: id.clone(),
            host_key: record.host_key()?,
            uid: record.info.uid,
            user: record.info.user,
            client_key: PrivateKey::from_openssh(key)?,
            endpoint: Endpoint::Unix(socket),
        })
    }

    async fn diagnose(&self, id: &SandboxId) -> Result<Diagnosis> {
        self.explain(id).await
    }

    async fn logs(&self, id: &SandboxId, options: LogOptions) -> Result<LogStream> {
        self.stream_log(id, options).await
    }

    async fn extend(&self, id: &SandboxId, ttl: Duration) -> Result<SandboxInfo> {
        let record = self.change(id, move |record| record.extend(ttl)).await?;
        self.remember(&record.info);
        Ok(record.info)
    }

    async fn delete(&self, id: &SandboxId, options: DeleteOptions) -> Result<()> {
        delete::delete(&self.shared.state, id, &options).await?;
        self.forget(id);
        Ok(())
    }

    async fn sweep(&self, options: SweepOptions) -> Result<SweepReport> {
        let state = self.shared.state.clone();
        blocking("look through the sandboxes", move || {
            delete::sweep(&state, options.dry_run)
        })
        .await
        .map_err(|error| failed("sweep", error))
    }
}

/// Runs what may block off the threads of the runtime.
async fn blocking<T: Send + 'static>(
    what: &'static str,
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> std::io::Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(std::io::Error::other(format!("could not {what}: {error}"))),
    }
}

fn failed(operation: &'static str, error: std::io::Error) -> Error {
    Error::Backend {
        backend: BACKEND,
        operation,
        message: error.to_string(),
        transient: false,
        source: Some(Box::new(error)),
    }
}

/// What is not there any more was taken away while it was looked at.
fn gone_or(error: std::io::Error, id: &SandboxId) -> Error {
    if error.kind() == std::io::ErrorKind::NotFound {
        Error::NotFound { id: id.clone() }
    } else {
        failed("read the sandbox's state", error)
    }
}

/// For the record's sake: paths are absolute, whatever the working directory.
fn absolute(paths: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let check = |path: &PathBuf| match path.is_absolute()
        && !path
            .components()
            .any(|part| part == std::path::Component::ParentDir)
    {
        true => Ok(path.clone()),
        false => Err(Error::invalid(
            "read-only path",
            path.display().to_string(),
            "use an absolute path without ..",
        )),
    };
    paths.iter().map(check).collect()
}
