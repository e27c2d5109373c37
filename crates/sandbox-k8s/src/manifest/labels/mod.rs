//! The names, labels and annotations of managed objects, and the checks that detect a forgery.
//!
//! Labels are for selection; everyone who may write Pods in the namespace can set them. So an object
//! counts as a sandbox's only if its name, its label and its owner agree ([`Ownership`]), and nothing is
//! ever deleted because of a label alone.

mod annotations;
mod ends;
mod membership;
mod metadata;
mod ownership;
mod secret_name;

pub use annotations::{annotation_key, stored_annotations, user_annotations};
pub(crate) use ends::whole_seconds;
pub use ends::{Expiry, ends_after, extended_ends_after, on_expiry, ready_within};
#[cfg(test)]
pub(crate) use membership::tests as membership_tests;
pub use membership::{Membership, PoolRef};
pub use metadata::{
    annotation, creation_time, has_nonce, is_reserved, lease_name, object_labels, selector,
    selector_of, selector_with, user_labels,
};
pub use ownership::{
    NotManaged, Ownership, owner_reference, owning_pod, verify_lease, verify_secret,
};
pub use secret_name::{SecretName, SecretRef, is_key_secret_name};
