//! The home directory, the name and the shell of the user of the server.

use std::ffi::OsStr;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, access, geteuid};

use super::user::{Account, accounts};

/// Returns the first directory that exists or can be created, and that can be written, of:
/// `wanted` (for example `HOME` of the image), the home in `/etc/passwd`, `/home/sandbox`,
/// `/tmp/sandbox`. The root directory is skipped.
///
/// # Errors
///
/// If none of them can be created and written. The error names the last one.
pub fn find_home(wanted: Option<&Path>) -> io::Result<PathBuf> {
    let passwd = std::fs::read("/etc/passwd").unwrap_or_default();
    let listed = find_user(&passwd, geteuid().as_raw()).and_then(|user| user.home);
    let fixed = ["/home/sandbox", "/tmp/sandbox"].map(PathBuf::from);
    let mut last_error = io::Error::from(io::ErrorKind::NotFound);
    for candidate in wanted
        .map(Path::to_owned)
        .into_iter()
        .chain(listed)
        .chain(fixed)
    {
        if !candidate.is_absolute() || candidate == Path::new("/") {
            continue;
        }
        match create_writable(&candidate) {
            Ok(()) => return Ok(candidate),
            Err(error) => {
                last_error =
                    io::Error::new(error.kind(), format!("{}: {error}", candidate.display()))
            }
        }
    }
    Err(last_error)
}

/// Returns the name in `/etc/passwd`.
pub(crate) fn find_user_name() -> Option<String> {
    let passwd = std::fs::read("/etc/passwd").ok()?;
    let name = find_user(&passwd, geteuid().as_raw())?.name;
    (!name.is_empty()).then_some(name)
}

/// Returns the shell in `/etc/passwd`, unless it only refuses logins: a key that is accepted is a
/// login.
pub(crate) fn find_user_shell() -> Option<PathBuf> {
    let passwd = std::fs::read("/etc/passwd").ok()?;
    let shell = find_user(&passwd, geteuid().as_raw())?.shell?;
    let refuses = ["nologin", "false"].map(OsStr::new);
    (!refuses.contains(&shell.file_name()?)).then_some(shell)
}

fn create_writable(path: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(path)?;
    Ok(access(path, AccessFlags::W_OK | AccessFlags::X_OK)?)
}

/// Returns the first user with this id.
fn find_user(passwd: &[u8], uid: u32) -> Option<Account> {
    accounts(passwd).find(|account| account.uid == uid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_user_in_passwd_is_found() {
        let passwd =
            b"root:x:0:0::/root:/bin/sh\nbroken\napp:x:1000:1000:App:/srv/app:\nnone:x:7:7:::/bin/sh\nold:x:8:8::/o";
        for (id, home, shell) in [
            (0, Some("/root"), Some("/bin/sh")),
            (1000, Some("/srv/app"), None),
            (7, None, Some("/bin/sh")),
            (8, Some("/o"), None),
        ] {
            let found = find_user(passwd, id).unwrap();
            assert_eq!(found.home, home.map(PathBuf::from));
            assert_eq!(found.shell, shell.map(PathBuf::from));
        }
        assert_eq!(find_user(passwd, 9), None);
    }

    #[test]
    fn a_home_is_created_and_the_root_directory_is_skipped() {
        let directory = tempfile::tempdir().unwrap();
        let wanted = directory.path().join("a/b");
        assert_eq!(find_home(Some(&wanted)).unwrap(), wanted);
        assert!(wanted.is_dir());
        assert_ne!(find_home(Some(Path::new("/"))).unwrap(), Path::new("/"));
    }
}
