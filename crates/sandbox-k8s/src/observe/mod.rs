//! What is known of the sandboxes of a namespace: one watch, an index of what it shows, and what became
//! of each Pod.

pub(crate) mod index;
pub(crate) mod status;
pub(crate) mod sweeper;
pub(crate) mod watch;
