//! Errors of transfers and file operations.

use std::io;

use russh_sftp::client::error::Error as SftpError;
use russh_sftp::protocol::{Status, StatusCode};
use sandbox_core::{BoxError, Direction, Error, FilePath, TransferReason};

use crate::text::escape;

pub(crate) type SftpResult<T> = Result<T, SftpError>;

/// A refusal or failure of the server.
pub(super) fn server_error(direction: Direction, path: &FilePath, error: SftpError) -> Error {
    let (reason, message) = match &error {
        SftpError::Status(status) => describe_status(status),
        SftpError::Timeout => (
            TransferReason::Lost,
            "the server did not answer in time".to_owned(),
        ),
        SftpError::UnexpectedPacket => {
            (TransferReason::Other, "unexpected SFTP response".to_owned())
        }
        SftpError::Limited(what) => (
            TransferReason::Other,
            format!("a limit of the server is reached: {}", escape(what)),
        ),
        SftpError::IO(_) | SftpError::UnexpectedBehavior(_) => {
            (TransferReason::Lost, "the connection was lost".to_owned())
        }
    };
    Error::transfer(direction, path, reason, message, server_cause(error))
}

/// The source of an error. It is not the server's own text, which the message has, escaped.
pub(super) fn server_cause(error: SftpError) -> Option<BoxError> {
    match error {
        SftpError::Status(_) | SftpError::Limited(_) => None,
        other => Some(other.into()),
    }
}

/// A write failed because the disk is full.
pub(crate) fn no_space_error(direction: Direction, path: &FilePath, error: SftpError) -> Error {
    Error::transfer(
        direction,
        path,
        TransferReason::NoSpace,
        "no space is left on the sandbox's disk",
        server_cause(error),
    )
}

/// A failure to read or write locally; `doing` is which of them.
pub(crate) fn local_error(
    direction: Direction,
    path: &FilePath,
    doing: &str,
    error: io::Error,
) -> Error {
    let reason = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => TransferReason::NoSpace,
        io::ErrorKind::NotFound => TransferReason::NotFound,
        io::ErrorKind::PermissionDenied => TransferReason::PermissionDenied,
        _ => TransferReason::Other,
    };
    let message = format!("{doing} failed locally");
    Error::transfer(direction, path, reason, message, Some(error.into()))
}

/// An error that this crate detects itself.
pub(crate) fn transfer_error(
    direction: Direction,
    path: &FilePath,
    reason: TransferReason,
    message: impl Into<String>,
) -> Error {
    Error::transfer(direction, path, reason, message, None)
}

fn describe_status(status: &Status) -> (TransferReason, String) {
    let text = escape(&status.error_message);
    let lower = text.to_ascii_lowercase();
    let reason = match status.status_code {
        StatusCode::NoSuchFile => TransferReason::NotFound,
        StatusCode::PermissionDenied => TransferReason::PermissionDenied,
        StatusCode::NoConnection | StatusCode::ConnectionLost => TransferReason::Lost,
        _ if lower.contains("no space") || lower.contains("quota") => TransferReason::NoSpace,
        _ if lower.contains("exists") => TransferReason::AlreadyExists,
        _ => TransferReason::Other,
    };
    let message = match (status.status_code, lower.as_str()) {
        (StatusCode::NoSuchFile, _) => "there is no such file or directory".to_owned(),
        (StatusCode::PermissionDenied, _) => "permission denied".to_owned(),
        // OpenSSH gives no other reason.
        (_, "" | "failure") => "the server gave no reason (SSH_FX_FAILURE)".to_owned(),
        _ => text,
    };
    (reason, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_converted_to_a_reason() {
        let convert = |code, message: &str| {
            let status = Status {
                id: 1,
                status_code: code,
                error_message: message.into(),
                language_tag: String::new(),
            };
            match server_error(Direction::Upload, &"f".into(), SftpError::Status(status)) {
                Error::Transfer(error) => (error.reason, error.message),
                other => panic!("{other}"),
            }
        };
        assert_eq!(
            convert(StatusCode::NoSuchFile, "x").0,
            TransferReason::NotFound
        );
        assert_eq!(
            convert(StatusCode::PermissionDenied, "x").0,
            TransferReason::PermissionDenied
        );
        assert_eq!(
            convert(StatusCode::Failure, "No space left on device").0,
            TransferReason::NoSpace
        );
        assert_eq!(
            convert(StatusCode::Failure, "File exists").0,
            TransferReason::AlreadyExists
        );
        let (reason, message) = convert(StatusCode::Failure, &"\x1b]0;x\x07".repeat(1000));
        assert_eq!(reason, TransferReason::Other);
        assert!(!message.contains('\x1b') && message.len() < 4000);
    }
}
