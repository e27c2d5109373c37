//! Errors, as SFTP status codes.

use std::io;

use nix::errno::Errno;
use russh_sftp::protocol::{Status, StatusCode};
use russh_sftp::server::StatusReply;

use super::reply::Reply;

/// A failed request: a status code and a message.
#[derive(Debug)]
pub(super) struct SftpError(StatusReply);

impl SftpError {
    pub(super) fn new(code: StatusCode, message: impl Into<String>) -> Self {
        Self(code.with_message(message))
    }

    /// Builds the reply to the request with this id.
    pub(super) fn into_reply(self, id: u32) -> Reply {
        let StatusReply {
            status_code,
            error_message,
            language_tag,
        } = self.0;
        Status {
            id,
            status_code,
            error_message: error_message.unwrap_or_else(|| status_code.to_string()),
            language_tag: language_tag.unwrap_or_else(|| "en".to_owned()),
        }
        .into()
    }

    pub(super) fn end_of_file() -> Self {
        Self::new(StatusCode::Eof, "end of file")
    }

    pub(super) fn unsupported(subject: &str) -> Self {
        Self::new(
            StatusCode::OpUnsupported,
            format!("{subject} is not supported"),
        )
    }
}

impl From<io::Error> for SftpError {
    fn from(error: io::Error) -> Self {
        match error.raw_os_error() {
            Some(code) => Errno::from_raw(code).into(),
            None => Self::new(StatusCode::Failure, error.to_string()),
        }
    }
}

impl From<Errno> for SftpError {
    fn from(errno: Errno) -> Self {
        let code = match errno {
            Errno::ENOENT | Errno::ENOTDIR => StatusCode::NoSuchFile,
            Errno::EACCES | Errno::EPERM | Errno::EROFS => StatusCode::PermissionDenied,
            Errno::ENOSYS | Errno::EOPNOTSUPP => StatusCode::OpUnsupported,
            _ => StatusCode::Failure,
        };
        Self::new(code, errno.desc())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_have_the_code_and_message_of_the_system() {
        let reply = |errno: Errno| SftpError::from(io::Error::from(errno)).0;
        assert_eq!(reply(Errno::ENOENT).status_code, StatusCode::NoSuchFile);
        assert_eq!(
            reply(Errno::EACCES).status_code,
            StatusCode::PermissionDenied
        );
        let full = reply(Errno::ENOSPC);
        assert_eq!(
            (full.status_code, full.error_message.as_deref()),
            (StatusCode::Failure, Some("No space left on device"))
        );
        assert_eq!(
            reply(Errno::EEXIST).error_message.as_deref(),
            Some("File exists")
        );
    }
}
