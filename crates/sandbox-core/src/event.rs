//! How a sandbox came to be, and what became of it.

use std::fmt;
use std::pin::Pin;
use std::time::SystemTime;

use futures_core::Stream;
use serde::{Deserialize, Serialize};

use crate::{CreationReason, Result, timestamp};

/// A step in a sandbox's life, as it happens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SandboxEvent {
    /// When, by the backend's clock.
    #[serde(with = "timestamp")]
    pub at: SystemTime,
    /// Which step.
    pub kind: SandboxEventKind,
    /// The backend's own words, where it has any.
    pub message: String,
}

/// The steps. A backend reports up to [`Addressed`](Self::Addressed) or
/// [`Failed`](Self::Failed); that SSH answers is found out by connecting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum SandboxEventKind {
    /// Accepted.
    Created,
    /// It has a machine to run on.
    Scheduled,
    /// Its image is being fetched.
    Pulling,
    /// Its processes run.
    Started,
    /// Its endpoint can be dialled.
    Addressed,
    /// SSH has answered with the right key: told by the client, not by a backend.
    Ready,
    /// Something is wrong that may mend itself; the message says what.
    Warning,
    /// It cannot come to be, or has broken down; the message says why.
    Failed,
    /// It is gone.
    Deleted,
}

impl SandboxEventKind {
    /// Nothing follows.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Failed | Self::Deleted)
    }
}

impl fmt::Display for SandboxEventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Created => "Created",
            Self::Scheduled => "Scheduled",
            Self::Pulling => "Pulling",
            Self::Started => "Started",
            Self::Addressed => "Addressed",
            Self::Ready => "Ready",
            Self::Warning => "Warning",
            Self::Failed => "Failed",
            Self::Deleted => "Deleted",
        })
    }
}

/// The events of one sandbox, those of the past first. It ends after a final one.
pub type EventStream = Pin<Box<dyn Stream<Item = Result<SandboxEvent>> + Send>>;

/// Why a sandbox is as it is: asked when a connection was lost or never came about.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Diagnosis {
    /// One sentence: `the Pod was evicted: the node was low on memory`.
    pub summary: String,
    /// The kind of what stands in its way or has ended it, where that is known.
    #[serde(default)]
    pub reason: Option<CreationReason>,
    /// It has ended and will not answer again.
    pub is_final: bool,
    /// The latest events, oldest first.
    pub events: Vec<SandboxEvent>,
    /// It could not come to be for the way it was made, and the backend, which has found that
    /// out now, would make it another way: creating it anew may succeed.
    pub try_again: bool,
    /// The last lines of the server's own log.
    pub log_tail: String,
}
