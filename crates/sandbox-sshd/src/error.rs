//! Errors of creating a server.

use std::path::PathBuf;

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// The host key cannot be used.
    #[error("the host key cannot be used: give an OpenSSH private key without a passphrase")]
    HostKey(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A line of the authorized keys cannot be used.
    #[error(
        "authorized key number {number} cannot be used: give one OpenSSH public key, without options"
    )]
    AuthorizedKey {
        /// The number of the line, from 1.
        number: usize,
        /// Why the line cannot be parsed.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// There is no authorized key.
    #[error("there is no authorized key, so no one could log in: give at least one")]
    NoAuthorizedKey,
    /// The home directory does not exist and cannot be created.
    #[error("the home directory {} cannot be created", .path.display())]
    Home {
        /// The directory.
        path: PathBuf,
        /// The error of the operating system.
        #[source]
        source: std::io::Error,
    },
}
