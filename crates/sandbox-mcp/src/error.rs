//! Errors of the server itself. Those of a call are answers to it.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Why the server cannot start, or a client's file cannot be changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum McpError {
    /// A value of the configuration is not valid.
    #[error("{option} is not valid: {reason}")]
    Config {
        /// The option.
        option: &'static str,
        /// Why it is refused, and what is accepted.
        reason: String,
    },
    /// A file or a directory cannot be used.
    #[error("cannot {action} {}: {source}", path.display())]
    File {
        /// What was attempted.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The cause.
        source: io::Error,
    },
    /// A client's file is not one that can be changed without a risk to what it has.
    #[error("{} is left as it is: {reason}", path.display())]
    ClientFile {
        /// The file.
        path: PathBuf,
        /// What is unexpected about it, and what to do.
        reason: String,
    },
}

impl McpError {
    pub(crate) fn file(action: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self::File {
            action,
            path: path.into(),
            source,
        }
    }
}
