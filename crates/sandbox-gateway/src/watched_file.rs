//! A file that is read again when it has changed.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// How often files are looked at. A key that was revoked is refused after this time at the latest.
pub(crate) const INTERVAL: Duration = Duration::from_secs(1);

/// A file, and what it looked like when it was read. Its content is not compared: a stamp is enough for editors, which
/// replace the file or write to it, and for the volumes of Secrets, whose links Kubernetes replaces.
#[derive(Debug)]
pub(crate) struct WatchedFile {
    path: PathBuf,
    stamp: Option<Stamp>,
}

#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    len: u64,
    inode: u64,
}

impl WatchedFile {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, stamp: None }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Remembers what the file looks like. Call it before reading: what changes afterwards is then noticed.
    pub(crate) fn note(&mut self) {
        self.stamp = self.look();
    }

    /// Whether it looks different. A file that is missing for a moment, while it is replaced, has not changed.
    pub(crate) fn has_changed(&self) -> bool {
        let now = self.look();
        now.is_some() && now != self.stamp
    }

    fn look(&self) -> Option<Stamp> {
        let metadata = fs::metadata(&self.path).ok()?;
        #[cfg(unix)]
        let inode = std::os::unix::fs::MetadataExt::ino(&metadata);
        #[cfg(not(unix))]
        let inode = 0;
        Some(Stamp {
            modified: metadata.modified().ok(),
            len: metadata.len(),
            inode,
        })
    }
}
