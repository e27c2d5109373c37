//! The builder for a pool.

use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use sandbox_core::{Error, OnExpiry, Result};

use super::filler;
use super::keeper;
use super::shared::Shared;
use super::{Inner, Pool};
use crate::create::builder::SandboxBuilder;

/// What [`Pool::take`] does if no sandbox waits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnEmpty {
    /// Creates a sandbox, as without a pool.
    #[default]
    Create,
    /// Waits for the next one, at most this long, then returns
    /// [`Error::PoolEmpty`](crate::Error::PoolEmpty). Takes are served in their order.
    Wait(Duration),
    /// Returns [`Error::PoolEmpty`](crate::Error::PoolEmpty) at once.
    Fail,
}

/// Describes and starts a [`Pool`].
///
/// ```no_run
/// # use std::time::Duration;
/// # async fn example(client: sandbox::Client) -> sandbox::Result<()> {
/// use sandbox::{ExecRequest, OnEmpty};
///
/// // The initial commands run while a sandbox waits.
/// let sandboxes = client.sandbox().init(ExecRequest::from_argv(["mkdir", "work"]));
/// let pool = client
///     .pool(sandboxes)
///     .sizes(4..=32)
///     .on_empty(OnEmpty::Wait(Duration::from_secs(10)))
///     .start()?;
/// # Ok(())
/// # }
/// ```
#[must_use = "a builder does nothing until `start` is called"]
#[derive(Clone)]
pub struct PoolBuilder {
    sandboxes: SandboxBuilder,
    settings: PoolSettings,
}

#[derive(Debug, Clone)]
pub(crate) struct PoolSettings {
    pub(crate) bounds: RangeInclusive<usize>,
    pub(crate) on_empty: OnEmpty,
    pub(crate) max_age: Duration,
    pub(crate) concurrency: usize,
    /// The ttl of a taken sandbox, from the take.
    pub(crate) ttl: Option<Duration>,
    /// What happens at its end.
    pub(crate) on_expiry: OnExpiry,
}

impl PoolBuilder {
    /// The default of [`max_age`](Self::max_age): one hour.
    pub const DEFAULT_MAX_AGE: Duration = Duration::from_secs(3600);

    pub(crate) fn new(sandboxes: SandboxBuilder) -> Self {
        Self {
            sandboxes,
            settings: PoolSettings::default(),
        }
    }

    /// Sets how many sandboxes wait. The default is one.
    pub fn size(self, size: usize) -> Self {
        self.sizes(size..=size)
    }

    /// Lets the number of waiting sandboxes follow the demand, between two bounds: as many as were
    /// taken lately in the time that a creation takes, and half as many again.
    pub fn sizes(mut self, bounds: RangeInclusive<usize>) -> Self {
        self.settings.bounds = bounds;
        self
    }

    /// Sets what a take does if no sandbox waits. The default creates one.
    pub fn on_empty(mut self, on_empty: OnEmpty) -> Self {
        self.settings.on_empty = on_empty;
        self
    }

    /// Sets how long a sandbox waits at most. An older one is replaced, so that a new version of an
    /// image is used in time. The default is one hour.
    pub fn max_age(mut self, max_age: Duration) -> Self {
        self.settings.max_age = max_age;
        self
    }

    /// Sets how many sandboxes are created at once. The default is 8. After a failure one is tried,
    /// then twice as many after each success.
    pub fn concurrency(mut self, concurrency: usize) -> Self {
        self.settings.concurrency = concurrency;
        self
    }

    /// Starts to fill the pool, in the background. It needs a Tokio runtime.
    ///
    /// * The `ttl` of the sandboxes counts from the take, and the `max_lifetime` of those that waited
    ///   from their creation, with the maximum age added.
    /// * A sandbox with an idle timeout waits at most half as long, because waiting is no use.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`](crate::Error::Invalid) for an invalid setting of the pool or its
    /// sandboxes, such as a fixed id, or one that is detached.
    pub fn start(self) -> Result<Pool> {
        let Self {
            mut sandboxes,
            mut settings,
        } = self;
        sandboxes.check()?;
        settings.check()?;
        let spec = &mut sandboxes.spec;
        spec.validate()?;
        if let Some(id) = &spec.id {
            let reason = "a pool has several sandboxes; leave the id out";
            return Err(Error::invalid("id", id.as_str(), reason));
        }
        let Some(attach_timeout) = spec.lifetime.attach_timeout else {
            let reason = "a pool's sandboxes end with the program; leave it out";
            return Err(Error::invalid("detached", "true", reason));
        };
        settings.ttl = spec.lifetime.ttl.take();
        settings.on_expiry = std::mem::take(&mut spec.lifetime.on_expiry);
        if let Some(idle_timeout) = spec.lifetime.idle_timeout {
            settings.max_age = settings.max_age.min(idle_timeout / 2);
        }
        let interval = keeper::check_interval(attach_timeout, settings.max_age);
        let shared = Shared::new(sandboxes, settings);
        tokio::spawn(filler::run(shared.clone()));
        tokio::spawn(keeper::run(shared.clone(), interval));
        Ok(Pool {
            inner: Inner { shared }.into(),
        })
    }
}

impl Default for PoolSettings {
    fn default() -> Self {
        Self {
            bounds: 1..=1,
            on_empty: OnEmpty::default(),
            max_age: PoolBuilder::DEFAULT_MAX_AGE,
            concurrency: 8,
            ttl: None,
            on_expiry: OnExpiry::End,
        }
    }
}

impl PoolSettings {
    pub(crate) fn check(&self) -> Result<()> {
        let (min, max) = (*self.bounds.start(), *self.bounds.end());
        if max == 0 {
            let reason = "a pool holds at least one sandbox";
            return Err(Error::invalid("size of a pool", "0", reason));
        }
        if min > max {
            let reason = "the lower bound exceeds the upper one";
            return Err(Error::invalid(
                "size of a pool",
                format!("{min}..={max}"),
                reason,
            ));
        }
        if self.concurrency == 0 {
            let reason = "it must be at least 1";
            return Err(Error::invalid("concurrency of a pool", "0", reason));
        }
        if self.max_age < Duration::from_secs(1) {
            let value = format!("{:?}", self.max_age);
            let reason = "it must be at least one second";
            return Err(Error::invalid("max_age of a pool", value, reason));
        }
        Ok(())
    }
}

impl fmt::Debug for PoolBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PoolBuilder")
            .field("sandboxes", &self.sandboxes)
            .field("settings", &self.settings)
            .finish()
    }
}
