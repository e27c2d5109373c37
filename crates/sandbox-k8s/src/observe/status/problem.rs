//! Why a sandbox does not start, or has ended.

use std::time::Duration;

use sandbox_core::{CreationReason, EndCause};

/// Why a sandbox does not start, or has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    /// The typed reason that a failed creation reports.
    pub(crate) reason: CreationReason,
    /// The cluster's message, followed by a remedy if there is one. Parts of it may come from an image or
    /// a registry: untrusted text.
    pub(crate) message: String,
    /// How long the problem is worth waiting for.
    pub(crate) wait_limit: WaitLimit,
    /// Whether sandbox-sshd could not be run where it was mounted: the same Pod may start with another
    /// [`InjectVia`](crate::manifest::options::InjectVia).
    pub(crate) server_missing: bool,
    /// The kind of end, if the sandbox has ended.
    pub(crate) end: EndCause,
    /// Whether the status does not name what has ended the sandbox, so that the cluster's events may
    /// know more.
    pub(crate) is_unexplained: bool,
    /// The container that the problem is about, if it is not that of the sandbox.
    pub(crate) container: Option<String>,
}

/// Begins the message about an init container, before its name.
pub(super) const INIT_CONTAINER: &str = "init container ";

/// How long a problem is worth waiting for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WaitLimit {
    /// Not at all, because the problem is final.
    None,
    /// Two seconds, because the kubelet may not have received a new object yet.
    Brief,
    /// The grace of the options, because the problem may pass.
    Grace,
}

impl WaitLimit {
    /// Returns the duration, counted from when the sandbox first had a problem that has lasted since, in
    /// whatever form: a kubelet that retries changes its message. `grace` is that of the options.
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

    /// Whether the message names no cause, so that an earlier message is more useful.
    pub(crate) fn is_vague(&self) -> bool {
        let prefix = self
            .container
            .as_ref()
            .map(|name| format!("{INIT_CONTAINER}{name}: "));
        let message = prefix.and_then(|prefix| self.message.strip_prefix(&prefix));
        is_vague(message.unwrap_or(&self.message))
    }

    pub(super) fn fatal(reason: CreationReason, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
            wait_limit: WaitLimit::None,
            server_missing: false,
            end: match reason {
                CreationReason::Evicted => EndCause::Evicted,
                _ => EndCause::Failed,
            },
            is_unexplained: false,
            container: None,
        }
    }

    /// The end of a sandbox that is no failure of its own. It is the end of a wait, too: before it
    /// was ready, the sandbox has reached a limit, or was stopped and may start elsewhere.
    pub(super) fn ended(cause: EndCause, message: impl Into<String>) -> Self {
        let reason = match cause.is_planned() {
            true => CreationReason::Timeout,
            false => CreationReason::Evicted,
        };
        Self {
            end: cause,
            ..Self::fatal(reason, message)
        }
    }

    /// Marks a problem for which the cluster's events may have a better reason.
    pub(super) fn unexplained(self) -> Self {
        Self {
            is_unexplained: true,
            ..self
        }
    }

    /// Names the container that the problem is about.
    pub(super) fn of_container(self, name: &str) -> Self {
        Self {
            container: Some(name.to_owned()),
            ..self
        }
    }

    pub(super) fn transient(reason: CreationReason, message: impl Into<String>) -> Self {
        Self {
            wait_limit: WaitLimit::Grace,
            ..Self::fatal(reason, message)
        }
    }
}

/// Whether a message reports a failure or a retry without the cause.
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

/// The ends of a kubelet's messages about volumes when it has only waited for them.
const MOUNT_TIMEOUTS: [&str; 2] = [
    "timed out waiting for the condition",
    "context deadline exceeded",
];
