//! The events of a sandbox, and the diagnosis of its state.

use std::fmt;
use std::pin::Pin;
use std::time::SystemTime;

use futures_core::Stream;
use serde::{Deserialize, Serialize};

use super::EndCause;
use crate::{CreationReason, Result, timestamp};

/// An event in the life of a sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SandboxEvent {
    /// When it happened, by the backend's clock.
    #[serde(with = "timestamp")]
    pub at: SystemTime,
    /// What happened.
    pub kind: SandboxEventKind,
    /// The backend's message; may be empty.
    pub message: String,
}

/// Kinds of events. A backend reports up to [`Addressed`](Self::Addressed) or a final one. Whether
/// SSH works is known only after connecting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum SandboxEventKind {
    /// The sandbox was accepted.
    Created,
    /// It was assigned to a node.
    Scheduled,
    /// Its image is being pulled.
    Pulling,
    /// Its processes are running.
    Started,
    /// Its endpoint can be dialled.
    Addressed,
    /// An SSH handshake with the pinned key has succeeded. The client reports this, not a backend.
    Ready,
    /// There is a problem, described by the message, that may resolve itself.
    Warning,
    /// A sandbox that was claimed from a pool does not have the size that was asked for yet. The client reports this,
    /// not a backend.
    ResizePending,
    /// It cannot start, or has failed, for the reason in the message.
    Failed,
    /// It has ended as it was created to end, at a limit that the message names.
    Ended,
    /// It was deleted.
    Deleted,
}

impl SandboxEventKind {
    /// Returns whether a sandbox with this event has found room where it runs, so that its start is all that
    /// remains.
    pub fn has_room(self) -> bool {
        match self {
            Self::Scheduled
            | Self::Pulling
            | Self::Started
            | Self::Addressed
            | Self::Ready
            | Self::ResizePending => true,
            Self::Created | Self::Warning | Self::Failed | Self::Ended | Self::Deleted => false,
        }
    }

    /// Returns whether this is the last event.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Failed | Self::Ended | Self::Deleted)
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
            Self::ResizePending => "ResizePending",
            Self::Failed => "Failed",
            Self::Ended => "Ended",
            Self::Deleted => "Deleted",
        })
    }
}

/// The events of one sandbox, past ones first. The stream ends after a final event.
pub type EventStream = Pin<Box<dyn Stream<Item = Result<SandboxEvent>> + Send>>;

/// Why a sandbox cannot be reached. It is requested when a connection was lost or never opened.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Diagnosis {
    /// One sentence: `the Pod was evicted: the node was low on memory`.
    pub summary: String,
    /// The kind of problem that prevents it from running or has ended it, if known.
    #[serde(default)]
    pub reason: Option<CreationReason>,
    /// Whether it has ended for good.
    pub is_final: bool,
    /// How it has ended, if it has ended and the backend knows.
    #[serde(default)]
    pub end: Option<EndCause>,
    /// The latest events, oldest first.
    pub events: Vec<SandboxEvent>,
    /// Whether it could not start because of the way in which it was created, and the backend
    /// would now create it in a different way, so that a retry may succeed.
    pub has_fallback: bool,
    /// The last lines of the server's log.
    pub log_tail: String,
}
