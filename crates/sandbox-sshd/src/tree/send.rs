//! Sends a tree.

use std::ffi::OsString;
use std::fs::{DirEntry, Metadata, ReadDir};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use sandbox_core::Direction;
use sandbox_core::tree_stream::{Attributes, Frame};
use tokio::io::{AsyncWrite, AsyncWriteExt};

use super::count::{Count, check_directory};
use super::file_content::FileSender;
use super::problem::Problem;

/// Bytes of frames that are sent at once.
const BATCH_LEN: usize = 128 << 10;

/// What the client accepts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Entries below the top.
    pub(super) entries: u64,
    /// Bytes of all files together.
    pub(super) bytes: u64,
    /// How deep directories may be nested below the top.
    pub(super) depth: u64,
}

/// Why the tree is not sent to its end.
pub(super) enum Stop {
    /// The client is told.
    Problem(Problem),
    /// The channel is closed.
    Closed(io::Error),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Closed(error)
    }
}

/// Encoded frames that are sent once there are enough of them.
pub(super) struct Batch<'a, W> {
    pub(super) frames: Vec<u8>,
    writer: &'a mut W,
}

impl<W: AsyncWrite + Unpin> Batch<'_, W> {
    pub(super) fn add(&mut self, frame: &Frame<'_>) {
        frame.encode(&mut self.frames);
    }

    pub(super) async fn send_if_large(&mut self) -> io::Result<()> {
        if self.frames.len() < BATCH_LEN {
            return Ok(());
        }
        self.send().await
    }

    async fn send(&mut self) -> io::Result<()> {
        self.writer.write_all(&self.frames).await?;
        self.frames.clear();
        Ok(())
    }
}

/// Counts a tree and sends it. What cannot be read below the top is reported in the stream.
pub(super) async fn send(
    writer: &mut (impl AsyncWrite + Unpin),
    top: &Path,
    limits: Limits,
) -> Result<(), Stop> {
    let failed = |error: io::Error| Stop::Problem(Problem::new(Direction::Inside, &error));
    let mut batch = Batch {
        frames: Vec::new(),
        writer,
    };
    let metadata = check_directory(top).map_err(failed)?;
    let mut count = Count::new(top, limits);
    while count.count_directory().map_err(Stop::Problem)? {
        count.encode_progress(&mut batch.frames);
        if !batch.frames.is_empty() {
            batch.send().await?;
            batch.writer.flush().await?;
        }
    }
    count.encode_result(&mut batch.frames);
    batch.send().await?;
    batch.writer.flush().await?;

    let mut sender = Sender {
        batch,
        files: FileSender::new(limits.bytes),
        path: top.to_owned(),
    };
    sender.send_tree(&metadata).await?;
    sender.batch.add(&Frame::End);
    sender.batch.send().await?;
    Ok(sender.batch.writer.flush().await?)
}

/// Sends the entries of a tree, depth first. One directory is open at a time.
struct Sender<'a, W> {
    batch: Batch<'a, W>,
    files: FileSender,
    /// The current directory.
    path: PathBuf,
}

impl<W: AsyncWrite + Unpin> Sender<'_, W> {
    async fn send_tree(&mut self, top: &Metadata) -> io::Result<()> {
        // The directories that are entered, each with the names of those in it that are still to be
        // sent.
        let mut entered = vec![self.send_directory(b"", top).await?];
        while let Some(below) = entered.last_mut() {
            let Some(name) = below.pop() else {
                entered.pop();
                self.batch.add(&Frame::Leave);
                self.path.pop();
                continue;
            };
            self.path.push(&name);
            match self.path.symlink_metadata() {
                Ok(metadata) if metadata.is_dir() => {
                    let below = self.send_directory(name.as_bytes(), &metadata).await?;
                    entered.push(below);
                }
                // It was replaced meanwhile.
                replaced => {
                    let error = replaced.err();
                    let error = error.unwrap_or_else(|| Errno::ENOTDIR.into());
                    self.add_failed(name.as_bytes(), Direction::Inside, &error);
                    self.path.pop();
                }
            }
        }
        Ok(())
    }

    /// Sends the current directory with its entries. Returns the names of the directories among them.
    async fn send_directory(
        &mut self,
        name: &[u8],
        metadata: &Metadata,
    ) -> io::Result<Vec<OsString>> {
        let attributes = to_attributes(metadata);
        self.batch.add(&Frame::Directory { name, attributes });
        match std::fs::read_dir(&self.path) {
            Ok(entries) => self.send_entries(entries).await,
            Err(error) => {
                self.add_failed(b"", Direction::Inside, &error);
                Ok(Vec::new())
            }
        }
    }

    async fn send_entries(&mut self, entries: ReadDir) -> io::Result<Vec<OsString>> {
        let mut below = Vec::new();
        for entry in entries {
            match entry {
                Ok(entry) => self.send_entry(&entry, &mut below).await?,
                Err(error) => {
                    self.add_failed(b"", Direction::Inside, &error);
                    break;
                }
            }
            self.batch.send_if_large().await?;
        }
        Ok(below)
    }

    /// Sends one entry, which may have vanished.
    async fn send_entry(&mut self, entry: &DirEntry, below: &mut Vec<OsString>) -> io::Result<()> {
        let name = entry.file_name();
        let kind = match entry.file_type() {
            Ok(kind) => kind,
            Err(error) => {
                self.add_failed(name.as_bytes(), Direction::Inside, &error);
                return Ok(());
            }
        };
        if kind.is_file() {
            let path = entry.path();
            return self
                .files
                .send(&mut self.batch, &path, name.as_bytes())
                .await;
        }
        if kind.is_dir() {
            below.push(name);
        } else if kind.is_symlink() {
            match std::fs::read_link(entry.path()) {
                Ok(target) => self.batch.add(&Frame::Link {
                    name: name.as_bytes(),
                    target: target.as_os_str().as_bytes(),
                }),
                Err(error) => self.add_failed(name.as_bytes(), Direction::Inside, &error),
            }
        } else {
            debug_assert!(
                kind.is_fifo()
                    || kind.is_socket()
                    || kind.is_char_device()
                    || kind.is_block_device()
            );
            self.batch.add(&Frame::Skipped {
                name: name.as_bytes(),
            });
        }
        Ok(())
    }

    fn add_failed(&mut self, name: &[u8], direction: Direction, error: &io::Error) {
        let problem = Problem::new(direction, error);
        let failure = problem.as_failure();
        self.batch.add(&Frame::Failed { name, failure });
    }
}

pub(super) fn to_attributes(metadata: &Metadata) -> Attributes {
    Attributes {
        mode: Some(metadata.mode() & 0o7777),
        modified: metadata.modified().ok(),
    }
}
