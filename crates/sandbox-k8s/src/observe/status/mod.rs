//! Reads the status of Pods, and judges each problem in it.
//!
//! [`PodView`] is the small part of a Pod that is cached. [`Problem`] is the reason why a Pod does not start
//! or has ended, and how long that is worth waiting for: some problems are final (an image that does
//! not exist), others often pass (no node has room yet). The messages of the kubelet, the scheduler
//! and the container runtimes are no stable interface. The tables here list those in use; a Pod with
//! any other message is waited for.

mod end_reason;
mod ended_by_cluster;
mod event_problem;
mod events;
mod identity;
mod image_pull;
mod isolation;
mod pending_reason;
mod pod_problem;
mod problem;
mod start_failure;
pub(crate) mod view;

pub(crate) use ended_by_cluster::end_from_events;
pub(crate) use event_problem::{missing_source_problem, problem_from_events};
pub(crate) use events::{cluster_event, events_since};
pub(crate) use identity::Identity;
#[cfg(test)]
pub(crate) use pending_reason::judge_waiting;
pub(crate) use problem::Problem;
pub(crate) use view::PodView;
pub(crate) use view::managed_view;
