//! Checks of paths that are sent and of names that the server returns.
//!
//! SFTP carries bytes, russh-sftp strings: a name that is not UTF-8 arrives with U+FFFD in place of
//! its other bytes. Such a name is refused, because it would name another file, or none.

use sandbox_core::{Direction, Error, Result, TransferReason};

use crate::sftp::transfer_error;
use crate::text::escape;

/// Refuses a path that cannot be sent.
pub(super) fn check_path(path: &str, direction: Direction) -> Result<()> {
    match path_fault(path) {
        Some(why) => Err(transfer_error(
            direction,
            path,
            TransferReason::BadName,
            why,
        )),
        None => Ok(()),
    }
}

fn path_fault(path: &str) -> Option<&'static str> {
    if path.is_empty() {
        Some("the path is empty")
    } else if path.contains('\0') {
        Some("the path contains a NUL byte, which no file name can have")
    } else if path.contains('\u{fffd}') {
        Some(
            "the path contains U+FFFD, which stands for bytes that are not UTF-8; rename the file in the sandbox",
        )
    } else {
        None
    }
}

/// Refuses the name of a directory's entry that would name a file elsewhere.
pub(super) fn check_entry(directory: &str, name: &str) -> Result<()> {
    let why = if name.is_empty() {
        "it has an entry without a name"
    } else if name.contains(['/', '\0']) {
        "it has an entry whose name contains a slash or a NUL byte"
    } else if name.contains('\u{fffd}') {
        "it has an entry whose name is not UTF-8; rename it in the sandbox"
    } else {
        return Ok(());
    };
    let message = format!("{why}: {}", escape(name));
    Err(bad_name_error(directory, message))
}

/// Refuses a path that the server returned and that does not name a file.
pub(super) fn check_returned_path(path: &str, returned: &str) -> Result<()> {
    let why = if returned.is_empty() {
        "the server returned an empty path"
    } else if returned.contains(['\0', '\u{fffd}']) {
        "the server returned a path that is not UTF-8"
    } else {
        return Ok(());
    };
    let message = format!("{why}: {}", escape(returned));
    Err(bad_name_error(path, message))
}

/// Splits a path before its last component. The directory ends with a slash, or is empty.
pub(super) fn split_path(path: &str) -> (&str, &str) {
    path.rfind('/')
        .map_or(("", path), |slash| path.split_at(slash + 1))
}

fn bad_name_error(path: &str, message: String) -> Error {
    transfer_error(Direction::Inside, path, TransferReason::BadName, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_other_files_are_refused() {
        for bad in ["", "a\0b", "a\u{fffd}b"] {
            assert!(check_path(bad, Direction::Upload).is_err(), "{bad:?}");
        }
        for bad in ["", "../x", "a/b", "/", "a\0", "\u{fffd}"] {
            assert!(check_entry("d", bad).is_err(), "{bad:?}");
        }
        for good in ["a", "-rf", "a b", "a\nb", "'", "…", "ä"] {
            check_path(good, Direction::Upload).unwrap();
            check_entry("d", good).unwrap();
        }
        assert!(check_returned_path("x", "/a\u{fffd}").is_err());
    }

    #[test]
    fn a_path_is_split_before_its_last_component() {
        assert_eq!(split_path("a"), ("", "a"));
        assert_eq!(split_path("a/b"), ("a/", "b"));
        assert_eq!(split_path("/b"), ("/", "b"));
        assert_eq!(split_path("a/"), ("a/", ""));
    }
}
