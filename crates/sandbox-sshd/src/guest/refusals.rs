//! Refusals of what the system refuses.

use std::io;
use std::path::Path;

use nix::errno::Errno;
use sandbox_core::guest::{Refusal, RefusalCode};

use crate::process::user::UserProblem;

/// The refusal of an operation on a file: `action` is a verb phrase.
pub(super) fn refuse_file(action: &str, path: &Path, error: impl Into<io::Error>) -> Refusal {
    let error = error.into();
    let path = sandbox_core::FilePath::from(path);
    let Some(errno) = error.raw_os_error().map(Errno::from_raw) else {
        return Refusal::new(
            RefusalCode::Other,
            format!("cannot {action} {path:?}: {error}"),
        );
    };
    let (code, hint) = classify(errno);
    let reason = errno.desc().to_lowercase();
    Refusal::new(code, format!("cannot {action} {path:?}: {reason}{hint}"))
}

/// The refusal to act as a user: `action` is a verb phrase.
pub(super) fn refuse_user(action: &str, name: &str, problem: UserProblem) -> Refusal {
    match problem {
        UserProblem::Unknown => Refusal::new(
            RefusalCode::UnknownUser,
            format!("there is no user {name:?} in the sandbox"),
        ),
        UserProblem::NotPermitted => Refusal::new(
            RefusalCode::PermissionDenied,
            format!(
                "cannot {action} as {name:?}: the sandbox's server is not root, or may not change its user"
            ),
        ),
    }
}

/// The kind of an error, and what to do about it.
fn classify(errno: Errno) -> (RefusalCode, &'static str) {
    match errno {
        Errno::ENOENT => (RefusalCode::NotFound, ""),
        Errno::EEXIST => (RefusalCode::AlreadyExists, ""),
        Errno::ENOTEMPTY => (RefusalCode::AlreadyExists, "; remove what is in it first"),
        Errno::ENOTDIR => (RefusalCode::NotADirectory, ""),
        Errno::EISDIR => (RefusalCode::IsADirectory, ""),
        Errno::EACCES | Errno::EPERM | Errno::EROFS => (
            RefusalCode::PermissionDenied,
            "; files are accessed as the user of the sandbox's server",
        ),
        Errno::ENOSPC | Errno::EDQUOT => (
            RefusalCode::NoSpace,
            "; remove files, or create the sandbox with a larger disk",
        ),
        Errno::EFBIG | Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM => (
            RefusalCode::LimitReached,
            "; retry when the sandbox does less",
        ),
        Errno::EINVAL | Errno::ENAMETOOLONG | Errno::ELOOP | Errno::ENXIO => {
            (RefusalCode::Invalid, "")
        }
        Errno::EXDEV => (
            RefusalCode::Unsupported,
            "; the paths are on different file systems: move it with the command mv",
        ),
        Errno::ENOSYS | Errno::EOPNOTSUPP => (
            RefusalCode::Unsupported,
            "; this file system, or this system, cannot do it",
        ),
        _ => (RefusalCode::Other, ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_what_failed_and_why() {
        let refuse = |errno: Errno| refuse_file("read", Path::new("/a b"), errno);
        let missing = refuse(Errno::ENOENT);
        assert_eq!(missing.code, RefusalCode::NotFound);
        assert_eq!(
            missing.message,
            "cannot read \"/a b\": no such file or directory"
        );
        for full in [Errno::ENOSPC, Errno::EDQUOT] {
            assert_eq!(refuse(full).code, RefusalCode::NoSpace);
        }
        let other = refuse_file("read", Path::new("a"), io::Error::other("why"));
        assert_eq!(other.message, "cannot read \"a\": why");
    }
}
