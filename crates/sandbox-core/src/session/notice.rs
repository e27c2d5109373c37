//! What is missing in the output or the environment of a command.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::environment_file;

/// Something that a command or the log of a job lacks. A server reports it, so it is untrusted.
///
/// ```
/// use sandbox_core::{ExecEvent, Process, Result};
///
/// async fn print_notices(mut process: Process) -> Result<()> {
///     while let Some(event) = process.next().await {
///         if let ExecEvent::Notice(notice) = event? {
///             eprintln!("{notice}");
///         }
///     }
///     Ok(())
/// }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Notice {
    /// A process that the command has left behind still held its output open, and wrote nothing
    /// for the whole [`output_grace`](crate::ExecRequest::output_grace), or did not stop writing.
    /// What it writes from then on is lost; of a job it goes to the log.
    OutputHeld,
    /// This many bytes of a job's log are left out between the output before and after this
    /// event. The log keeps the beginning and the end of the output.
    Omitted {
        /// The number of bytes.
        bytes: u64,
    },
    /// The file with the environment of the sandbox, `.sandbox/environment`, has more than a
    /// process can be given, so the command ran without the variables at its end.
    EnvironmentTruncated,
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutputHeld => f.write_str(
                "a process that the command has started still holds its output open, and what it \
                 writes from now on is lost; redirect its output, or allow a longer output grace",
            ),
            Self::Omitted { bytes } => write!(
                f,
                "{bytes} bytes of the log are left out here: it keeps the beginning and the end"
            ),
            Self::EnvironmentTruncated => write!(
                f,
                "{} has more than a process can be given, so the command ran without some of its \
                 variables; shorten it",
                environment_file::PATH
            ),
        }
    }
}
