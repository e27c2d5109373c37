//! What goes wrong with a request.

use std::time::Duration;

/// What goes wrong with a request, or with a watch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// It is refused so, and nothing happens.
    Refuse(Refusal),
    /// Whoever asks has no right to this.
    NoRight,
    /// It is carried out, and answered so.
    Lose(Refusal),
    /// The connection is cut before anything happens.
    CutBefore,
    /// It is carried out, and the connection is cut before it is answered.
    CutAfter,
    /// It is carried out after a while.
    Slow(Duration),
    /// It is carried out at once, and answered after a while.
    SlowAnswer(Duration),
    /// Of a watch: after so many events, the connection is cut in the middle of the next line.
    CutLine(usize),
    /// Of a watch: after so many events it ends, as at its time-out.
    End(usize),
    /// Of a watch: each event comes so late.
    Late(Duration),
    /// Of a watch: each event comes twice, and the one before it once more.
    Repeat,
    /// Of a watch: it is accepted, and its first line says that the version is too old.
    Gone,
}

impl Fault {
    /// 429: too many requests, come back after so many seconds.
    pub fn too_many(seconds: u64) -> Self {
        let refusal = Refusal::new(
            429,
            "TooManyRequests",
            "too many requests, please try again later",
        );
        Self::Refuse(refusal.retry_after(seconds))
    }

    /// 503, after it was carried out.
    pub fn lost() -> Self {
        Self::Lose(Refusal::new(
            503,
            "ServiceUnavailable",
            "the answer was lost",
        ))
    }

    /// 503, and nothing happens.
    pub fn unavailable() -> Self {
        Self::refuse(
            503,
            "ServiceUnavailable",
            "the server is currently unable to handle the request",
        )
    }

    /// 410: the version that was asked for is too old.
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

/// An answer that is not a success.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The HTTP status code.
    pub code: u16,
    /// Kubernetes' word for it.
    pub reason: String,
    /// The sentence.
    pub message: String,
    /// When to come back, in seconds: in the header, and in the body.
    pub retry_after: Option<u64>,
}

impl Refusal {
    /// One that says nothing of when to come back.
    pub fn new(code: u16, reason: &str, message: impl Into<String>) -> Self {
        Self {
            code,
            reason: reason.into(),
            message: message.into(),
            retry_after: None,
        }
    }

    /// The same, with a time to come back.
    #[must_use]
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds);
        self
    }
}

/// Those to come, in the order in which they were asked for.
#[derive(Debug, Default)]
pub(super) struct Faults(Vec<Planned>);

#[derive(Debug)]
struct Planned {
    what: String,
    /// How often still; `None` is always.
    times: Option<u32>,
    fault: Fault,
}

impl Faults {
    pub(super) fn add(&mut self, what: &str, times: Option<u32>, fault: Fault) {
        self.0.push(Planned {
            what: what.to_owned(),
            times,
            fault,
        });
    }

    pub(super) fn take(&mut self, what: &str) -> Option<Fault> {
        let at = self
            .0
            .iter()
            .position(|planned| planned.what == what && planned.times != Some(0))?;
        let planned = self.0.get_mut(at)?;
        planned.times = planned.times.map(|times| times - 1);
        Some(planned.fault.clone())
    }
}
