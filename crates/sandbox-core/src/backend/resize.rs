//! Another size for a sandbox that runs.

use super::SandboxInfo;

/// A sandbox after a request for another size.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Resized {
    /// Its description, with its limits as they were set.
    pub info: SandboxInfo,
    /// Whether it has that size.
    pub outcome: ResizeOutcome,
}

impl Resized {
    /// Describes the result of a request.
    pub fn new(info: SandboxInfo, outcome: ResizeOutcome) -> Self {
        Self { info, outcome }
    }
}

/// What became of a request for another size.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ResizeOutcome {
    /// The sandbox has the new size.
    Applied,
    /// There is no room for it now where the sandbox runs. The sandbox keeps its size until there is.
    Deferred {
        /// The backend's message; untrusted text.
        message: String,
    },
    /// The sandbox can never have that size where it runs. It keeps its size.
    Infeasible {
        /// The backend's message; untrusted text.
        message: String,
    },
    /// The request was accepted, and its result is not known yet.
    Unconfirmed {
        /// How far it has come; untrusted text.
        message: String,
    },
}
