//! The output of a job, in a file of limited size.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Mutex;

use bytes::{Bytes, BytesMut};
use tokio::sync::watch;

use crate::lock::lock;

/// Bytes per read of the file.
const CHUNK: usize = 64 << 10;

/// The beginning of a job's output. It is read from the open file and not by its path, so that a
/// workload cannot change it by replacing the file.
pub(crate) struct JobLog {
    file: File,
    limit: u64,
    sizes: Mutex<Sizes>,
    size_sender: watch::Sender<u64>,
}

#[derive(Default)]
struct Sizes {
    stored: u64,
    dropped: u64,
}

impl JobLog {
    /// Creates `directory` and the file `log` in it, both accessible only to their owner.
    ///
    /// # Errors
    ///
    /// If one of them cannot be created, or if an existing file cannot be removed.
    pub(crate) fn create(directory: &Path, limit: u64) -> io::Result<Self> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)?;
        let path = directory.join("log");
        // The file may remain from an earlier sandbox with the same home.
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
            limit,
            sizes: Mutex::default(),
            size_sender: watch::Sender::default(),
        })
    }

    /// Stores the data up to the limit, and counts the rest.
    pub(crate) fn append(&self, data: &[u8]) {
        let mut sizes = lock(&self.sizes);
        // The log has no gaps, so nothing is stored after the first dropped byte.
        let room = if sizes.dropped > 0 {
            0
        } else {
            usize::try_from(self.limit - sizes.stored).unwrap_or(usize::MAX)
        };
        let length = data.len().min(room);
        let written = match self.file.write_all_at(&data[..length], sizes.stored) {
            Ok(()) => length,
            Err(error) => {
                tracing::warn!(%error, "job log not written");
                0
            }
        };
        sizes.stored += written as u64;
        sizes.dropped += (data.len() - written) as u64;
        self.size_sender.send_replace(sizes.stored);
    }

    /// Returns the bytes stored and the bytes dropped.
    pub(crate) fn size(&self) -> (u64, u64) {
        let sizes = lock(&self.sizes);
        (sizes.stored, sizes.dropped)
    }

    /// Reads some bytes from `offset`, or none at the end.
    ///
    /// # Errors
    ///
    /// If the file cannot be read.
    pub(crate) fn read(&self, offset: u64) -> io::Result<Bytes> {
        let left = self.size().0.saturating_sub(offset);
        let mut chunk = BytesMut::zeroed(usize::try_from(left).unwrap_or(CHUNK).min(CHUNK));
        self.file.read_exact_at(&mut chunk, offset)?;
        Ok(chunk.freeze())
    }

    /// Returns a receiver that is notified when the log has grown.
    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.size_sender.subscribe()
    }

    /// Removes the directory of the log.
    pub(crate) fn remove(&self, directory: &Path) {
        if let Err(error) = std::fs::remove_dir_all(directory) {
            tracing::debug!(%error, "log of a removed job not deleted");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_beginning_is_stored_and_the_rest_counted() {
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
