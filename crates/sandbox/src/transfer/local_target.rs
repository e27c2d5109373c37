//! What is at the local path of a download, and how it is written.

use std::fs::{File, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sandbox_core::Writer;

use super::local_file::LocalWriter;

/// The most links from a path to a file, as in Linux.
pub(super) const MAX_LINKS: usize = 40;
/// The interval at which the other end of a FIFO is looked for.
const FIFO_INTERVAL: Duration = Duration::from_millis(20);

/// What is at the local path of a download.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum LocalTarget {
    /// A file that is replaced, or nothing yet, at the path to which the links lead.
    File(PathBuf),
    /// A FIFO, whose other end is waited for.
    Fifo,
    /// A device, or an open file of a process such as `/dev/stdout`.
    InPlace,
}

impl LocalTarget {
    /// Follows the links at a path, as `cp` does. Blocks.
    pub(super) fn find(path: &Path) -> io::Result<Self> {
        let mut at = path.to_owned();
        for _ in 0..MAX_LINKS {
            let metadata = match at.symlink_metadata() {
                Ok(metadata) => metadata,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::File(at)),
                Err(error) => return Err(error),
            };
            if !metadata.is_symlink() {
                return Ok(Self::from_metadata(&metadata).unwrap_or(Self::File(at)));
            }
            let parent = parent(&at);
            check_link(parent, &metadata)?;
            // The links in /proc lead to open files, which may have no path.
            if parent.canonicalize()?.starts_with("/proc") {
                return Ok(Self::from_metadata(&at.metadata()?).unwrap_or(Self::InPlace));
            }
            at = parent.join(at.read_link()?);
        }
        Err(io::Error::other(
            "its symbolic links lead to each other; remove one of them",
        ))
    }

    /// `None` for files and directories.
    fn from_metadata(metadata: &Metadata) -> Option<Self> {
        if metadata.is_file() || metadata.is_dir() {
            return None;
        }
        #[cfg(unix)]
        if std::os::unix::fs::FileTypeExt::is_fifo(&metadata.file_type()) {
            return Some(Self::Fifo);
        }
        Some(Self::InPlace)
    }
}

/// Returns the directory of a path.
pub(super) fn parent(path: &Path) -> &Path {
    path.parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

/// Opens a device or an open file of a process to write to it. Blocks.
pub(super) fn open_in_place(path: &Path) -> io::Result<LocalWriter> {
    let mut options = File::options();
    options.write(true).truncate(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        // A terminal must not become that of this process.
        options.custom_flags(rustix::fs::OFlags::NOCTTY.bits().cast_signed());
    }
    Ok(LocalWriter::new(options.open(path)?))
}

/// Opens a FIFO, once another process has opened it to read from it. No thread waits meanwhile, so
/// that the wait can be cancelled.
pub(super) async fn open_fifo(path: &Path) -> io::Result<Writer> {
    #[cfg(unix)]
    {
        let no_reader = rustix::io::Errno::NXIO.raw_os_error();
        loop {
            match tokio::net::unix::pipe::OpenOptions::new().open_sender(path) {
                Ok(sender) => return Ok(Box::new(sender)),
                Err(error) if error.raw_os_error() == Some(no_reader) => {
                    tokio::time::sleep(FIFO_INTERVAL).await;
                }
                Err(error) => return Err(error),
            }
        }
    }
    #[cfg(not(unix))]
    {
        let _ = (path, FIFO_INTERVAL);
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// Gives a new file the owner and group of the one that it replaces, as far as this user may.
pub(super) fn keep_owner(new: &File, replaced: &Metadata) {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        keep_owner_ids(new, replaced.uid(), replaced.gid());
    }
    #[cfg(not(unix))]
    let _ = (new, replaced);
}

/// Gives a new file this owner and group, as far as this user may.
#[cfg(unix)]
pub(super) fn keep_owner_ids(new: &File, uid: u32, gid: u32) {
    use std::os::unix::fs::MetadataExt;

    use rustix::fs::{Gid, Uid, fchown};

    let is_same = new
        .metadata()
        .is_ok_and(|found| (found.uid(), found.gid()) == (uid, gid));
    let group = Some(Gid::from_raw(gid));
    if !is_same
        && fchown(new, Some(Uid::from_raw(uid)), group).is_err()
        // Only root may give files away, but a user may be in several groups.
        && let Err(error) = fchown(new, None, group)
    {
        tracing::debug!(%error, "the replaced file's owner and group are not kept");
    }
}

/// Refuses a link that another user has put into a directory like `/tmp`, as Linux does itself where
/// `fs.protected_symlinks` is set (proc_sys_fs(5)): he would choose which file is replaced.
fn check_link(directory: &Path, link: &Metadata) -> io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let directory = directory.metadata()?;
        let is_shared = directory.mode() & 0o1002 == 0o1002;
        let is_trusted =
            link.uid() == rustix::process::geteuid().as_raw() || link.uid() == directory.uid();
        if is_shared && !is_trusted {
            return Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                "it is a symbolic link of another user in a directory that everybody may write to; \
                 remove it, or choose another name",
            ));
        }
    }
    #[cfg(not(unix))]
    let _ = (directory, link);
    Ok(())
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_are_followed_to_what_is_written() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        std::fs::create_dir(path("d")).unwrap();
        std::fs::write(path("d/file"), "x").unwrap();
        for (name, target) in [
            ("near", "d/file"),
            ("far", "near"),
            ("dangling", "d/new"),
            ("loop", "loop"),
            ("out", "/dev/null"),
        ] {
            symlink(target, path(name)).unwrap();
        }
        rustix::fs::mkfifoat(
            rustix::fs::CWD,
            path("fifo"),
            rustix::fs::Mode::from_raw_mode(0o600),
        )
        .unwrap();
        let find = |name: &str| LocalTarget::find(&path(name)).unwrap();
        assert_eq!(find("absent"), LocalTarget::File(path("absent")));
        assert_eq!(find("d/file"), LocalTarget::File(path("d/file")));
        assert_eq!(find("far"), LocalTarget::File(path("d/file")));
        assert_eq!(find("dangling"), LocalTarget::File(path("d/new")));
        assert_eq!(find("fifo"), LocalTarget::Fifo);
        assert_eq!(find("out"), LocalTarget::InPlace);
        LocalTarget::find(&path("loop")).unwrap_err();
        // An open file has no path of its own.
        let file = File::open(path("d/file")).unwrap();
        let open = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file));
        if Path::new(&open).exists() {
            assert_eq!(
                LocalTarget::find(Path::new(&open)).unwrap(),
                LocalTarget::InPlace
            );
        }
    }

    #[test]
    fn a_link_of_another_user_in_a_shared_directory_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let link = directory.path().join("link");
        symlink("target", &link).unwrap();
        let other = (Some(rustix::fs::Uid::from_raw(12_345)), None);
        let given = rustix::fs::chownat(
            rustix::fs::CWD,
            &link,
            other.0,
            other.1,
            rustix::fs::AtFlags::SYMLINK_NOFOLLOW,
        );
        if given.is_err() {
            return; // Only root can give it away.
        }
        LocalTarget::find(&link).unwrap();
        let shared = std::fs::Permissions::from_mode(0o1777);
        std::fs::set_permissions(directory.path(), shared).unwrap();
        let error = LocalTarget::find(&link).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
    }
}
