//! The partial file of a resumable download. Its name can be predicted, so it is used only if
//! no other user can have created it, read it or change it.

use std::fs::{File, Metadata};
use std::io;
use std::path::Path;

/// The partial file of a download.
pub(super) enum PartialFile {
    /// Its length, and the file, which is locked until it is closed.
    Private(u64, File),
    /// This user has not made it for himself alone, and why that is known. Another user could have
    /// put it there to read the content, or to change it later.
    NotPrivate(&'static str),
}

/// Opens the partial file, or creates it. Blocks.
///
/// # Errors
///
/// Also if there is something else than a regular file, or if another transfer uses it.
pub(super) fn open_partial(path: &Path) -> io::Result<PartialFile> {
    let file = match path.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            private_file_options().create_new(true).open(path)?
        }
        Err(error) => return Err(error),
        Ok(metadata) => {
            if let Some(why) = why_not_private(&metadata)? {
                return Ok(PartialFile::NotPrivate(why));
            }
            let file = private_file_options().open(path)?;
            // It may have been replaced since.
            if let Some(why) = why_not_private(&file.metadata()?)? {
                return Ok(PartialFile::NotPrivate(why));
            }
            file
        }
    };
    match file.try_lock() {
        Ok(()) => Ok(PartialFile::Private(file.metadata()?.len(), file)),
        Err(std::fs::TryLockError::WouldBlock) => {
            Err(io::Error::other("another transfer is using this file"))
        }
        Err(std::fs::TryLockError::Error(error)) => Err(error),
    }
}

/// Whether the path still names this file.
pub(super) fn is_still_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), path.symlink_metadata()) {
        (Ok(file), Ok(found)) => is_same_file(&file, &found),
        _ => false,
    }
}

/// Returns the options for a file that only this user can read. A link is not followed, and nothing
/// waits for the other end of a FIFO.
fn private_file_options() -> std::fs::OpenOptions {
    let mut options = File::options();
    options.read(true).write(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;

        use rustix::fs::OFlags;

        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
        options.mode(0o600).custom_flags(flags.bits().cast_signed());
    }
    options
}

/// Returns why others may have made a file, or may read or change it.
fn why_not_private(metadata: &Metadata) -> io::Result<Option<&'static str>> {
    if !metadata.is_file() {
        return Err(io::Error::other("not a regular file; remove it and retry"));
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        if metadata.uid() != rustix::process::geteuid().as_raw() {
            return Ok(Some("it belongs to another user"));
        }
        if metadata.mode() & 0o077 != 0 {
            return Ok(Some("other users have rights to it"));
        }
        if metadata.nlink() != 1 {
            return Ok(Some("it has another hard link"));
        }
    }
    Ok(None)
}

fn is_same_file(one: &Metadata, other: &Metadata) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        (one.dev(), one.ino()) == (other.dev(), other.ino())
    }
    #[cfg(not(unix))]
    {
        one.len() == other.len()
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn open_private(path: &Path) -> (u64, File) {
        match open_partial(path) {
            Ok(PartialFile::Private(length, file)) => (length, file),
            Ok(PartialFile::NotPrivate(why)) => panic!("{why}"),
            Err(error) => panic!("{error}"),
        }
    }

    fn why_refused(path: &Path) -> &'static str {
        match open_partial(path) {
            Ok(PartialFile::Private(..)) => panic!("it is used"),
            Ok(PartialFile::NotPrivate(why)) => why,
            Err(error) => panic!("{error}"),
        }
    }

    #[test]
    fn only_a_private_file_is_used() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("partial");
        let beside = directory.path().join("beside");
        let (length, file) = open_private(&path);
        assert_eq!(length, 0);
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert!(is_still_at(&file, &path));
        assert!(open_partial(&path).is_err(), "it is locked");
        drop(file);
        open_private(&path);

        for mode in [0o640, 0o602, 0o644] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(why_refused(&path), "other users have rights to it");
        }
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::hard_link(&path, &beside).unwrap();
        assert_eq!(why_refused(&path), "it has another hard link");
        std::fs::remove_file(&path).unwrap();
        symlink(&beside, &path).unwrap();
        assert!(open_partial(&path).is_err());
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert!(open_partial(&path).is_err());
    }

    #[test]
    fn a_file_of_another_user_is_not_used() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("partial");
        drop(open_private(&path));
        if std::os::unix::fs::chown(&path, Some(12_345), None).is_err() {
            return; // Only root can give it away.
        }
        assert_eq!(why_refused(&path), "it belongs to another user");
    }
}
