//! The builder for the filler of a shared pool.

use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use sandbox_core::{Error, OnExpiry, PoolName, Result};
use sha2::{Digest, Sha256};
use tokio::sync::watch;

use super::filler;
use super::status::FillerStatus;
use super::term::FillerSetup;
use super::{SharedPool, pools_of};
use crate::create::builder::{Personal, SandboxBuilder};
use crate::pool::builder::PoolSettings;
use crate::pool::keeper;

/// The label that says how the sandboxes of a pool are set up, so that another setup is another pool.
const SETUP_LABEL: &str = "pool-setup";

/// Describes and starts the filler of a pool that processes share; see [`SharedPool`].
#[must_use = "a builder does nothing until `start` is called"]
#[derive(Clone)]
pub struct SharedPoolBuilder {
    name: String,
    sandboxes: SandboxBuilder,
    settings: PoolSettings,
}

impl SharedPoolBuilder {
    pub(crate) fn new(name: String, sandboxes: SandboxBuilder) -> Self {
        Self {
            name,
            sandboxes,
            settings: PoolSettings::default(),
        }
    }

    /// Sets how many sandboxes wait. The default is one.
    pub fn size(self, size: usize) -> Self {
        self.sizes(size..=size)
    }

    /// Lets the number of waiting sandboxes follow the demand, between two bounds, as
    /// [`PoolBuilder::sizes`](crate::PoolBuilder::sizes).
    pub fn sizes(mut self, bounds: RangeInclusive<usize>) -> Self {
        self.settings.bounds = bounds;
        self
    }

    /// Sets how long a sandbox waits at most. An older one is replaced. The default is one hour.
    pub fn max_age(mut self, max_age: Duration) -> Self {
        self.settings.max_age = max_age;
        self
    }

    /// Sets how many sandboxes are created at once. The default is 8. After a failure one is tried, then
    /// twice as many after each success.
    pub fn concurrency(mut self, concurrency: usize) -> Self {
        self.settings.concurrency = concurrency;
        self
    }

    /// Starts to fill the pool in the background, as soon as no other process fills it. It needs a Tokio
    /// runtime.
    ///
    /// * Variables and initial commands are applied before a sandbox is offered. If they are changed, it is
    ///   another pool, as with every other change: the former sandboxes are withdrawn.
    /// * With [`Egress::none`](crate::Egress::none), they have no network from the beginning, which is proved while they
    ///   wait. A claim with rules is then as fast as one without.
    /// * The `max_lifetime` of the sandboxes counts from their creation, with the maximum age added. A
    ///   sandbox with an idle timeout waits at most half as long.
    ///
    /// # Errors
    ///
    /// * [`Error::Invalid`](crate::Error::Invalid) for an invalid setting of the pool or its sandboxes: a
    ///   fixed id, one that is detached, a `ttl` with what happens at its end, or a secret variable, which only a claim can give;
    /// * [`Error::Unsupported`](crate::Error::Unsupported) if the backend has no shared pools, and for egress rules that
    ///   allow anything: those are given at the claim;
    /// * [`Error::Backend`](crate::Error::Backend).
    pub async fn start(self) -> Result<SharedPool> {
        let Self {
            name,
            mut sandboxes,
            mut settings,
        } = self;
        let name: PoolName = name.parse()?;
        sandboxes.check()?;
        settings.check()?;
        sandboxes.spec.validate()?;
        let parts = Arc::clone(&sandboxes.parts);
        let pools = pools_of(&parts)?;
        let attach_timeout = check_sandboxes(&sandboxes)?;
        if sandboxes.egress.is_pool_offline()? {
            // Each is proved to have no network before it is offered. The claimer serves its egress, if it has rules.
            sandboxes.spec.is_offline = parts.backend.capabilities().network;
            sandboxes.egress.rules = None;
        }
        if let Some(idle_timeout) = sandboxes.spec.lifetime.idle_timeout {
            settings.max_age = settings.max_age.min(idle_timeout / 2);
        }
        let create_timeout = sandboxes.create_timeout;
        let spec = &mut sandboxes.spec;
        spec.pool = Some(name.clone());
        spec.waits_for_room = true;
        let lifetime = &mut spec.lifetime;
        // It counts from the creation, and the sandbox may wait as long as this.
        lifetime.max_lifetime = lifetime.max_lifetime.saturating_add(settings.max_age);
        // The key is that of exactly what is created, so nothing may be left to be filled in later.
        let first_login = settings.max_age.saturating_add(create_timeout);
        lifetime.first_login_timeout = Some(first_login.min(lifetime.max_lifetime));
        lifetime.ttl = None;
        if let Some(digest) = digest_setup(&sandboxes.personal)? {
            spec.labels.insert(SETUP_LABEL.to_owned(), digest);
        }
        let key = pools.key(spec).await?;
        let (status, changes) = watch::channel(FillerStatus::default());
        let (stop, stopped) = watch::channel(false);
        let setup = FillerSetup {
            parts,
            pools,
            name: name.clone(),
            key,
            interval: keeper::check_interval(attach_timeout, settings.max_age),
            template: sandboxes,
            settings,
            status,
        };
        Ok(SharedPool {
            name,
            status: changes,
            stop,
            task: tokio::spawn(filler::run(setup, stopped)),
        })
    }
}

/// Refuses what the sandboxes of a pool cannot have. Returns their attach timeout.
fn check_sandboxes(sandboxes: &SandboxBuilder) -> Result<Duration> {
    let spec = &sandboxes.spec;
    if let Some(id) = &spec.id {
        let reason = "a pool has several sandboxes; leave the id out";
        return Err(Error::invalid("id", id.as_str(), reason));
    }
    if spec.lifetime.ttl.is_some() && spec.lifetime.ttl != sandboxes.default_spec().lifetime.ttl {
        let reason = "the ttl of a sandbox counts from its claim; set it there";
        let value = format!("{:?}", spec.lifetime.ttl.unwrap_or_default());
        return Err(Error::invalid("ttl", value, reason));
    }
    if spec.lifetime.on_expiry != OnExpiry::End {
        let reason = "the ttl of a sandbox counts from its claim; set it there";
        return Err(Error::invalid(
            "on_expiry",
            spec.lifetime.on_expiry.as_str(),
            reason,
        ));
    }
    if let Some((name, _)) = sandboxes.personal.secret_env.iter().next() {
        let reason =
            "its value stays in the memory of one program; set it where a sandbox is claimed";
        return Err(Error::invalid("secret variable", name, reason));
    }
    spec.lifetime.attach_timeout.ok_or_else(|| {
        let reason = "what waits ends without its filler; set it where a sandbox is claimed";
        Error::invalid("detached", "true", reason)
    })
}

/// Returns a digest of the variables and initial commands; `None` without any.
fn digest_setup(personal: &Personal) -> Result<Option<String>> {
    if !personal.needs_setup() {
        return Ok(None);
    }
    let mut digest = Sha256::new();
    let mut add = |bytes: &[u8]| {
        digest.update((bytes.len() as u64).to_be_bytes());
        digest.update(bytes);
    };
    for (name, value) in personal.env.iter() {
        add(name.as_bytes());
        add(value.as_bytes());
    }
    add(b"");
    for command in &personal.init {
        add(&command.command_line()?);
        for (name, value) in command.env.iter() {
            add(name.as_bytes());
            add(value.as_bytes());
        }
        add(b"");
    }
    let hex = digest
        .finalize()
        .iter()
        .take(8)
        .fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
    Ok(Some(hex))
}

impl fmt::Debug for SharedPoolBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedPoolBuilder")
            .field("name", &self.name)
            .field("sandboxes", &self.sandboxes)
            .field("settings", &self.settings)
            .finish()
    }
}
