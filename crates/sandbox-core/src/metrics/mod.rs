//! Metrics of the SDK (feature `metrics`).
//!
//! The crates of the SDK call each function in exactly one place: where the event happens. Without
//! the feature, all functions and types here are empty.

mod names;
mod outcome;
mod recorder;

use crate::{Direction, Error, ExitStatus, Result};

pub use names::{METRICS, Metric, MetricKind};
pub use recorder::Timer;

#[cfg(feature = "metrics")]
pub use names::describe;

use names::{
    CHANNELS, COMMAND, CONNECTIONS, CONNECTIONS_CLOSED, CONNECTIONS_OPENED, CREATE, DELETE, DIAL,
    EGRESS, EGRESS_BYTES, POOL_MISSES, POOL_TAKE, POOL_WAITING, REQUEST, SLOT_WAIT, TRANSFER,
    TRANSFER_BYTES, WATCH_RESTARTS,
};
use recorder::{ENABLED, Recording, ResultLabel, add_to_counter, add_to_gauge, record_duration};

const OUTCOME: ResultLabel = ResultLabel {
    name: "outcome",
    if_dropped: outcome::CANCELLED,
};

/// An operation in progress. It counts as cancelled if it is dropped before it is finished.
#[derive(Debug)]
#[must_use = "it counts as cancelled when it is dropped"]
pub struct Operation(Recording);

impl Operation {
    /// Records that the operation succeeded, or failed with this error.
    pub fn finish<T>(self, result: &Result<T>) {
        if ENABLED {
            self.0.finish(outcome::from_result(result));
        }
    }

    /// Records the end of a command. `None` is a success that has no exit status, such as the start
    /// of a job.
    pub fn finish_command(self, result: &Result<Option<ExitStatus>>) {
        if ENABLED {
            self.0.finish(outcome::from_command(result));
        }
    }

    /// Records the end of a transfer, and its number of bytes if it succeeded.
    pub fn finish_transfer(self, result: &Result<u64>) {
        if ENABLED && let Ok(bytes) = result {
            self.0.add_to_counter(TRANSFER_BYTES, *bytes);
        }
        self.finish(result);
    }
}

/// Starts the creation of a sandbox, which lasts until its first session is open and it is set up.
pub fn start_create(backend: &'static str) -> Operation {
    Operation(Recording::start(
        CREATE,
        (("backend", backend), None),
        OUTCOME,
    ))
}

/// Starts to take a sandbox from a pool, which lasts until it is set up.
pub fn start_pool_take(backend: &'static str) -> Operation {
    Operation(Recording::start(
        POOL_TAKE,
        (("backend", backend), None),
        OUTCOME,
    ))
}

/// Counts a take that found no sandbox waiting.
pub fn count_pool_miss() {
    add_to_counter(POOL_MISSES, 1, &[]);
}

/// Counts a sandbox as waiting in a pool until it is dropped.
#[derive(Debug)]
pub struct WaitingSandbox(());

impl WaitingSandbox {
    /// Counts one more waiting sandbox.
    #[allow(clippy::new_without_default, reason = "it has a side effect")]
    pub fn new() -> Self {
        add_to_gauge(POOL_WAITING, 1.0);
        Self(())
    }
}

impl Drop for WaitingSandbox {
    fn drop(&mut self) {
        add_to_gauge(POOL_WAITING, -1.0);
    }
}

/// Starts the deletion of a sandbox.
pub fn start_delete(backend: &'static str) -> Operation {
    Operation(Recording::start(
        DELETE,
        (("backend", backend), None),
        OUTCOME,
    ))
}

/// Starts a command. Its kind is `output` if its output is collected, `stream` if its output is
/// read as it arrives, or `job`, which ends once the job has started.
pub fn start_command(kind: &'static str) -> Operation {
    Operation(Recording::start(COMMAND, (("kind", kind), None), OUTCOME))
}

/// Starts the transfer of one file.
pub fn start_transfer(direction: Direction) -> Operation {
    Operation(Recording::start(
        TRANSFER,
        (("direction", outcome::from_direction(direction)), None),
        OUTCOME,
    ))
}

/// Starts to dial a connection, which lasts until it is authenticated.
pub fn start_dial(purpose: &'static str) -> Operation {
    Operation(Recording::start(
        DIAL,
        (("purpose", purpose), None),
        OUTCOME,
    ))
}

/// Counts a connection as open until it is dropped.
#[derive(Debug)]
pub struct OpenConnection(());

impl OpenConnection {
    /// Counts one more open connection.
    #[allow(clippy::new_without_default, reason = "it has a side effect")]
    pub fn new() -> Self {
        add_to_counter(CONNECTIONS_OPENED, 1, &[]);
        add_to_gauge(CONNECTIONS, 1.0);
        Self(())
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        add_to_counter(CONNECTIONS_CLOSED, 1, &[]);
        add_to_gauge(CONNECTIONS, -1.0);
    }
}

/// Counts a channel as in use until it is dropped.
#[derive(Debug)]
pub struct ChannelInUse(());

impl ChannelInUse {
    /// Counts one more channel in use.
    #[allow(clippy::new_without_default, reason = "it has a side effect")]
    pub fn new() -> Self {
        add_to_gauge(CHANNELS, 1.0);
        Self(())
    }
}

impl Drop for ChannelInUse {
    fn drop(&mut self) {
        add_to_gauge(CHANNELS, -1.0);
    }
}

/// Records how long a caller waited for a channel, and whether it got one.
pub fn record_slot_wait<T>(timer: Timer, result: &Result<T, Error>) {
    if ENABLED {
        let outcome = outcome::from_result(result);
        record_duration(SLOT_WAIT, timer, &[("outcome", outcome.into())]);
    }
}

/// Starts one request to the API server.
pub fn start_request(verb: &'static str, resource: &'static str) -> ApiRequest {
    ApiRequest(Recording::start(
        REQUEST,
        (("verb", verb), Some(("resource", resource))),
        ResultLabel {
            name: "status",
            if_dropped: "none",
        },
    ))
}

/// A request to the API server. It counts as one without a response if it is dropped.
#[derive(Debug)]
#[must_use = "it counts as a request without a response when it is dropped"]
pub struct ApiRequest(Recording);

impl ApiRequest {
    /// Records the HTTP status of the response.
    pub fn finish(self, status: u16) {
        if ENABLED {
            self.0.finish(status.to_string());
        }
    }
}

/// Counts a restart of the watch.
pub fn count_watch_restart(reason: &'static str) {
    add_to_counter(WATCH_RESTARTS, 1, &[("reason", reason.into())]);
}

/// Counts what happened to a connection of a sandbox through its egress proxy.
pub fn count_egress(outcome: &'static str) {
    add_to_counter(EGRESS, 1, &[("outcome", outcome.into())]);
}

/// Counts what a connection through an egress proxy carried: bytes from the sandbox, and bytes to it.
pub fn count_egress_bytes(sent: u64, received: u64) {
    add_to_counter(EGRESS_BYTES, sent, &[("direction", "sent".into())]);
    add_to_counter(EGRESS_BYTES, received, &[("direction", "received".into())]);
}
