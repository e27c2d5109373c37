//! A client of SFTP version 3 (draft-ietf-secsh-filexfer-02) that pipelines its requests.
//!
//! The packets are russh-sftp's, except those that carry content, or names, which are bytes. Its client is not used, because it
//! copies content two or three times, and needs a timer and three task switches for each request.

mod clock;
mod content;
mod error;
mod incoming;
mod names;
mod outgoing;
mod pool;
mod remote_file;
mod requests;
mod session;
mod wire;

pub(crate) use content::Piece;
pub(crate) use error::{SftpResult, local_error, no_space_error, transfer_error};
pub(crate) use names::NamedFile;
#[cfg(test)]
pub(crate) use outgoing::Outgoing;
pub(crate) use pool::{MAX_SESSIONS, SftpPool, SftpTimeouts};
pub(crate) use remote_file::{Finished, OpenMode, RemoteFile, remove_temporary};
pub(crate) use requests::{encode_strings, file_kind, sftp_seconds};
pub(crate) use session::{Sftp, TransferGuard};
pub(crate) use wire::Parts;
