//! Which objects are ours: their names, labels and annotations, and how a forgery is told.
//!
//! Labels are there to be selected by; whoever may write Pods in the namespace may write them.
//! So an object counts as a sandbox's only when its name, its label and its owner say the
//! same ([`Ownership`]), and nothing is ever deleted for a label alone.

mod ends;
mod metadata;
mod ownership;

pub(crate) use ends::whole_seconds;
pub use ends::{Expiry, ends_after, extended_ends_after};
pub use metadata::{
    annotation, has_nonce, is_reserved, lease_name, object_labels, secret_name, selector,
    selector_with, user_labels,
};
pub use ownership::{NotManaged, Ownership, owner_reference, verify_lease, verify_secret};
