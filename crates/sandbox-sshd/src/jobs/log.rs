//! The output of a job, in a file of limited size.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Mutex;

use bytes::{Bytes, BytesMut};
use tokio::sync::watch;

use super::layout::Layout;
use crate::lock::lock;

/// Bytes per read of the file, which fit into one packet.
const CHUNK: u64 = 60 << 10;

/// The beginning and the end of a job's output. It is read from the open file and not by its path,
/// so that a workload cannot change it by replacing the file.
pub(crate) struct JobLog {
    file: File,
    layout: Mutex<Layout>,
    end_sender: watch::Sender<u64>,
}

/// A part of a log.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum LogPart {
    Data(Bytes),
    /// This many bytes are left out here.
    Omitted(u64),
    /// There is no more yet.
    End,
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
            layout: Mutex::new(Layout::new(limit)),
            end_sender: watch::Sender::default(),
        })
    }

    /// Stores the data, in place of the oldest data after the beginning if the log is full.
    pub(crate) fn append(&self, mut data: &[u8]) {
        let mut layout = lock(&self.layout);
        while !data.is_empty() {
            let place = layout.next_place();
            let length =
                usize::try_from(place.length).map_or(data.len(), |room| room.min(data.len()));
            let (part, rest) = data.split_at(length);
            match self.file.write_all_at(part, place.offset) {
                Ok(()) if length > 0 => {
                    layout.record_stored(length as u64);
                    data = rest;
                }
                // The disk is full: what it holds already is used for the beginning and the end.
                Err(_) if layout.shrink() => {}
                result => {
                    if let Err(error) = result {
                        tracing::warn!(%error, "job log not written");
                    }
                    layout.record_lost(data.len() as u64);
                    break;
                }
            }
        }
        self.end_sender.send_replace(layout.end());
    }

    /// Returns the bytes stored and the bytes left out.
    pub(crate) fn size(&self) -> (u64, u64) {
        let layout = lock(&self.layout);
        (layout.end() - layout.omitted(), layout.omitted())
    }

    /// Reads what follows the byte `position` of the output.
    ///
    /// # Errors
    ///
    /// If the file cannot be read.
    pub(crate) fn read(&self, position: u64) -> io::Result<LogPart> {
        // The lock is held during the read, so that the data is not overwritten meanwhile.
        let layout = lock(&self.layout);
        if position >= layout.end() {
            return Ok(LogPart::End);
        }
        let omitted = layout.omitted_from(position);
        if omitted > 0 {
            return Ok(LogPart::Omitted(omitted));
        }
        let place = layout.place_of(position);
        let mut chunk = BytesMut::zeroed(place.length.min(CHUNK) as usize);
        self.file.read_exact_at(&mut chunk, place.offset)?;
        Ok(LogPart::Data(chunk.freeze()))
    }

    /// Returns a receiver that is notified when the log has grown.
    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.end_sender.subscribe()
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

    fn read_all(log: &JobLog, mut position: u64) -> Vec<LogPart> {
        let mut parts = Vec::new();
        loop {
            match log.read(position).unwrap() {
                LogPart::End => return parts,
                part => {
                    position += match &part {
                        LogPart::Data(data) => data.len() as u64,
                        LogPart::Omitted(bytes) => *bytes,
                        LogPart::End => 0,
                    };
                    parts.push(part);
                }
            }
        }
    }

    fn data(text: &'static str) -> LogPart {
        LogPart::Data(text.into())
    }

    #[test]
    fn the_beginning_and_the_end_are_stored_and_the_rest_counted() {
        let directory = tempfile::tempdir().unwrap();
        let log = JobLog::create(&directory.path().join("a/b"), 10).unwrap();
        log.append(b"12345678");
        log.append(b"90");
        assert_eq!(log.size(), (10, 0));
        assert_eq!(read_all(&log, 7), [data("890")]);
        log.append(b"abc");
        log.append(b"defghij");
        assert_eq!(log.size(), (10, 10));
        // The ring of the last five bytes begins anywhere in the file.
        assert_eq!(
            read_all(&log, 0),
            [data("12345"), LogPart::Omitted(10), data("fghij")]
        );
        log.append(b"k");
        assert_eq!(
            read_all(&log, 3),
            [data("45"), LogPart::Omitted(11), data("ghij"), data("k")]
        );
        assert_eq!(
            read_all(&log, 14),
            [LogPart::Omitted(2), data("ghij"), data("k")]
        );
        assert_eq!(read_all(&log, 18), [data("ij"), data("k")]);
        assert_eq!(read_all(&log, 21), []);
        assert_eq!(read_all(&log, u64::MAX), []);
        let file = directory.path().join("a/b/log");
        assert_eq!(file.metadata().unwrap().len(), 10);
    }

    #[test]
    fn without_a_limit_nothing_is_left_out_and_with_none_everything() {
        let directory = tempfile::tempdir().unwrap();
        for (limit, size) in [(u64::MAX, (6, 0)), (0, (0, 6)), (1, (1, 5))] {
            let log = JobLog::create(directory.path(), limit).unwrap();
            log.append(b"abcdef");
            assert_eq!(log.size(), size, "{limit}");
        }
    }
}
