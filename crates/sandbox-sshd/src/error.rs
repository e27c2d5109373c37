//! Why a server cannot be made.

use std::path::PathBuf;

/// A configuration that no server can run with.
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
        /// Its place, from 1.
        number: usize,
        /// What is wrong with it.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Nobody could ever log in.
    #[error("there is no authorized key: nobody could log in")]
    NoAuthorizedKey,
    /// The home directory is not there and cannot be made.
    #[error("the home directory {} cannot be made", .path.display())]
    Home {
        /// Which one.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}
