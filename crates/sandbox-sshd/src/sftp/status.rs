//! Errors as SFTP says them.

use std::io;

use nix::errno::Errno;
use russh_sftp::protocol::{Packet, Status, StatusCode};
use russh_sftp::server::StatusReply;

/// A refusal, with what the system or we have to say about it.
#[derive(Debug)]
pub(super) struct Refused(StatusReply);

impl Refused {
    pub(super) fn new(code: StatusCode, message: impl Into<String>) -> Self {
        Self(code.with_message(message))
    }

    /// As an answer to the request of this id.
    pub(super) fn answer(self, id: u32) -> Packet {
        let StatusReply {
            status_code,
            error_message,
            language_tag,
        } = self.0;
        Packet::Status(Status {
            id,
            status_code,
            error_message: error_message.unwrap_or_else(|| status_code.to_string()),
            language_tag: language_tag.unwrap_or_else(|| "en".to_owned()),
        })
    }

    pub(super) fn end_of_file() -> Self {
        Self::new(StatusCode::Eof, "end of file")
    }

    pub(super) fn unsupported(what: &str) -> Self {
        Self::new(
            StatusCode::OpUnsupported,
            format!("{what} is not supported"),
        )
    }
}

pub(super) fn ok(id: u32) -> Status {
    Status {
        id,
        status_code: StatusCode::Ok,
        error_message: "Success".into(),
        language_tag: "en".into(),
    }
}

impl From<io::Error> for Refused {
    fn from(error: io::Error) -> Self {
        match error.raw_os_error() {
            Some(code) => Errno::from_raw(code).into(),
            None => Self::new(StatusCode::Failure, error.to_string()),
        }
    }
}

impl From<Errno> for Refused {
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
    fn codes_and_messages_are_honest() {
        let reply = |errno: Errno| Refused::from(io::Error::from(errno)).0;
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
