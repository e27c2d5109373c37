//! Observes the sandboxes of a namespace: one watch, an index of the Pods that it reports, and what
//! each Pod's status means.

pub(crate) mod index;
pub(crate) mod status;
pub(crate) mod sweeper;
pub(crate) mod watch;
