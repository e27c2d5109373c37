//! Claims a sandbox from a pool that another process fills.

use std::fmt;
use std::time::{Duration, SystemTime};

use sandbox_core::{
    Error, ExecRequest, KeyPair, Lifetime, PoolClaim, PoolName, Resources, Result, SandboxEvent,
    SandboxEventKind, SharedPools, environment_file, metrics,
};
use tokio::time::Instant;
use tracing::Instrument;

use super::claim_ttl::ClaimTtl;
use super::hand_over::{HandOver, HandOverError};
use super::{pools_of, size};
use crate::create::Created;
use crate::create::builder::SandboxBuilder;
use crate::handle::Sandbox;
use crate::pool::builder::OnEmpty;

/// How many sandboxes a claim tries if they turn out to have ended.
const MAX_ATTEMPTS: usize = 5;

impl SandboxBuilder {
    /// Takes the sandbox from a pool that another process fills
    /// ([`Client::shared_pool`](crate::Client::shared_pool), or the command `sandbox pool run`), instead of
    /// creating one.
    ///
    /// If `cpu` or `memory` is set, the sandbox is resized once it is claimed, so that one pool of small sandboxes
    /// serves many sizes. The cluster must be able to (`pods/resize`, stable since Kubernetes 1.35). What the settings
    /// set for all sandboxes (`SANDBOX_CPU`, `SANDBOX_MEMORY`) does not count.
    ///
    /// Labels, variables, initial commands, egress rules, lifetimes and [`detached`](Self::detached) are applied to the
    /// sandbox when it is claimed, and can be set before or after this call. A `ttl` begins when it is handed out.
    ///
    /// ```no_run
    /// # async fn example(client: sandbox::Client) -> sandbox::Result<()> {
    /// let sbx = client.sandbox().from_pool("ci").label("job", "42").env("MODE", "ci").create().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn from_pool(self, name: impl Into<String>) -> FromPool {
        FromPool {
            on_empty: None,
            max_lifetime: None,
            name: name.into(),
            sandbox: self,
        }
    }
}

/// Describes and claims a sandbox of a shared pool; see
/// [`SandboxBuilder::from_pool`](crate::SandboxBuilder::from_pool).
#[must_use = "nothing is claimed until `create` is called"]
#[derive(Clone)]
pub struct FromPool {
    sandbox: SandboxBuilder,
    name: String,
    on_empty: Option<OnEmpty>,
    /// As this claim has asked for it, and not a setting for all sandboxes.
    max_lifetime: Option<Duration>,
}

impl FromPool {
    /// Sets what happens if no sandbox waits. The default waits for the next one, for as long as a creation
    /// may take. [`OnEmpty::Create`] creates one as this builder describes it: only then it may have options
    /// that describe another sandbox, such as an image.
    pub fn on_empty(mut self, on_empty: OnEmpty) -> Self {
        self.on_empty = Some(on_empty);
        self
    }

    /// Adds a label, as [`SandboxBuilder::label`](crate::SandboxBuilder::label).
    pub fn label(self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.change(|sandbox| sandbox.label(key, value))
    }

    /// Adds an annotation, as [`SandboxBuilder::annotation`](crate::SandboxBuilder::annotation).
    pub fn annotation(self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.change(|sandbox| sandbox.annotation(key, value))
    }

    /// Sets an environment variable for every command, in addition to those of the pool, as
    /// [`SandboxBuilder::env`](crate::SandboxBuilder::env).
    pub fn env(self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.change(|sandbox| sandbox.env(name, value))
    }

    /// Sets an environment variable whose value stays in this program's memory, as
    /// [`SandboxBuilder::secret_env`](crate::SandboxBuilder::secret_env).
    pub fn secret_env(self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.change(|sandbox| sandbox.secret_env(name, value))
    }

    /// Adds a command to run before the sandbox is handed out, as
    /// [`SandboxBuilder::init`](crate::SandboxBuilder::init).
    pub fn init(self, command: ExecRequest) -> Self {
        self.change(|sandbox| sandbox.init(command))
    }

    /// Ends the sandbox this long after the claim. [`Sandbox::extend`](crate::Sandbox::extend) postpones
    /// that.
    pub fn ttl(self, ttl: Duration) -> Self {
        self.change(|sandbox| sandbox.ttl(ttl))
    }

    /// Ends the sandbox this long after the claim. This cannot be extended. Without it, the sandbox ends when
    /// the pool's `max_lifetime` has passed, at the earliest.
    pub fn max_lifetime(mut self, max: Duration) -> Self {
        self.max_lifetime = Some(max);
        self.change(|sandbox| sandbox.max_lifetime(max))
    }

    /// Lets the sandbox outlive this program, as
    /// [`SandboxBuilder::detached`](crate::SandboxBuilder::detached).
    pub fn detached(self) -> Self {
        self.change(SandboxBuilder::detached)
    }

    /// Calls `hook` when the sandbox is ready, if it does not have the requested size yet
    /// ([`ResizePending`](SandboxEventKind::ResizePending)), and for the steps of a creation if there is one.
    pub fn on_event(self, hook: impl Fn(&SandboxEvent) + Send + Sync + 'static) -> Self {
        self.change(|sandbox| sandbox.on_event(hook))
    }

    /// Claims a sandbox, takes it over with a new key, so that neither the filler nor another claimer can
    /// enter it any more, and sets it up. If it fails or the future is dropped, what was claimed is deleted.
    ///
    /// # Errors
    ///
    /// * [`Error::PoolEmpty`](crate::Error::PoolEmpty) if none waits, or none becomes ready in time;
    /// * [`Error::Invalid`](crate::Error::Invalid) for an option that the sandboxes of the pool cannot have
    ///   any more, such as an image, and for a lifetime that none of them has left;
    /// * [`Error::Unsupported`](crate::Error::Unsupported) if the backend has no shared pools, or cannot resize what
    ///   runs; nothing is claimed then;
    /// * [`Error::Creation`](crate::Error::Creation) if the sandbox cannot be set up as requested. Its reason is
    ///   [`Unschedulable`](crate::CreationReason::Unschedulable) if its node can never give the requested size;
    /// * [`Error::Backend`](crate::Error::Backend);
    /// * what [`SandboxBuilder::create`](crate::SandboxBuilder::create) returns, if it had to create a
    ///   sandbox.
    pub async fn create(self) -> Result<Sandbox> {
        let name = self.check()?;
        let backend = self.sandbox.parts.backend.name();
        let measured = metrics::start_pool_take(backend);
        let span = tracing::debug_span!(
            "sandbox.claim",
            sandbox.backend = backend,
            sandbox.pool = %name,
            sandbox.id = tracing::field::Empty,
        );
        let claimed = self.claim(name).instrument(span.clone()).await;
        if let Ok(sandbox) = &claimed {
            span.record("sandbox.id", tracing::field::display(sandbox.id()));
        }
        measured.finish(&claimed);
        claimed
    }

    fn change(mut self, change: impl FnOnce(SandboxBuilder) -> SandboxBuilder) -> Self {
        self.sandbox = change(self.sandbox);
        self
    }

    /// Checks everything that needs no request.
    fn check(&self) -> Result<PoolName> {
        let name: PoolName = self.name.parse()?;
        self.sandbox.check()?;
        self.sandbox.spec.validate()?;
        environment_file::encode(&self.sandbox.personal.env)?;
        let backend = &self.sandbox.parts.backend;
        if let Some(egress) = self.sandbox.egress.clone().if_served() {
            egress.check_backend(&backend.capabilities(), backend.name())?;
            egress.build_proxy()?;
        }
        if self.on_empty != Some(OnEmpty::Create) {
            self.refuse_another_sandbox(&name)?;
        }
        Ok(name)
    }

    /// Refuses what would describe another sandbox than those that wait.
    fn refuse_another_sandbox(&self, name: &PoolName) -> Result<()> {
        let spec = &self.sandbox.spec;
        let default = self.sandbox.default_spec();
        let (own, settings) = (&spec.resources, &default.resources);
        let text = |amount: &dyn fmt::Display| amount.to_string();
        let differing = [
            ("id", spec.id.as_ref().map(|id| text(id))),
            (
                "image",
                spec.image.clone().filter(|_| spec.image != default.image),
            ),
            (
                "disk",
                own.disk
                    .filter(|_| own.disk != settings.disk)
                    .map(|disk| text(&disk)),
            ),
            (
                "pids",
                own.pids
                    .filter(|_| own.pids != settings.pids)
                    .map(|pids| text(&pids)),
            ),
            (
                "idle_timeout",
                spec.lifetime
                    .idle_timeout
                    .filter(|_| spec.lifetime.idle_timeout != default.lifetime.idle_timeout)
                    .map(|timeout| format!("{timeout:?}")),
            ),
            (
                "backend options",
                (!spec.backend_options.is_empty()).then(|| "(set)".to_owned()),
            ),
        ];
        match differing
            .into_iter()
            .find_map(|(option, value)| Some((option, value?)))
        {
            Some((option, value)) => Err(Error::invalid(
                option,
                value,
                format!(
                    "the sandboxes of pool {name} exist already; set it where the pool is filled, or allow \
                     to create a sandbox if none waits (OnEmpty::Create)"
                ),
            )),
            None => Ok(()),
        }
    }

    async fn claim(self, name: PoolName) -> Result<Sandbox> {
        let pools = pools_of(&self.sandbox.parts)?;
        let on_empty = self
            .on_empty
            .unwrap_or(OnEmpty::Wait(self.sandbox.create_timeout));
        let settings = self.sandbox.default_spec().resources;
        let requested = size::differing(&self.sandbox.spec.resources, &settings);
        let size = size::check(&*pools, requested, on_empty).await?;
        let size = size.as_ref();
        // What changes after this moment wakes the wait below.
        let seen = pools.wait_for_change(0).await;
        if let Some(sandbox) = self.claim_waiting(&*pools, &name, size).await? {
            return Ok(sandbox);
        }
        metrics::count_pool_miss();
        match on_empty {
            OnEmpty::Create => self.sandbox.create().await,
            OnEmpty::Fail => Err(empty(&*pools, &name, "none is ready").await),
            OnEmpty::Wait(limit) => self.wait(&*pools, &name, size, limit, seen).await,
        }
    }

    /// Waits for the next sandbox. The limit is that of waiting, not of setting up what was claimed.
    async fn wait(
        &self,
        pools: &dyn SharedPools,
        name: &PoolName,
        size: Option<&Resources>,
        limit: Duration,
        mut seen: u64,
    ) -> Result<Sandbox> {
        let end = Instant::now().checked_add(limit);
        loop {
            let changed = pools.wait_for_change(seen);
            seen = match end {
                None => changed.await,
                Some(end) => match tokio::time::timeout_at(end, changed).await {
                    Ok(seen) => seen,
                    Err(_elapsed) => {
                        let what = format!("none became ready in {limit:?}");
                        return Err(empty(pools, name, &what).await);
                    }
                },
            };
            if let Some(sandbox) = self.claim_waiting(pools, name, size).await? {
                return Ok(sandbox);
            }
        }
    }

    /// Claims a sandbox that waits, and hands it over. `None` if none does, or if those that were claimed
    /// turned out to have ended.
    async fn claim_waiting(
        &self,
        pools: &dyn SharedPools,
        name: &PoolName,
        size: Option<&Resources>,
    ) -> Result<Option<Sandbox>> {
        for _ in 0..MAX_ATTEMPTS {
            let key = KeyPair::generate()?;
            let ttl = ClaimTtl::new(&self.sandbox, size);
            let hand_over = HandOver::new(&self.sandbox, &key, size, ttl, self.hard_limit());
            let Some(claimed) = pools.claim(self.request(name, key, ttl)).await? else {
                return Ok(None);
            };
            match hand_over.run(pools, claimed).await {
                Ok(created) => return Ok(Some(self.open(created))),
                Err(HandOverError::Failed(error)) => return Err(error),
                Err(HandOverError::Lost(error)) => {
                    tracing::info!(%error, pool = %name, "a claimed sandbox has ended; claiming the next");
                }
            }
        }
        Ok(None)
    }

    fn open(&self, created: Created) -> Sandbox {
        if let Some(hook) = &self.sandbox.on_event {
            hook(&SandboxEvent {
                at: SystemTime::now(),
                kind: SandboxEventKind::Ready,
                message: String::new(),
            });
        }
        created.open(&self.sandbox.handles)
    }

    fn request(&self, name: &PoolName, key: KeyPair, ttl: ClaimTtl) -> PoolClaim {
        let spec = &self.sandbox.spec;
        let mut claim = PoolClaim::new(name.clone(), key);
        claim.is_detached = spec.lifetime.attach_timeout.is_none();
        claim.labels.clone_from(&spec.labels);
        claim.annotations.clone_from(&spec.annotations);
        claim.on_expiry = spec.lifetime.on_expiry;
        claim.ttl = ttl.now;
        claim.max_lifetime = self.hard_limit();
        claim
    }

    /// The maximum lifetime that was asked for. The built-in default is none: the pool has one, too.
    fn hard_limit(&self) -> Option<Duration> {
        let max = self.sandbox.spec.lifetime.max_lifetime;
        self.max_lifetime
            .or_else(|| (max != Lifetime::DEFAULT_MAX).then_some(max))
    }
}

/// Returns the error of a pool without a sandbox. It says whether a process fills the pool.
async fn empty(pools: &dyn SharedPools, name: &PoolName, what: &str) -> Error {
    let leader = pools.leaders().await.map(|leaders| {
        let is_current = |leader: &&_| is_filling(leader, name);
        leaders
            .iter()
            .find(is_current)
            .map(|leader| leader.holder.clone().unwrap_or_default())
    });
    let message = match leader {
        Ok(Some(filler)) => format!(
            "{what} in pool {name}, which {filler} fills; raise its size there, or allow to create a sandbox"
        ),
        Ok(None) => format!(
            "{what} in pool {name}, and no process fills it; start one (sandbox pool run {name})"
        ),
        Err(error) => {
            tracing::debug!(%error, pool = %name, "cannot find out who fills the pool");
            format!(
                "{what} in pool {name}; raise its size where it is filled, or allow to create a sandbox"
            )
        }
    };
    Error::PoolEmpty {
        message,
        reason: None,
    }
}

fn is_filling(leader: &sandbox_core::PoolLeader, name: &PoolName) -> bool {
    leader.is_current && leader.name == *name
}

impl fmt::Debug for FromPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FromPool")
            .field("name", &self.name)
            .field("on_empty", &self.on_empty)
            .field("sandbox", &self.sandbox)
            .finish_non_exhaustive()
    }
}
