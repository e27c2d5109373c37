//! Reads a local directory and encodes its entries.

use std::fs::{File, Metadata, ReadDir};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sandbox_core::tree_stream::{Attributes, Failure, Frame, MAX_CONTENT};
use sandbox_core::{Direction, Error, FilePath, Result, TransferReason, metrics};
use tokio::sync::mpsc;

use crate::transfer::failures::Failures;
use crate::transfer::file::{Content, Source, local_error, mode_of};
use crate::transfer::progress::Meter;
use crate::transfer::report::Skipped;

const UPLOAD: Direction = Direction::Upload;
/// Bytes of frames after which a batch is passed on.
const BATCH_LEN: usize = 128 << 10;

/// Encoded entries, and what they are.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) frames: Vec<u8>,
    pub(super) entries: Vec<Sent>,
}

/// An entry that the server confirms.
pub(super) struct Sent {
    /// Its name, relative to the top.
    pub(super) name: FilePath,
    pub(super) kind: SentKind,
}

pub(super) enum SentKind {
    Directory,
    /// The end of a directory.
    Leave,
    File {
        size: u64,
        measured: metrics::Operation,
    },
    Link,
}

/// A local directory that can be read.
pub(in super::super) struct LocalTop {
    path: PathBuf,
    metadata: Metadata,
    entries: ReadDir,
}

impl LocalTop {
    /// Opens a directory. Blocks.
    pub(in super::super) fn open(path: &Path) -> Result<Self> {
        let failed = |source| local_error(UPLOAD, path, source);
        Ok(Self {
            path: path.to_owned(),
            metadata: std::fs::metadata(path).map_err(failed)?,
            entries: std::fs::read_dir(path).map_err(failed)?,
        })
    }
}

/// A directory below another one.
struct Directory {
    /// Relative to the top.
    name: FilePath,
    path: PathBuf,
    attributes: Attributes,
}

/// Reads a directory tree. One directory is open at a time, and only the names of those directories
/// are in memory that are still to be read.
pub(super) struct LocalSource {
    batches: mpsc::Sender<Batch>,
    batch: Batch,
    failures: Arc<Failures>,
    meter: Arc<Meter>,
    skipped: Vec<Skipped>,
    buffer: Vec<u8>,
}

/// Why reading ended early.
pub(super) enum Stop {
    Failed(Error),
    /// Nobody receives the entries any more.
    Unneeded,
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl LocalSource {
    pub(super) fn new(
        batches: mpsc::Sender<Batch>,
        failures: Arc<Failures>,
        meter: Arc<Meter>,
    ) -> Self {
        Self {
            batches,
            batch: Batch::default(),
            failures,
            meter,
            skipped: Vec::new(),
            buffer: Vec::new(),
        }
    }

    /// Reads the whole tree. Returns what was skipped. What cannot be read below the top is a failure
    /// of its own. Blocks.
    pub(super) fn read(mut self, top: LocalTop) -> std::result::Result<Vec<Skipped>, Stop> {
        if self.meter.is_watched() {
            self.meter.set_total(count_bytes(&top.path));
        }
        let first = Directory {
            name: FilePath::default(),
            path: top.path,
            attributes: directory_attributes(&top.metadata),
        };
        self.enter(&first)?;
        // The directories that are entered, each with those in it that are still to be read.
        let below = self.read_entries(&first, top.entries)?;
        let mut entered = vec![(first.name, below)];
        while let Some((name, below)) = entered.last_mut() {
            let Some(directory) = below.pop() else {
                let name = std::mem::take(name);
                entered.pop();
                self.add(&Frame::Leave, name, SentKind::Leave)?;
                continue;
            };
            self.enter(&directory)?;
            let below = match std::fs::read_dir(&directory.path) {
                Ok(entries) => self.read_entries(&directory, entries)?,
                Err(source) => {
                    self.record(&directory.name, &directory.path, source)?;
                    Vec::new()
                }
            };
            entered.push((directory.name, below));
        }
        Frame::End.encode(&mut self.batch.frames);
        self.pass_on()?;
        Ok(self.skipped)
    }

    fn enter(&mut self, directory: &Directory) -> std::result::Result<(), Stop> {
        let frame = Frame::Directory {
            name: directory.name.split_name().1,
            attributes: directory.attributes,
        };
        self.add(&frame, directory.name.clone(), SentKind::Directory)
    }

    /// Encodes the entries of a directory. Returns the directories among them.
    fn read_entries(
        &mut self,
        directory: &Directory,
        entries: ReadDir,
    ) -> std::result::Result<Vec<Directory>, Stop> {
        let mut below = Vec::new();
        for entry in entries {
            let entry = match entry {
                Ok(entry) => entry,
                Err(source) => {
                    self.record(&directory.name, &directory.path, source)?;
                    break;
                }
            };
            let path = entry.path();
            let name = directory.name.join(entry.file_name().as_encoded_bytes());
            let read = self.read_entry(&entry, &path, &name, &mut below)?;
            if let Err(source) = read {
                self.record(&name, &path, source)?;
            }
        }
        Ok(below)
    }

    /// Encodes one entry, which may have vanished.
    fn read_entry(
        &mut self,
        entry: &std::fs::DirEntry,
        path: &Path,
        name: &FilePath,
        below: &mut Vec<Directory>,
    ) -> std::result::Result<io::Result<()>, Stop> {
        let kind = match entry.file_type() {
            Ok(kind) => kind,
            Err(source) => return Ok(Err(source)),
        };
        if kind.is_file() {
            match Source::open(path.to_owned()) {
                Ok(source) => self.add_file(source, path, name)?,
                Err(error) => self.failures.record(name, error)?,
            }
        } else if kind.is_dir() {
            match entry.metadata() {
                Ok(metadata) => below.push(Directory {
                    name: name.clone(),
                    path: path.to_owned(),
                    attributes: directory_attributes(&metadata),
                }),
                Err(source) => return Ok(Err(source)),
            }
        } else if kind.is_symlink() {
            let target = match std::fs::read_link(path) {
                Ok(target) => FilePath::from(target),
                Err(source) => return Ok(Err(source)),
            };
            let frame = Frame::Link {
                name: name.split_name().1,
                target: target.as_bytes(),
            };
            self.add(&frame, name.clone(), SentKind::Link)?;
        } else {
            self.skipped.push(Skipped {
                path: name.clone(),
                reason: "a device, a FIFO or a socket",
            });
        }
        Ok(Ok(()))
    }

    /// Encodes a file with its content.
    fn add_file(
        &mut self,
        source: Source,
        path: &Path,
        name: &FilePath,
    ) -> std::result::Result<(), Stop> {
        let attributes = Attributes {
            mode: mode_of(&source.metadata, 0o777),
            modified: source.metadata.modified().ok(),
        };
        let (size, whole) = match &source.content {
            Content::Whole(content) => (content.len() as u64, &content[..]),
            Content::Open(_) => (source.metadata.len(), &[][..]),
        };
        let is_whole = whole.len() as u64 == size && whole.len() <= MAX_CONTENT;
        let frame = Frame::File {
            name: name.split_name().1,
            attributes,
            size,
            is_whole,
            content: if is_whole { whole } else { &[] },
        };
        let measured = metrics::start_transfer(UPLOAD);
        self.add(&frame, name.clone(), SentKind::File { size, measured })?;
        if is_whole {
            self.meter.add_bytes(size);
            return Ok(());
        }
        match source.content {
            Content::Whole(content) => {
                for part in content.chunks(MAX_CONTENT) {
                    self.add_content(part)?;
                }
                Frame::FileEnd.encode(&mut self.batch.frames);
                Ok(())
            }
            Content::Open(file) => self.add_open_file(file, size, path, name),
        }
    }

    /// Encodes the content of a large file, which may have become shorter.
    fn add_open_file(
        &mut self,
        mut file: File,
        size: u64,
        path: &Path,
        name: &FilePath,
    ) -> std::result::Result<(), Stop> {
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.resize(MAX_CONTENT, 0);
        let mut sent = 0;
        let error = loop {
            let wanted = usize::try_from(size - sent).unwrap_or(MAX_CONTENT);
            if wanted == 0 {
                break None;
            }
            match file.read(&mut buffer[..wanted.min(MAX_CONTENT)]) {
                Ok(0) => break Some(shrunk_error(path, size, sent)),
                Ok(read) => {
                    self.add_content(&buffer[..read])?;
                    sent += read as u64;
                }
                Err(source) if source.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => break Some(local_error(UPLOAD, path, source)),
            }
        };
        self.buffer = buffer;
        let Some(error) = error else {
            Frame::FileEnd.encode(&mut self.batch.frames);
            return Ok(());
        };
        let aborted = Frame::FileAborted(Failure {
            direction: UPLOAD,
            reason: TransferReason::SizeChanged,
            message: b"the file cannot be read to its end",
        });
        aborted.encode(&mut self.batch.frames);
        Ok(self.failures.record(name, error)?)
    }

    fn add_content(&mut self, content: &[u8]) -> std::result::Result<(), Stop> {
        self.meter.add_bytes(content.len() as u64);
        Frame::Content(content).encode(&mut self.batch.frames);
        self.pass_on_if_large()
    }

    /// Encodes an entry that the server confirms.
    fn add(
        &mut self,
        frame: &Frame<'_>,
        name: FilePath,
        kind: SentKind,
    ) -> std::result::Result<(), Stop> {
        frame.encode(&mut self.batch.frames);
        self.batch.entries.push(Sent { name, kind });
        self.pass_on_if_large()
    }

    fn record(
        &self,
        name: &FilePath,
        path: &Path,
        source: io::Error,
    ) -> std::result::Result<(), Stop> {
        Ok(self
            .failures
            .record(name, local_error(UPLOAD, path, source))?)
    }

    fn pass_on_if_large(&mut self) -> std::result::Result<(), Stop> {
        if self.batch.frames.len() < BATCH_LEN {
            return Ok(());
        }
        self.pass_on()
    }

    fn pass_on(&mut self) -> std::result::Result<(), Stop> {
        let batch = std::mem::take(&mut self.batch);
        self.batch.frames.reserve(BATCH_LEN + BATCH_LEN / 4);
        let passed = self.batches.blocking_send(batch);
        passed.map_err(|_unneeded| Stop::Unneeded)
    }
}

fn directory_attributes(metadata: &Metadata) -> Attributes {
    Attributes {
        // Set-group-id and sticky are part of how a directory is shared.
        mode: mode_of(metadata, 0o3777),
        modified: metadata.modified().ok(),
    }
}

fn shrunk_error(path: &Path, size: u64, sent: u64) -> Error {
    let message =
        format!("{sent} bytes were read, not the announced {size}; the source changed meanwhile");
    Error::transfer(UPLOAD, path, TransferReason::SizeChanged, message, None)
}

/// Returns the size of all files together. What cannot be read is reported later.
fn count_bytes(top: &Path) -> u64 {
    let mut bytes = 0_u64;
    let mut directories = vec![top.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => directories.push(entry.path()),
                Ok(kind) if kind.is_file() => {
                    let size = entry.metadata().map_or(0, |metadata| metadata.len());
                    bytes = bytes.saturating_add(size);
                }
                _ => {}
            }
        }
    }
    bytes
}
