//! The log of a job in memory.

use std::fmt;
use std::ops::Deref;

use bytes::Bytes;
use sandbox_core::{ExecEvent, ExitStatus, Notice, OutputCollector};

/// The most bytes of a log in memory: as many as a server keeps by default. A hostile server may send
/// more.
const MAX_BYTES: usize = 64 << 20;

/// The log of a job, as [`Job::logs`](crate::Job::logs) returns it: its bytes, or the beginning and
/// the end of them.
///
/// ```no_run
/// # async fn example(job: sandbox::Job) -> sandbox::Result<()> {
/// let log = job.logs().await?;
/// if let Some(gap) = log.gap() {
///     println!("{} bytes are left out after the first {gap}", log.omitted());
/// }
/// println!("{}", log.to_string_lossy());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct JobLog {
    bytes: Bytes,
    gap: Option<usize>,
    omitted: u64,
}

impl JobLog {
    /// Returns the number of bytes that are left out; zero if the log is complete.
    pub fn omitted(&self) -> u64 {
        self.omitted
    }

    /// Returns where bytes are left out, as an index of the bytes; `None` if the log is complete.
    pub fn gap(&self) -> Option<usize> {
        self.gap
    }

    /// Returns the log as text. Bytes that are not UTF-8 become `U+FFFD`.
    pub fn to_string_lossy(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    /// Returns the bytes.
    pub fn into_bytes(self) -> Bytes {
        self.bytes
    }
}

impl Deref for JobLog {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl fmt::Debug for JobLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobLog")
            .field("bytes", &self.bytes.len())
            .field("omitted", &self.omitted)
            .finish_non_exhaustive()
    }
}

/// Collects a log in bounded memory.
pub(super) struct JobLogCollector {
    output: OutputCollector,
    received: usize,
    /// Where the server has left out bytes first.
    gap: Option<usize>,
}

impl Default for JobLogCollector {
    fn default() -> Self {
        Self::with_cap(MAX_BYTES)
    }
}

impl JobLogCollector {
    fn with_cap(cap: usize) -> Self {
        Self {
            output: OutputCollector::new(cap),
            received: 0,
            gap: None,
        }
    }

    pub(super) fn push(&mut self, event: &ExecEvent) {
        match event {
            ExecEvent::Stdout(bytes) => self.received = self.received.saturating_add(bytes.len()),
            ExecEvent::Notice(Notice::Omitted { .. }) => {
                self.gap.get_or_insert(self.received);
            }
            // A log has no standard error: the server has joined the two.
            ExecEvent::Stderr(_) => return,
            _ => {}
        }
        self.output.push(event);
    }

    pub(super) fn finish(self) -> JobLog {
        let output = self.output.finish(ExitStatus::Code(0));
        // What was dropped here begins after the first half of the cap.
        let dropped_here = (self.received > output.stdout.len())
            .then(|| output.stdout_gap())
            .flatten();
        JobLog {
            gap: self.gap.into_iter().chain(dropped_here).min(),
            omitted: output.stdout_dropped,
            bytes: output.stdout,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn collect(cap: usize, events: &[ExecEvent]) -> (String, Option<usize>, u64) {
        let mut log = JobLogCollector::with_cap(cap);
        events.iter().for_each(|event| log.push(event));
        let log = log.finish();
        (log.to_string_lossy(), log.gap(), log.omitted())
    }

    #[test]
    fn what_is_left_out_is_counted_wherever_it_was_left_out() {
        let text = |text: &'static str| ExecEvent::Stdout(text.into());
        let omitted = |bytes| ExecEvent::Notice(Notice::Omitted { bytes });
        let all = || [text("begin"), omitted(100), text("end")];
        assert_eq!(collect(10, &[text("all")]), ("all".into(), None, 0));
        assert_eq!(collect(10, &all()), ("beginend".into(), Some(5), 100));
        assert_eq!(collect(4, &all()), ("bend".into(), Some(2), 104));
        assert_eq!(collect(4, &[text("abcdefgh")]), ("abgh".into(), Some(2), 4));
    }
}
