//! A job's output in a file that cannot grow without end.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};
use tokio::sync::watch;

/// Bytes read at once.
const PIECE: usize = 64 << 10;

/// What a job wrote, as far as it was kept. The open file is read back, never its path: who
/// replaces the file in the directory changes nothing here.
pub(crate) struct JobLog {
    file: File,
    cap: u64,
    sizes: Mutex<Sizes>,
    grown: watch::Sender<u64>,
}

#[derive(Default)]
struct Sizes {
    kept: u64,
    dropped: u64,
}

impl JobLog {
    /// Makes `directory` and the file `log` in it, both only for their owner.
    ///
    /// # Errors
    ///
    /// When either cannot be made, or the file is there already and cannot be removed.
    pub(crate) fn create(directory: &Path, cap: u64) -> io::Result<Self> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)?;
        let path = directory.join("log");
        // From a sandbox that ran here before.
        if path.symlink_metadata().is_ok() {
            std::fs::remove_file(&path)?;
        }
        let file = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        Ok(Self {
            file,
            cap,
            sizes: Mutex::default(),
            grown: watch::Sender::default(),
        })
    }

    /// Keeps what there is room for, and counts the rest.
    pub(crate) fn append(&self, data: &[u8]) {
        let mut sizes = self.sizes();
        // What is kept is the beginning, without a gap: after the first loss nothing is.
        let room = if sizes.dropped > 0 {
            0
        } else {
            usize::try_from(self.cap - sizes.kept).unwrap_or(usize::MAX)
        };
        let kept = data.len().min(room);
        let written = match self.file.write_all_at(&data[..kept], sizes.kept) {
            Ok(()) => kept,
            Err(error) => {
                tracing::warn!(%error, "a job's output cannot be kept");
                0
            }
        };
        sizes.kept += written as u64;
        sizes.dropped += (data.len() - written) as u64;
        self.grown.send_replace(sizes.kept);
    }

    /// Bytes kept, and bytes dropped.
    pub(crate) fn size(&self) -> (u64, u64) {
        let sizes = self.sizes();
        (sizes.kept, sizes.dropped)
    }

    /// Bytes from `offset`; none when there are none yet.
    ///
    /// # Errors
    ///
    /// When the file cannot be read.
    pub(crate) fn read(&self, offset: u64) -> io::Result<Bytes> {
        let left = self.size().0.saturating_sub(offset);
        let mut piece = BytesMut::zeroed(usize::try_from(left).unwrap_or(PIECE).min(PIECE));
        self.file.read_exact_at(&mut piece, offset)?;
        Ok(piece.freeze())
    }

    /// Tells of growth.
    pub(crate) fn watch(&self) -> watch::Receiver<u64> {
        self.grown.subscribe()
    }

    pub(crate) fn remove(&self, directory: &Path) {
        if let Err(error) = std::fs::remove_dir_all(directory) {
            tracing::debug!(%error, "the log of a job that is forgotten stays");
        }
    }

    fn sizes(&self) -> MutexGuard<'_, Sizes> {
        self.sizes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_beginning_is_kept_and_the_rest_counted() {
        let directory = tempfile::tempdir().unwrap();
        let log = JobLog::create(&directory.path().join("a/b"), 10).unwrap();
        log.append(b"12345678");
        log.append(b"90abc");
        log.append(b"def");
        assert_eq!(log.size(), (10, 6));
        assert_eq!(log.read(7).unwrap(), "890");
        assert_eq!(log.read(10).unwrap(), "");
        assert_eq!(log.read(u64::MAX).unwrap(), "");
    }
}
