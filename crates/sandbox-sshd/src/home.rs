//! Where commands start: a directory of the user's own that can be written.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, access, geteuid};

/// The first directory that can be written, made if need be, of: `wanted` (`HOME` of the
/// image, say), the home in `/etc/passwd`, `/home/sandbox`, `/tmp/sandbox`. The root directory
/// is nobody's home.
///
/// # Errors
///
/// When none of them can be made and written, naming the last.
pub fn find_home(wanted: Option<&Path>) -> io::Result<PathBuf> {
    let passwd = std::fs::read("/etc/passwd").unwrap_or_default();
    let listed = home_of(&passwd, geteuid().as_raw());
    let fixed = ["/home/sandbox", "/tmp/sandbox"].map(PathBuf::from);
    let mut failure = io::Error::from(io::ErrorKind::NotFound);
    for candidate in wanted
        .map(Path::to_owned)
        .into_iter()
        .chain(listed)
        .chain(fixed)
    {
        if !candidate.is_absolute() || candidate == Path::new("/") {
            continue;
        }
        match make(&candidate) {
            Ok(()) => return Ok(candidate),
            Err(error) => {
                failure = io::Error::new(error.kind(), format!("{}: {error}", candidate.display()))
            }
        }
    }
    Err(failure)
}

fn make(path: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(path)?;
    Ok(access(path, AccessFlags::W_OK | AccessFlags::X_OK)?)
}

/// The sixth field of the user's line; there need be no such line.
fn home_of(passwd: &[u8], uid: u32) -> Option<PathBuf> {
    passwd.split(|&byte| byte == b'\n').find_map(|line| {
        let fields: Vec<&[u8]> = line.split(|&byte| byte == b':').collect();
        let [_, _, id, _, _, home, ..] = fields[..] else {
            return None;
        };
        let id: u32 = std::str::from_utf8(id).ok()?.parse().ok()?;
        (id == uid && !home.is_empty()).then(|| PathBuf::from(OsStr::from_bytes(home)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwd_is_read_by_hand() {
        let passwd =
            b"root:x:0:0::/root:/bin/sh\nbroken\napp:x:1000:1000:App:/srv/app:\nnone:x:7:7:::/bin/sh";
        assert_eq!(home_of(passwd, 0), Some("/root".into()));
        assert_eq!(home_of(passwd, 1000), Some("/srv/app".into()));
        assert_eq!(home_of(passwd, 7), None);
        assert_eq!(home_of(passwd, 9), None);
    }

    #[test]
    fn a_home_is_made_and_the_root_is_none() {
        let directory = tempfile::tempdir().unwrap();
        let wanted = directory.path().join("a/b");
        assert_eq!(find_home(Some(&wanted)).unwrap(), wanted);
        assert!(wanted.is_dir());
        assert_ne!(find_home(Some(Path::new("/"))).unwrap(), Path::new("/"));
    }
}
