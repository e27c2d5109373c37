//! The Lease of a long-lived process, which owns the Secrets of its attached sandboxes. The chain of
//! owners is Lease → Secret → Pod, so Kubernetes' garbage collector deletes all of them with the Lease.
//! <https://kubernetes.io/docs/concepts/architecture/leases/>
//!
//! The process renews its Lease by the API server's clock; a process that was killed does not. Other
//! clients delete a Lease that has expired, and nothing else: the garbage collector deletes what the Lease
//! really owns, whatever labels and annotations say.

mod expired;
mod keeper;
mod manifest;

pub(crate) use expired::{ExpiredLeases, remove_expired};
pub(crate) use keeper::{LeaseKeeper, OwnerLease};
