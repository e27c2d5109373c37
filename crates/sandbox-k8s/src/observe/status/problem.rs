//! What stands in the way of a sandbox, or has ended it.

use std::time::Duration;

use sandbox_core::CreationReason;

/// What stands in the way of a sandbox, or has ended it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    /// The kind, as it is reported when a creation fails for it.
    pub(crate) reason: CreationReason,
    /// What is wrong in the cluster's words, and where it is known, what to do. The words may
    /// come from an image or a registry: untrusted text.
    pub(crate) message: String,
    /// How long it is worth waiting for.
    pub(crate) wait_limit: WaitLimit,
    /// The injected server could not be run where it was mounted: with another
    /// [`InjectVia`](crate::manifest::options::InjectVia) the same Pod may start.
    pub(crate) server_missing: bool,
}

/// How long an obstacle is worth waiting for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WaitLimit {
    /// Not at all: it is final.
    None,
    /// Two seconds: the kubelet may not have heard yet of an object that was just stored.
    Brief,
    /// As long as the options say: it may clear by itself.
    Grace,
}

impl WaitLimit {
    /// In time, counted from when the sandbox first had any trouble that it has not been without
    /// since: a kubelet that tries again changes its words. `grace` is that of the options.
    pub(crate) fn limit(self, grace: Duration) -> Duration {
        match self {
            Self::None => Duration::ZERO,
            Self::Brief => grace.min(Duration::from_secs(2)),
            Self::Grace => grace,
        }
    }
}

impl Problem {
    /// Whether waiting is pointless.
    pub(crate) fn is_final(&self) -> bool {
        self.wait_limit == WaitLimit::None
    }

    /// It says that there is trouble, and not which: what was said before says more.
    pub(crate) fn is_vague(&self) -> bool {
        is_vague(&self.message)
    }

    pub(super) fn fatal(reason: CreationReason, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
            wait_limit: WaitLimit::None,
            server_missing: false,
        }
    }

    pub(super) fn transient(reason: CreationReason, message: impl Into<String>) -> Self {
        Self {
            wait_limit: WaitLimit::Grace,
            ..Self::fatal(reason, message)
        }
    }
}

/// Says that it did not work, or will be tried again, and not why.
pub(super) fn is_vague(message: &str) -> bool {
    // From 1.31 on, the kubelet repeats the error after its name.
    if message.starts_with("Back-off ") && message.contains(": ErrImagePull: ") {
        return false;
    }
    if message.starts_with("Unable to attach or mount volumes: ") {
        return MOUNT_TIMEOUTS
            .iter()
            .any(|sign| message.trim_end().ends_with(sign));
    }
    ["Back-off ", "Error: ", "ImagePullBackOff", "ErrImagePull"]
        .iter()
        .any(|sign| message.starts_with(sign))
}

/// How a kubelet ends a message about volumes when it has only waited for them.
const MOUNT_TIMEOUTS: [&str; 2] = [
    "timed out waiting for the condition",
    "context deadline exceeded",
];
