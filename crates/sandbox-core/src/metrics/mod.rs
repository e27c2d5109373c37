//! What the crates of this SDK tell of their work, for the feature `metrics`.
//!
//! Each function is called where the thing happens and nowhere else. Without the feature nothing
//! is kept and nothing is done: the guards are empty, and so are the functions.

mod names;
mod outcome;
mod recorder;

use crate::{Direction, Error, ExitStatus, Result};

pub use names::{METRICS, Metric, MetricKind};
pub use recorder::Begun;

#[cfg(feature = "metrics")]
pub use names::describe;

use names::{
    CHANNELS, COMMAND, CONNECTIONS, CONNECTIONS_CLOSED, CONNECTIONS_OPENED, CREATE, DELETE, DIAL,
    REQUEST, SLOT_WAIT, TRANSFER, TRANSFER_BYTES, WATCH_RESTARTS,
};
use recorder::{End, Kept, ON, add, observe, shift};

const OUTCOME: End = End {
    label: "outcome",
    dropped: outcome::CANCELLED,
};

/// Something that is being done. It counts as cancelled when it is dropped before its end is told.
#[derive(Debug)]
#[must_use = "it counts as cancelled when it is dropped"]
pub struct Underway(Kept);

impl Underway {
    /// It has ended: well, or with this error.
    pub fn ended<T>(self, result: &Result<T>) {
        if ON {
            self.0.tell(
                result
                    .as_ref()
                    .map_or_else(outcome::of_error, |_| outcome::OK),
            );
        }
    }

    /// A command has ended: with a status, without one because it has none, or with this error.
    pub fn command_ended(self, result: &Result<Option<ExitStatus>>) {
        if ON {
            self.0.tell(outcome::of_command(result));
        }
    }

    /// A file of that many bytes has been moved, or was not.
    pub fn moved(self, result: &Result<u64>) {
        if let (true, Ok(bytes)) = (ON, result) {
            self.0.add(TRANSFER_BYTES, *bytes);
        }
        self.ended(result);
    }
}

/// A sandbox is made, until its first session is there and it is set up.
pub fn create(backend: &'static str) -> Underway {
    Underway(Kept::new(CREATE, (("backend", backend), None), OUTCOME))
}

/// A sandbox is deleted.
pub fn delete(backend: &'static str) -> Underway {
    Underway(Kept::new(DELETE, (("backend", backend), None), OUTCOME))
}

/// A command is run: `output` is collected, a `stream` is read as it comes, a `job` is only started.
pub fn command(kind: &'static str) -> Underway {
    Underway(Kept::new(COMMAND, (("kind", kind), None), OUTCOME))
}

/// One file is moved.
pub fn transfer(direction: Direction) -> Underway {
    Underway(Kept::new(
        TRANSFER,
        (("direction", outcome::of_direction(direction)), None),
        OUTCOME,
    ))
}

/// A connection is dialled, until it is authenticated.
pub fn dial(purpose: &'static str) -> Underway {
    Underway(Kept::new(DIAL, (("purpose", purpose), None), OUTCOME))
}

/// A connection that is open as long as this lives.
#[derive(Debug)]
pub struct OpenConnection(());

impl OpenConnection {
    /// One more.
    #[allow(clippy::new_without_default, reason = "it counts")]
    pub fn new() -> Self {
        add(CONNECTIONS_OPENED, 1, &[]);
        shift(CONNECTIONS, 1.0);
        Self(())
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        add(CONNECTIONS_CLOSED, 1, &[]);
        shift(CONNECTIONS, -1.0);
    }
}

/// A channel that is in use as long as this lives.
#[derive(Debug)]
pub struct ChannelInUse(());

impl ChannelInUse {
    /// One more.
    #[allow(clippy::new_without_default, reason = "it counts")]
    pub fn new() -> Self {
        shift(CHANNELS, 1.0);
        Self(())
    }
}

impl Drop for ChannelInUse {
    fn drop(&mut self) {
        shift(CHANNELS, -1.0);
    }
}

/// A channel was waited for, and came or did not.
pub fn slot_wait<T>(begun: Begun, result: &Result<T, Error>) {
    if ON {
        let outcome = result
            .as_ref()
            .map_or_else(outcome::of_error, |_| outcome::OK);
        observe(SLOT_WAIT, begun, &[("outcome", outcome.into())]);
    }
}

/// The API server is asked once.
pub fn request(verb: &'static str, resource: &'static str) -> Asked {
    let known = (("verb", verb), Some(("resource", resource)));
    Asked(Kept::new(
        REQUEST,
        known,
        End {
            label: "status",
            dropped: "none",
        },
    ))
}

/// A request without an answer. It counts as such when it is dropped.
#[derive(Debug)]
#[must_use = "it counts as not answered when it is dropped"]
pub struct Asked(Kept);

impl Asked {
    /// It was answered with this status of HTTP.
    pub fn answered(self, status: u16) {
        if ON {
            self.0.tell(status.to_string());
        }
    }
}

/// The watch has to begin again.
pub fn watch_restart(reason: &'static str) {
    add(WATCH_RESTARTS, 1, &[("reason", reason.into())]);
}
