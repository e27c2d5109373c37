//! Reads a file to its end.

use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use rustix::buffer::spare_capacity;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use sandbox_core::guest::{FileEntry, Refusal, RefusalCode};

use crate::guest::content::{ContentFrame, MAX_CONTENT};
use crate::guest::entry::Describer;
use crate::guest::refusals::refuse_file;

/// How many frames are read at once: enough that changing threads takes a small part of the time.
const BATCH: usize = 4;

/// An open file. Its methods block.
pub(super) struct FileReader {
    file: File,
    path: PathBuf,
    left: u64,
}

/// Content that was read.
pub(super) struct Batch {
    pub(super) frames: Vec<ContentFrame>,
    pub(super) is_end: bool,
}

impl FileReader {
    /// Opens a file, and describes it.
    pub(super) fn open(
        path: PathBuf,
        offset: u64,
        length: Option<u64>,
        describer: &mut Describer,
    ) -> Result<(Self, FileEntry), Refusal> {
        let refuse = |error: io::Error| refuse_file("read", &path, error);
        // Without O_NONBLOCK, opening a FIFO would block.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = rustix::fs::open(&path, flags, Mode::empty());
        let mut file = File::from(file.map_err(|error| refuse(error.into()))?);
        let kind = file.metadata().map_err(refuse)?.file_type();
        if kind.is_dir() {
            return Err(refuse(Errno::ISDIR.into()));
        }
        if kind.is_fifo() || kind.is_socket() {
            return Err(special_refusal("read", &path));
        }
        let entry = describer.describe_open(&file, &path).map_err(refuse)?;
        if offset > 0 {
            file.seek(SeekFrom::Start(offset)).map_err(refuse)?;
        }
        let reader = Self {
            file,
            path,
            left: length.unwrap_or(u64::MAX),
        };
        Ok((reader, entry))
    }

    /// Reads until there is enough to send, or until the end.
    pub(super) fn read(&mut self) -> Result<Batch, Refusal> {
        let mut frames = Vec::with_capacity(BATCH);
        while frames.len() < BATCH {
            let left = usize::try_from(self.left).unwrap_or(usize::MAX);
            let most = left.min(MAX_CONTENT);
            let read = ContentFrame::fill_with(most, |buffer| read_full(&self.file, buffer, most));
            let mut frame = read.map_err(|error| refuse_file("read", &self.path, error))?;
            // What is behind the end of the range may have been read as well.
            frame.truncate(left);
            let length = frame.content_len();
            self.left -= length as u64;
            if length > 0 {
                frames.push(frame);
            }
            if length < most || self.left == 0 {
                return Ok(Batch {
                    frames,
                    is_end: true,
                });
            }
        }
        Ok(Batch {
            frames,
            is_end: false,
        })
    }
}

/// Appends to a vector, which has room for it, at least `most` bytes, except at the end of the file.
fn read_full(file: &File, buffer: &mut Vec<u8>, most: usize) -> io::Result<()> {
    let end = buffer.len() + most;
    while buffer.len() < end {
        match rustix::io::read(file, spare_capacity(buffer)) {
            Ok(0) => break,
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// The refusal of a FIFO or socket.
pub(super) fn special_refusal(action: &str, path: &Path) -> Refusal {
    let path = sandbox_core::FilePath::from(path);
    let message = format!("cannot {action} {path:?}: it is a FIFO or socket; use a command for it");
    Refusal::new(RefusalCode::Invalid, message)
}
