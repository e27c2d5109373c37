//! How a command failed.

use std::fmt;
use std::time::Duration;

use crate::{Escaped, ExitStatus};

/// How a command failed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CommandCause {
    /// It did not end with exit code 0.
    Failed {
        /// How it ended.
        status: ExitStatus,
        /// The end of its standard error; untrusted text.
        stderr: String,
    },
    /// It could not be started.
    NotStarted {
        /// The message of the server; untrusted text.
        message: String,
    },
    /// It ran too long.
    TimedOut {
        /// The timeout.
        after: Duration,
        /// Whether its process group was sent SIGKILL. Otherwise it may still be running.
        killed: bool,
    },
    /// The connection was lost before the exit status arrived. The command may or may not have done
    /// its work, and was not retried.
    Lost,
    /// It has already ended, so it cannot receive signals.
    AlreadyEnded,
}

impl fmt::Display for CommandCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed { status, stderr } if stderr.is_empty() => {
                write!(f, "the command failed with {status}")
            }
            Self::Failed { status, stderr } => {
                write!(f, "the command failed with {status}: ")?;
                write_lines(f, stderr)
            }
            Self::NotStarted { message } => {
                f.write_str("the command could not be started: ")?;
                write_lines(f, message)
            }
            Self::TimedOut {
                after,
                killed: true,
            } => {
                write!(
                    f,
                    "the command ran longer than {after:?}; its process group was killed"
                )
            }
            Self::TimedOut {
                after,
                killed: false,
            } => {
                write!(
                    f,
                    "the command ran longer than {after:?} and could not be killed; it may still be running"
                )
            }
            Self::Lost => f.write_str(
                "the connection was lost before the exit status arrived; the command was not retried",
            ),
            Self::AlreadyEnded => f.write_str("the command has already ended"),
        }
    }
}

/// Writes untrusted text. Only its line breaks are kept.
fn write_lines(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    for (index, line) in text.lines().enumerate() {
        if index > 0 {
            f.write_str("\n")?;
        }
        write!(f, "{}", Escaped::new(line))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_a_command_is_escaped() {
        let failed = CommandCause::Failed {
            status: ExitStatus::Code(1),
            stderr: "a\x1b[2J\nb\u{202e}".into(),
        };
        assert!(
            failed.to_string().ends_with(": a\\u{1b}[2J\nb\\u{202e}"),
            "{failed}"
        );
    }
}
