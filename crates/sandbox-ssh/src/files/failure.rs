//! What went wrong, in the words of this SDK.

use std::io;

use russh_sftp::client::error::Error as SftpError;
use russh_sftp::protocol::{Status, StatusCode};
use sandbox_core::{BoxError, Direction, Error, TransferReason};

use crate::text::escaped;

/// A refusal or failure of the server.
pub(super) fn failed(direction: Direction, path: &str, error: SftpError) -> Error {
    let (reason, message) = match &error {
        SftpError::Status(status) => explain(status),
        SftpError::Timeout => (
            TransferReason::Lost,
            "the server did not answer in time".to_owned(),
        ),
        SftpError::UnexpectedPacket => (
            TransferReason::Other,
            "the server's answer makes no sense".to_owned(),
        ),
        SftpError::Limited(what) => (
            TransferReason::Other,
            format!("a limit of the server is reached: {}", escaped(what)),
        ),
        SftpError::IO(_) | SftpError::UnexpectedBehavior(_) => {
            (TransferReason::Lost, "the connection was lost".to_owned())
        }
    };
    Error::transfer(direction, escaped(path), reason, message, cause(error))
}

/// What may be told as a cause: not a server's own words, which are in the message already, made
/// fit for one.
pub(super) fn cause(error: SftpError) -> Option<BoxError> {
    match error {
        SftpError::Status(_) | SftpError::Limited(_) => None,
        other => Some(other.into()),
    }
}

/// A failure on this side.
pub(super) fn failed_here(
    direction: Direction,
    path: &str,
    doing: &str,
    error: io::Error,
) -> Error {
    let reason = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => TransferReason::NoSpace,
        io::ErrorKind::NotFound => TransferReason::NotFound,
        io::ErrorKind::PermissionDenied => TransferReason::PermissionDenied,
        _ => TransferReason::Other,
    };
    let message = format!("{doing} on this side failed");
    Error::transfer(
        direction,
        escaped(path),
        reason,
        message,
        Some(error.into()),
    )
}

/// A failure that is not the server's message.
pub(super) fn fault(
    direction: Direction,
    path: &str,
    reason: TransferReason,
    message: impl Into<String>,
) -> Error {
    Error::transfer(direction, escaped(path), reason, message, None)
}

fn explain(status: &Status) -> (TransferReason, String) {
    let text = escaped(&status.error_message);
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
        // OpenSSH says no more than this.
        (_, "" | "failure") => "the server says no more than that it failed".to_owned(),
        _ => text,
    };
    (reason, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_becomes_a_reason() {
        let of = |code, message: &str| {
            let status = Status {
                id: 1,
                status_code: code,
                error_message: message.into(),
                language_tag: String::new(),
            };
            match failed(Direction::Upload, "f", SftpError::Status(status)) {
                Error::Transfer(error) => (error.reason, error.message),
                other => panic!("{other}"),
            }
        };
        assert_eq!(of(StatusCode::NoSuchFile, "x").0, TransferReason::NotFound);
        assert_eq!(
            of(StatusCode::PermissionDenied, "x").0,
            TransferReason::PermissionDenied
        );
        assert_eq!(
            of(StatusCode::Failure, "No space left on device").0,
            TransferReason::NoSpace
        );
        assert_eq!(
            of(StatusCode::Failure, "File exists").0,
            TransferReason::AlreadyExists
        );
        let (reason, message) = of(StatusCode::Failure, &"\x1b]0;x\x07".repeat(1000));
        assert_eq!(reason, TransferReason::Other);
        assert!(!message.contains('\x1b') && message.len() < 4000);
    }
}
