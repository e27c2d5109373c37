//! Names that may be sent, and names that may be believed.
//!
//! SFTP carries bytes, russh-sftp strings: a name that is not UTF-8 arrives with U+FFFD in
//! the place of what was there. Such a name is refused, never used: it would name another
//! file, or none.

use sandbox_core::{Direction, Error, Result, TransferReason};

use crate::text::escaped;

/// Refuses a path that cannot be sent.
pub(super) fn check_path(path: &str, direction: Direction) -> Result<()> {
    match path_fault(path) {
        Some(why) => Err(Error::transfer(
            direction,
            escaped(path),
            TransferReason::BadName,
            why,
            None,
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

/// Refuses the name of a directory's entry that could lead astray.
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
    let message = format!("{why}: {}", escaped(name));
    Err(Error::transfer(
        Direction::Inside,
        escaped(directory),
        TransferReason::BadName,
        message,
        None,
    ))
}

/// Refuses a path that the server gave and that cannot be used as it is.
pub(super) fn check_answer(path: &str, answer: &str) -> Result<()> {
    let why = if answer.is_empty() {
        "the server answered with an empty path"
    } else if answer.contains(['\0', '\u{fffd}']) {
        "the server answered with a path that is not UTF-8"
    } else {
        return Ok(());
    };
    let message = format!("{why}: {}", escaped(answer));
    Err(Error::transfer(
        Direction::Inside,
        escaped(path),
        TransferReason::BadName,
        message,
        None,
    ))
}

/// The directory and the last component; the directory ends with a slash, or is empty.
pub(super) fn split(path: &str) -> (&str, &str) {
    path.rfind('/')
        .map_or(("", path), |slash| path.split_at(slash + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_name_another_file_is_refused() {
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
        assert!(check_answer("x", "/a\u{fffd}").is_err());
    }

    #[test]
    fn a_path_is_split_before_its_last_component() {
        assert_eq!(split("a"), ("", "a"));
        assert_eq!(split("a/b"), ("a/", "b"));
        assert_eq!(split("/b"), ("/", "b"));
        assert_eq!(split("a/"), ("a/", ""));
    }
}
