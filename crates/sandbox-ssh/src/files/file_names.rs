//! Checks of paths that are sent and of names that the server returns. Both are bytes, which need not
//! be UTF-8.

use sandbox_core::{Direction, Error, FilePath, Result, TransferReason};

use crate::sftp::transfer_error;
use crate::text::escape;

/// Refuses a path that cannot be sent.
pub(super) fn check_path(path: &FilePath, direction: Direction) -> Result<()> {
    let why = if path.is_empty() {
        "the path is empty"
    } else if path.as_bytes().contains(&0) {
        "the path contains a NUL byte, which no file name can have"
    } else {
        return Ok(());
    };
    Err(transfer_error(
        direction,
        path,
        TransferReason::BadName,
        why,
    ))
}

/// Refuses the name of a directory's entry that would name a file elsewhere.
pub(super) fn check_entry(directory: &FilePath, name: &FilePath) -> Result<()> {
    let why = if name.is_empty() {
        "it has an entry without a name"
    } else if name.as_bytes().iter().any(|byte| matches!(byte, b'/' | 0)) {
        "it has an entry whose name contains a slash or a NUL byte"
    } else {
        return Ok(());
    };
    let message = format!("{why}: {}", show(name));
    Err(bad_name_error(directory, message))
}

/// Refuses a path that the server returned and that does not name a file.
pub(super) fn check_returned_path(path: &FilePath, returned: &FilePath) -> Result<()> {
    let why = if returned.is_empty() {
        "the server returned an empty path"
    } else if returned.as_bytes().contains(&0) {
        "the server returned a path that contains a NUL byte"
    } else {
        return Ok(());
    };
    let message = format!("{why}: {}", show(returned));
    Err(bad_name_error(path, message))
}

/// Formats a name for a message.
fn show(name: &FilePath) -> String {
    escape(&name.to_string())
}

fn bad_name_error(path: &FilePath, message: String) -> Error {
    transfer_error(Direction::Inside, path, TransferReason::BadName, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_other_files_are_refused() {
        let path = |bytes: &[u8]| FilePath::from(bytes);
        for bad in [&b""[..], b"a\0b", b"\xff\0"] {
            assert!(
                check_path(&path(bad), Direction::Upload).is_err(),
                "{bad:?}"
            );
            assert!(check_returned_path(&path(b"x"), &path(bad)).is_err());
        }
        for bad in [&b""[..], b"../x", b"a/b", b"/", b"a\0", b"\xff/"] {
            assert!(check_entry(&path(b"d"), &path(bad)).is_err(), "{bad:?}");
        }
        for good in [
            "a".as_bytes(),
            b"-rf",
            b"a b",
            b"a\nb",
            b"'",
            "…".as_bytes(),
            b"caf\xe9",
            "\u{fffd}".as_bytes(),
            &[0xff; 255],
        ] {
            check_path(&path(good), Direction::Upload).unwrap();
            check_entry(&path(b"d"), &path(good)).unwrap();
            check_returned_path(&path(b"x"), &path(good)).unwrap();
        }
    }

    #[test]
    fn a_refused_name_is_escaped_in_the_message() {
        let error = check_entry(&"d".into(), &FilePath::from(b"a\xe9\x1b/")).unwrap_err();
        assert!(error.to_string().ends_with(r": a\xe9\u{1b}/"), "{error}");
    }
}
