//! Which objects are ours: their names, labels and annotations, and how a forgery is told.
//!
//! Labels are there to be selected by; whoever may write Pods in the namespace may write them.
//! So an object counts as a sandbox's only when its name, its label and its owner say the
//! same ([`Ownership`]), and nothing is ever deleted for a label alone.

mod ends;
mod metadata;
mod ownership;

pub(crate) use ends::whole_seconds;
pub use ends::{Expiry, ends_after, extended};
pub use metadata::{
    annotation, is_from, is_reserved, labels, lease_name, own_labels, secret_name, selector,
    selector_with,
};
pub use ownership::{NotManaged, Ownership, lease_of, owned_by_secret, secret_of};
