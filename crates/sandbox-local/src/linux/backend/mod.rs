//! The backend, on the client's side.

mod cache;
mod channel_stream;
mod create;
mod delete;
mod diagnosis;
mod events;
mod file_access;
mod logs;
mod lookup;

use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use sandbox_core::{
    Access, Assignment, Capabilities, DeleteOptions, Diagnosis, Endpoint, EventStream, Freshness,
    Leftovers, LimitSupport, ListFilter, LogOptions, LogStream, PrivateKey, Result, SandboxBackend,
    SandboxId, SandboxInfo, SandboxSpec, SweepOptions, SweepReport, Uid,
};

use self::cache::SandboxCache;
use self::file_access::{backend_error, lookup_error, run_blocking};
use crate::linux::cgroup::Cgroup;
use crate::linux::confine::{Mechanism, check_login_name, has_exclusive_process_limit};
use crate::linux::state::StateDir;
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
    cache: SandboxCache,
    leftovers: Leftovers,
}

impl LocalBackend {
    /// Creates a backend with these settings, without touching anything yet.
    ///
    /// # Errors
    ///
    /// [`Error::Config`](sandbox_core::Error::Config) if there is no directory to keep sandboxes in;
    /// [`Error::Invalid`](sandbox_core::Error::Invalid) for a login name that cannot be one.
    pub fn new(options: LocalOptions) -> Result<Self> {
        check_login_name(&options.user)?;
        let state = StateDir::from_options(&options)?;
        Ok(Self {
            shared: Arc::new(Shared {
                options,
                state,
                limits: OnceLock::new(),
                cache: SandboxCache::default(),
                leftovers: Leftovers::default(),
            }),
        })
    }

    /// Returns the directory of sandboxes, which has one directory for each, named by its id.
    pub fn state_dir(&self) -> &Path {
        self.shared.state.path()
    }

    fn probe_limits(&self) -> LimitSupport {
        // With `Auto`, namespaces may turn out not to be permitted. A limit that needs them is then
        // refused when it is requested.
        let mechanism = Mechanism::first_for_level(self.shared.options.isolation);
        // The name is unique, and the probe is removed before this function returns.
        let name = Uid::generate().map_or_else(
            |_| format!("sandbox-probe-{}", std::process::id()),
            |uid| format!("sandbox-probe-{uid}"),
        );
        let mut support = Cgroup::probe_support(&name);
        support.pids |=
            has_exclusive_process_limit(mechanism, rustix::process::geteuid().is_root());
        support.disk = mechanism == Mechanism::Namespaces;
        support
    }
}

#[async_trait]
impl SandboxBackend for LocalBackend {
    fn name(&self) -> &'static str {
        BACKEND
    }

    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::default();
        capabilities.limits = *self.shared.limits.get_or_init(|| self.probe_limits());
        capabilities.network = self.shared.options.isolation == IsolationLevel::None;
        capabilities.server_enforces_ttl = true;
        capabilities.sandbox_sshd = true;
        capabilities
    }

    async fn create(&self, spec: SandboxSpec) -> Result<SandboxInfo> {
        let Shared {
            options,
            state,
            cache,
            leftovers,
            ..
        } = &*self.shared;
        let (info, end) = create::create(options, state, leftovers, spec).await?;
        cache.insert_created(&info, end);
        Ok(info)
    }

    async fn get(&self, id: &SandboxId, _freshness: Freshness) -> Result<SandboxInfo> {
        Ok(lookup::find(&self.shared.state, id).await?.info)
    }

    async fn list(&self, filter: ListFilter) -> Result<Vec<SandboxInfo>> {
        lookup::list(&self.shared.state, filter).await
    }

    async fn events(&self, id: &SandboxId) -> Result<EventStream> {
        events::stream_events(&self.shared.state, id).await
    }

    async fn access(&self, id: &SandboxId) -> Result<Access> {
        let record = lookup::find(&self.shared.state, id).await?;
        let dir = self.shared.state.sandbox(id);
        let socket = dir.socket();
        let key_file = dir.client_key_file();
        let key = run_blocking("read the key", move || std::fs::read_to_string(key_file))
            .await
            .map_err(|error| lookup_error(error, id))?;
        self.shared.cache.insert(&record.info);
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
        diagnosis::diagnose(&self.shared.state, id, &self.shared.cache).await
    }

    async fn logs(&self, id: &SandboxId, options: LogOptions) -> Result<LogStream> {
        logs::stream_log(&self.shared.state, id, options).await
    }

    async fn extend(&self, id: &SandboxId, ttl: Duration) -> Result<SandboxInfo> {
        let record = lookup::update(&self.shared.state, id, None, move |record| {
            record.extend(ttl);
            Ok(())
        })
        .await?;
        self.shared.cache.insert(&record.info);
        Ok(record.info)
    }

    async fn assign(
        &self,
        id: &SandboxId,
        uid: &Uid,
        assignment: Assignment,
    ) -> Result<SandboxInfo> {
        assignment.validate()?;
        let uid = uid.clone();
        let record = lookup::update(&self.shared.state, id, Some(uid), move |record| {
            record.assign(assignment)
        })
        .await?;
        self.shared.cache.insert(&record.info);
        Ok(record.info)
    }

    async fn delete(&self, id: &SandboxId, options: DeleteOptions) -> Result<()> {
        delete::delete(&self.shared.state, id, &options).await?;
        self.shared.cache.remove(id);
        Ok(())
    }

    async fn settle(&self) {
        self.shared.leftovers.wait_until_none().await;
    }

    async fn sweep(&self, options: SweepOptions) -> Result<SweepReport> {
        let state = self.shared.state.clone();
        run_blocking("sweep the sandboxes", move || {
            delete::sweep(&state, options.dry_run)
        })
        .await
        .map_err(|error| backend_error("sweep", error))
    }
}
