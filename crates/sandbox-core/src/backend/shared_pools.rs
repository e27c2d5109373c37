//! Pools that several processes share: one process fills a pool, and any other claims from it.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::Duration;

use async_trait::async_trait;

use super::{Resized, Resources, SandboxInfo, SandboxSpec};
use crate::guest::OnExpiry;
use crate::{Access, Error, KeyPair, PoolKey, PoolName, Result, SandboxId, Uid};

/// Pools of waiting sandboxes that several processes share, without a server that manages them. The backend stores
/// which sandbox waits, and decides which of several claims wins.
///
/// The process that fills a pool, its *filler*, creates sandboxes with
/// [`SandboxSpec::pool`](crate::SandboxSpec::pool), connects to each, and [offers](Self::offer) those that are ready.
/// A [claim](Self::claim) takes one of them. The claimer then connects with [`Claimed::first_access`] and replaces
/// the key with [`Session::claim`](crate::Session::claim), so that nobody else can enter.
///
/// Every method may be called from many tasks at once, and its future may be dropped at any point.
#[cfg_attr(feature = "mock", mockall::automock)]
#[async_trait]
pub trait SharedPools: Debug + Send + Sync + 'static {
    /// Returns the key that sandboxes of this specification have now. It depends on the specification, the options of
    /// the backend, and the version of the server; neither on the id nor on the name of the pool.
    ///
    /// # Errors
    ///
    /// As [`SandboxBackend::create`](crate::SandboxBackend::create), for a specification that could not be created.
    async fn key(&self, spec: &SandboxSpec) -> Result<PoolKey>;

    /// Makes a sandbox that fills claimable. Returns `false` if it does not exist any more, or does not fill.
    ///
    /// # Errors
    ///
    /// [`Backend`](crate::Error::Backend); the sandbox may be claimable nevertheless.
    async fn offer(&self, id: &SandboxId, uid: &Uid) -> Result<bool>;

    /// Takes a sandbox out of its pool, so that nobody can claim it any more, and it can be deleted. Returns `false`
    /// if it has been claimed, and then belongs to the claimer, or does not exist any more.
    ///
    /// # Errors
    ///
    /// [`Backend`](crate::Error::Backend); the sandbox may be withdrawn nevertheless, and a repetition then succeeds.
    async fn withdraw(&self, id: &SandboxId, uid: &Uid) -> Result<bool>;

    /// Lists the sandboxes of a pool, or of all pools, oldest first. Those that were taken are listed as well.
    ///
    /// # Errors
    ///
    /// [`Backend`](crate::Error::Backend) if they cannot be listed.
    async fn members(&self, name: Option<PoolName>) -> Result<Vec<SandboxInfo>>;

    /// Waits until [`members`](Self::members) may differ from what it was at `since`, and returns the number of the
    /// new state. The first call passes 0 and returns at once.
    ///
    /// ```
    /// # use sandbox_core::{PoolName, Result, SharedPools};
    /// async fn follow(pools: &dyn SharedPools, name: PoolName) -> Result<()> {
    ///     let mut seen = 0;
    ///     loop {
    ///         seen = pools.wait_for_change(seen).await;
    ///         println!("{} sandboxes", pools.members(Some(name.clone())).await?.len());
    ///     }
    /// }
    /// ```
    async fn wait_for_change(&self, since: u64) -> u64;

    /// Claims a sandbox that waits. Returns `None` if none does. At most one claim of a sandbox succeeds.
    ///
    /// From then on the sandbox belongs to the caller, who deletes it if anything fails before it can be used. A
    /// dropped future deletes a sandbox that it has claimed.
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::Error::Invalid) for labels or annotations that no sandbox can have, and for a lifetime that none of the
    /// waiting sandboxes has left; [`Backend`](crate::Error::Backend). Nothing is claimed then.
    async fn claim(&self, claim: PoolClaim) -> Result<Option<Claimed>>;

    /// Checks whether a claimed sandbox could get this size, before one is claimed. The default returns
    /// [`Unsupported`](crate::Error::Unsupported).
    ///
    /// # Errors
    ///
    /// [`Unsupported`](crate::Error::Unsupported) if the backend cannot change the size of what runs;
    /// [`Backend`](crate::Error::Backend) if that cannot be found out.
    async fn check_resize(&self, size: &Resources) -> Result<()> {
        let _unused = size;
        Err(Error::unsupported(
            "another size for a sandbox that runs",
            "this backend",
            "set it where the pool is filled",
        ))
    }

    /// Gives a claimed sandbox another size, and waits some seconds for the result. What `size` leaves open stays as it
    /// is. Dropping the future withdraws nothing. The default does what [`check_resize`](Self::check_resize) does.
    ///
    /// # Errors
    ///
    /// [`NotFound`](crate::Error::NotFound) if it has ended; [`Unsupported`](crate::Error::Unsupported);
    /// [`Backend`](crate::Error::Backend) if the request was refused or got no response, and the size may be either.
    async fn resize(&self, id: &SandboxId, uid: &Uid, size: &Resources) -> Result<Resized> {
        let _unused = uid;
        self.check_resize(size).await?;
        Err(Error::NotFound { id: id.clone() })
    }

    /// Stores the new client key of a claimed sandbox, so that other processes can connect to it, too. It is called
    /// for a [detached](PoolClaim::is_detached) claim before [`Session::claim`](crate::Session::claim), so that no
    /// sandbox that outlives its claimer is without a stored key.
    ///
    /// # Errors
    ///
    /// [`NotFound`](crate::Error::NotFound) if this process has not claimed the sandbox, or it has ended;
    /// [`Backend`](crate::Error::Backend).
    async fn store_claim_key(&self, id: &SandboxId, uid: &Uid) -> Result<()>;

    /// Waits until this process is the one that fills the pool, and returns the right to do so. Dropping the future
    /// gives up; a right that was granted at this moment is not renewed and passes to another process.
    ///
    /// # Errors
    ///
    /// [`Backend`](crate::Error::Backend) if the right cannot be requested, for example for lack of a permission.
    /// While the backend is not reachable, the future waits.
    async fn lead(&self, name: &PoolName, key: &PoolKey) -> Result<Box<dyn PoolLead>>;

    /// Lists the pools that are or were filled, by name, with the processes that fill them.
    ///
    /// # Errors
    ///
    /// [`Backend`](crate::Error::Backend) if they cannot be listed.
    async fn leaders(&self) -> Result<Vec<PoolLeader>>;

    /// Removes what remains of a pool apart from its sandboxes. Returns `false` if there is nothing.
    ///
    /// # Errors
    ///
    /// [`Backend`](crate::Error::Backend) if something may remain.
    async fn remove(&self, name: &PoolName) -> Result<bool>;
}

/// The right to fill a pool, which at most one process has. It is renewed until this is dropped.
#[cfg_attr(feature = "mock", mockall::automock)]
#[async_trait]
pub trait PoolLead: Debug + Send + Sync + 'static {
    /// Returns whether this process still has the right. Without it, it creates and offers nothing.
    fn is_held(&self) -> bool;

    /// Waits until the right is lost: it could not be renewed in time, or another process has it.
    async fn wait_until_lost(&self);

    /// Gives the right back, so that another process gets it at once.
    ///
    /// # Errors
    ///
    /// [`Backend`](crate::Error::Backend); the right then passes on once it has expired.
    async fn release(&self) -> Result<()>;
}

/// A process that fills a pool, or did so last.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolLeader {
    /// The pool.
    pub name: PoolName,
    /// The key of what it is filled with, if known.
    pub key: Option<PoolKey>,
    /// The process: its host and a random word. `None` if it has given up its right.
    pub holder: Option<String>,
    /// Whether the process has renewed its right in time, by the backend's clock.
    pub is_current: bool,
}

impl PoolLeader {
    /// Describes a pool that no process fills.
    pub fn new(name: PoolName) -> Self {
        Self {
            name,
            key: None,
            holder: None,
            is_current: false,
        }
    }
}

/// What to claim, and what the claimed sandbox gets. It contains a private key, so it can be neither printed nor
/// serialised.
#[non_exhaustive]
pub struct PoolClaim {
    /// The pool to claim from.
    pub name: PoolName,
    /// The new key of the client. The backend keeps the private one in memory.
    pub client_key: KeyPair,
    /// Whether the sandbox outlives its claimer.
    pub is_detached: bool,
    /// Labels to add. They replace those with the same key.
    pub labels: BTreeMap<String, String>,
    /// Annotations to set. They replace those with the same key.
    pub annotations: BTreeMap<String, String>,
    /// What happens at the end of the `ttl`.
    pub on_expiry: OnExpiry,
    /// The sandbox ends this long after the claim; can be extended. `None` leaves its end as it is.
    pub ttl: Option<Duration>,
    /// The sandbox ends this long after the claim; cannot be extended. `None` leaves the end that it waits with.
    pub max_lifetime: Option<Duration>,
}

impl PoolClaim {
    /// Claims an attached sandbox without labels, whose end stays as it is.
    pub fn new(name: PoolName, client_key: KeyPair) -> Self {
        Self {
            name,
            client_key,
            is_detached: false,
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            on_expiry: OnExpiry::End,
            ttl: None,
            max_lifetime: None,
        }
    }
}

/// A sandbox that was claimed.
pub struct Claimed {
    /// Its description.
    pub info: SandboxInfo,
    /// How to connect for the first time, with the key that it waited with.
    pub first_access: Access,
    /// How to connect once [`Session::claim`](crate::Session::claim) has replaced the key. This is also what
    /// [`SandboxBackend::access`](crate::SandboxBackend::access) returns in this process.
    pub access: Access,
}
