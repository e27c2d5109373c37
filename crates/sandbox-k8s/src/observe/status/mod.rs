//! What became of a Pod: read off its status, with a verdict on each obstacle.
//!
//! [`PodView`] is the little that is kept of a Pod. [`Problem`] says what stands in the way and
//! how long that is worth waiting for: some things never mend (an image that does not exist),
//! some often do (no machine has room yet). The words are the kubelet's, the scheduler's and the
//! container runtime's, and are no interface: the tables here know those that are in use,
//! and what they do not know is waited for.

mod end_reason;
mod event_problem;
mod events;
mod image_pull;
mod isolation;
mod pending_reason;
mod pod_problem;
mod problem;
pub(crate) mod view;

pub(crate) use event_problem::problem_from_events;
pub(crate) use events::{cluster_event, events_since};
pub(crate) use problem::Problem;
pub(crate) use view::PodView;
pub(crate) use view::managed_view;
