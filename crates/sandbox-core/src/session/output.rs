//! How a command ended, and its output.

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::capped::{CappedBytes, head_length};
use crate::{CommandCause, Error, ExecEvent, Notice, Result, Signal};

/// How a command ended. A lost connection is not an exit status but an error.
///
/// ```
/// use sandbox_core::{ExitStatus, Signal};
///
/// assert!(ExitStatus::Code(0).success());
/// assert_eq!(ExitStatus::Signal(Signal::Kill).shell_code(), 137);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[must_use = "a command may have failed"]
pub enum ExitStatus {
    /// It exited with this code.
    Code(u32),
    /// It was killed by this signal.
    Signal(Signal),
}

impl ExitStatus {
    /// Returns whether it exited with code 0.
    pub fn success(&self) -> bool {
        *self == Self::Code(0)
    }

    /// Returns the exit code, unless it was killed by a signal.
    pub fn code(&self) -> Option<u32> {
        match self {
            Self::Code(code) => Some(*code),
            Self::Signal(_) => None,
        }
    }

    /// Returns one number, as in a shell: the exit code, or 128 plus the number of the signal.
    pub fn shell_code(&self) -> u8 {
        match self {
            Self::Code(code) => u8::try_from(code & 0xff).unwrap_or(u8::MAX),
            Self::Signal(signal) => signal.number().map_or(255, |number| 128 + number),
        }
    }
}

impl fmt::Display for ExitStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal(signal) => write!(f, "signal {signal}"),
        }
    }
}

/// The output of a command, and how it ended.
///
/// ```
/// use sandbox_core::{ExitStatus, Output};
///
/// let out = Output::new(ExitStatus::Code(2), "", "no such file");
/// assert!(!out.status.success());
/// assert!(out.check().is_err()); // `check` turns a failure into an error
/// ```
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Output {
    /// How it ended.
    pub status: ExitStatus,
    /// Its standard output. If it is longer than the cap, the first and the last half of the cap.
    pub stdout: Bytes,
    /// Its standard error. If it is longer than the cap, the first and the last half of the cap.
    pub stderr: Bytes,
    /// The number of bytes of standard output beyond the cap, which were discarded. They belong
    /// where [`stdout_gap`](Self::stdout_gap) says.
    pub stdout_dropped: u64,
    /// The number of bytes of standard error beyond the cap, which were discarded. They belong
    /// where [`stderr_gap`](Self::stderr_gap) says.
    pub stderr_dropped: u64,
    /// Whether the output may lack something, because another process still held it open when it
    /// was given up ([`Notice::OutputHeld`]).
    pub output_held: bool,
    /// Whether the command ran without some variables of the sandbox
    /// ([`Notice::EnvironmentTruncated`]).
    pub environment_truncated: bool,
}

impl Output {
    /// The default cap of each of the two streams: 16 MiB.
    pub const DEFAULT_CAP: usize = 16 << 20;

    /// Creates an output that was not truncated.
    pub fn new(status: ExitStatus, stdout: impl Into<Bytes>, stderr: impl Into<Bytes>) -> Self {
        Self {
            status,
            stdout: stdout.into(),
            stderr: stderr.into(),
            stdout_dropped: 0,
            stderr_dropped: 0,
            output_held: false,
            environment_truncated: false,
        }
    }

    /// Returns whether any output was discarded because of the cap.
    pub fn is_truncated(&self) -> bool {
        self.stdout_dropped > 0 || self.stderr_dropped > 0
    }

    /// Returns where bytes of standard output were discarded, as an index of
    /// [`stdout`](Self::stdout); `None` if it is complete.
    pub fn stdout_gap(&self) -> Option<usize> {
        (self.stdout_dropped > 0).then(|| head_length(self.stdout.len()))
    }

    /// Returns where bytes of standard error were discarded, as an index of
    /// [`stderr`](Self::stderr); `None` if it is complete.
    pub fn stderr_gap(&self) -> Option<usize> {
        (self.stderr_dropped > 0).then(|| head_length(self.stderr.len()))
    }

    /// Returns standard output as text. Bytes that are not UTF-8 become `U+FFFD`.
    pub fn stdout_lossy(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Returns standard error as text. Bytes that are not UTF-8 become `U+FFFD`.
    pub fn stderr_lossy(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    /// Turns a failure of the command into an error with the end of its standard error.
    ///
    /// # Errors
    ///
    /// [`Error::Command`] unless the exit code is 0.
    pub fn check(self) -> Result<Self> {
        const TAIL: usize = 2048;
        if self.status.success() {
            return Ok(self);
        }
        let tail = self.stderr.slice(self.stderr.len().saturating_sub(TAIL)..);
        Err(Error::Command {
            cause: CommandCause::Failed {
                status: self.status,
                stderr: String::from_utf8_lossy(&tail).trim_end().to_owned(),
            },
            source: None,
        })
    }
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Output")
            .field("status", &self.status)
            .field("stdout", &format_args!("{} bytes", self.stdout.len()))
            .field("stderr", &format_args!("{} bytes", self.stderr.len()))
            .field("truncated", &self.is_truncated())
            .field("output_held", &self.output_held)
            .field("environment_truncated", &self.environment_truncated)
            .finish()
    }
}

/// Collects the output of a command, up to a cap for each stream.
///
/// ```
/// use sandbox_core::{ExecEvent, ExitStatus, OutputCollector};
///
/// let mut collector = OutputCollector::new(4);
/// collector.push(&ExecEvent::Stdout("begin ... end".into()));
/// let out = collector.finish(ExitStatus::Code(0));
/// assert_eq!((out.stdout_lossy().as_str(), out.stdout_dropped), ("bend", 9));
/// assert_eq!(out.stdout_gap(), Some(2));
/// ```
#[derive(Debug)]
pub struct OutputCollector {
    stdout: CappedBytes,
    stderr: CappedBytes,
    output_held: bool,
    environment_truncated: bool,
}

impl OutputCollector {
    /// Keeps at most `cap` bytes of each stream, from its beginning and its end, and counts the
    /// rest.
    pub fn new(cap: usize) -> Self {
        Self {
            stdout: CappedBytes::new(cap),
            stderr: CappedBytes::new(cap),
            output_held: false,
            environment_truncated: false,
        }
    }

    /// Adds an event. The exit status is passed to [`finish`](Self::finish) instead.
    pub fn push(&mut self, event: &ExecEvent) {
        match event {
            ExecEvent::Stdout(bytes) => self.stdout.push(bytes),
            ExecEvent::Stderr(bytes) => self.stderr.push(bytes),
            ExecEvent::Notice(Notice::OutputHeld) => self.output_held = true,
            ExecEvent::Notice(Notice::Omitted { bytes }) => self.stdout.skip(*bytes),
            ExecEvent::Notice(Notice::EnvironmentTruncated) => self.environment_truncated = true,
            ExecEvent::Exited(_) => {}
        }
    }

    /// Returns the collected output, with this exit status.
    pub fn finish(self, status: ExitStatus) -> Output {
        let (stdout, stdout_dropped) = self.stdout.into_parts();
        let (stderr, stderr_dropped) = self.stderr.into_parts();
        Output {
            status,
            stdout,
            stderr,
            stdout_dropped,
            stderr_dropped,
            output_held: self.output_held,
            environment_truncated: self.environment_truncated,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_shows_the_end_of_what_is_longer_than_the_cap() {
        let mut collector = OutputCollector::new(100);
        collector.push(&ExecEvent::Stderr("progress ".repeat(1000).into()));
        collector.push(&ExecEvent::Stderr("it failed: disk full\n".into()));
        let output = collector.finish(ExitStatus::Code(1));
        assert!(output.is_truncated() && output.stderr_gap() == Some(50));
        let error = output.check().unwrap_err();
        assert!(
            error.to_string().ends_with("it failed: disk full"),
            "{error}"
        );
    }

    #[test]
    fn notices_are_flags_of_the_result() {
        let complete = OutputCollector::new(10).finish(ExitStatus::Code(0));
        assert!(!complete.output_held && !complete.environment_truncated);
        let mut collector = OutputCollector::new(10);
        for notice in [
            Notice::OutputHeld,
            Notice::EnvironmentTruncated,
            Notice::Omitted { bytes: 7 },
        ] {
            collector.push(&ExecEvent::Notice(notice));
        }
        let output = collector.finish(ExitStatus::Code(0));
        assert!(output.output_held && output.environment_truncated);
        assert_eq!(output.stdout_dropped, 7);
    }

    #[test]
    fn check_turns_a_failure_into_an_error_with_its_stderr() {
        let ok = Output::new(ExitStatus::Code(0), "out", "");
        assert_eq!(ok.check().unwrap().stdout_lossy(), "out");
        let error = Output::new(ExitStatus::Code(3), "", "no such thing\n")
            .check()
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "the command failed with exit code 3: no such thing"
        );
        assert_eq!(ExitStatus::Signal(Signal::Kill).shell_code(), 137);
    }
}
