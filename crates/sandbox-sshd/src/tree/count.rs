//! Counts a tree before it is sent, so that limits hold before the client writes anything.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use sandbox_core::tree_stream::Frame;
use sandbox_core::{Direction, TransferReason};

use super::problem::Problem;
use super::send::Limits;

const DOWNLOAD: Direction = Direction::Download;
/// How often a client that waits is told how far it is.
const INTERVAL: Duration = Duration::from_secs(2);

/// Counts a tree, a directory at a time.
pub(super) struct Count {
    limits: Limits,
    /// The directories that are still to be counted, with their depth below the top.
    directories: Vec<(PathBuf, u64)>,
    entries: u64,
    bytes: u64,
    reported_at: Instant,
    reported: u64,
}

impl Count {
    pub(super) fn new(top: &Path, limits: Limits) -> Self {
        Self {
            limits,
            directories: vec![(top.to_owned(), 0)],
            entries: 0,
            bytes: 0,
            reported_at: Instant::now(),
            reported: 0,
        }
    }

    /// Counts the next directory. Returns whether there was one. Blocks.
    ///
    /// # Errors
    ///
    /// If the top directory cannot be read, or if the tree exceeds the limits.
    pub(super) fn count_directory(&mut self) -> Result<bool, Problem> {
        let Some((path, depth)) = self.directories.pop() else {
            return Ok(false);
        };
        if depth > self.limits.depth {
            return Err(too_large("directories are nested deeper than the limit"));
        }
        let entries = match std::fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(error) if depth == 0 => return Err(Problem::new(Direction::Inside, &error)),
            // It is reported when it is sent.
            Err(_) => return Ok(true),
        };
        for entry in entries.flatten() {
            self.entries += 1;
            if self.entries > self.limits.entries {
                return Err(Problem::with_reason(
                    Direction::Inside,
                    TransferReason::TooLarge,
                    "there are more entries than the limit; list or pack them with a command instead",
                ));
            }
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => self.directories.push((entry.path(), depth + 1)),
                Ok(kind) if kind.is_file() => {
                    let size = entry.metadata().map_or(0, |metadata| metadata.len());
                    self.bytes = self.bytes.saturating_add(size);
                }
                Ok(_) | Err(_) => {}
            }
            if self.bytes > self.limits.bytes {
                return Err(too_large("the files have more bytes than the limit"));
            }
        }
        Ok(true)
    }

    /// Encodes how far it is, if the client has waited for long.
    pub(super) fn encode_progress(&mut self, to: &mut Vec<u8>) {
        if self.reported_at.elapsed() >= INTERVAL && self.entries > self.reported {
            self.reported_at = Instant::now();
            self.reported = self.entries;
            self.encode(false, to);
        }
    }

    /// Encodes the whole count.
    pub(super) fn encode_result(&self, to: &mut Vec<u8>) {
        self.encode(true, to);
    }

    fn encode(&self, is_complete: bool, to: &mut Vec<u8>) {
        let counted = Frame::Counted {
            entries: self.entries,
            bytes: self.bytes,
            is_complete,
        };
        counted.encode(to);
    }
}

fn too_large(message: &str) -> Problem {
    Problem::with_reason(DOWNLOAD, TransferReason::TooLarge, message)
}

/// Returns the attributes of a directory, over a link, too.
pub(super) fn check_directory(top: &Path) -> io::Result<std::fs::Metadata> {
    let metadata = top.metadata()?;
    if metadata.is_dir() {
        Ok(metadata)
    } else {
        Err(Errno::ENOTDIR.into())
    }
}
