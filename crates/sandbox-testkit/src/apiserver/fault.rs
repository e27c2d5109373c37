//! Faults of requests and watches.

use std::time::Duration;

/// A fault of a request or of a watch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The request is refused and not executed.
    Refuse(Refusal),
    /// The request is refused because the user has no permission.
    Forbidden,
    /// The request is executed, but the response is this refusal.
    RefuseAfter(Refusal),
    /// The connection is cut before the request is executed.
    CutBefore,
    /// The request is executed, and the connection is cut before the response.
    CutAfter,
    /// The request is executed after this time.
    Delay(Duration),
    /// The request is executed at once, and the response follows after this time.
    DelayResponse(Duration),
    /// Watch: after this number of events, the connection is cut in the middle of the next line.
    CutLine(usize),
    /// Watch: it ends after this number of events, as at its timeout.
    EndAfter(usize),
    /// Watch: each event is delayed by this time.
    DelayEvents(Duration),
    /// Watch: each event is sent twice, followed by a copy of the event before it.
    RepeatEvents,
    /// Watch: it is accepted, and its first line is the error that the version is too old.
    ExpireWatch,
}

impl Fault {
    /// 429: too many requests, with the time to wait in seconds.
    pub fn too_many_requests(seconds: u64) -> Self {
        let refusal = Refusal::new(
            429,
            "TooManyRequests",
            "too many requests, please try again later",
        );
        Self::Refuse(refusal.retry_after(seconds))
    }

    /// 503 after the request was executed.
    pub fn lost_response() -> Self {
        Self::RefuseAfter(Refusal::new(
            503,
            "ServiceUnavailable",
            "the response was lost",
        ))
    }

    /// 503 without executing the request.
    pub fn unavailable() -> Self {
        Self::refuse(
            503,
            "ServiceUnavailable",
            "the server is currently unable to handle the request",
        )
    }

    /// 410: the requested version is too old.
    pub fn expired() -> Self {
        Self::refuse(
            410,
            "Expired",
            "The resourceVersion for the provided watch is too old.",
        )
    }

    /// Any other refusal.
    pub fn refuse(code: u16, reason: &str, message: impl Into<String>) -> Self {
        Self::Refuse(Refusal::new(code, reason, message))
    }
}

/// A response other than success.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The HTTP status code.
    pub code: u16,
    /// The reason, as in the Kubernetes type `Status`.
    pub reason: String,
    /// The message, as in the Kubernetes type `Status`.
    pub message: String,
    /// The time to wait in seconds, for the header and the body.
    pub retry_after: Option<u64>,
}

impl Refusal {
    /// Creates a refusal without a time to wait.
    pub fn new(code: u16, reason: &str, message: impl Into<String>) -> Self {
        Self {
            code,
            reason: reason.into(),
            message: message.into(),
            retry_after: None,
        }
    }

    /// Sets the time to wait, in seconds.
    #[must_use]
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds);
        self
    }
}

/// The injected faults, in the order of their injection.
#[derive(Debug, Default)]
pub(super) struct Faults(Vec<Planned>);

#[derive(Debug)]
struct Planned {
    kind: String,
    /// The remaining number of times; `None` means always.
    times: Option<u32>,
    fault: Fault,
}

impl Faults {
    pub(super) fn add(&mut self, kind: &str, times: Option<u32>, fault: Fault) {
        self.0.push(Planned {
            kind: kind.to_owned(),
            times,
            fault,
        });
    }

    /// Returns the first fault for this kind of request, and counts it as used.
    pub(super) fn next_for(&mut self, kind: &str) -> Option<Fault> {
        let index = self
            .0
            .iter()
            .position(|planned| planned.kind == kind && planned.times != Some(0))?;
        let planned = self.0.get_mut(index)?;
        planned.times = planned.times.map(|times| times - 1);
        Some(planned.fault.clone())
    }
}
