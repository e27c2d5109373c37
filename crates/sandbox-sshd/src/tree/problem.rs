//! Why an entry of a tree could not be copied.

use std::io;

use nix::errno::Errno;
use sandbox_core::tree_stream::Failure;
use sandbox_core::{Direction, TransferReason};

/// Why an entry could not be copied.
#[derive(Debug, Clone)]
pub(super) struct Problem {
    direction: Direction,
    pub(super) reason: TransferReason,
    message: String,
}

impl Problem {
    pub(super) fn new(direction: Direction, error: &io::Error) -> Self {
        match error.raw_os_error() {
            Some(code) => Self::from_errno(direction, Errno::from_raw(code)),
            None => Self {
                direction,
                reason: TransferReason::Other,
                message: error.to_string(),
            },
        }
    }

    pub(super) fn with_reason(
        direction: Direction,
        reason: TransferReason,
        message: impl Into<String>,
    ) -> Self {
        Self {
            direction,
            reason,
            message: message.into(),
        }
    }

    fn from_errno(direction: Direction, errno: Errno) -> Self {
        let (reason, message) = match errno {
            Errno::ENOENT | Errno::ENOTDIR => (TransferReason::NotFound, errno.desc()),
            Errno::EACCES | Errno::EPERM | Errno::EROFS => {
                (TransferReason::PermissionDenied, errno.desc())
            }
            Errno::EEXIST => (TransferReason::AlreadyExists, "it already exists"),
            Errno::ENOSPC | Errno::EDQUOT => (
                TransferReason::NoSpace,
                "no space is left on the sandbox's disk",
            ),
            _ => (TransferReason::Other, errno.desc()),
        };
        Self::with_reason(direction, reason, message)
    }

    pub(super) fn as_failure(&self) -> Failure<'_> {
        Failure {
            direction: self.direction,
            reason: self.reason,
            message: self.message.as_bytes(),
        }
    }
}
