//! The Lease of a long-lived process, which owns the Secrets of its attached sandboxes: one chain
//! of owners, Lease → Secret → Pod. When it goes, Kubernetes' garbage collector takes them all.
//! <https://kubernetes.io/docs/concepts/architecture/leases/>
//!
//! The process renews it, by the API server's clock. A process that was killed does not; whoever
//! finds its Lease expired deletes that, and nothing else: what goes with it is what really is
//! owned by it, whatever labels and annotations say.

mod expired;
mod keeper;
mod manifest;

pub(crate) use expired::{ExpiredLeases, remove_expired};
pub(crate) use keeper::{LeaseKeeper, OwnerLease};
