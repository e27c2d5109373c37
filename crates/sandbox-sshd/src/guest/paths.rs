//! The paths of requests.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use sandbox_core::FilePath;
use sandbox_core::guest::{Refusal, RefusalCode};

/// Returns the absolute path of a request, without `.` and doubled slashes. Links and `..` stay as they are.
///
/// # Errors
///
/// If it names the home directory of another user, or contains a NUL byte.
pub(super) fn resolve(home: &Path, path: &FilePath) -> Result<PathBuf, Refusal> {
    let bytes = path.as_bytes();
    let invalid = |why: &str| {
        let message = format!("the path {path:?} is not valid: {why}");
        Err(Refusal::new(RefusalCode::Invalid, message))
    };
    if bytes.contains(&0) {
        return invalid("it contains a NUL byte, which no path can have");
    }
    let relative = match bytes {
        [b'~'] => b"",
        [b'~', b'/', rest @ ..] => trim_slashes(rest),
        [b'~', ..] => {
            return invalid("`~name` is not supported; write the path of the home directory");
        }
        path => path,
    };
    let joined = home.join(OsStr::from_bytes(relative));
    Ok(joined.components().collect())
}

/// Removes slashes at the beginning: an absolute path would replace the home directory.
fn trim_slashes(path: &[u8]) -> &[u8] {
    let slashes = path.iter().take_while(|byte| **byte == b'/').count();
    &path[slashes..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_absolute_or_begins_at_home() {
        for (path, expected) in [
            ("", "/home/u"),
            ("~", "/home/u"),
            ("~/", "/home/u"),
            ("~//a", "/home/u/a"),
            ("a/./b//c/", "/home/u/a/b/c"),
            ("./~x", "/home/u/~x"),
            ("/a/../b", "/a/../b"),
            ("/", "/"),
        ] {
            let resolved = resolve(Path::new("/home/u"), &path.into()).unwrap();
            assert_eq!(resolved, Path::new(expected), "{path:?}");
            assert_eq!(resolved.as_os_str(), expected, "{path:?}");
        }
        for path in ["~root", "~root/a", "a\0b"] {
            let refusal = resolve(Path::new("/home/u"), &path.into()).unwrap_err();
            assert_eq!(refusal.code, RefusalCode::Invalid, "{path:?}");
        }
    }
}
