//! A queue of bytes: the first few MiB in memory, the rest in an unnamed temporary file.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::PathBuf;

use bytes::{Bytes, BytesMut};
use nix::fcntl::{FallocateFlags, OFlag, fallocate};

/// Bytes in memory above which the file is used.
const MEMORY: usize = 4 << 20;
/// Bytes in memory (if the file cannot be written) and in the file above which the sender should
/// slow down.
const HIGH_MEMORY: usize = 32 << 20;
const HIGH_FILE: u64 = 128 << 20;
/// Bytes above which more are refused, in memory and in the file.
const MAX_MEMORY: usize = 64 << 20;
const MAX_FILE: u64 = 1 << 30;
/// Bytes per read of the file.
const CHUNK: u64 = 256 << 10;

/// A first-in first-out queue of bytes. It has no file until more than 4 MiB are queued.
pub(crate) struct Backlog {
    directory: PathBuf,
    /// The oldest bytes. The bytes in `file` follow them, then the bytes in `tail`.
    head: VecDeque<Bytes>,
    file: Option<File>,
    read: u64,
    written: u64,
    /// Bytes that could not be written to the file.
    tail: VecDeque<Bytes>,
    in_memory: usize,
}

impl Backlog {
    /// Creates an empty queue, whose file will use the disk of `directory`.
    pub(crate) fn new(directory: PathBuf) -> Self {
        Self {
            directory,
            head: VecDeque::new(),
            file: None,
            read: 0,
            written: 0,
            tail: VecDeque::new(),
            in_memory: 0,
        }
    }

    /// The bytes that are still accepted, once there are so many in the queue that the sender should
    /// slow down; before, `None`.
    pub(crate) fn scarce_room(&self) -> Option<u64> {
        if self.in_memory > HIGH_MEMORY {
            Some(MAX_MEMORY.saturating_sub(self.in_memory) as u64)
        } else if self.in_file() > HIGH_FILE {
            Some(MAX_FILE.saturating_sub(self.in_file()))
        } else {
            None
        }
    }

    /// Appends bytes, in memory or in the file.
    ///
    /// # Errors
    ///
    /// If the queue is full.
    pub(crate) fn push(&mut self, data: Bytes) -> io::Result<()> {
        let fits =
            self.in_file() == 0 && self.tail.is_empty() && self.in_memory + data.len() <= MEMORY;
        if !fits && self.tail.is_empty() && self.write(&data).is_ok() {
            return Ok(());
        }
        if self.in_memory + data.len() > MAX_MEMORY {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        self.in_memory += data.len();
        if self.in_file() == 0 {
            self.head.push_back(data)
        } else {
            self.tail.push_back(data)
        }
        Ok(())
    }

    /// Removes and returns the oldest bytes, or `None` if the queue is empty.
    ///
    /// # Errors
    ///
    /// If the file cannot be read.
    pub(crate) fn pop(&mut self) -> io::Result<Option<Bytes>> {
        if self.head.is_empty() && self.in_file() > 0 {
            return self.read_file().map(Some);
        }
        let data = self.head.pop_front().or_else(|| self.tail.pop_front());
        self.in_memory -= data.as_ref().map_or(0, Bytes::len);
        Ok(data)
    }

    /// Drops all bytes and the file.
    pub(crate) fn clear(&mut self) {
        *self = Self::new(std::mem::take(&mut self.directory));
    }

    fn in_file(&self) -> u64 {
        self.written - self.read
    }

    /// Writes all of `data` to the file, or counts none of it as written.
    fn write(&mut self, data: &[u8]) -> io::Result<()> {
        if self.in_file() + data.len() as u64 > MAX_FILE {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(
                File::options()
                    .read(true)
                    .write(true)
                    .custom_flags(OFlag::O_TMPFILE.bits())
                    .mode(0o600)
                    .open(&self.directory)?,
            ),
        };
        file.write_all_at(data, self.written)?;
        self.written += data.len() as u64;
        Ok(())
    }

    fn read_file(&mut self) -> io::Result<Bytes> {
        let Some(file) = &self.file else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let mut chunk = BytesMut::zeroed(CHUNK.min(self.in_file()) as usize);
        file.read_exact_at(&mut chunk, self.read)?;
        self.read += chunk.len() as u64;
        if self.read == self.written {
            file.set_len(0)?;
            (self.read, self.written) = (0, 0);
        } else {
            let hole = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
            // A file system without holes frees the disk only when the file is emptied.
            fallocate(file, hole, 0, self.read.cast_signed()).ok();
        }
        Ok(chunk.freeze())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(backlog: &mut Backlog, bytes: usize) -> Vec<u8> {
        let data: Vec<u8> = (0..bytes).map(|n| (n % 253) as u8).collect();
        for part in data.chunks(99_999) {
            backlog.push(Bytes::copy_from_slice(part)).unwrap();
        }
        data
    }

    fn drain(backlog: &mut Backlog) -> Vec<u8> {
        let mut drained = Vec::new();
        while let Some(chunk) = backlog.pop().unwrap() {
            drained.extend_from_slice(&chunk);
        }
        drained
    }

    #[test]
    fn bytes_are_returned_in_order_and_disk_space_is_freed() {
        let directory = tempfile::tempdir().unwrap();
        let mut backlog = Backlog::new(directory.path().into());
        assert_eq!(backlog.pop().unwrap(), None);
        for _ in 0..2 {
            let data = fill(&mut backlog, 3 * MEMORY);
            assert!(
                backlog.in_file() > 0
                    && backlog.in_memory <= MEMORY
                    && backlog.scarce_room().is_none()
            );
            assert!(drain(&mut backlog) == data);
            assert_eq!(backlog.file.as_ref().unwrap().metadata().unwrap().len(), 0);
        }
        assert_eq!(
            std::fs::read_dir(directory.path()).unwrap().count(),
            0,
            "the file has no name"
        );
    }

    #[test]
    fn bytes_that_the_file_cannot_take_follow_it() {
        let directory = tempfile::tempdir().unwrap();
        let mut backlog = Backlog::new(directory.path().into());
        let mut data = fill(&mut backlog, 2 * MEMORY);
        let file = backlog.file.take();
        // Every write to a file that is open for reading fails.
        backlog.file = Some(File::open("/dev/null").unwrap());
        data.extend(fill(&mut backlog, MEMORY));
        assert!(!backlog.tail.is_empty());
        backlog.file = file;
        data.extend(fill(&mut backlog, 1000));
        assert!(drain(&mut backlog) == data);
    }

    #[test]
    fn without_a_file_memory_is_used_up_to_a_bound() {
        let mut backlog = Backlog::new("/nonexistent".into());
        let data = fill(&mut backlog, HIGH_MEMORY + 1);
        assert!(
            backlog
                .scarce_room()
                .is_some_and(|room| room < HIGH_MEMORY as u64)
        );
        fill(&mut backlog, MAX_MEMORY - data.len());
        assert!(backlog.push(Bytes::from_static(b"x")).is_err());
        assert_eq!(drain(&mut backlog).len(), MAX_MEMORY);
    }
}
