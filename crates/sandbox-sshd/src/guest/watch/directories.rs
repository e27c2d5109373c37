//! The directories of a watch: how they are named, what is in them, and why one is not watched.

use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use sandbox_core::guest::{Refusal, RefusalCode};

use super::instance::MAX_DIRECTORIES;
use crate::guest::refusals::refuse_file;

/// A directory that cannot be watched.
pub(super) struct Unwatched {
    pub(super) path: PathBuf,
    pub(super) error: io::Error,
}

impl Unwatched {
    pub(super) fn new(path: &Path, error: io::Error) -> Self {
        Self {
            path: path.to_owned(),
            error,
        }
    }

    /// Whether there is no such directory any more.
    pub(super) fn is_vanished(&self) -> bool {
        is_vanished(&self.error)
    }

    /// The refusal if it is the directory that a client wants to watch.
    pub(super) fn into_refusal(self) -> Refusal {
        if self.error.raw_os_error() == Some(Errno::NOSPC.raw_os_error()) {
            return limit_refusal(&self.path);
        }
        refuse_file("watch", &self.path, self.error)
    }
}

/// The names in a directory, in their order, and which are directories.
pub(super) fn read_entries(path: &Path) -> Result<Vec<(Vec<u8>, bool)>, Unwatched> {
    let unread = |error| Unwatched::new(path, error);
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(path).map_err(unread)? {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) if is_vanished(&error) => break,
            Err(error) => return Err(unread(error)),
        };
        let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
        entries.push((entry.file_name().into_vec(), is_directory));
    }
    entries.sort_unstable();
    Ok(entries)
}

/// What follows the name of a directory, if this name is it or is below it.
pub(super) fn strip_directory<'a>(name: &'a [u8], directory: &[u8]) -> Option<&'a [u8]> {
    let rest = name.strip_prefix(directory)?;
    (rest.is_empty() || rest.starts_with(b"/")).then_some(rest)
}

pub(super) fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    if directory.is_empty() {
        name.to_vec()
    } else {
        [directory, b"/", name].concat()
    }
}

fn is_vanished(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

fn limit_refusal(path: &Path) -> Refusal {
    let path = sandbox_core::FilePath::from(path);
    let message = format!(
        "cannot watch {path:?}: too many directories are watched; this server watches at most \
         {MAX_DIRECTORIES}, and the system as many as fs.inotify.max_user_watches says"
    );
    Refusal::new(RefusalCode::LimitReached, message)
}
