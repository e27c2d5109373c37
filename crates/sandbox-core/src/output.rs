//! How a command ended, and what it wrote.

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{CommandCause, Error, ExecEvent, Result, Signal};

/// How a command ended. A lost connection is not among them: that is an error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[must_use = "a command may have failed"]
pub enum ExitStatus {
    /// By itself, with this code.
    Code(u32),
    /// Killed by this signal.
    Signal(Signal),
}

impl ExitStatus {
    /// Ended by itself with code 0.
    pub fn success(&self) -> bool {
        *self == Self::Code(0)
    }

    /// The exit code, unless a signal ended it.
    pub fn code(&self) -> Option<u32> {
        match self {
            Self::Code(code) => Some(*code),
            Self::Signal(_) => None,
        }
    }

    /// One number, as a shell gives it: the code, or 128 plus the signal's number.
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

/// What a command wrote, and how it ended.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Output {
    /// How it ended.
    pub status: ExitStatus,
    /// The beginning of its standard output, up to the cap.
    pub stdout: Bytes,
    /// The beginning of its standard error, up to the cap.
    pub stderr: Bytes,
    /// Bytes of standard output beyond the cap, which were read and thrown away.
    pub stdout_dropped: u64,
    /// Bytes of standard error beyond the cap, which were read and thrown away.
    pub stderr_dropped: u64,
}

impl Output {
    /// The most that is kept of each of the two streams, unless asked otherwise: 16 MiB.
    pub const DEFAULT_CAP: usize = 16 << 20;

    /// What came out of a command.
    pub fn new(status: ExitStatus, stdout: impl Into<Bytes>, stderr: impl Into<Bytes>) -> Self {
        Self { status, stdout: stdout.into(), stderr: stderr.into(), stdout_dropped: 0, stderr_dropped: 0 }
    }

    /// Whether anything is missing because of the cap.
    pub fn is_truncated(&self) -> bool {
        self.stdout_dropped > 0 || self.stderr_dropped > 0
    }

    /// Standard output as text; bytes that are not UTF-8 become `U+FFFD`.
    pub fn stdout_lossy(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Standard error as text; bytes that are not UTF-8 become `U+FFFD`.
    pub fn stderr_lossy(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    /// Makes a failure of the command an error, with the end of its standard error.
    ///
    /// # Errors
    ///
    /// [`Error::Command`] unless the status is exit code 0.
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

/// Gathers what a command tells until its end, at most so many bytes of each stream.
#[derive(Debug)]
pub struct OutputCollector {
    stdout: Capped,
    stderr: Capped,
}

impl OutputCollector {
    /// Keeps at most `cap` bytes of each stream; what comes beyond is counted.
    pub fn new(cap: usize) -> Self {
        Self { stdout: Capped::new(cap), stderr: Capped::new(cap) }
    }

    /// Takes what the command told; how it ended is for [`finish`](Self::finish).
    pub fn push(&mut self, event: &ExecEvent) {
        match event {
            ExecEvent::Stdout(bytes) => self.stdout.push(bytes),
            ExecEvent::Stderr(bytes) => self.stderr.push(bytes),
            ExecEvent::Exited(_) => {}
        }
    }

    /// What was gathered, with how the command ended.
    pub fn finish(self, status: ExitStatus) -> Output {
        Output {
            status,
            stdout: self.stdout.kept.into(),
            stderr: self.stderr.kept.into(),
            stdout_dropped: self.stdout.dropped,
            stderr_dropped: self.stderr.dropped,
        }
    }
}

/// The first bytes of a stream, and a count of the rest.
#[derive(Debug)]
struct Capped {
    kept: Vec<u8>,
    dropped: u64,
    cap: usize,
}

impl Capped {
    fn new(cap: usize) -> Self {
        Self { kept: Vec::new(), dropped: 0, cap }
    }

    fn push(&mut self, bytes: &[u8]) {
        let taken = bytes.len().min(self.cap - self.kept.len());
        self.kept.extend_from_slice(&bytes[..taken]);
        self.dropped += (bytes.len() - taken) as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_makes_failure_an_error_with_its_last_words() {
        let ok = Output::new(ExitStatus::Code(0), "out", "");
        assert_eq!(ok.check().unwrap().stdout_lossy(), "out");
        let error = Output::new(ExitStatus::Code(3), "", "no such thing\n").check().unwrap_err();
        assert_eq!(error.to_string(), "the command failed with exit code 3: no such thing");
        assert_eq!(ExitStatus::Signal(Signal::Kill).shell_code(), 137);
    }
}
