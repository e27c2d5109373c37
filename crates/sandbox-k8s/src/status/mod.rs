//! What became of a Pod: read off its status, with a verdict on each obstacle.
//!
//! [`PodView`] is the little that is kept of a Pod. [`Trouble`] says what stands in the way and
//! how long that is worth waiting for: some things never mend (an image that does not exist),
//! some often do (no machine has room yet). The words are the kubelet's, the scheduler's and the
//! container runtime's, and are no interface: the tables here know those that are in use,
//! and what they do not know is waited for.

mod ending;
mod events;
mod image;
mod isolation;
mod obstacle;
mod reason;
mod said;
pub(crate) mod view;

use std::time::Duration;

use sandbox_core::CreationReason;

pub use events::{cluster_event, events_since};
pub use said::explained;
pub use view::PodView;

/// What stands in the way of a sandbox, or has ended it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// The kind, as it is reported when a creation fails for it.
    pub reason: CreationReason,
    /// What is wrong in the cluster's words, and where it is known, what to do. The words may
    /// come from an image or a registry: untrusted text.
    pub message: String,
    /// How long it is worth waiting for.
    pub patience: Patience,
    /// The injected server could not be run where it was mounted: with another
    /// [`InjectVia`](crate::options::InjectVia) the same Pod may start.
    pub server_missing: bool,
}

/// How long an obstacle is worth waiting for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    /// Not at all: it is final.
    None,
    /// Two seconds: the kubelet may not have heard yet of an object that was just stored.
    Brief,
    /// As long as the options say: it may clear by itself.
    Grace,
}

impl Patience {
    /// In time, counted from when the sandbox first had any trouble that it has not been without
    /// since: a kubelet that tries again changes its words. `grace` is that of the options.
    pub fn limit(self, grace: Duration) -> Duration {
        match self {
            Self::None => Duration::ZERO,
            Self::Brief => grace.min(Duration::from_secs(2)),
            Self::Grace => grace,
        }
    }
}

impl Trouble {
    /// Whether waiting is pointless.
    pub fn is_final(&self) -> bool {
        self.patience == Patience::None
    }

    /// It says that there is trouble, and not which: what was said before says more.
    pub fn is_vague(&self) -> bool {
        said::is_vague(&self.message)
    }

    fn last(reason: CreationReason, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
            patience: Patience::None,
            server_missing: false,
        }
    }

    fn passing(reason: CreationReason, message: impl Into<String>) -> Self {
        Self {
            patience: Patience::Grace,
            ..Self::last(reason, message)
        }
    }
}
