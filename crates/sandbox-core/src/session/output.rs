//! How a command ended, and its output.

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{CommandCause, Error, ExecEvent, Result, Signal};

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
    /// Its standard output, up to the cap.
    pub stdout: Bytes,
    /// Its standard error, up to the cap.
    pub stderr: Bytes,
    /// The number of bytes of standard output beyond the cap, which were discarded.
    pub stdout_dropped: u64,
    /// The number of bytes of standard error beyond the cap, which were discarded.
    pub stderr_dropped: u64,
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
        }
    }

    /// Returns whether any output was discarded because of the cap.
    pub fn is_truncated(&self) -> bool {
        self.stdout_dropped > 0 || self.stderr_dropped > 0
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
            .finish()
    }
}

/// Collects the output of a command, up to a cap for each stream.
///
/// ```
/// use sandbox_core::{ExecEvent, ExitStatus, OutputCollector};
///
/// let mut collector = OutputCollector::new(4);
/// collector.push(&ExecEvent::Stdout("hello".into()));
/// let out = collector.finish(ExitStatus::Code(0));
/// assert_eq!((out.stdout_lossy().as_str(), out.stdout_dropped), ("hell", 1));
/// ```
#[derive(Debug)]
pub struct OutputCollector {
    stdout: Capped,
    stderr: Capped,
}

impl OutputCollector {
    /// Keeps at most `cap` bytes of each stream, and counts the rest.
    pub fn new(cap: usize) -> Self {
        Self {
            stdout: Capped::new(cap),
            stderr: Capped::new(cap),
        }
    }

    /// Adds an event. The exit status is passed to [`finish`](Self::finish) instead.
    pub fn push(&mut self, event: &ExecEvent) {
        match event {
            ExecEvent::Stdout(bytes) => self.stdout.push(bytes),
            ExecEvent::Stderr(bytes) => self.stderr.push(bytes),
            ExecEvent::Exited(_) => {}
        }
    }

    /// Returns the collected output, with this exit status.
    pub fn finish(self, status: ExitStatus) -> Output {
        Output {
            status,
            stdout: self.stdout.bytes.into(),
            stderr: self.stderr.bytes.into(),
            stdout_dropped: self.stdout.dropped,
            stderr_dropped: self.stderr.dropped,
        }
    }
}

/// The first bytes of a stream, and a count of the rest.
#[derive(Debug)]
struct Capped {
    bytes: Vec<u8>,
    dropped: u64,
    cap: usize,
}

impl Capped {
    fn new(cap: usize) -> Self {
        Self {
            bytes: Vec::new(),
            dropped: 0,
            cap,
        }
    }

    fn push(&mut self, bytes: &[u8]) {
        let fitting = bytes.len().min(self.cap - self.bytes.len());
        self.bytes.extend_from_slice(&bytes[..fitting]);
        self.dropped += (bytes.len() - fitting) as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
