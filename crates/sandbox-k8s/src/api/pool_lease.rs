//! The Lease of a shared pool, as a kind of its own: it is named after the pool, and not after a sandbox.

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::{Metadata, NamespaceResourceScope, Resource};
use sandbox_core::{PoolName, Result, SandboxId};
use serde::{Deserialize, Serialize};

use super::objects::ManagedKind;

/// The Lease of a shared pool.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct PoolLease(pub(crate) Lease);

/// How the Leases of pools are named.
const PREFIX: &str = "sandbox-pool-";

/// The pool that a Lease is requested for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PoolLeaseKey {
    pub(crate) pool: PoolName,
    /// The name of the pool in the form that errors use. Both have the same syntax.
    id: SandboxId,
}

impl PoolLeaseKey {
    /// Requests the Lease of this pool.
    ///
    /// # Errors
    ///
    /// Never in practice: the syntax of both names is the same.
    pub(crate) fn new(pool: &PoolName) -> Result<Self> {
        Ok(Self {
            pool: pool.clone(),
            id: pool.as_str().parse()?,
        })
    }

    /// Returns the name of the Lease.
    pub(crate) fn lease_name(&self) -> String {
        format!("{PREFIX}{}", self.pool)
    }

    /// Reads the name of a Lease; `None` if it is not that of a pool.
    pub(crate) fn parse(name: &str) -> Option<PoolName> {
        name.strip_prefix(PREFIX)?.parse().ok()
    }
}

impl ManagedKind for PoolLease {
    const RESOURCE: &'static str = "leases";
    type Key = PoolLeaseKey;

    fn name_for(key: &PoolLeaseKey) -> String {
        key.lease_name()
    }

    fn id_of(key: &PoolLeaseKey) -> &SandboxId {
        &key.id
    }
}

impl Resource for PoolLease {
    const API_VERSION: &'static str = Lease::API_VERSION;
    const GROUP: &'static str = Lease::GROUP;
    const KIND: &'static str = Lease::KIND;
    const VERSION: &'static str = Lease::VERSION;
    const URL_PATH_SEGMENT: &'static str = Lease::URL_PATH_SEGMENT;
    type Scope = NamespaceResourceScope;
}

impl Metadata for PoolLease {
    type Ty = ObjectMeta;

    fn metadata(&self) -> &ObjectMeta {
        &self.0.metadata
    }

    fn metadata_mut(&mut self) -> &mut ObjectMeta {
        &mut self.0.metadata
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_named_after_its_pool() {
        let pool: PoolName = "python-ci".parse().unwrap();
        let key = PoolLeaseKey::new(&pool).unwrap();
        let name = PoolLease::name_for(&key);
        assert_eq!(name, "sandbox-pool-python-ci");
        assert_eq!(PoolLeaseKey::parse(&name), Some(pool));
        for other in [
            "sandbox-pool-",
            "sandbox-pool-A",
            "kube-scheduler",
            "sbx-a-owner",
        ] {
            assert_eq!(PoolLeaseKey::parse(other), None, "{other}");
        }
    }
}
