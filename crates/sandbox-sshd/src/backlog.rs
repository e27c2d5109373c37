//! A queue of bytes: a little in memory, the rest in a file without a name.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::PathBuf;

use bytes::{Bytes, BytesMut};
use nix::fcntl::{FallocateFlags, OFlag, fallocate};

/// Bytes kept in memory before the file is used.
const MEMORY: usize = 4 << 20;
/// Bytes in memory, where the file takes no more, and bytes in the file, at which a sender
/// should wait.
const HIGH_MEMORY: usize = 32 << 20;
const HIGH_FILE: u64 = 128 << 20;
/// And those that are too many, if it did not.
const MOST_MEMORY: usize = 64 << 20;
const MOST_FILE: u64 = 1 << 30;
/// Bytes read back at once.
const PIECE: u64 = 256 << 10;

/// Empty and without a file until much is pushed.
pub(crate) struct Backlog {
    directory: PathBuf,
    /// The oldest, in memory; then what is in the file; then what the file did not take.
    head: VecDeque<Bytes>,
    file: Option<File>,
    read: u64,
    written: u64,
    tail: VecDeque<Bytes>,
    in_memory: usize,
}

impl Backlog {
    /// A queue whose file, if one is needed, takes its room in `directory`.
    pub(crate) fn new(directory: PathBuf) -> Self {
        let (head, tail) = (VecDeque::new(), VecDeque::new());
        Self {
            directory,
            head,
            file: None,
            read: 0,
            written: 0,
            tail,
            in_memory: 0,
        }
    }

    /// Whether the sender should wait.
    pub(crate) fn is_high(&self) -> bool {
        self.in_file() > HIGH_FILE || self.in_memory > HIGH_MEMORY
    }

    /// Appends, in memory or in the file.
    ///
    /// # Errors
    ///
    /// When there is far too much already.
    pub(crate) fn push(&mut self, data: Bytes) -> io::Result<()> {
        let fits =
            self.in_file() == 0 && self.tail.is_empty() && self.in_memory + data.len() <= MEMORY;
        if !fits && self.tail.is_empty() && self.write(&data).is_ok() {
            return Ok(());
        }
        if self.in_memory + data.len() > MOST_MEMORY {
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

    /// The oldest bytes, or `None` when empty.
    ///
    /// # Errors
    ///
    /// When the file cannot be read back.
    pub(crate) fn pop(&mut self) -> io::Result<Option<Bytes>> {
        if self.head.is_empty() && self.in_file() > 0 {
            return self.read_back().map(Some);
        }
        let data = self.head.pop_front().or_else(|| self.tail.pop_front());
        self.in_memory -= data.as_ref().map_or(0, Bytes::len);
        Ok(data)
    }

    /// Drops everything, and the file with it.
    pub(crate) fn clear(&mut self) {
        *self = Self::new(std::mem::take(&mut self.directory));
    }

    fn in_file(&self) -> u64 {
        self.written - self.read
    }

    /// All of `data`, or nothing.
    fn write(&mut self, data: &[u8]) -> io::Result<()> {
        if self.in_file() + data.len() as u64 > MOST_FILE {
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

    fn read_back(&mut self) -> io::Result<Bytes> {
        let Some(file) = &self.file else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let mut piece = BytesMut::zeroed(PIECE.min(self.in_file()) as usize);
        file.read_exact_at(&mut piece, self.read)?;
        self.read += piece.len() as u64;
        if self.read == self.written {
            file.set_len(0)?;
            (self.read, self.written) = (0, 0);
        } else {
            let hole = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
            // Only room is lost where the file system cannot do this.
            fallocate(file, hole, 0, self.read.cast_signed()).ok();
        }
        Ok(piece.freeze())
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
        let mut back = Vec::new();
        while let Some(piece) = backlog.pop().unwrap() {
            back.extend_from_slice(&piece);
        }
        back
    }

    #[test]
    fn bytes_come_back_in_order_and_room_is_given_back() {
        let directory = tempfile::tempdir().unwrap();
        let mut backlog = Backlog::new(directory.path().into());
        assert_eq!(backlog.pop().unwrap(), None);
        for _ in 0..2 {
            let data = fill(&mut backlog, 3 * MEMORY);
            assert!(backlog.in_file() > 0 && backlog.in_memory <= MEMORY && !backlog.is_high());
            assert!(drain(&mut backlog) == data);
            assert_eq!(backlog.file.as_ref().unwrap().metadata().unwrap().len(), 0);
        }
        assert_eq!(
            std::fs::read_dir(directory.path()).unwrap().count(),
            0,
            "it has no name"
        );
    }

    #[test]
    fn what_the_file_does_not_take_comes_after_it() {
        let directory = tempfile::tempdir().unwrap();
        let mut backlog = Backlog::new(directory.path().into());
        let mut data = fill(&mut backlog, 2 * MEMORY);
        let (file, gone) = (backlog.file.take(), File::open("/dev/null").unwrap());
        // Reading only: every write fails.
        backlog.file = Some(gone);
        data.extend(fill(&mut backlog, MEMORY));
        assert!(!backlog.tail.is_empty());
        backlog.file = file;
        data.extend(fill(&mut backlog, 1000));
        assert!(drain(&mut backlog) == data);
    }

    #[test]
    fn without_a_file_memory_has_to_do_and_has_a_bound() {
        let mut backlog = Backlog::new("/nonexistent".into());
        let data = fill(&mut backlog, HIGH_MEMORY + 1);
        assert!(backlog.is_high());
        fill(&mut backlog, MOST_MEMORY - data.len());
        assert!(backlog.push(Bytes::from_static(b"x")).is_err());
        assert_eq!(drain(&mut backlog).len(), MOST_MEMORY);
    }
}
