//! What the watch reports to the index.

use sandbox_core::Uid;

use crate::observe::status::PodView;

/// An event of the watch.
#[derive(Debug, Clone)]
pub(crate) enum Event {
    /// A list begins. The index stays valid until the list is complete.
    Init,
    /// A sandbox in the list.
    InitApply(PodView),
    /// The list is complete: every other sandbox was deleted.
    InitDone,
    /// The watch that continues from the list was accepted.
    WatchStarted,
    /// A sandbox was created or changed.
    Apply(PodView),
    /// A sandbox was deleted.
    Delete(Uid),
    /// The watch could not be started, or failed, for this reason.
    Failed(String),
    /// The client may not list or watch Pods, for this reason; a retry does not help.
    Forbidden(String),
}
