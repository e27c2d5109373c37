//! A queue of bytes in a file without a name, for what does not fit in memory.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::PathBuf;

use bytes::{Bytes, BytesMut};
use nix::fcntl::{FallocateFlags, OFlag, fallocate};

/// Bytes in the file at which a sender should wait.
const FULL: u64 = 1 << 30;
/// Bytes read back at once.
const PIECE: u64 = 256 << 10;

/// Empty and without a file until something is pushed.
pub(crate) struct Spill {
    directory: PathBuf,
    file: Option<File>,
    read: u64,
    written: u64,
    /// What the file had no room for; after it in order.
    overflow: std::collections::VecDeque<Bytes>,
}

impl Spill {
    /// A queue whose file, if one is needed, takes its room in `directory`.
    pub(crate) fn new(directory: PathBuf) -> Self {
        Self { directory, file: None, read: 0, written: 0, overflow: Default::default() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.read == self.written && self.overflow.is_empty()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.written - self.read > FULL || !self.overflow.is_empty()
    }

    /// Appends all of `data`, or nothing.
    ///
    /// # Errors
    ///
    /// When there is no file to be had, or no room in it.
    pub(crate) fn push(&mut self, data: &[u8]) -> io::Result<()> {
        if !self.overflow.is_empty() {
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

    /// Appends where [`push`](Self::push) failed: in memory, after the file's content.
    pub(crate) fn push_to_memory(&mut self, data: Bytes) {
        self.overflow.push_back(data);
    }

    /// The oldest bytes, or `None` when empty.
    ///
    /// # Errors
    ///
    /// When the file cannot be read back.
    pub(crate) fn pop(&mut self) -> io::Result<Option<Bytes>> {
        let Some(file) = self.file.as_ref().filter(|_| self.read < self.written) else {
            return Ok(self.overflow.pop_front());
        };
        let mut piece = BytesMut::zeroed(PIECE.min(self.written - self.read) as usize);
        file.read_exact_at(&mut piece, self.read)?;
        self.read += piece.len() as u64;
        if self.read == self.written {
            file.set_len(0)?;
            (self.read, self.written) = (0, 0);
        } else {
            let hole = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
            // Only room is lost where the file system cannot do this.
            fallocate(file, hole, 0, self.read as i64).ok();
        }
        Ok(Some(piece.freeze()))
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::new(std::mem::take(&mut self.directory));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_back_in_order_and_room_is_given_back() {
        let directory = tempfile::tempdir().unwrap();
        let mut spill = Spill::new(directory.path().into());
        assert_eq!(spill.pop().unwrap(), None);
        let data: Vec<u8> = (0..1_000_000_u32).map(|n| (n % 253) as u8).collect();
        let mut back = Vec::new();
        for part in data.chunks(99_999) {
            spill.push(part).unwrap();
        }
        while let Some(piece) = spill.pop().unwrap() {
            back.extend_from_slice(&piece);
        }
        assert!(back == data);
        assert_eq!(spill.file.as_ref().unwrap().metadata().unwrap().len(), 0);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0, "it has no name");
    }

    #[test]
    fn without_a_file_it_refuses_and_keeps_nothing() {
        let mut spill = Spill::new("/nonexistent".into());
        assert!(spill.push(b"x").is_err());
        assert!(spill.is_empty());
    }
}
